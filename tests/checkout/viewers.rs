//! Orders as viewers see them: listing, viewing, cancelling.

use std::time::Duration;

use breakerbox::store::OrderState;
use breakerbox_resilience::breaker::Command;
use serde_json::{Value, json};

use crate::world::World;

fn later() -> Value {
    json!({"film_id": 3, "kind": "rent", "retry_later": true})
}

async fn seconds(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

fn id(answer: &Value) -> &str {
    answer["order_id"].as_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn viewers_list_their_own_orders_the_latest_first() {
    let world = World::new(&[]).await;
    assert_eq!(world.get("/api/orders").await.json["items"], json!([]));
    let paid = world.order(&json!({"film_id": 3, "kind": "buy"})).await;
    seconds(1).await;
    world.payment_client().command(Command::ForceOpen);
    let queued = world.order(&later()).await;
    let token = world.log_in(9).await;
    world.order_at(&world.gateway, &token, "another-viewer", &later()).await;
    let list = world.get("/api/orders").await;
    assert_eq!(list.status, 200, "{list:?}");
    let items = list.json["items"].as_array().unwrap();
    let found: Vec<_> =
        items.iter().map(|item| (id(item), item["state"].as_str().unwrap(), &item["can_cancel"])).collect();
    assert_eq!(found, [(id(&queued.json), "queued", &json!(true)), (id(&paid.json), "paid", &json!(false))]);
    assert!(items[0]["next_attempt_at"].is_i64() && items[1].get("next_attempt_at").is_none());
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_waiting_order_can_be_cancelled_by_its_viewer() {
    let world = World::new(&[]).await;
    world.payment_client().command(Command::ForceOpen);
    let order = world.order(&later()).await;
    let order = id(&order.json);
    let another = world.log_in(9).await;
    assert_eq!(world.cancel_as(&another, order).await.status, 404, "another viewer's");
    assert_eq!(world.cancel("ord_none").await.status, 404);
    for _ in 0..2 {
        let answer = world.cancel(order).await;
        assert_eq!((answer.status, &answer.json["reason"]), (200, &json!("cancelled")), "{answer:?}");
        assert_eq!(answer.json["can_cancel"], json!(false));
        seconds(5).await;
    }
    assert_eq!(world.state_of(order).await, OrderState::Cancelled);
    world.payment_client().command(Command::Reset);
    seconds(60).await;
    world.books_agree().await;
    let paid = world.order(&json!({"film_id": 3, "kind": "buy"})).await;
    assert_eq!(world.cancel(id(&paid.json)).await.status, 409, "paid");
    assert!((world.series("checkout_orders_total", &[("outcome", "cancelled")]) - 1.0).abs() < 0.1);
    assert!((world.series("checkout_revenue_total", &[("outcome", "lost")]) - 4_500.0).abs() < 0.1);
    world.stop().await;
}

/// The viewer cancels while the worker is waiting for the payment gateway's answer.
#[tokio::test(start_paused = true)]
async fn a_charge_under_way_is_given_back_when_the_order_is_cancelled() {
    let world = World::new(&[]).await;
    world.payment_client().command(Command::ForceOpen);
    let order = world.order(&later()).await;
    world.fault("payment-gateway", r#"{"late_answer_rate": 1, "late_by": "1s"}"#);
    world.payment_client().command(Command::Reset);
    world.until("charged", async |world| !world.payment.ledger().audit().await.unwrap().kept.is_empty()).await;
    assert_eq!(world.cancel(id(&order.json)).await.status, 200);
    seconds(600).await;
    assert_eq!(world.state_of(id(&order.json)).await, OrderState::Cancelled);
    assert_eq!(world.payment.ledger().audit().await.unwrap().refunded, 1);
    world.books_agree().await;
    world.stop().await;
}
