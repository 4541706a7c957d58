//! Breakers that several instances share.

use std::path::PathBuf;
use std::time::Duration;

use breakerbox_resilience::breaker::State;
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

    // The instance that sees it recover shares the recovery.
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
async fn an_absent_store_neither_trips_nor_holds_a_breaker() {
    let (one, other) = two("away", "shared").await;
    assert_eq!(one.order(&rent()).await.status, 201);
    one.checkout.store().close().await;
    millis(10_000).await;
    // Without a store no order can be accepted, and none is; the breaker stays as it was.
    assert_eq!(one.order(&rent()).await.status, 503);
    assert!(one.payment_transitions().is_empty());
    // The other instance is not affected.
    assert_eq!(other.order(&rent()).await.status, 201);
    other.stop().await;
    one.stop().await;
}

/// Two instances over one database that the first cannot reach until the link is made.
struct CutOff {
    one: World,
    other: World,
    directory: PathBuf,
}

impl CutOff {
    async fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("breakerbox-cut-off-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(directory.join("store")).unwrap();
        let world = async |way: &str| {
            let url = format!("sqlite://{}", directory.join(way).join("checkout.db").display());
            World::new(&[("BREAKERBOX_CHECKOUT__URL", url.as_str()), ("BREAKERBOX_CHECKOUT__BREAKER", "shared")]).await
        };
        let (one, other) = (world("link").await, world("store").await);
        assert_eq!(other.order(&rent()).await.status, 201);
        assert_eq!(one.order(&rent()).await.status, 503, "without a store no order is accepted");
        Self { one, other, directory }
    }

    fn reach_the_store(&self) {
        std::os::unix::fs::symlink(self.directory.join("store"), self.directory.join("link")).unwrap();
    }

    async fn stop(self) {
        assert_eq!(self.one.order(&rent()).await.status, 503, "blocked");
        self.one.stop().await;
        self.other.stop().await;
        std::fs::remove_dir_all(self.directory).unwrap();
    }
}

/// Charges until the breaker opens.
async fn trip(world: &World) {
    world.fault("payment-gateway", r#"{"error_rate": 1}"#);
    for _ in 0..3 {
        assert_eq!(world.payment_breaker().state, State::Closed);
        assert!(!world.charge().await);
    }
    assert_eq!(world.payment_breaker().state, State::Open);
    world.fault("payment-gateway", "{}");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_loses_its_store_blocks_on_its_own() {
    let (one, other) = two("lost", "shared").await;
    one.fault("payment-gateway", r#"{"error_rate": 1, "latency": {"fixed": "1s"}}"#);
    let body = rent();
    let lose = async {
        millis(500).await;
        one.checkout.store().close().await;
    };
    let (first, second, third, ()) = tokio::join!(one.order(&body), one.order(&body), one.order(&body), lose);
    assert_eq!([first.status, second.status, third.status], [503; 3]);
    assert_eq!(one.payment_transitions(), [("closed", "open", "consecutive_failures")]);
    // It could not share the trip, so the other instance decides by its own calls.
    millis(5_000).await;
    assert_eq!(other.payment_breaker().state, State::Closed);
    assert_eq!(other.order(&body).await.status, 201);
    one.stop().await;
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_trip_without_the_store_is_shared_when_it_is_back() {
    let cut_off = CutOff::new("trip").await;
    trip(&cut_off.one).await;
    millis(60_000).await;
    assert_eq!(cut_off.one.payment_breaker().state, State::Open, "by itself");
    assert_eq!(cut_off.other.order(&rent()).await.status, 201, "the trip is not shared yet");
    cut_off.reach_the_store();
    // One period until this instance writes, one until the other reads.
    millis(2_100).await;
    assert_eq!(cut_off.other.payment_transitions(), [("closed", "open", "shared")]);
    let answer = cut_off.other.order(&rent()).await;
    let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(answer.status == 503 && (230..=240).contains(&wait), "the rest of the open wait: {answer:?}");
    cut_off.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_trip_over_before_the_store_is_back_has_no_effect() {
    let cut_off = CutOff::new("over").await;
    trip(&cut_off.one).await;
    millis(301_000).await;
    cut_off.reach_the_store();
    millis(5_000).await;
    assert!(cut_off.other.payment_transitions().is_empty());
    for world in [&cut_off.one, &cut_off.other] {
        for _ in 0..5 {
            assert_eq!(world.order(&rent()).await.status, 201);
        }
        assert_eq!(world.payment_breaker().state, State::Closed);
    }
    trip(&cut_off.one).await;
    cut_off.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_recovery_without_the_store_undoes_no_later_trip() {
    let cut_off = CutOff::new("recovery").await;
    trip(&cut_off.one).await;
    millis(300_000).await;
    for _ in 0..5 {
        cut_off.one.charge().await;
    }
    assert_eq!(cut_off.one.payment_breaker().state, State::Closed);
    trip(&cut_off.other).await;
    millis(10_000).await;
    cut_off.reach_the_store();
    millis(2_100).await;
    assert_eq!(cut_off.one.payment_transitions().last(), Some(&("closed", "open", "shared")));
    assert_eq!(cut_off.other.payment_breaker().state, State::Open);
    cut_off.stop().await;
}
