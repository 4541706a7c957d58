//! Processes are killed at random moments; afterwards the books agree to the won.
//!
//! The ordinary run is short; `BREAKERBOX_KILL_TEST=long` places 2000 orders and kills at least 30
//! times, against each database.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use breakerbox::services::checkout::{OrderAnswer, OrderOutcome};
use breakerbox::store::{CheckoutStore, InventoryStore, LedgerStore, OrderState, StoreSettings};
use serde_json::json;
use tokio::sync::Mutex;

use crate::postgres::{Postgres, free_port};

/// Orders under way at once.
const CUSTOMERS: u32 = 8;

struct Size {
    orders: u32,
    kills: u32,
}

fn size() -> Size {
    if std::env::var("BREAKERBOX_KILL_TEST").is_ok_and(|value| value == "long") {
        Size { orders: 2000, kills: 30 }
    } else {
        Size { orders: 160, kills: 6 }
    }
}

/// Where the three books are.
struct Books {
    checkout: String,
    inventory: String,
    ledger: String,
}

struct Site {
    directory: PathBuf,
    config: PathBuf,
    checkout_port: u16,
    children: Mutex<BTreeMap<&'static str, Child>>,
}

impl Site {
    fn start(name: &str, books: &Books) -> Self {
        let directory = std::env::temp_dir().join(format!("breakerbox-kill-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let services = ["user", "inventory", "checkout", "payment-gateway", "notification"];
        let ports: BTreeMap<_, _> = services.iter().map(|service| (*service, free_port())).collect();
        let config = directory.join("breakerbox.toml");
        std::fs::write(&config, settings(&ports, books)).unwrap();
        let checkout_port = ports["checkout"];
        let site = Self { directory, config, checkout_port, children: Mutex::default() };
        let mut children = BTreeMap::new();
        children.insert("others", site.spawn(&["user", "inventory", "notification"]));
        children.insert("checkout", site.spawn(&["checkout"]));
        children.insert("payment-gateway", site.spawn(&["payment-gateway"]));
        Self { children: Mutex::new(children), ..site }
    }

    fn spawn(&self, services: &[&str]) -> Child {
        let log = File::options().create(true).append(true).open(self.directory.join(services[0])).unwrap();
        Command::new(env!("CARGO_BIN_EXE_breakerbox"))
            .arg("--config")
            .arg(&self.config)
            .arg("serve")
            .args(services)
            // No setting of the program.
            .env_remove("BREAKERBOX_KILL_TEST")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    async fn kill(&self, victim: &'static str) {
        let mut children = self.children.lock().await;
        let child = children.get_mut(victim).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        *child = self.spawn(&[victim]);
    }

    async fn stop(&self) {
        for child in self.children.lock().await.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Everything goes wrong that can, and little time passes in between.
fn settings(ports: &BTreeMap<&str, u16>, books: &Books) -> String {
    let mut text = format!(
        r#"
        [admin]
        listen = "127.0.0.1:0"
        [telemetry]
        log-filter = "warn"
        [checkout]
        url = "{}"
        lease = "1s"
        [checkout.queue]
        poll = "50ms"
        first-delay = "50ms"
        max-delay = "500ms"
        visibility = "3s"
        max-attempts = 1000
        concurrency = 8
        [inventory]
        url = "{}"
        premiere-seats = 3
        showing = "5s"
        [payment-gateway]
        url = "{}"
        [faults.payment-gateway]
        error-rate = 0.1
        lost-answer-rate = 0.1
        handled-twice-rate = 0.1
        late-answer-rate = 0.02
        late-by = "2s"
        [policies.checkout.payment-gateway.circuit-breaker]
        wait-duration-in-open-state = "300ms"
        "#,
        books.checkout, books.inventory, books.ledger
    );
    for (service, port) in ports {
        writeln!(text, "[services.{service}]\nport = {port}").unwrap();
    }
    text
}

/// Asks until there is an answer, always with the same key.
async fn order(client: &reqwest::Client, url: &str, n: u32) -> OrderAnswer {
    let kind = ["rent", "buy", "premiere"][n as usize % 3];
    let body = json!({"user_id": n % 200 + 1, "film_id": n % 5 + 1, "kind": kind, "retry_later": !n.is_multiple_of(4)});
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let request = client.post(url).header("idempotency-key", format!("order-{n}")).json(&body);
        if let Ok(response) = request.send().await {
            match response.status().as_u16() {
                200 => {
                    if let Ok(answer) = response.json().await {
                        return answer;
                    }
                }
                409 | 500..=599 => {}
                other => panic!("order {n}: {other}: {}", response.text().await.unwrap_or_default()),
            }
        }
        assert!(Instant::now() < deadline, "order {n} gets no answer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Orders from several customers at once, some of them twice at the same time.
async fn shop(site: &Site, orders: u32, done: Arc<AtomicU32>) -> Vec<OrderAnswer> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(4)).build().unwrap();
    let url: Arc<str> = format!("http://127.0.0.1:{}/orders", site.checkout_port).into();
    let next = Arc::new(AtomicU32::new(0));
    let customers = (0..CUSTOMERS).map(|_| {
        let (client, url, next, done) = (client.clone(), Arc::clone(&url), Arc::clone(&next), Arc::clone(&done));
        tokio::spawn(async move {
            let mut answers = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= orders {
                    return answers;
                }
                let answer = if n.is_multiple_of(10) {
                    let (one, other) = tokio::join!(order(&client, &url, n), order(&client, &url, n));
                    assert_eq!(one.order_id, other.order_id, "one key, one order");
                    one
                } else {
                    order(&client, &url, n).await
                };
                answers.push(answer);
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let mut answers = Vec::new();
    for customer in customers.collect::<Vec<_>>() {
        answers.extend(customer.await.unwrap());
    }
    answers
}

/// Kills by turns, evenly over the orders, each time a little after an order was answered.
async fn rage(site: &Site, postgres: Option<&Postgres>, size: &Size, done: &AtomicU32) -> u32 {
    let mut kills = 0;
    while kills < size.kills {
        let due = (kills + 1) * size.orders / (size.kills + 1);
        while done.load(Ordering::Relaxed) < due {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(u64::from(rand::random::<u8>()) / 4)).await;
        match (kills % 3, postgres) {
            (2, Some(postgres)) => tokio::task::block_in_place(|| postgres.kill_and_restart()),
            (1, _) => site.kill("payment-gateway").await,
            _ => site.kill("checkout").await,
        }
        kills += 1;
    }
    kills
}

async fn survive(name: &str, books: Books, postgres: Option<&Postgres>) {
    let size = size();
    let site = Site::start(name, &books);
    let started = Instant::now();
    let done = Arc::new(AtomicU32::new(0));
    let (answers, kills) =
        tokio::join!(shop(&site, size.orders, Arc::clone(&done)), rage(&site, postgres, &size, &done));
    assert_eq!(answers.len(), size.orders as usize);
    let (settled, audit) = settle(&books).await;
    let outcomes = answers.iter().fold(BTreeMap::new(), |mut counts, answer| {
        *counts.entry(answer.outcome.as_str()).or_insert(0) += 1;
        counts
    });
    eprintln!(
        "{name}: {} orders, {kills} kills, {:.1} s, {outcomes:?}, {} paid in the end, {settled:?}",
        size.orders,
        started.elapsed().as_secs_f64(),
        audit.paid
    );
    agree(&books, &answers).await;
    site.stop().await;
}

/// Waits until no order is under way any more.
async fn settle(books: &Books) -> (Duration, breakerbox::store::OrderAudit) {
    let orders = CheckoutStore::new(&books.checkout, &StoreSettings::default(), false).unwrap();
    let since = Instant::now();
    loop {
        let audit = orders.audit().await.unwrap();
        if audit.unfinished == 0 {
            return (since.elapsed(), audit);
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{audit:?}, {:?}", orders.queue().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn agree(books: &Books, answers: &[OrderAnswer]) {
    let settings = StoreSettings::default();
    let orders = CheckoutStore::new(&books.checkout, &settings, false).unwrap();
    let ledger = LedgerStore::new(&books.ledger, &settings, false).unwrap().audit().await.unwrap();
    let stock = InventoryStore::new(&books.inventory, &settings, false).unwrap().audit().await.unwrap();
    let audit = orders.audit().await.unwrap();
    let queue = orders.queue().await.unwrap();
    let paid = orders.in_state(OrderState::Paid).await.unwrap();
    let charged: Vec<_> = ledger.kept.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(charged, paid, "every charge is a paid order and every paid order a charge");
    assert_eq!(ledger.kept.iter().map(|(_, won)| won).sum::<i64>(), audit.paid_amount, "to the won");
    assert_eq!(ledger.doubled, Vec::<String>::new(), "charged twice");
    assert_eq!(stock.held, paid, "seats are held by paid orders alone");
    assert_eq!(stock.taken, i64::try_from(paid.len()).unwrap(), "the stock's count is that of its holders");
    assert_eq!((queue.depth, queue.dead), (0, 0), "the queue is empty");
    assert_eq!(audit.orders, i64::try_from(answers.len()).unwrap(), "one order a key");
    for answer in answers {
        let state = orders.order(&answer.order_id).await.unwrap().unwrap().state;
        let kept = match answer.outcome {
            OrderOutcome::Paid => state == OrderState::Paid,
            OrderOutcome::Queued => state.is_final(),
            _ => state == OrderState::Cancelled,
        };
        assert!(kept, "{answer:?} became {state:?}");
    }
}

fn file(directory: &Path, name: &str) -> String {
    format!("sqlite://{}", directory.join(name).display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_the_books_agree_over_sqlite() {
    let directory = std::env::temp_dir().join(format!("breakerbox-kill-books-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let books = Books {
        checkout: file(&directory, "checkout.db"),
        inventory: file(&directory, "inventory.db"),
        ledger: file(&directory, "ledger.db"),
    };
    survive("sqlite", books, None).await;
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_the_books_agree_over_postgresql() {
    let Some(postgres) = Postgres::start("kill") else { return };
    let books =
        Books { checkout: postgres.url("shop"), inventory: postgres.url("shop"), ledger: postgres.url("ledger") };
    survive("postgresql", books, Some(&postgres)).await;
}
