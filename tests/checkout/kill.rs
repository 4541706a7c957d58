//! Processes are killed and paused at random moments while the payment gateway gives wrong answers; afterwards the
//! books agree to the last won.
//!
//! The short form runs with the other tests. The long form:
//!
//! ```text
//! cargo test --test checkout long_form -- --ignored --nocapture --test-threads=1
//! ```
//!
//! Two instances of checkout work on one store. The seed is printed; set `BREAKERBOX_TEST_SEED` to repeat a run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use breakerbox::services::checkout::{OrderAnswer, OrderOutcome};
use breakerbox::store::{CheckoutStore, InventoryStore, LedgerStore, OrderAudit, OrderState, StoreSettings};
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection};

use crate::disk::Disk;
use crate::liars::Outside;
use crate::postgres::{Postgres, free_port};
use crate::site::{Role, Site, client, ports, until};

/// Orders in flight at once.
const CUSTOMERS: u32 = 8;
/// Longer than a lease, so that the work of a paused instance is taken over.
const PAUSE: Duration = Duration::from_millis(1_500);
const FULL: Duration = Duration::from_secs(2);

struct Size {
    orders: u32,
    kills: u32,
    pauses: u32,
    /// How often the disk fills up, if the test has a disk to fill.
    full: u32,
}

const SHORT: Size = Size { orders: 160, kills: 6, pauses: 3, full: 0 };
const LONG: Size = Size { orders: 5_000, kills: 110, pauses: 30, full: 5 };

/// Database URLs of the three books.
struct Books {
    checkout: String,
    inventory: String,
    ledger: String,
}

/// Infrastructure that may be broken besides the program's processes.
struct Below<'a> {
    postgres: Option<&'a Postgres>,
    disk: Option<&'a Disk>,
}

struct Torment {
    site: Site,
    outside: Outside,
    /// Addresses of the two instances of checkout, and of their admin ports.
    orders: [String; 2],
    admin: [String; 2],
    client: reqwest::Client,
    done: AtomicU32,
    replayed: AtomicU32,
    over: AtomicBool,
}

/// Settings under which everything fails that can, with short waits.
fn settings(books: &Books, services: &str, truth: u16, outside: u16) -> String {
    format!(
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
        max-attempts = 3
        concurrency = 8
        [inventory]
        url = "{}"
        premiere-seats = 3
        showing = "5s"
        [payment-gateway]
        url = "{}"
        [faults.payment-gateway]
        error-rate = 0.05
        lost-answer-rate = 0.05
        handled-twice-rate = 0.05
        late-answer-rate = 0.02
        late-by = "2s"
        [policies.checkout.payment-gateway.circuit-breaker]
        wait-duration-in-open-state = "300ms"
        [policies.checkout.notification.circuit-breaker]
        wait-duration-in-open-state = "300ms"
        {services}
        [services.payment-gateway]
        port = {truth}
        url = "http://127.0.0.1:{outside}"
        [services.notification]
        port = 0
        url = "http://127.0.0.1:{outside}"
        "#,
        books.checkout, books.inventory, books.ledger
    )
}

impl Torment {
    /// `apart`: how many seconds the clock of the second instance is ahead.
    async fn begin(name: &str, books: &Books, seed: u64, apart: i32) -> Self {
        let (_, services) = ports(&["user", "inventory", "checkout"]);
        let truth = free_port();
        let outside = Outside::new(format!("http://127.0.0.1:{truth}"), seed);
        let settings = settings(books, &services, truth, outside.serve().await);
        let site = Site::new(&format!("kill-{name}"), &settings);
        site.start(Role { name: "others", services: &["user", "inventory"], ..Role::default() });
        site.start(Role { name: "payment-gateway", services: &["payment-gateway"], ..Role::default() });
        let mut own = Self {
            site,
            outside,
            orders: Default::default(),
            admin: Default::default(),
            client: client(Duration::from_secs(4)),
            done: AtomicU32::new(0),
            replayed: AtomicU32::new(0),
            over: AtomicBool::new(false),
        };
        for (index, (name, wrong_by)) in [("checkout-a", 0), ("checkout-b", apart)].into_iter().enumerate() {
            let (port, admin) = (free_port(), free_port());
            own.orders[index] = format!("http://127.0.0.1:{port}/orders");
            own.admin[index] = format!("http://127.0.0.1:{admin}");
            let variables = vec![
                ("BREAKERBOX_SERVICES__CHECKOUT__PORT".to_owned(), port.to_string()),
                ("BREAKERBOX_ADMIN__LISTEN".to_owned(), format!("127.0.0.1:{admin}")),
            ];
            let flags = vec!["--clock-wrong-by".to_owned(), wrong_by.to_string()];
            own.site.start(Role { name, services: &["checkout"], flags, variables, ..Role::default() });
        }
        own
    }

    /// Sends the order to the instances in turn until one answers, always with the same key.
    async fn order(&self, n: u32) -> OrderAnswer {
        let kind = ["rent", "buy", "premiere"][n as usize % 3];
        let body =
            json!({"user_id": n % 200 + 1, "film_id": n % 5 + 1, "kind": kind, "retry_later": !n.is_multiple_of(4)});
        let deadline = Instant::now() + Duration::from_mins(2);
        for instance in (0..self.orders.len()).cycle().skip(n as usize % 2) {
            let request = self.client.post(&self.orders[instance]).header("idempotency-key", format!("order-{n}"));
            if let Ok(response) = request.json(&body).send().await {
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
            assert!(Instant::now() < deadline, "no answer for order {n} in time");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("the iterator over instances is endless");
    }

    /// Places orders from several customers concurrently; some are sent to both instances at the same time.
    async fn shop(self: &Arc<Self>, orders: u32) -> Vec<(u32, OrderAnswer)> {
        let next = Arc::new(AtomicU32::new(0));
        let customers = (0..CUSTOMERS).map(|_| {
            let (own, next) = (Arc::clone(self), Arc::clone(&next));
            tokio::spawn(async move {
                let mut answers = Vec::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= orders {
                        return answers;
                    }
                    let answer = if n.is_multiple_of(10) {
                        let (one, other) = tokio::join!(own.order(n), own.order(n));
                        assert_eq!(one, other, "one key, one order, one answer");
                        one
                    } else {
                        own.order(n).await
                    };
                    answers.push((n, answer));
                    own.done.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let mut answers = Vec::new();
        for customer in customers.collect::<Vec<_>>() {
            answers.extend(customer.await.unwrap());
        }
        answers
    }

    /// Kills and pauses processes and breaks the infrastructure below them, spread evenly over the orders, each time
    /// shortly after an order was answered.
    async fn rage(&self, below: &Below<'_>, size: &Size) {
        let of = |events: u32| (1..=events).map(move |n| n * size.orders / (events + 1));
        let kills = of(size.kills).enumerate().map(|(n, due)| (due, n, 'k'));
        let pauses = of(size.pauses).enumerate().map(|(n, due)| (due, n, 'p'));
        let full = if below.disk.is_some() { size.full } else { 0 };
        let full = of(full).enumerate().map(|(n, due)| (due, n, 'f'));
        let mut events: Vec<_> = kills.chain(pauses).chain(full).collect();
        events.sort_unstable();
        for (due, n, kind) in events {
            while self.done.load(Ordering::Relaxed) < due {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(Duration::from_millis(u64::from(rand::random::<u8>()) / 4)).await;
            let one = ["checkout-a", "checkout-b"][n / 4 % 2];
            match (kind, n % 4, below.postgres) {
                ('k', 3, Some(postgres)) => tokio::task::block_in_place(|| postgres.kill_and_restart()),
                ('k', 3, None) => self.site.kill("others"),
                ('k', 1, _) => self.site.kill("payment-gateway"),
                ('k', 0, _) => self.site.kill(one),
                ('k', _, _) => self.site.kill(if one == "checkout-a" { "checkout-b" } else { "checkout-a" }),
                ('p', ..) => {
                    let paused = ["checkout-a", "checkout-b", "payment-gateway"][n % 3];
                    self.site.pause(paused);
                    tokio::time::sleep(PAUSE).await;
                    self.site.resume(paused);
                }
                _ => {
                    let disk = below.disk.unwrap();
                    disk.fill();
                    tokio::time::sleep(FULL).await;
                    std::fs::remove_file(disk.filler()).unwrap();
                    if let Some(postgres) = below.postgres {
                        tokio::task::block_in_place(|| postgres.revive());
                    }
                }
            }
        }
    }

    /// Replays all dead letters again and again, as an operator would.
    async fn replay(&self) {
        for instance in self.admin.iter().cycle() {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let request = self.client.post(format!("{instance}/queue/replay")).json(&json!({"all": true}));
            if let Ok(answer) = request.send().await
                && let Ok(answer) = answer.json::<Value>().await
                && let Some(replayed) = answer["replayed"].as_u64()
            {
                self.replayed.fetch_add(u32::try_from(replayed).unwrap(), Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Waits until there have been dead letters, no order is unfinished or dead, and every message was received.
    async fn settle(&self, books: &Books, size: &Size) -> OrderAudit {
        let some = async || self.replayed.load(Ordering::Relaxed) > 0;
        until("there are dead letters", Duration::from_mins(1), some).await;
        self.outside.repent();
        let orders = CheckoutStore::new(&books.checkout, &StoreSettings::default(), false).unwrap();
        let patience = Duration::from_mins(1) + Duration::from_millis(50) * size.orders;
        let settled = async || {
            let Ok(audit) = orders.audit().await else { return false };
            audit.unfinished == 0 && audit.dead == 0
        };
        until("every order is final", patience, settled).await;
        let told =
            async || orders.messages().await.is_ok_and(|messages| messages.iter().all(|(_, _, received)| *received));
        until("every message is received", patience, told).await;
        self.over.store(true, Ordering::Relaxed);
        let audit = orders.audit().await.unwrap();
        orders.close().await;
        audit
    }
}

fn seed() -> u64 {
    std::env::var("BREAKERBOX_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random)
}

async fn survive(name: &str, books: &Books, below: Below<'_>, size: Size) {
    let seed = seed();
    eprintln!("{name}: seed {seed}");
    // SQLite uses the clock of its machine, so its instances have no skew.
    let apart = if below.postgres.is_some() { 20 } else { 0 };
    let torment = Arc::new(Torment::begin(name, books, seed, apart).await);
    let started = Instant::now();
    let during = async {
        let (answers, ()) = tokio::join!(torment.shop(size.orders), torment.rage(&below, &size));
        let took = started.elapsed();
        (answers, took, torment.settle(books, &size).await)
    };
    let ((answers, took, audit), ()) = tokio::join!(during, torment.replay());
    assert_eq!(answers.len(), size.orders as usize);
    let outcomes = answers.iter().fold(BTreeMap::new(), |mut counts, (_, answer)| {
        *counts.entry(answer.outcome.as_str()).or_insert(0) += 1;
        counts
    });
    let received = torment.outside.received();
    let copies: u32 = received.values().map(|(_, times)| times - 1).sum();
    eprintln!(
        "{name}: {} orders in {:.0} s, {} kills, {} pauses, {} full disks; answers {outcomes:?}; lies {:?}; {} dead \
         letters replayed; {} messages, {copies} of them again; in the end {} paid, {} cancelled; settled after {:.1} s",
        size.orders,
        took.as_secs_f64(),
        size.kills,
        size.pauses,
        if below.disk.is_some() { size.full } else { 0 },
        torment.outside.told(),
        torment.replayed.load(Ordering::Relaxed),
        received.len(),
        audit.paid,
        audit.orders - audit.paid,
        started.elapsed().saturating_sub(took).as_secs_f64(),
    );
    agree(&torment, books, &answers).await;
}

/// Checks that answers, orders, keys, ledger, stock, messages and queue agree.
async fn agree(torment: &Torment, books: &Books, answers: &[(u32, OrderAnswer)]) {
    let settings = StoreSettings::default();
    let orders = CheckoutStore::new(&books.checkout, &settings, false).unwrap();
    let ledger = LedgerStore::new(&books.ledger, &settings, false).unwrap().audit().await.unwrap();
    let stock = InventoryStore::new(&books.inventory, &settings, false).unwrap().audit().await.unwrap();
    let audit = orders.audit().await.unwrap();
    let queue = orders.queue().await.unwrap();
    let paid = orders.in_state(OrderState::Paid).await.unwrap();
    let charged: Vec<_> = ledger.kept.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(charged, paid, "charges and paid orders match");
    assert_eq!(ledger.kept.iter().map(|(_, won)| won).sum::<i64>(), audit.paid_amount, "to the won");
    assert_eq!(ledger.doubled, Vec::<String>::new(), "charged twice");
    assert_eq!(stock.held, paid, "only paid orders hold seats");
    assert_eq!(stock.taken, i64::try_from(paid.len()).unwrap(), "the stock's counter equals its reservations");
    assert_eq!((queue.depth, queue.dead), (0, 0), "the queue is empty");
    assert_eq!(orders.places().await.unwrap(), (0, 0), "no slot of it is taken");
    let placed = i64::try_from(answers.len()).unwrap();
    assert_eq!(audit.orders, placed, "one order per key");
    let mut raw = AnyConnection::connect(&books.checkout).await.unwrap();
    let keys = "SELECT COUNT(*) FROM idempotency_keys WHERE answer IS NOT NULL";
    assert_eq!(sqlx::query_scalar::<_, i64>(keys).fetch_one(&mut raw).await.unwrap(), placed, "one answer per key");
    let messages = torment.outside.received();
    for (n, answer) in answers {
        let state = orders.order(&answer.order_id).await.unwrap().unwrap().state;
        let kept = match answer.outcome {
            OrderOutcome::Paid => state == OrderState::Paid,
            OrderOutcome::Queued => state.is_final(),
            _ => state == OrderState::Cancelled,
        };
        assert!(kept, "{answer:?} became {state:?}");
        assert_eq!(torment.order(*n).await, *answer, "repeating the request gives the same answer");
        let about = messages.values().filter(|(message, _)| message.order_id == answer.order_id);
        let last = about.max_by_key(|(message, _)| version(&message.id)).map(|(message, _)| message.text.as_str());
        assert_eq!(last.map(|text| text.ends_with(", paid")), Some(state == OrderState::Paid), "{state:?}: {last:?}");
    }
}

/// The version of the order that a message reports, parsed from its id.
fn version(id: &str) -> i64 {
    id.rsplit(':').next().and_then(|version| version.parse().ok()).unwrap_or_else(|| panic!("{id}"))
}

fn file(directory: &Path, name: &str) -> String {
    format!("sqlite://{}", directory.join(name).display())
}

async fn over_sqlite(name: &str, size: Size) {
    let disk = if size.full > 0 { Disk::of(name, "64m") } else { None };
    let own = std::env::temp_dir().join(format!("breakerbox-kill-books-{name}-{}", std::process::id()));
    let directory: PathBuf = disk.as_ref().map_or_else(|| own.clone(), |disk| disk.path().to_owned());
    std::fs::create_dir_all(&directory).unwrap();
    let books = Books {
        checkout: file(&directory, "checkout.db"),
        inventory: file(&directory, "inventory.db"),
        ledger: file(&directory, "ledger.db"),
    };
    survive(name, &books, Below { postgres: None, disk: disk.as_ref() }, size).await;
    let _ = std::fs::remove_dir_all(own);
}

async fn over_postgresql(name: &str, size: Size) {
    let disk = if size.full > 0 { Disk::of(name, "256m") } else { None };
    let started = match &disk {
        Some(disk) => Postgres::start_in(disk.path().join("postgresql")),
        None => Postgres::start(name),
    };
    let Some(postgres) = started else { return };
    let books =
        Books { checkout: postgres.url("shop"), inventory: postgres.url("shop"), ledger: postgres.url("ledger") };
    survive(name, &books, Below { postgres: Some(&postgres), disk: disk.as_ref() }, size).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_the_books_agree_over_sqlite() {
    over_sqlite("sqlite", SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_the_books_agree_over_postgresql() {
    over_postgresql("postgresql", SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the long form: some minutes"]
async fn long_form_killed_the_books_agree_over_sqlite() {
    over_sqlite("long-sqlite", LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the long form: some minutes"]
async fn long_form_killed_the_books_agree_over_postgresql() {
    over_postgresql("long-postgresql", LONG).await;
}
