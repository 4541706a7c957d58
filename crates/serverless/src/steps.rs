//! The steps of the saga for Step Functions, one task each; the state machine waits between them.
//!
//! `deploy/serverless/checkout.asl.json` calls this function with `{"step": …, "key": …}` and branches on
//! `status`. Waiting in the state machine is free, needs no queue, and may last a year.

use serde::{Deserialize, Serialize};

use crate::NOTICE;
use crate::checkout::{Checkout, Error, Progress};
use crate::order::{NewOrder, Order, Status};
use crate::store::{Began, Store};

/// Input of a task.
#[derive(Debug, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Store the order and reserve its stock.
    Reserve {
        /// The idempotency key.
        key: String,
        /// The title and its price.
        order: NewOrder,
    },
    /// Get a permit from the breaker, and charge.
    Charge {
        /// The idempotency key.
        key: String,
    },
    /// Compensate all completed steps.
    GiveUp {
        /// The idempotency key.
        key: String,
    },
}

/// Output of a task.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The order's status, or `sold-out`, `unknown-title`, `conflict`, `missing`.
    pub status: &'static str,
    /// Seconds to wait before the next attempt; 0 if there is none.
    pub wait_seconds: u64,
    /// Attempts so far.
    pub attempts: u32,
    /// Message to the customer while the order waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<&'static str>,
}

/// Executes one step. Steps can be repeated, because Step Functions delivers tasks at least once.
///
/// # Errors
/// If the store or the queue fails; the state machine retries the task.
pub async fn run<S: Store>(checkout: &Checkout<S>, step: Step) -> Result<Answer, Error> {
    Ok(match step {
        Step::Reserve { key, order } => match checkout.reserve(&key, &order).await? {
            Began::New => outcome("reserved"),
            Began::Existing(found) if found.title == order.title && found.amount == order.amount => answer(&found, 0),
            Began::Existing(_) => outcome("conflict"),
            Began::SoldOut => outcome("sold-out"),
            Began::UnknownTitle => outcome("unknown-title"),
        },
        Step::Charge { key } => match checkout.attempt(&key).await? {
            Some(Progress::Final(order)) => answer(&order, 0),
            Some(Progress::Waiting(order, delay)) => answer(&order, delay.div_ceil(1_000).max(1)),
            None => outcome("missing"),
        },
        Step::GiveUp { key } => checkout.give_up(&key).await?.map_or(outcome("missing"), |order| answer(&order, 0)),
    })
}

fn outcome(status: &'static str) -> Answer {
    Answer { status, wait_seconds: 0, attempts: 0, notice: None }
}

fn answer(order: &Order, wait_seconds: u64) -> Answer {
    let waits = matches!(order.status, Status::Queued | Status::Charging);
    let notice = (waits && wait_seconds > 0).then_some(NOTICE);
    Answer { status: order.status.as_str(), wait_seconds, attempts: order.attempts, notice }
}
