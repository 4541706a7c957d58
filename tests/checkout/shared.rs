//! Breakers that several instances share.

use std::time::Duration;

use breakerbox::resilience::breaker::State;
use serde_json::json;

use crate::world::World;

fn rent() -> serde_json::Value {
    json!({"film_id": 3, "kind": "rent"})
}

async fn millis(n: u64) {
    tokio::time::sleep(Duration::from_millis(n)).await;
}

/// Two instances over one database.
async fn two(name: &str, mode: &str) -> (World, World) {
    let file = std::env::temp_dir().join(format!("breakerbox-shared-{name}-{}.db", std::process::id()));
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
    let url = format!("sqlite://{}", file.display());
    let variables = [("BREAKERBOX_CHECKOUT__URL", url.as_str()), ("BREAKERBOX_CHECKOUT__BREAKER", mode)];
    (World::new(&variables).await, World::new(&variables).await)
}

#[tokio::test(start_paused = true)]
async fn two_instances_share_a_trip_within_one_cache_period() {
    let (one, other) = two("trip", "shared").await;
    one.fault("payment-gateway", r#"{"error_rate": 1}"#);
    for _ in 0..3 {
        one.order(&rent()).await;
    }
    assert_eq!(one.payment_transitions()[0], ("closed", "open", "consecutive_failures"));
    millis(1100).await;
    assert_eq!(other.payment_transitions(), [("closed", "open", "shared")]);
    let answer = other.order(&rent()).await;
    let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(answer.status == 503 && (295..=300).contains(&wait), "{answer:?}");

    // Whoever finds it well again tells the other.
    one.fault("payment-gateway", "{}");
    millis(300_000).await;
    for _ in 0..5 {
        assert_eq!(one.order(&rent()).await.status, 201);
    }
    millis(1100).await;
    assert_eq!(other.payment_breaker().state, State::Closed);
    one.stop().await;
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_are_counted_over_all_instances() {
    let (one, other) = two("count", "shared").await;
    for world in [&one, &other] {
        world.fault("payment-gateway", r#"{"error_rate": 1}"#);
    }
    one.order(&rent()).await;
    other.order(&rent()).await;
    millis(50).await;
    assert_eq!((one.payment_breaker().state, other.payment_breaker().state), (State::Closed, State::Closed));
    one.order(&rent()).await;
    millis(1100).await;
    assert_eq!((one.payment_breaker().state, other.payment_breaker().state), (State::Open, State::Open));
    one.stop().await;
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn local_breakers_keep_to_themselves() {
    let (one, other) = two("local", "local").await;
    one.fault("payment-gateway", r#"{"error_rate": 1}"#);
    for _ in 0..3 {
        one.order(&rent()).await;
    }
    millis(5000).await;
    assert_eq!((one.payment_breaker().state, other.payment_breaker().state), (State::Open, State::Closed));
    one.stop().await;
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_neither_trips_nor_holds_a_shared_breaker() {
    let (one, other) = two("away", "shared").await;
    assert_eq!(one.order(&rent()).await.status, 201);
    one.checkout.store().close().await;
    millis(10_000).await;
    // Without a store no order can be promised, and none is; the breaker stays as it was.
    assert_eq!(one.order(&rent()).await.status, 503);
    assert!(one.payment_transitions().is_empty());
    // The other instance is not harmed.
    assert_eq!(other.order(&rent()).await.status, 201);
    other.stop().await;
    one.stop().await;
}
