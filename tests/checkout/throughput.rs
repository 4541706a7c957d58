//! Orders per second through gateway → checkout → store, compared with the same flow without protection.
//!
//! `cargo test --release --test checkout throughput -- --ignored --nocapture`

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::postgres::{Postgres, free_port};

const CUSTOMERS: u32 = 8;
const ROUND: Duration = Duration::from_secs(3);
const ROUNDS: u32 = 4;

struct Running {
    child: Child,
    doors: [u16; 2],
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(checkout: &str, ledger: &str) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_breakerbox"));
    let mut doors = [0; 2];
    let services = [
        "GATEWAY",
        "GATEWAY_BARE",
        "USER",
        "CATALOG",
        "RECOMMENDATION",
        "ML_API",
        "CHECKOUT",
        "INVENTORY",
        "PAYMENT_GATEWAY",
        "NOTIFICATION",
    ];
    for (index, service) in services.iter().enumerate() {
        let port = free_port();
        if let Some(door) = doors.get_mut(index) {
            *door = port;
        }
        command.env(format!("BREAKERBOX_SERVICES__{service}__PORT"), port.to_string());
    }
    let child = command
        .args(["--no-traffic", "--no-scenario"])
        .env("BREAKERBOX_ADMIN__LISTEN", "127.0.0.1:0")
        .env("BREAKERBOX_CHECKOUT__URL", checkout)
        .env("BREAKERBOX_INVENTORY__URL", checkout)
        .env("BREAKERBOX_PAYMENT_GATEWAY__URL", ledger)
        .env("BREAKERBOX_PAYMENT_GATEWAY__DECLINE_RATE", "0.0")
        .env("BREAKERBOX_FAULTS__PAYMENT_GATEWAY__ERROR_RATE", "0.0")
        .env("BREAKERBOX_GATEWAY__RATE_LIMIT__LIMIT_FOR_PERIOD", "1000000")
        .env("BREAKERBOX_GATEWAY__RATE_LIMIT__LIMIT_BY", "token-bucket")
        .env("BREAKERBOX_GATEWAY__CLIENT_LIMIT__LIMIT_FOR_PERIOD", "1000000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Running { child, doors }
}

async fn log_in(client: &reqwest::Client, door: u16) -> String {
    let url = format!("http://127.0.0.1:{door}/api/login");
    let body = json!({"username": "viewer7", "password": "popcorn"});
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(response) = client.post(&url).json(&body).send().await
            && let Ok(json) = response.json::<Value>().await
            && let Some(token) = json["token"].as_str()
        {
            return token.to_owned();
        }
        assert!(Instant::now() < deadline, "no response from {url}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Places orders for one round and returns the response times.
async fn round(client: &reqwest::Client, door: u16, token: &str, n: &Arc<AtomicU32>) -> Vec<Duration> {
    let until = Instant::now() + ROUND;
    let customers = (0..CUSTOMERS).map(|_| {
        let (client, token, n) = (client.clone(), token.to_owned(), Arc::clone(n));
        tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < until {
                let since = Instant::now();
                let key = format!("t-{}", n.fetch_add(1, Ordering::Relaxed));
                let request = client.post(format!("http://127.0.0.1:{door}/api/checkout"));
                let request = request.bearer_auth(&token).header("idempotency-key", key);
                let response = request.json(&json!({"film_id": 5, "kind": "rent"})).send().await.unwrap();
                assert_eq!(response.status().as_u16(), 201);
                times.push(since.elapsed());
            }
            times
        })
    });
    let mut times = Vec::new();
    for customer in customers.collect::<Vec<_>>() {
        times.extend(customer.await.unwrap());
    }
    times
}

async fn measure(name: &str, running: &Running) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let token = log_in(&client, running.doors[0]).await;
    let n = Arc::new(AtomicU32::new(0));
    let mut all = [Vec::new(), Vec::new()];
    // Alternates, so that changes of the machine's load affect both.
    for _ in 0..ROUNDS {
        for (door, times) in running.doors.iter().zip(&mut all) {
            times.extend(round(&client, *door, &token, &n).await);
        }
    }
    let seconds = (ROUND * ROUNDS).as_secs_f64();
    let [protected, bare] = all.map(|mut times| {
        times.sort_unstable();
        let p99 = times[times.len() * 99 / 100];
        (times.len() as f64 / seconds, p99)
    });
    eprintln!(
        "{name}: {:.0} orders/s, p99 {:?}; without protection {:.0} orders/s, p99 {:?}; ratio {:.2}",
        protected.0,
        protected.1,
        bare.0,
        bare.1,
        protected.0 / bare.0
    );
    assert!(protected.0 / bare.0 >= 0.85, "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput_with_protection_is_close_to_that_without() {
    let directory = std::env::temp_dir().join(format!("breakerbox-throughput-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = |name: &str| format!("sqlite://{}", directory.join(name).display());
    measure("SQLite", &start(&file("shop.db"), &file("ledger.db"))).await;
    if let Some(postgres) = Postgres::start("throughput") {
        measure("PostgreSQL", &start(&postgres.url("shop"), &postgres.url("ledger"))).await;
    }
    std::fs::remove_dir_all(directory).unwrap();
}
