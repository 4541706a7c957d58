//! Under any interleaving of retries, timeouts, duplicates and crashes, an order is charged at most once and reaches a
//! final state.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;
use serde_json::json;

use crate::world::World;

/// One lifetime of the site's process.
#[derive(Clone, Debug)]
struct Life {
    /// Fault plan of the payment gateway.
    plan: &'static str,
    lost: bool,
    twice: bool,
    /// Keys of the orders placed concurrently; a repeated key is a duplicate.
    orders: Vec<u8>,
    /// Virtual time to sleep before the end.
    sleep: u16,
    /// Scheduler turns before the process dies, wherever each task is at that point.
    turns: u16,
}

fn life() -> impl Strategy<Value = Life> {
    let plans = prop::sample::select(vec![
        "{}",
        r#"{"error_rate": 0.5}"#,
        r#"{"error_rate": 1}"#,
        r#"{"reset_rate": 0.5}"#,
        r#"{"hang_rate": 0.3}"#,
        r#"{"malformed_body_rate": 0.5}"#,
        r#"{"latency": {"fixed": "1400ms"}}"#,
    ]);
    let orders = prop::collection::vec(0_u8..6, 1..6);
    (plans, any::<bool>(), any::<bool>(), orders, 0_u16..8_000, 0_u16..3_000)
        .prop_map(|(plan, lost, twice, orders, sleep, turns)| Life { plan, lost, twice, orders, sleep, turns })
}

async fn world(directory: &Path) -> World {
    World::new(&[
        ("BREAKERBOX_STORE__URL", ""),
        ("BREAKERBOX_STORE__DIRECTORY", directory.to_str().unwrap()),
        ("BREAKERBOX_CHECKOUT__LEASE", "3s"),
        ("BREAKERBOX_CHECKOUT__QUEUE__VISIBILITY", "4s"),
        ("BREAKERBOX_CHECKOUT__QUEUE__MAX_ATTEMPTS", "1000"),
        ("BREAKERBOX_INVENTORY__PREMIERE_SEATS", "2"),
        ("BREAKERBOX_POLICIES__CHECKOUT__PAYMENT_GATEWAY__CIRCUIT_BREAKER__WAIT_DURATION_IN_OPEN_STATE", "5s"),
    ])
    .await
}

/// Runs until it is killed: dropping the runtime drops every task at its current await point.
fn live_and_die(directory: &Path, life: &Life) {
    let runtime = runtime();
    runtime.block_on(async {
        let world = world(directory).await;
        let mut plan: serde_json::Value = serde_json::from_str(life.plan).unwrap();
        for (fault, on) in [("lost_answer_rate", life.lost), ("handled_twice_rate", life.twice)] {
            plan[fault] = json!(if on { 0.5 } else { 0.0 });
        }
        world.fault("payment-gateway", &plan.to_string());
        let orders = life.orders.iter().map(|n| {
            let kind = ["rent", "premiere"][usize::from(n % 2)];
            let body = json!({"film_id": 1, "kind": kind, "retry_later": n % 3 != 0});
            let (world, key) = (&world, format!("chaos-{n}"));
            async move { world.order_with(&key, &body).await }
        });
        let killed = async {
            tokio::time::sleep(Duration::from_millis(life.sleep.into())).await;
            for _ in 0..life.turns {
                tokio::task::yield_now().await;
            }
        };
        // Half of the lifetimes end while orders are in flight.
        let placed = async { drop(join_all(orders).await) };
        if life.turns.is_multiple_of(2) {
            tokio::select! { () = placed => {}, () = killed => {} }
        } else {
            tokio::join!(placed, killed);
        }
    });
    runtime.shutdown_background();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 20, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_interleaving_charges_at_most_once_and_comes_to_an_end(lives in prop::collection::vec(life(), 1..4)) {
        let directory = std::env::temp_dir().join(format!("breakerbox-chaos-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        for life in &lives {
            live_and_die(&directory, life);
        }
        let runtime = runtime();
        runtime.block_on(async {
            let world = world(&directory).await;
            for _ in 0..120 {
                if world.checkout.store().audit().await.unwrap().unfinished == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            world.books_agree().await;
            world.stop().await;
        });
        drop(runtime);
        let _ = std::fs::remove_dir_all(&directory);
    }
}
