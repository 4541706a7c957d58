//! A charge that may have been made is never forgotten, whatever the last answer was.

use std::time::Duration;

use breakerbox::store::OrderState;
use breakerbox_resilience::breaker::Command;
use serde_json::json;

use crate::world::{World, mortal};

async fn seconds(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

/// Databases in a directory that is removed with the test.
pub(crate) struct Files(std::path::PathBuf);

impl Files {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("breakerbox-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Environment variables that put the three databases of a [`World`] here.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        [
            ("BREAKERBOX_CHECKOUT__URL", "checkout.db"),
            ("BREAKERBOX_INVENTORY__URL", "inventory.db"),
            ("BREAKERBOX_PAYMENT_GATEWAY__URL", "ledger.db"),
        ]
        .map(|(variable, file)| (variable, format!("sqlite://{}", self.0.join(file).display())))
        .to_vec()
    }

    pub(crate) async fn world(&self, more: &[(&str, &str)]) -> World {
        let own = self.variables();
        let own = own.iter().map(|(variable, url)| (*variable, url.as_str()));
        World::new(&own.chain(more.iter().copied()).collect::<Vec<_>>()).await
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn charged(world: &World) -> bool {
    !world.payment.ledger().audit().await.unwrap().kept.is_empty()
}

/// The order waited for the breaker, so no charge had been sent for it. Its worker charges and dies before the answer
/// arrives; the next worker's charge is refused.
fn killed_between_charge_and_answer(status: u16) {
    let files = Files::new(&format!("intent-{status}"));
    let first = mortal();
    let order = first.block_on(async {
        let world = files.world(&[("BREAKERBOX_CHECKOUT__QUEUE__VISIBILITY", "5s")]).await;
        world.payment_client().command(Command::ForceOpen);
        let answer = world.order(&json!({"film_id": 3, "kind": "rent", "retry_later": true})).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        world.fault("payment-gateway", r#"{"late_answer_rate": 1, "late_by": "1s"}"#);
        world.payment_client().command(Command::Reset);
        world.until("charged", charged).await;
        answer.json["order_id"].as_str().unwrap().to_owned()
    });
    drop(first);

    mortal().block_on(async {
        let world = files.world(&[]).await;
        world.fault("payment-gateway", &format!(r#"{{"error_rate": 1, "status": {status}}}"#));
        world.until("given up", async |world| world.state_of(&order).await == OrderState::Cancelling).await;
        world.fault("payment-gateway", "{}");
        seconds(900).await;
        assert_eq!(world.state_of(&order).await, OrderState::Cancelled);
        world.books_agree().await;
        world.stop().await;
    });
}

#[test]
fn a_charge_whose_worker_died_is_voided_when_refused_later() {
    for status in [402, 409] {
        killed_between_charge_and_answer(status);
    }
}

/// The payment policy retries: the first attempt charged, and its answer was lost.
#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_lost_attempt_gives_the_money_back() {
    let world = World::new(&[
        ("BREAKERBOX_POLICIES__CHECKOUT__PAYMENT_GATEWAY__RETRY__MAX_ATTEMPTS", "2"),
        ("BREAKERBOX_POLICIES__CHECKOUT__PAYMENT_GATEWAY__RETRY__WAIT_DURATION", "300ms"),
    ])
    .await;
    world.fault("payment-gateway", r#"{"lost_answer_rate": 1}"#);
    let body = json!({"film_id": 3, "kind": "buy"});
    let refuse = async {
        world.until("charged", charged).await;
        world.fault("payment-gateway", r#"{"error_rate": 1, "status": 402}"#);
    };
    let (answer, ()) = tokio::join!(world.order(&body), refuse);
    assert_eq!(answer.status, 402, "{answer:?}");
    world.fault("payment-gateway", "{}");
    seconds(900).await;
    let audit = world.payment.ledger().audit().await.unwrap();
    assert_eq!((audit.kept.len(), audit.refunded), (0, 1));
    world.books_agree().await;
    world.stop().await;
}
