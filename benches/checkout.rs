//! Orders per second of checkout on both stores, beside the same flow as one bare PostgreSQL transaction.
//!
//! ```text
//! cargo bench --bench checkout              about two minutes; PostgreSQL is skipped where it is not installed
//! ```
//!
//! The program runs all services of an order in one process, with real sockets between them; orders go straight to
//! checkout. Callers form a closed loop. There are no faults unless stated. Load average and number of cores are
//! printed, because callers, program and PostgreSQL share the machine.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a measurement that can't go on fails")]
#![allow(clippy::cast_precision_loss, reason = "counts of orders fit")]

#[path = "../tests/checkout/postgres.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod postgres;
#[path = "../tests/checkout/site.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod site;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::{AnyPool, Connection};

use postgres::{Postgres, free_port};
use site::{Role, Site, client, ports, until};

const SERVICES: &[&str] = &["user", "inventory", "checkout", "payment-gateway", "notification"];
const CALLERS: [usize; 3] = [1, 16, 64];
const WARM_UP: Duration = Duration::from_secs(1);
const ROUND: Duration = Duration::from_secs(4);
const QUEUED: u64 = 10_000;
/// Delay of one charge in ten while the queue drains.
const SLOW: &str = "200ms";

/// Results of a closed loop of callers.
struct Pace {
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

impl Pace {
    fn of(mut times: Vec<Duration>, over: Duration) -> Self {
        times.sort_unstable();
        let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
        Self { per_second: times.len() as f64 / over.as_secs_f64(), p50: at(50), p99: at(99) }
    }

    fn tell(&self, what: &str, callers: usize, floor: Option<&Self>) {
        let ratio = floor.map(|floor| format!("{:.2}", self.per_second / floor.per_second)).unwrap_or_default();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        println!(
            "| {what} | {callers} | {:.0} | {:.1} | {:.1} | {ratio} |",
            self.per_second,
            ms(self.p50),
            ms(self.p99)
        );
    }
}

/// Runs this many callers, each of which sends its next order as soon as its last one is answered.
async fn in_turn<F>(callers: usize, order: impl Fn(u64) -> F + Clone + Send + 'static) -> Pace
where
    F: Future<Output = ()> + Send,
{
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now() + WARM_UP;
    let end = start + ROUND;
    let running = (0..callers).map(|_| {
        let (order, next) = (order.clone(), Arc::clone(&next));
        tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let since = Instant::now();
                order(next.fetch_add(1, Ordering::Relaxed)).await;
                if since >= start {
                    times.push(since.elapsed());
                }
            }
            times
        })
    });
    let mut times = Vec::new();
    for caller in running.collect::<Vec<_>>() {
        times.extend(caller.await.unwrap());
    }
    Pace::of(times, ROUND)
}

/// The minimum for an order in one transaction on one database: its key, the order, its reservation, its charge, the
/// final state.
async fn bare(pool: AnyPool, id: String) {
    let mut connection = pool.acquire().await.unwrap();
    let mut all = connection.begin().await.unwrap();
    for statement in [
        "INSERT INTO keys (id, answer) VALUES ($1, '')",
        "INSERT INTO orders (id, state) VALUES ($1, 'pending')",
        "INSERT INTO reservations (id, film) VALUES ($1, 3)",
        "UPDATE stock SET taken = taken + 1 WHERE film = 3 AND taken < 1000000000 AND $1 <> ''",
        "INSERT INTO charges (id, amount) VALUES ($1, 4500)",
        "UPDATE orders SET state = 'paid' WHERE id = $1",
        "UPDATE keys SET answer = 'paid' WHERE id = $1",
        "INSERT INTO outbox (id, sent) VALUES ($1, 0)",
    ] {
        sqlx::query(statement).bind(id.as_str()).execute(&mut *all).await.unwrap();
    }
    all.commit().await.unwrap();
}

async fn floors(postgres: &Postgres) -> Vec<Pace> {
    let mut paces = Vec::new();
    for callers in CALLERS {
        let most = u32::try_from(callers.min(16)).unwrap();
        let pool = AnyPoolOptions::new().max_connections(most).acquire_timeout(Duration::from_secs(30));
        let pool = pool.connect(&postgres.url("shop")).await.unwrap();
        for table in [
            "keys (id TEXT PRIMARY KEY, answer TEXT)",
            "orders (id TEXT PRIMARY KEY, state TEXT)",
            "reservations (id TEXT PRIMARY KEY, film BIGINT)",
            "stock (film BIGINT PRIMARY KEY, taken BIGINT)",
            "charges (id TEXT PRIMARY KEY, amount BIGINT)",
            "outbox (id TEXT PRIMARY KEY, sent BIGINT)",
        ] {
            let statement = format!("CREATE TABLE IF NOT EXISTS {table}");
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&pool).await.unwrap();
        }
        let stock = "INSERT INTO stock VALUES (3, 0) ON CONFLICT DO NOTHING";
        sqlx::query(stock).execute(&pool).await.unwrap();
        let shared = pool.clone();
        let pace = in_turn(callers, move |n| bare(shared.clone(), format!("{callers}-{n}"))).await;
        pace.tell("bare transaction, PostgreSQL", callers, None);
        paces.push(pace);
        pool.close().await;
    }
    paces
}

/// The program over one store.
struct Shop {
    _site: Site,
    client: reqwest::Client,
    orders: String,
    admin: String,
}

impl Shop {
    async fn open(name: &str, checkout: &str, inventory: &str, ledger: &str) -> Self {
        let (ports, services) = ports(SERVICES);
        let admin = free_port();
        let settings = format!(
            r#"
            [admin]
            listen = "127.0.0.1:{admin}"
            [telemetry]
            log-filter = "warn"
            [store]
            connections = 16
            [checkout]
            url = "{checkout}"
            [inventory]
            url = "{inventory}"
            licences = 100000000
            [payment-gateway]
            url = "{ledger}"
            decline-rate = 0.0
            [faults.payment-gateway]
            error-rate = 0.0
            [policies.checkout.payment-gateway.bulkhead]
            max-concurrent-calls = 100
            [policies.checkout.inventory.bulkhead]
            max-concurrent-calls = 100
            [policies.checkout.user.bulkhead]
            max-concurrent-calls = 100
            {services}"#
        );
        let site = Site::new(name, &settings);
        site.start(Role { name: "shop", services: SERVICES, ..Role::default() });
        let own = Self {
            _site: site,
            client: client(Duration::from_secs(60)),
            orders: format!("http://127.0.0.1:{}/orders", ports["checkout"]),
            admin: format!("http://127.0.0.1:{admin}"),
        };
        let first = async || own.order(format!("first-{}", rand::random::<u32>()), false).await == "paid";
        until("an order is paid", Duration::from_secs(30), first).await;
        own
    }

    fn order(&self, key: String, later: bool) -> impl Future<Output = String> + Send + use<> {
        let request = self.client.post(&self.orders).header("idempotency-key", key);
        let body = json!({"user_id": 7, "film_id": 3, "kind": "rent", "retry_later": later});
        let request = request.json(&body);
        async move {
            let Ok(answer) = request.send().await else { return "nothing".to_owned() };
            let status = answer.status();
            let answer: Value = answer.json().await.unwrap_or_default();
            answer["outcome"].as_str().map_or_else(|| status.to_string(), str::to_owned)
        }
    }

    async fn direct(&self, callers: usize, round: &str) -> Pace {
        let (client, url, round) = (self.client.clone(), self.orders.clone(), round.to_owned());
        in_turn(callers, move |n| {
            let body = json!({"user_id": n % 200 + 1, "film_id": 3, "kind": "rent", "retry_later": false});
            let request = client.post(&url).header("idempotency-key", format!("{round}-{callers}-{n}")).json(&body);
            async move {
                let answer = request.send().await.unwrap();
                assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
            }
        })
        .await
    }

    async fn command(&self, action: &str) {
        let url = format!("{}/breakers/checkout/payment-gateway", self.admin);
        let answer = self.client.patch(url).json(&json!({"state": action})).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    async fn slow(&self, rate: f64) {
        let plan = json!({"late_answer_rate": rate, "late_by": SLOW});
        let url = format!("{}/faults/payment-gateway", self.admin);
        let answer = self.client.put(url).json(&plan).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    async fn depth(&self) -> i64 {
        let answer = self.client.get(format!("{}/queue", self.admin)).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["depth"].as_i64().unwrap()
    }

    /// Orders per second while a queue drains and one charge in ten is slow.
    async fn drain(&self) -> f64 {
        self.command("forced_open").await;
        for chunk in 0..QUEUED / 50 {
            let orders = (0..50).map(|n| self.order(format!("queued-{chunk}-{n}"), true));
            for outcome in futures_util::future::join_all(orders).await {
                assert_eq!(outcome, "queued");
            }
        }
        assert_eq!(self.depth().await, i64::try_from(QUEUED).unwrap());
        self.slow(0.1).await;
        let since = Instant::now();
        self.command("reset").await;
        until("the queue is empty", Duration::from_mins(10), async || self.depth().await == 0).await;
        QUEUED as f64 / since.elapsed().as_secs_f64()
    }
}

async fn measure(what: &str, shop: Shop, floors: &[Pace]) {
    for (index, callers) in CALLERS.into_iter().enumerate() {
        shop.direct(callers, "direct").await.tell(what, callers, floors.get(index));
    }
    shop.slow(0.1).await;
    let direct = shop.direct(16, "slow").await;
    direct.tell(&format!("{what}, one charge in ten {SLOW} late"), 16, None);
    let drained = shop.drain().await;
    println!(
        "| {what}, queue of {QUEUED} drained, one charge in ten {SLOW} late | – | {drained:.0} | | | {:.2} of the row above |",
        drained / direct.per_second
    );
}

fn directory() -> PathBuf {
    let path = std::env::temp_dir().join(format!("breakerbox-bench-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    install_default_drivers();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    println!("{cores} cores, load average before: {load}");
    println!("| flow | callers | orders/s | p50 ms | p99 ms | of the floor |");
    println!("|---|---:|---:|---:|---:|---:|");
    let floors = match Postgres::start("bench-floor") {
        Some(postgres) => floors(&postgres).await,
        None => Vec::new(),
    };
    let files = directory();
    let url = |file: &str| format!("sqlite://{}", files.join(file).display());
    let shop = Shop::open("bench-sqlite", &url("checkout.db"), &url("inventory.db"), &url("ledger.db")).await;
    measure("SQLite", shop, &floors).await;
    if let Some(postgres) = Postgres::start("bench") {
        let (orders, ledger) = (postgres.url("shop"), postgres.url("ledger"));
        let shop = Shop::open("bench-postgres", &orders, &orders, &ledger).await;
        measure("PostgreSQL", shop, &floors).await;
    }
    std::fs::remove_dir_all(files).unwrap();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load average after: {load}");
}
