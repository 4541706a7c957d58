//! The specified scenario: three failures in a row, open for five minutes, four of five probes succeed.

use std::time::Duration;

use serde_json::json;

use breakerbox::store::OrderState;
use breakerbox_resilience::breaker::Command;

use crate::world::World;

const NOTICE: &str = "현재 결제 서비스에 일시적인 오류가 발생했습니다. 나중에 다시 시도해 주세요.";

fn rent() -> serde_json::Value {
    json!({"film_id": 3, "kind": "rent"})
}

async fn seconds(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

#[tokio::test(start_paused = true)]
async fn an_order_is_charged_once_and_can_be_looked_at() {
    let world = World::new(&[]).await;
    let answer = world.order(&json!({"film_id": 3, "kind": "premiere"})).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!((answer.json["outcome"].as_str(), answer.json["amount_won"].as_i64()), (Some("paid"), Some(25_000)));
    seconds(1).await;
    let view = world.get(answer.headers["location"].to_str().unwrap()).await;
    assert_eq!((view.status, view.json["state"].as_str()), (200, Some("paid")), "{view:?}");
    let steps: Vec<_> = view.json["steps"].as_array().unwrap().iter().map(|s| s["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["verify_user", "reserve", "charge", "notify"]);
    assert!((world.series("checkout_revenue_total", &[("outcome", "paid")]) - 25_000.0).abs() < 0.1);
    world.books_agree().await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn three_failures_in_a_row_block_payments_for_five_minutes() {
    let world = World::new(&[]).await;
    world.fault("payment-gateway", r#"{"error_rate": 1}"#);
    for _ in 0..3 {
        let answer = world.order(&rent()).await;
        assert_eq!((answer.status, answer.json["detail"].as_str()), (503, Some(NOTICE)), "{answer:?}");
    }
    assert_eq!(world.payment_transitions(), [("closed", "open", "consecutive_failures")]);
    world.fault("payment-gateway", "{}");
    let blocked = world.order(&rent()).await;
    assert_eq!((blocked.status, blocked.json["detail"].as_str()), (503, Some(NOTICE)));
    assert_eq!(blocked.headers["retry-after"], "300");
    seconds(299).await;
    assert_eq!(world.order(&rent()).await.status, 503);
    seconds(2).await;
    for _ in 0..5 {
        assert_eq!(world.order(&rent()).await.status, 201);
    }
    assert_eq!(
        world.payment_transitions()[1..],
        [("open", "half_open", "wait_elapsed"), ("half_open", "closed", "probes_succeeded"),]
    );
    seconds(30).await;
    world.books_agree().await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn half_open_at_79_percent_reopens_and_at_80_percent_closes() {
    let probes =
        "BREAKERBOX_POLICIES__CHECKOUT__PAYMENT_GATEWAY__CIRCUIT_BREAKER__PERMITTED_NUMBER_OF_CALLS_IN_HALF_OPEN_STATE";
    let limit = ("BREAKERBOX_GATEWAY__RATE_LIMIT__LIMIT_FOR_PERIOD", "1000");
    for (failures, last) in
        [(21, ("half_open", "open", "probes_failed")), (20, ("half_open", "closed", "probes_succeeded"))]
    {
        let world = World::new(&[(probes, "100"), limit]).await;
        world.fault("payment-gateway", r#"{"error_rate": 1}"#);
        for _ in 0..3 {
            world.order(&rent()).await;
        }
        seconds(301).await;
        for _ in 0..failures {
            assert_eq!(world.order(&rent()).await.status, 503);
        }
        world.fault("payment-gateway", "{}");
        let expected = if failures > 20 { 503 } else { 201 };
        for _ in 0..100 - failures {
            assert_eq!(world.order(&rent()).await.status, expected);
        }
        assert_eq!(world.payment_transitions().last(), Some(&last), "{failures} of 100 failed");
        world.fault("payment-gateway", "{}");
        seconds(400).await;
        world.books_agree().await;
        world.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn queued_orders_are_paid_once_when_the_gateway_is_back() {
    let world = World::new(&[]).await;
    world.fault("payment-gateway", r#"{"error_rate": 1}"#);
    let mut orders = Vec::new();
    for _ in 0..12 {
        let answer = world.order(&json!({"film_id": 3, "kind": "buy", "retry_later": true})).await;
        assert_eq!((answer.status, answer.json["notice"].as_str()), (202, Some(NOTICE)), "{answer:?}");
        orders.push(answer.json["order_id"].as_str().unwrap().to_owned());
    }
    seconds(60).await;
    assert!((world.series("retry_queue_depth_items", &[]) - 12.0).abs() < 0.1);
    assert!(world.series("retry_queue_oldest_item_age_seconds", &[]) > 50.0);
    assert!((world.series("checkout_revenue_total", &[("outcome", "at_risk")]) - 12.0 * 12_900.0).abs() < 0.1);
    world.fault("payment-gateway", "{}");
    seconds(200).await;
    assert!((world.series("checkout_orders_total", &[("outcome", "paid_later")])).abs() < 0.1, "blocked for 300 s");
    seconds(60).await;
    for order in &orders {
        assert_eq!(world.state_of(order).await, OrderState::Paid);
    }
    assert!((world.series("checkout_revenue_total", &[("outcome", "kept")]) - 12.0 * 12_900.0).abs() < 0.1);
    assert!((world.series("fallback_calls_total", &[("kind", "queue")]) - 12.0).abs() < 0.1);
    world.books_agree().await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn blocked_orders_are_paid_as_soon_as_the_breaker_closes() {
    let world = World::new(&[]).await;
    world.fault("payment-gateway", r#"{"error_rate": 1}"#);
    let mut orders = Vec::new();
    for _ in 0..8 {
        let answer = world.order(&json!({"film_id": 3, "kind": "buy", "retry_later": true})).await;
        orders.push(answer.json["order_id"].as_str().unwrap().to_owned());
    }
    // Three were attempted and are retried with their own back-off; five were rejected for 300 s.
    seconds(20).await;
    world.fault("payment-gateway", "{}");
    world.payment_client().command(Command::Reset);
    seconds(5).await;
    for order in &orders[3..] {
        assert_eq!(world.state_of(order).await, OrderState::Paid);
    }
    seconds(300).await;
    world.books_agree().await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_protection_nothing_is_blocked_queued_or_lost() {
    let world = World::new(&[]).await;
    world.fault("payment-gateway", r#"{"error_rate": 1}"#);
    let token = world.log_in(9).await;
    for n in 0..6 {
        let body = json!({"film_id": 3, "kind": "rent", "retry_later": true});
        let answer = world.order_at(&world.bare, &token, &format!("bare-{n}"), &body).await;
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    assert!(world.payment_transitions().is_empty());
    world.fault("payment-gateway", "{}");
    seconds(120).await;
    world.books_agree().await;
    world.stop().await;
}
