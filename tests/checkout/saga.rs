//! The steps of an order: what is refunded, which steps may fail, which worker resumes, and what is charged in won.

use std::time::Duration;

use breakerbox::store::{CheckoutStore, Lane, NewOrder, OrderKind, OrderState, StoreSettings};
use serde_json::json;

use crate::world::World;

const MINUTE: i64 = 60_000;

async fn seconds(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

/// Steps and outcomes of the only order in this state.
async fn steps(world: &World, state: OrderState) -> Vec<(String, String)> {
    let store = world.checkout.store();
    let orders = store.in_state(state).await.unwrap();
    assert_eq!(orders.len(), 1, "{state:?}");
    let steps = store.steps(&orders[0]).await.unwrap();
    steps.into_iter().map(|(step, outcome, ..)| (step, outcome)).collect()
}

fn expected(steps: &[(&str, &str)]) -> Vec<(String, String)> {
    steps.iter().map(|(step, outcome)| ((*step).to_owned(), (*outcome).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_failed_payment_is_voided_and_its_seat_released() {
    let world = World::new(&[]).await;
    world.fault("payment-gateway", r#"{"error_rate": 1}"#);
    assert_eq!(world.order(&json!({"film_id": 1, "kind": "premiere"})).await.status, 503);
    assert_eq!(
        world.inventory.store().audit().await.unwrap().taken,
        1,
        "the seat is kept until nothing can be charged"
    );
    seconds(5).await;
    world.fault("payment-gateway", "{}");
    seconds(120).await;
    let mut steps = steps(&world, OrderState::Cancelled).await;
    steps.retain(|step| *step != ("void".to_owned(), "failed".to_owned()));
    let undone = [
        ("verify_user", "done"),
        ("reserve", "done"),
        ("charge", "failed"),
        ("void", "done"),
        ("release", "done"),
        ("notify", "done"),
    ];
    assert_eq!(steps, expected(&undone));
    assert_eq!(world.inventory.store().audit().await.unwrap().taken, 0);
    world.books_agree().await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_is_paid_even_if_the_viewer_cannot_be_notified() {
    let world = World::new(&[]).await;
    world.fault("notification", r#"{"crash": true}"#);
    assert_eq!(world.order(&json!({"film_id": 3, "kind": "buy"})).await.status, 201);
    seconds(60).await;
    let told = [("verify_user", "done"), ("reserve", "done"), ("charge", "done"), ("notify", "failed")];
    assert_eq!(steps(&world, OrderState::Paid).await, expected(&told));
    world.books_agree().await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_loses_revenue_only_without_the_queue() {
    let world = World::new(&[]).await;
    let revenue = |outcome| world.series("checkout_revenue_total", &[("outcome", outcome)]);
    let orders = |outcome| world.series("checkout_orders_total", &[("outcome", outcome)]);
    let near = |found: f64, wanted: f64| (found - wanted).abs() < 0.1;
    world.fault("payment-gateway", r#"{"error_rate": 1}"#);
    let (token, body) = (world.log_in(9).await, json!({"film_id": 3, "kind": "rent", "retry_later": true}));
    for n in 0..10 {
        assert_eq!(world.order_at(&world.bare, &token, &format!("bare-{n}"), &body).await.status, 503);
    }
    assert!(near(revenue("lost"), 45_000.0) && near(revenue("at_risk"), 45_000.0));
    for n in 0..10 {
        assert_eq!(world.order_at(&world.gateway, &token, &format!("protected-{n}"), &body).await.status, 202);
    }
    assert!(near(revenue("at_risk"), 90_000.0) && near(orders("queued"), 10.0));
    assert!(near(world.series("fallback_calls_total", &[("service", "checkout"), ("kind", "queue")]), 10.0));
    world.fault("payment-gateway", "{}");
    seconds(900).await;
    assert!(near(revenue("lost"), 45_000.0), "only those without protection");
    assert!(near(revenue("kept"), 45_000.0) && near(orders("paid_later"), 10.0));
    assert!(world.series("retry_queue_depth_items", &[]) < 0.1);
    world.books_agree().await;
    world.stop().await;
}

#[tokio::test]
async fn a_taken_item_is_hidden_until_its_visibility_ends() {
    let store = CheckoutStore::new("sqlite::memory:", &StoreSettings::default(), false).unwrap();
    let order = NewOrder {
        id: "ord_1",
        user_id: 7,
        film_id: 3,
        kind: OrderKind::Rent,
        amount: 4_500,
        retry_later: true,
        key: "k",
        fingerprint: "f",
        key_lifetime: Duration::from_hours(1),
        lease: Duration::from_mins(1),
        capacity: 10,
    };
    store.open(&order, 0).await.unwrap();
    let claim = async |now| store.claim(Lane::Urgent, 10, Duration::from_mins(5), now).await.unwrap().len();
    assert_eq!(claim(MINUTE - 1).await, 0, "the caller still has the lease");
    assert_eq!(claim(MINUTE).await, 1, "the caller's lease has expired");
    assert_eq!(claim(MINUTE).await, 0);
    assert_eq!(claim(6 * MINUTE - 1).await, 0);
    assert_eq!(claim(6 * MINUTE).await, 1, "the worker's lease has expired, too");
}
