//! What an idempotency key promises, and what happens to orders when a service fails.

use std::time::Duration;

use breakerbox::faults::FaultPlan;
use breakerbox::store::OrderState;
use serde_json::{Value, json};

use crate::world::World;

fn buy() -> Value {
    json!({"film_id": 3, "kind": "buy"})
}

fn later() -> Value {
    json!({"film_id": 3, "kind": "buy", "retry_later": true})
}

async fn seconds(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

fn id(answer: &Value) -> &str {
    answer["order_id"].as_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_same_key_and_body_give_the_same_answer_and_one_charge() {
    let world = World::new(&[]).await;
    let first = world.order_with("k", &buy()).await;
    let again = world.order_with("k", &buy()).await;
    assert_eq!((first.status, &first.json), (201, &again.json));
    assert_eq!(again.status, 201);
    assert_eq!(world.order_with("k", &later()).await.status, 422, "another body");
    // The same key of another viewer is a different key.
    let token = world.log_in(9).await;
    let other = world.order_at(&world.gateway, &token, "k", &buy()).await;
    assert_ne!(id(&other.json), id(&first.json));
    world.books_agree().await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_without_a_key_is_refused() {
    let world = World::new(&[]).await;
    let answer = world.order_with("", &buy()).await;
    assert_eq!((answer.status, answer.json["field"].as_str()), (400, Some("Idempotency-Key")), "{answer:?}");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn concurrent_duplicates_wait_for_the_first_or_retry_later() {
    let world = World::new(&[]).await;
    world.fault("payment-gateway", r#"{"latency": {"fixed": "400ms"}}"#);
    let body = buy();
    let (one, other) = tokio::join!(world.order_with("quick", &body), world.order_with("quick", &body));
    assert_eq!((one.status, other.status, id(&one.json)), (201, 201, id(&other.json)));
    world.fault("payment-gateway", r#"{"latency": {"fixed": "1400ms"}}"#);
    let late = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.order_with("slow", &body).await
    };
    let (one, other) = tokio::join!(world.order_with("slow", &body), late);
    assert_eq!((one.status, other.status), (201, 409));
    assert_eq!(other.headers["retry-after"], "1");
    world.books_agree().await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_charge_that_timed_out_is_never_made_twice() {
    let world = World::new(&[("BREAKERBOX_FAULTS__PAYMENT_GATEWAY__LOST_ANSWER_RATE", "1.0")]).await;
    // One order may wait and is retried with the same key; the other may not and is refunded.
    let queued = world.order(&later()).await;
    let refused = world.order(&buy()).await;
    assert_eq!((queued.status, refused.status), (202, 503));
    seconds(1).await;
    let audit = world.payment.ledger().audit().await.unwrap();
    assert_eq!(audit.kept, [(id(&queued.json).to_owned(), 12_900)], "charged, although the answer was lost");
    assert_eq!((audit.refunded, audit.doubled.len()), (1, 0), "charged, then refunded");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_late_twice_or_never_charges_once() {
    for (variable, rate) in [
        ("BREAKERBOX_FAULTS__PAYMENT_GATEWAY__LOST_ANSWER_RATE", "0.5"),
        ("BREAKERBOX_FAULTS__PAYMENT_GATEWAY__LATE_ANSWER_RATE", "0.5"),
        ("BREAKERBOX_FAULTS__PAYMENT_GATEWAY__HANDLED_TWICE_RATE", "1.0"),
    ] {
        let world = World::new(&[(variable, rate)]).await;
        for n in 0..12 {
            world.order(&if n % 2 == 0 { buy() } else { later() }).await;
        }
        seconds(3600).await;
        world.books_agree().await;
        world.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn answers_can_be_lost_late_and_doubled_at_run_time() {
    let world = World::new(&[]).await;
    assert_eq!(world.order(&buy()).await.status, 201);
    for (plan, kind, status) in [
        (r#"{"lost_answer_rate": 1}"#, "lost_answer", 503),
        (r#"{"late_answer_rate": 1, "late_by": "1s"}"#, "late_answer", 201),
        (r#"{"handled_twice_rate": 1}"#, "handled_twice", 201),
    ] {
        world.fault("payment-gateway", plan);
        assert_eq!(world.order(&buy()).await.status, status, "{plan}");
        let own = world.faults.snapshot().into_iter().find(|status| status.target == "payment-gateway").unwrap();
        assert_eq!(own.active, [kind]);
        world.faults.clear("payment-gateway").unwrap();
        assert_eq!(world.order(&buy()).await.status, 201, "after {plan}");
        let plan: FaultPlan = serde_json::from_str(plan).unwrap();
        let refused = world.faults.set("inventory", plan).unwrap_err().to_string();
        assert!(refused.ends_with("_rate: inventory can't do this, only payment-gateway"), "{refused}");
    }
    seconds(60).await;
    world.books_agree().await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_ignores_keys_shows_in_the_books() {
    let world = World::new(&[
        ("BREAKERBOX_PAYMENT_GATEWAY__HONOUR_IDEMPOTENCY_KEYS", "false"),
        ("BREAKERBOX_FAULTS__PAYMENT_GATEWAY__HANDLED_TWICE_RATE", "1.0"),
    ])
    .await;
    let answer = world.order(&buy()).await;
    assert_eq!(answer.status, 201);
    let audit = world.payment.ledger().audit().await.unwrap();
    assert_eq!(audit.doubled, [id(&answer.json)]);
    assert_eq!(audit.kept, [(id(&answer.json).to_owned(), 2 * 12_900)]);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn seats_come_back_and_are_never_sold_twice() {
    let world =
        World::new(&[("BREAKERBOX_INVENTORY__PREMIERE_SEATS", "2"), ("BREAKERBOX_INVENTORY__SHOWING", "30days")]).await;
    let premiere = json!({"film_id": 1, "kind": "premiere"});
    world.fault("payment-gateway", r#"{"error_rate": 1}"#);
    assert_eq!(world.order(&premiere).await.status, 503);
    world.fault("payment-gateway", "{}");
    seconds(10).await;
    let statuses = [world.order(&premiere).await, world.order(&premiere).await, world.order(&premiere).await];
    assert_eq!(statuses.map(|answer| answer.status), [201, 201, 409]);
    seconds(10).await;
    world.books_agree().await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_declined_card_is_refused_and_does_not_trip_the_breaker() {
    let world = World::new(&[("BREAKERBOX_PAYMENT_GATEWAY__DECLINE_RATE", "1.0")]).await;
    for _ in 0..5 {
        assert_eq!(world.order(&buy()).await.status, 402);
    }
    assert!(world.payment_transitions().is_empty());
    seconds(10).await;
    world.books_agree().await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_out_of_attempts_is_dead_and_can_be_replayed() {
    let world = World::new(&[
        ("BREAKERBOX_CHECKOUT__QUEUE__MAX_ATTEMPTS", "2"),
        ("BREAKERBOX_POLICIES__CHECKOUT__PAYMENT_GATEWAY__CIRCUIT_BREAKER", "false"),
    ])
    .await;
    world.fault("payment-gateway", r#"{"error_rate": 1}"#);
    let answer = world.order(&later()).await;
    seconds(60).await;
    let order = id(&answer.json);
    assert_eq!(world.state_of(order).await, OrderState::Dead);
    let letters = world.checkout.store().dead_letters(10).await.unwrap();
    assert_eq!(
        (letters.len(), letters[0].order_id.as_str(), letters[0].error.as_str()),
        (1, order, "answered 503 Service Unavailable, 2 attempts")
    );
    assert!((world.series("retry_queue_dead_items", &[]) - 1.0).abs() < 0.1);
    assert!((world.series("checkout_revenue_total", &[("outcome", "lost")]) - 12_900.0).abs() < 0.1);
    world.fault("payment-gateway", "{}");
    let admin = breakerbox::services::checkout::admin_routes(world.checkout.clone());
    let replay = |body: &'static str| {
        let request = http::Request::post("/queue/replay").header("content-type", "application/json");
        tower::ServiceExt::oneshot(admin.clone(), request.body(axum::body::Body::from(body)).unwrap())
    };
    assert_eq!(replay("{}").await.unwrap().status(), 400, "nothing is replayed by mistake");
    assert_eq!(replay(r#"{"all": true}"#).await.unwrap().status(), 200);
    seconds(5).await;
    assert_eq!(world.state_of(order).await, OrderState::Paid);
    world.books_agree().await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_orders() {
    let world = World::new(&[("BREAKERBOX_CHECKOUT__QUEUE__CAPACITY", "2")]).await;
    world.fault("payment-gateway", r#"{"error_rate": 1}"#);
    let statuses = [world.order(&later()).await, world.order(&later()).await, world.order(&later()).await];
    assert_eq!(statuses.map(|answer| answer.status), [202, 202, 503]);
    assert!((world.series("retry_queue_dropped_items_total", &[]) - 1.0).abs() < 0.1);
    world.fault("payment-gateway", "{}");
    seconds(900).await;
    world.books_agree().await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_viewer_may_order_a_hundred_times_a_minute_and_then_waits() {
    let world = World::new(&[]).await;
    let mut statuses = Vec::new();
    for _ in 0..101 {
        let answer = world.get("/api/orders/ord_none").await;
        statuses.push(answer.status);
        if answer.status == 429 {
            assert!(answer.headers.contains_key("retry-after"));
        }
    }
    assert_eq!(statuses.iter().filter(|status| **status == 404).count(), 100);
    assert_eq!(statuses.last(), Some(&429));
    assert!(
        (world.series("rate_limiter_requests_total", &[("service", "gateway"), ("outcome", "limited")]) - 1.0).abs()
            < 0.1
    );
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn reads_of_viewers_fall_back_to_the_replica_and_say_so() {
    let world = World::new(&[]).await;
    assert_eq!(world.get("/api/me").await.json["source"], "live");
    world.fault("user-primary", r#"{"error_rate": 1}"#);
    for _ in 0..5 {
        let me = world.get("/api/me").await;
        assert_eq!((me.status, me.json["source"].as_str()), (200, Some("replica")), "{me:?}");
    }
    let open = |name: &str| world.series("circuit_breaker_state", &[("breaker", name), ("state", "open")]) > 0.5;
    assert!(open("user-primary") && !open("user-replica"));
    assert!(world.series("fallback_calls_total", &[("breaker", "user-primary"), ("kind", "replica")]) >= 10.0);
    world.stop().await;
}
