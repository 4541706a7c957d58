//! Attacks on checkout that it withstands: breakers that close between two polls, full queues, poison messages, other
//! defaults of the database, callers that hang up, schemas of other releases, expired orders.

use std::time::Duration;

use breakerbox::store::{
    Charged, CheckoutStore, Lane, LedgerStore, NewCharge, NewOrder, Opened, OrderKind, OrderState, Place, StoreError,
    StoreSettings,
};
use breakerbox_resilience::breaker::Command;
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection};

use crate::intent::Files;
use crate::postgres::Postgres;
use crate::world::World;

fn later() -> Value {
    json!({"film_id": 3, "kind": "rent", "retry_later": true})
}

fn id(answer: &Value) -> String {
    answer["order_id"].as_str().unwrap().to_owned()
}

async fn seconds(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

fn new(id: &str, capacity: u32) -> NewOrder<'_> {
    NewOrder {
        id,
        user_id: 7,
        film_id: 3,
        kind: OrderKind::Rent,
        amount: 4_500,
        retry_later: true,
        key: id,
        fingerprint: "f",
        key_lifetime: Duration::from_hours(1),
        lease: Duration::from_mins(1),
        capacity,
    }
}

/// The breaker opens and closes again between two polls of the worker; orders and voids are both covered.
#[tokio::test(start_paused = true)]
async fn a_breaker_that_closes_between_polls_blocks_nothing() {
    let world = World::new(&[]).await;
    world.fault("payment-gateway", r#"{"lost_answer_rate": 1}"#);
    let refused = world.order(&json!({"film_id": 3, "kind": "buy"})).await;
    assert_eq!(refused.status, 503);
    for _ in 0..5 {
        world.payment_client().command(Command::ForceOpen);
        let order = world.order(&later()).await;
        assert_eq!(order.status, 202);
        world.fault("payment-gateway", "{}");
        world.payment_client().command(Command::Reset);
        seconds(3).await;
        assert_eq!(world.state_of(&id(&order.json)).await, OrderState::Paid);
    }
    world.books_agree().await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_takes_no_more_orders_than_it_has_places() {
    let world = World::new(&[
        ("BREAKERBOX_CHECKOUT__QUEUE__CAPACITY", "20"),
        ("BREAKERBOX_GATEWAY__RATE_LIMIT__LIMIT_FOR_PERIOD", "1000"),
    ])
    .await;
    world.payment_client().command(Command::ForceOpen);
    let body = later();
    let answers = join_all((0..60).map(|_| world.order(&body))).await;
    let queued = answers.iter().filter(|answer| answer.status == 202).count();
    assert_eq!((queued, answers.iter().filter(|answer| answer.status == 503).count()), (20, 40));
    assert_eq!(world.checkout.store().places().await.unwrap(), (20, 20));
    world.payment_client().command(Command::Reset);
    seconds(60).await;
    world.books_agree().await;
    assert_eq!(world.checkout.store().places().await.unwrap(), (0, 0), "every slot of the queue is free again");
    world.stop().await;
}

/// Only this order is a poison message: the other order is paid.
#[tokio::test(start_paused = true)]
async fn poison_becomes_a_dead_letter_and_holds_nothing_up() {
    let files = Files::new("poison");
    let world = files.world(&[("BREAKERBOX_CHECKOUT__QUEUE__MAX_ATTEMPTS", "3")]).await;
    world.payment_client().command(Command::ForceOpen);
    let (poison, other) = (world.order(&later()).await, world.order(&later()).await);
    let (_, url) = &files.variables()[0];
    let mut raw = AnyConnection::connect(url).await.unwrap();
    sqlx::query("UPDATE orders SET kind = 'gift' WHERE id = $1")
        .bind(id(&poison.json))
        .execute(&mut raw)
        .await
        .unwrap();
    world.payment_client().command(Command::Reset);
    seconds(120).await;
    assert_eq!(world.state_of(&id(&other.json)).await, OrderState::Paid);
    let letters = world.checkout.store().dead_letters(10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert!(letters[0].error.contains("kind") && letters[0].order_id == id(&poison.json), "{letters:?}");
    sqlx::query("UPDATE orders SET kind = 'rent' WHERE id = $1")
        .bind(id(&poison.json))
        .execute(&mut raw)
        .await
        .unwrap();
    assert!(!world.checkout.store().replay(vec![id(&poison.json)], 0).await.unwrap().is_empty());
    seconds(10).await;
    world.books_agree().await;
    world.stop().await;
}

/// A claim counts as an attempt even if the worker never reports a result.
#[tokio::test(start_paused = true)]
async fn an_item_claimed_repeatedly_without_result_dies() {
    let store = CheckoutStore::new("sqlite::memory:", &StoreSettings::default(), true).unwrap();
    assert!(matches!(store.open(&new("ord_1", 1), 0).await.unwrap(), Opened::New(..)));
    for claim in 1..=3 {
        let jobs = store.claim(Lane::Urgent, 1, Duration::from_secs(1), claim * 100_000).await.unwrap();
        assert_eq!(jobs[0].claims, claim);
    }
    let jobs = store.claim(Lane::Urgent, 1, Duration::from_secs(1), 500_000).await.unwrap();
    assert!(store.bury(&jobs[0], "taken 3 times without a result", 500_001).await.unwrap());
    assert!(!store.bury(&jobs[0], "twice", 500_001).await.unwrap());
    assert_eq!(store.order("ord_1").await.unwrap().unwrap().state, OrderState::Dead);
    assert_eq!(store.places().await.unwrap(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stored_answer_needs_no_dependency() {
    let world = World::new(&[]).await;
    let first = world.order_with("again", &later()).await;
    assert_eq!(first.status, 201);
    // Checkout is called directly: its user service is down and it has no cached viewer.
    let body = json!({"user_id": 7, "film_id": 3, "kind": "rent", "retry_later": true});
    world.fault("user", r#"{"crash": true}"#);
    let router = breakerbox::services::checkout::router(world.checkout.clone());
    let request = http::Request::post("/orders").header("content-type", "application/json");
    let request = request.header("idempotency-key", "again");
    let request = request.body(axum::body::Body::from(body.to_string())).unwrap();
    let calls =
        |world: &World| world.series("circuit_breaker_calls_total", &[("service", "checkout"), ("breaker", "user")]);
    let before = calls(&world);
    let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!((calls(&world) - before).abs() < 0.1, "the user service was asked");
    world.stop().await;
}

/// A database whose default isolation level differs from the one that the statements are written for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_isolation_level_is_not_the_database_s_default() {
    let Some(postgres) = Postgres::start("isolation") else { return };
    for level in ["serializable", "repeatable read"] {
        let mut raw = AnyConnection::connect(&postgres.url("shop")).await.unwrap();
        let statement = format!("ALTER DATABASE shop SET default_transaction_isolation = '{level}'");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut raw).await.unwrap();
        let store = CheckoutStore::new(&postgres.url("shop"), &StoreSettings::default(), false).unwrap();
        let ids: Vec<_> = (0..100).map(|n| format!("{}-{n}", level.replace(' ', "-"))).collect();
        let opened =
            join_all(ids.iter().map(|id| async { store.open(&new(id, 1000), store.now().await?).await })).await;
        for opened in opened {
            assert!(matches!(opened.unwrap(), Opened::New(..)), "{level}");
        }
        store.close().await;
    }
}

/// Callers hang up at any moment; the transactions that they began are completed, and the next caller gets a clean
/// connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_hang_up_leave_no_half_transaction() {
    let Some(postgres) = Postgres::start("hang-up") else { return };
    let store = CheckoutStore::new(&postgres.url("shop"), &StoreSettings::default(), false).unwrap();
    let now = store.now().await.unwrap();
    let ids: Vec<_> = (0..150_u64).map(|n| format!("left-{n}")).collect();
    for (n, id) in (0_u64..).zip(&ids) {
        let patience = Duration::from_micros(n * 20);
        let _ = tokio::time::timeout(patience, store.open(&new(id, 1000), now)).await;
    }
    store.database().drained().await;
    for n in 0..20 {
        let id = format!("stayed-{n}");
        assert!(matches!(store.open(&new(&id, 1000), now).await.unwrap(), Opened::New(..)));
    }
    let audit = store.audit().await.unwrap();
    let (taken, items) = store.places().await.unwrap();
    assert_eq!((audit.orders, taken), (items, items), "each order whole, with its item and its place");
    store.close().await;
}

#[tokio::test]
async fn a_schema_newer_than_the_program_is_refused() {
    let files = Files::new("newer");
    let (_, url) = &files.variables()[0];
    let store = CheckoutStore::new(url, &StoreSettings::default(), false).unwrap();
    store.check().await.unwrap();
    store.close().await;
    let mut raw = AnyConnection::connect(url).await.unwrap();
    sqlx::query(
        "INSERT INTO checkout_migrations (version, description, success, checksum, execution_time)
         VALUES (99, 'of a later release', TRUE, x'00', 0)",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    let store = CheckoutStore::new(url, &StoreSettings::default(), false).unwrap();
    let refused = store.check().await.unwrap_err();
    assert!(matches!(refused, StoreError::Newer { component: "checkout", found: 99, known: 3 }), "{refused}");
    assert!(store.order("any").await.is_err(), "and its store can't be used");
}

async fn what_no_row_may_hold(url: &str, ledger: &str) {
    let settings = StoreSettings::default();
    let (orders, books) =
        (CheckoutStore::new(url, &settings, false).unwrap(), LedgerStore::new(ledger, &settings, false).unwrap());
    orders.open(&new("ord_1", 10), 0).await.unwrap();
    breakerbox::store::InventoryStore::new(url, &settings, false).unwrap().audit().await.unwrap();
    let charge = |id, amount| NewCharge { key: "k", id, user_id: 7, amount, declined: false };
    assert_eq!(books.charge(charge("c1", 4_500), 0).await.unwrap(), Charged::Taken("c1".to_owned()));
    assert_eq!(books.charge(charge("c2", 1), 0).await.unwrap(), Charged::Mismatch(4_500));
    for (url, statement) in [
        (url, "UPDATE orders SET state = 'odd'"),
        (url, "UPDATE orders SET amount = 0"),
        (url, "UPDATE orders SET state = 'paid', charge_sent = 0"),
        (url, "INSERT INTO stock (film_id, kind, showing, capacity, taken) VALUES (1, 'rent', 1, 2, 3)"),
        (url, "INSERT INTO stock (film_id, kind, showing, capacity, taken) VALUES (1, 'rent', 1, 2, -1)"),
        (url, "UPDATE queue_places SET taken = -1"),
        (url, "INSERT INTO saga_log (order_id, version, step, outcome, detail, at) VALUES ('none', 1, '', '', '', 0)"),
        (
            ledger,
            "INSERT INTO charges (id, idempotency_key, user_id, amount, state, key_honoured, at)
             VALUES ('c3', 'k', 7, 4500, 'charged', 1, 0)",
        ),
    ] {
        let mut raw = AnyConnection::connect(url).await.unwrap();
        let refused = sqlx::query(statement).execute(&mut raw).await;
        assert!(refused.is_err(), "{statement}");
    }
}

#[tokio::test]
async fn the_databases_reject_invalid_rows() {
    let files = Files::new("constraints");
    let variables = files.variables();
    what_no_row_may_hold(&variables[0].1, &variables[2].1).await;
    let Some(postgres) = Postgres::start("constraints") else { return };
    what_no_row_may_hold(&postgres.url("shop"), &postgres.url("ledger")).await;
}

/// A seat has no value after its showing.
#[tokio::test(start_paused = true)]
async fn a_seat_is_not_charged_after_its_showing() {
    let world = World::new(&[("BREAKERBOX_INVENTORY__SHOWING", "60s")]).await;
    world.payment_client().command(Command::ForceOpen);
    let seat = world.order(&json!({"film_id": 1, "kind": "premiere", "retry_later": true})).await;
    assert_eq!(seat.status, 202);
    seconds(70).await;
    world.payment_client().command(Command::Reset);
    seconds(30).await;
    let order = world.get(&format!("/api/orders/{}", id(&seat.json))).await;
    assert_eq!((&order.json["state"], &order.json["reason"]), (&json!("cancelled"), &json!("expired")));
    world.books_agree().await;
    world.stop().await;
}

/// Every final order has one message, which is sent until it is received, always with the same id.
#[tokio::test(start_paused = true)]
async fn every_final_order_is_notified_at_least_once() {
    let world = World::new(&[]).await;
    world.fault("notification", r#"{"crash": true}"#);
    let paid = world.order(&json!({"film_id": 3, "kind": "buy"})).await;
    world.fault("payment-gateway", r#"{"error_rate": 1, "status": 402}"#);
    assert_eq!(world.order(&json!({"film_id": 3, "kind": "buy"})).await.status, 402);
    world.fault("payment-gateway", "{}");
    seconds(30).await;
    let messages = world.checkout.store().messages().await.unwrap();
    assert_eq!(messages.iter().map(|(_, _, sent)| *sent).collect::<Vec<_>>(), [false, false]);
    world.fault("notification", "{}");
    seconds(900).await;
    let messages = world.checkout.store().messages().await.unwrap();
    assert!(messages.len() == 2 && messages.iter().all(|(_, _, sent)| *sent), "{messages:?}");
    assert!(messages.iter().any(|(id, order, _)| *order == paid.json["order_id"] && id.starts_with(order)));
    world.stop().await;
}

/// Transactions begun for callers that have hung up are completed before the process ends, in each of the three
/// databases.
#[tokio::test]
async fn a_shutdown_waits_for_the_databases() {
    for held in 0..3 {
        let files = Files::new("drained");
        let world = files.world(&[]).await;
        let orders = world.checkout.store().clone();
        let (stock, books) = (world.inventory.store().clone(), world.payment.ledger().clone());
        stock.check().await.unwrap();
        books.check().await.unwrap();
        let (_, url) = &files.variables()[held];
        let mut raw = AnyConnection::connect(url).await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut raw).await.unwrap();
        let soon = Duration::from_millis(100);
        let place = Place { film_id: 1, kind: OrderKind::Rent, showing: 1, capacity: 5 };
        let charge = NewCharge { key: "k", id: "c1", user_id: 7, amount: 4_500, declined: false };
        let order = new("ord_1", 1);
        let left = match held {
            0 => tokio::time::timeout(soon, orders.open(&order, 0)).await.is_err(),
            1 => tokio::time::timeout(soon, stock.reserve("ord_1", place, 0)).await.is_err(),
            _ => tokio::time::timeout(soon, books.charge(charge, 0)).await.is_err(),
        };
        assert!(left, "{url} is held");
        let stopped = world.stop();
        tokio::pin!(stopped);
        // Longer than the rest of the shutdown takes.
        let patience = Duration::from_millis(1_500);
        assert!(tokio::time::timeout(patience, &mut stopped).await.is_err(), "the shutdown did not wait for {url}");
        sqlx::query("ROLLBACK").execute(&mut raw).await.unwrap();
        stopped.await;
        let changed = match held {
            0 => orders.order("ord_1").await.unwrap().is_some(),
            1 => stock.audit().await.unwrap().held == ["ord_1"],
            _ => books.audit().await.unwrap().kept.len() == 1,
        };
        assert!(changed, "{url}");
    }
}

/// A worker that keeps dying before it has reserved anything leaves a dead letter without a seat and a viewer without
/// an answer. When replayed, the order gets both.
#[tokio::test(start_paused = true)]
async fn a_dead_letter_without_seat_or_answer_gets_both_when_replayed() {
    let files = Files::new("unreserved");
    let world = files.world(&[]).await;
    let store = world.checkout.store();
    let body = json!({"film_id": 1, "kind": "premiere", "retry_later": true});
    world.fault("payment-gateway", r#"{"error_rate": 1}"#);
    assert_eq!(world.order_with("known", &body).await.status, 202);
    world.fault("payment-gateway", "{}");
    let (_, url) = &files.variables()[0];
    let mut raw = AnyConnection::connect(url).await.unwrap();
    let fingerprint = sqlx::query_scalar::<_, String>("SELECT fingerprint FROM idempotency_keys");
    let fingerprint = fingerprint.fetch_one(&mut raw).await.unwrap();
    // The state left by a process that dies right after it has stored the order.
    let order = NewOrder { film_id: 1, kind: OrderKind::Premiere, fingerprint: &fingerprint, ..new("ord_1", 100) };
    let now = store.now().await.unwrap();
    let Opened::New(_, job) = store.open(&order, now).await.unwrap() else { panic!("a new key") };
    assert!(store.bury(&job, "taken 10 times without a result", now).await.unwrap());
    assert!(!store.replay(vec!["ord_1".to_owned()], now).await.unwrap().is_empty());
    seconds(60).await;
    assert_eq!(world.state_of("ord_1").await, OrderState::Paid);
    let answer = world.order_with("ord_1", &body).await;
    assert_eq!((answer.status, &answer.json["order_id"]), (201, &json!("ord_1")), "{answer:?}");
    world.books_agree().await;
    world.stop().await;
}
