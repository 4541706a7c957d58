//! Disk failures under a running process: full, read-only, failing writes. The process recovers from each without a
//! restart once the disk works again; until then readiness reports it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::postgres::{Postgres, free_port};
use crate::site::{Role, Site, client, ports, until};

const SERVICES: &[&str] = &["user", "inventory", "checkout", "payment-gateway", "notification"];
/// Space for a few orders.
const SMALL: &str = "3m";
/// Time limit for a start, with a debug build on a busy machine.
const START: Duration = Duration::from_secs(60);
/// Time limit for the recovery; the promise is "within seconds", the rest allows for a busy machine.
const HEALED: Duration = Duration::from_secs(20);
const SICK: Duration = Duration::from_secs(60);

/// A file system in memory.
pub(crate) struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts one. Returns `None`, with a message on stderr, if this user may not mount.
    pub(crate) fn of(name: &str, size: &str) -> Option<Self> {
        let path = std::env::temp_dir().join(format!("breakerbox-disk-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&path).output();
        if mounted.is_ok_and(|done| done.status.success()) {
            return Some(Self { path });
        }
        let _ = std::fs::remove_dir(&path);
        eprintln!("SKIPPED: this user may not mount a file system, so no disk was filled");
        None
    }

    /// Remounts it as `ro` or `rw`. Returns false if a file that is open for writing prevents it.
    fn remount(&self, mode: &str) -> bool {
        let options = format!("remount,{mode}");
        Command::new("mount").args(["-o", &options]).arg(&self.path).output().unwrap().status.success()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Writes until the file system is full.
    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).unwrap();
        for size in [64 * 1024, 4096, 1] {
            while std::io::Write::write(&mut file, &vec![0; size]).is_ok_and(|written| written > 0) {}
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Processes that had files open here are dead by now or will be in a moment.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// One process with all the services that an order needs and its files in `directory`.
struct Shop {
    site: Site,
    client: reqwest::Client,
    orders: String,
    ready: String,
    metrics: String,
    placed: std::cell::Cell<u32>,
}

impl Shop {
    fn start(name: &str, directory: &Path, through: &[&str]) -> Self {
        let (ports, services) = ports(SERVICES);
        let admin = free_port();
        let url = |file: &str| format!("sqlite://{}", directory.join(file).display());
        let settings = format!(
            r#"
            [admin]
            listen = "127.0.0.1:{admin}"
            [telemetry]
            log-filter = "warn"
            [checkout]
            url = "{}"
            [inventory]
            url = "{}"
            [payment-gateway]
            url = "{}"
            decline-rate = 0.0
            [faults.payment-gateway]
            error-rate = 0.0
            [policies.checkout.inventory.circuit-breaker]
            wait-duration-in-open-state = "500ms"
            [policies.checkout.payment-gateway.circuit-breaker]
            wait-duration-in-open-state = "500ms"
            {services}"#,
            url("checkout.db"),
            url("inventory.db"),
            url("ledger.db"),
        );
        let site = Site::new(name, &settings);
        let through = through.iter().map(|word| (*word).to_owned()).collect();
        site.start(Role { name: "shop", services: SERVICES, through, ..Role::default() });
        Self {
            site,
            client: client(Duration::from_secs(20)),
            orders: format!("http://127.0.0.1:{}/orders", ports["checkout"]),
            ready: format!("http://127.0.0.1:{admin}/readyz"),
            metrics: format!("http://127.0.0.1:{admin}/metrics"),
            placed: std::cell::Cell::new(0),
        }
    }

    async fn ready(&self) -> bool {
        self.client.get(&self.ready).send().await.is_ok_and(|answer| answer.status().is_success())
    }

    /// Whether its series report the databases as up.
    async fn up(&self, service: &str) -> bool {
        let page = self.client.get(&self.metrics).send().await.unwrap().text().await.unwrap();
        page.contains(&format!("store_up{{service=\"{service}\"}} 1\n"))
    }

    /// Whether a new order is paid.
    async fn sells(&self) -> bool {
        let n = self.placed.replace(self.placed.get() + 1);
        let body = json!({"user_id": 7, "film_id": 3, "kind": "buy", "retry_later": false});
        let request = self.client.post(&self.orders).header("idempotency-key", format!("k{n}")).json(&body);
        let Ok(answer) = request.send().await else { return false };
        answer.status().is_success()
            && answer.json::<serde_json::Value>().await.is_ok_and(|answer| answer["outcome"] == "paid")
    }

    /// Waits until it takes no orders and reports that it is not ready.
    async fn falls_ill(&self) {
        until("no order is taken, and readiness tells", SICK, async || !self.sells().await && !self.ready().await)
            .await;
        until("its series say so", SICK, async || !self.up("checkout").await).await;
    }

    async fn heals(&self, from: &str) {
        let what = format!("well again after {from}");
        let took = until(&what, HEALED, async || self.ready().await && self.sells().await).await;
        eprintln!("well {:.1} s after {from}", took.as_secs_f64());
        for service in ["checkout", "inventory", "payment-gateway"] {
            until("its series say so", HEALED, async || self.up(service).await).await;
        }
        assert!(!self.site.log("shop").contains("panicked"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_recovers_within_seconds_of_disk_space() {
    let Some(disk) = Disk::of("full", SMALL) else { return };
    let shop = Shop::start("full", &disk.path, &[]);
    until("an order is paid", START, async || shop.sells().await).await;
    for _ in 0..2 {
        disk.fill();
        shop.falls_ill().await;
        std::fs::remove_file(disk.filler()).unwrap();
        shop.heals("the disk was full").await;
    }
}

/// A database that is read-only when it is opened, which is what a process finds that starts after an emergency
/// remount.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_recovers_when_its_disk_is_writable_again() {
    let Some(disk) = Disk::of("read-only", SMALL) else { return };
    let shop = Shop::start("read-only", &disk.path, &[]);
    until("an order is paid", START, async || shop.sells().await).await;
    drop(shop);
    assert!(disk.remount("ro"));
    let shop = Shop::start("read-only", &disk.path, &[]);
    // Its admin port answers before the state of the disk is known.
    until("it is up", START, async || shop.client.get(&shop.ready).send().await.is_ok()).await;
    shop.falls_ill().await;
    assert!(disk.remount("rw"));
    shop.heals("the file system was read-only").await;
}

/// A limit on its file size makes the kernel refuse writes with an error other than "disk full".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_recovers_when_writes_succeed_again() {
    let files = std::env::temp_dir().join(format!("breakerbox-disk-broken-{}", std::process::id()));
    std::fs::create_dir_all(&files).unwrap();
    // Ignores the signal that comes with the limit, which would end the process.
    let shop = Shop::start("broken", &files, &["bash", "-c", r#"trap "" XFSZ; exec "$0" "$@""#]);
    until("an order is paid", START, async || shop.sells().await).await;
    let limit = |bytes: &str| {
        let pid = shop.site.pid("shop").to_string();
        let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).output();
        assert!(limited.is_ok_and(|done| done.status.success()), "prlimit is part of util-linux");
    };
    limit("4096");
    shop.falls_ill().await;
    limit("unlimited");
    shop.heals("every write failed").await;
    drop(shop);
    std::fs::remove_dir_all(files).unwrap();
}

/// No orders are placed: a service checks its database by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unavailable_database_is_exported() {
    let Some(postgres) = Postgres::start("away") else { return };
    let (_, services) = ports(&["inventory"]);
    let admin = free_port();
    let settings = format!(
        "[admin]\nlisten = \"127.0.0.1:{admin}\"\n[telemetry]\nlog-filter = \"warn\"\n[inventory]\nurl = \"{}\"\n{services}",
        postgres.url("shop")
    );
    let site = Site::new("away", &settings);
    site.start(Role { name: "inventory", services: &["inventory"], ..Role::default() });
    let client = client(Duration::from_secs(20));
    let is = async |value: u8| {
        let asked = client.get(format!("http://127.0.0.1:{admin}/metrics")).send();
        let Ok(answer) = asked.await else { return false };
        answer.text().await.is_ok_and(|page| page.contains(&format!("store_up{{service=\"inventory\"}} {value}\n")))
    };
    until("it is in order", START, async || is(1).await).await;
    postgres.kill();
    until("it is away", SICK, async || is(0).await).await;
    postgres.launch();
    until("it is in order again", HEALED, async || is(1).await).await;
}
