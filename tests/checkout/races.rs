//! Races between two tasks that work on the same order.

use std::time::Duration;

use breakerbox::store::{
    BreakerRecord, Change, Effect, InventoryStore, NewOrder, Opened, OrderKind, OrderState, Place, Reserved, Step,
    StoreSettings,
};
use breakerbox_resilience::breaker::{Command, State};
use serde_json::json;
use sqlx::{AnyConnection, Connection};

use crate::postgres::Postgres;
use crate::world::World;

fn rent() -> serde_json::Value {
    json!({"film_id": 3, "kind": "rent"})
}

async fn millis(n: u64) {
    tokio::time::sleep(Duration::from_millis(n)).await;
}

fn change(state: OrderState, charge_sent: bool) -> Change {
    let step = Step { step: "charge", outcome: "failed", detail: String::new() };
    Change {
        state,
        charge_sent: Some(charge_sent),
        reason: String::new(),
        deadline: None,
        steps: vec![step],
        effect: Effect::Keep,
        answer: None,
    }
}

/// The caller's lease has expired and a worker charges; then the caller is rejected by a full bulkhead and tries to
/// cancel an order for which, as far as it knows, no charge was sent.
#[tokio::test(start_paused = true)]
async fn an_order_taken_by_a_worker_is_no_longer_its_callers() {
    let world = World::new(&[]).await;
    world.fault("payment-gateway", r#"{"latency": {"fixed": "400ms"}}"#);
    let store = world.checkout.store();
    let now = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let new = NewOrder {
        id: "ord_late",
        user_id: 7,
        film_id: 3,
        kind: OrderKind::Rent,
        amount: 4_500,
        retry_later: false,
        key: "late",
        fingerprint: "f",
        key_lifetime: Duration::from_hours(1),
        lease: Duration::from_secs(1),
        capacity: 10,
    };
    let Opened::New(taken, _) = store.open(&new, now).await.unwrap() else { panic!("a new order") };
    let mine = store.change(&taken, &change(OrderState::Charging, true), now).await.unwrap().unwrap();

    // The worker claims it a second later and is waiting for the payment gateway when the caller resumes.
    let charging = async {
        while world.series("http_server_active_requests", &[("service", "payment-gateway")]) < 1.0 {
            millis(20).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), charging).await.expect("the worker charges");
    let late = store.change(&mine, &change(OrderState::Cancelling, false), now).await.unwrap();
    assert_eq!(late, None, "the order is the worker's");
    millis(3000).await;
    assert_eq!(world.state_of("ord_late").await, OrderState::Paid);
    world.stop().await;
}

/// "Declined" is about the last request. The result of the one before, whose answer was lost, is unknown.
#[tokio::test(start_paused = true)]
async fn a_decline_after_a_lost_answer_gives_the_money_back() {
    let world = World::new(&[]).await;
    world.fault("payment-gateway", r#"{"lost_answer_rate": 1}"#);
    let answer = world.order(&json!({"film_id": 3, "kind": "buy", "retry_later": true})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    world.fault("payment-gateway", r#"{"error_rate": 1, "status": 402}"#);
    millis(60_000).await;
    world.fault("payment-gateway", "{}");
    millis(600_000).await;
    let order = answer.json["order_id"].as_str().unwrap();
    assert_eq!(world.state_of(order).await, OrderState::Cancelled);
    world.books_agree().await;
    let revenue = |outcome| world.series("checkout_revenue_total", &[("outcome", outcome)]);
    assert!((revenue("at_risk") - 12_900.0).abs() < 0.1 && (revenue("lost") - 12_900.0).abs() < 0.1);
    assert!(revenue("kept").abs() < 0.1);
    world.stop().await;
}

/// A caller that gives up early, or a store that used up the time, is no failure of the payment gateway.
#[tokio::test(start_paused = true)]
async fn an_impatient_caller_does_not_trip_the_payment_breaker() {
    let world = World::new(&[("BREAKERBOX_GATEWAY__PAGE_BUDGET", "150ms")]).await;
    world.fault("payment-gateway", r#"{"latency": {"fixed": "400ms"}}"#);
    for _ in 0..4 {
        assert!(world.order(&rent()).await.status >= 500, "the viewer left before the answer");
    }
    millis(5000).await;
    assert!(world.payment_transitions().is_empty(), "{:?}", world.payment_transitions());
    assert!((world.series("checkout_orders_total", &[("outcome", "paid")]) - 4.0).abs() < 0.1);
    world.books_agree().await;
    world.stop().await;
}

/// All instances that saw the trip are gone before the wait ends, as with serverless functions.
#[tokio::test(start_paused = true)]
async fn a_trip_that_outlived_its_instances_does_not_end_the_counting() {
    let file = std::env::temp_dir().join(format!("breakerbox-races-{}.db", std::process::id()));
    let _ = std::fs::remove_file(&file);
    let url = format!("sqlite://{}", file.display());
    let variables = [("BREAKERBOX_CHECKOUT__URL", url.as_str()), ("BREAKERBOX_CHECKOUT__BREAKER", "shared")];
    let (one, other) = (World::new(&variables).await, World::new(&variables).await);
    let long_over = BreakerRecord {
        version: 1,
        state: "open".to_owned(),
        open_until: 1,
        failures: 0,
        changed_by: "an instance that is gone".to_owned(),
    };
    assert!(one.checkout.store().breakers().write("checkout/payment-gateway", &long_over).await.unwrap());
    millis(2000).await;
    for world in [&one, &other, &one] {
        world.fault("payment-gateway", r#"{"error_rate": 1}"#);
        world.order(&rent()).await;
        millis(50).await;
    }
    millis(1100).await;
    assert_eq!((one.payment_breaker().state, other.payment_breaker().state), (State::Open, State::Open));
    one.stop().await;
    other.stop().await;
    let _ = std::fs::remove_file(&file);
}

#[tokio::test(start_paused = true)]
async fn a_stateless_breaker_keeps_no_state_even_after_a_reset() {
    let world = World::new(&[("BREAKERBOX_CHECKOUT__BREAKER", "stateless")]).await;
    assert_eq!(world.payment_breaker().state, State::Disabled);
    world.payment_client().command(Command::Reset);
    assert_eq!(world.payment_breaker().state, State::Closed);
    millis(10_000).await;
    assert_eq!(world.payment_breaker().state, State::Disabled);
    // A breaker that an operator forced open stays open.
    world.payment_client().command(Command::ForceOpen);
    millis(10_000).await;
    assert_eq!(world.payment_breaker().state, State::ForcedOpen);
    world.stop().await;
}

/// The expiry of a token also holds while the user service cannot verify it.
#[tokio::test(start_paused = true)]
async fn an_expired_token_is_refused_while_none_can_verify_it() {
    let world = World::new(&[("BREAKERBOX_USER__TOKEN_LIFETIME", "60s")]).await;
    assert_eq!(world.get("/api/me").await.status, 200);
    assert_eq!(world.order(&rent()).await.status, 201);
    world.fault("user", r#"{"error_rate": 1}"#);
    millis(30_000).await;
    assert_eq!(world.order(&rent()).await.status, 201, "cached until the token expires");
    millis(31_000).await;
    assert_eq!(world.order(&rent()).await.status, 503);
    world.stop().await;
}

/// The commit of the reservation is still in flight when checkout times out and releases it.
#[tokio::test]
async fn a_release_waits_for_the_reservation_that_it_undoes() {
    let Some(postgres) = Postgres::start("release") else { return };
    let url = postgres.url("shop");
    let store = InventoryStore::new(&url, &StoreSettings::default(), false).unwrap();
    let place = Place { film_id: 3, kind: OrderKind::Premiere, showing: 1, capacity: 1 };
    assert_eq!(store.reserve("other", place, 1).await.unwrap(), Reserved::Held { showing: 1 });
    assert!(store.release("other", 2).await.unwrap());

    let mut late = AnyConnection::connect(&url).await.unwrap();
    for statement in [
        "BEGIN",
        "INSERT INTO reservations (order_id, film_id, kind, showing, state, at) VALUES ('late', 3, 'premiere', 1, \
         'held', 3)",
        "UPDATE stock SET taken = taken + 1 WHERE film_id = 3",
    ] {
        sqlx::query(statement).execute(&mut late).await.unwrap();
    }
    let releasing = tokio::spawn({
        let store = store.clone();
        async move { store.release("late", 4).await }
    });
    let mut watch = AnyConnection::connect(&url).await.unwrap();
    let waits = async {
        let waiting = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted";
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut watch).await.unwrap() == 0 {
            millis(10).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waits).await.expect("the release waits for the reservation");
    sqlx::query("COMMIT").execute(&mut late).await.unwrap();
    assert!(releasing.await.unwrap().unwrap(), "a seat was released");
    let stock = store.audit().await.unwrap();
    assert_eq!((stock.taken, stock.held.len()), (0, 0));
    assert_eq!(store.reserve("next", place, 5).await.unwrap(), Reserved::Held { showing: 1 });
}
