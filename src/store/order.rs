//! Orders: kinds, states, acceptance and changes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Job, StoreError};

/// The kind of a sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderKind {
    /// A rental for two days.
    Rent,
    /// A purchase.
    Buy,
    /// A seat of a limited premiere.
    Premiere,
}

impl OrderKind {
    /// All kinds.
    pub const ALL: &[Self] = &[Self::Rent, Self::Buy, Self::Premiere];

    /// Its name in labels and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rent => "rent",
            Self::Buy => "buy",
            Self::Premiere => "premiere",
        }
    }

    pub(super) fn read(value: String) -> Result<Self, StoreError> {
        let known = Self::ALL.iter().find(|kind| kind.as_str() == value);
        known.copied().ok_or(StoreError::Unknown { what: "kind", value })
    }
}

/// State of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderState {
    /// Accepted; as far as is known, nothing has been reserved yet.
    Pending,
    /// Its stock is reserved, and a charge may be in flight.
    Charging,
    /// Queued for a charge by the payment gateway.
    Queued,
    /// Cancelled; its charge and reservation are being compensated.
    Cancelling,
    /// Final: charged once.
    Paid,
    /// Final: nothing charged, nothing reserved.
    Cancelled,
    /// Out of attempts; awaits manual action, with its stock still reserved.
    Dead,
}

impl OrderState {
    /// All states.
    pub const ALL: &[Self] =
        &[Self::Pending, Self::Charging, Self::Queued, Self::Cancelling, Self::Paid, Self::Cancelled, Self::Dead];

    /// Its name in labels and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Charging => "charging",
            Self::Queued => "queued",
            Self::Cancelling => "cancelling",
            Self::Paid => "paid",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }

    /// Whether the state is final.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Paid | Self::Cancelled)
    }

    pub(super) fn read(value: String) -> Result<Self, StoreError> {
        let known = Self::ALL.iter().find(|state| state.as_str() == value);
        known.copied().ok_or(StoreError::Unknown { what: "state", value })
    }
}

/// An order to be accepted.
#[derive(Clone, Debug)]
pub struct NewOrder<'a> {
    /// Its id, which is unguessable.
    pub id: &'a str,
    /// The viewer.
    pub user_id: u32,
    /// The film.
    pub film_id: u32,
    /// The kind of the sale.
    pub kind: OrderKind,
    /// Its price, in won.
    pub amount: i64,
    /// Whether it may be queued.
    pub retry_later: bool,
    /// The viewer's idempotency key.
    pub key: &'a str,
    /// Hash of the request's body: a different one with the same key is an error.
    pub fingerprint: &'a str,
    /// How long the key is stored.
    pub key_lifetime: Duration,
    /// Lease of the accepting process; after that another instance may continue the order.
    pub lease: Duration,
    /// Capacity of the queue. An order that may be queued reserves its place when it is accepted.
    pub capacity: u32,
}

/// A stored order.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Its id.
    pub id: String,
    /// The viewer.
    pub user_id: u32,
    /// The film.
    pub film_id: u32,
    /// The kind of the sale.
    pub kind: OrderKind,
    /// Its price, in won.
    pub amount: i64,
    /// Whether it may be queued.
    pub retry_later: bool,
    /// Its state.
    pub state: OrderState,
    /// Incremented by each change.
    pub version: i64,
    /// Whether a charge may have reached the payment gateway.
    pub charge_sent: bool,
    /// Why it was cancelled.
    pub reason: String,
    /// Unix milliseconds from which it is no longer charged, because what it buys has ended. 0 if there is no such
    /// time.
    pub deadline: i64,
    /// When it was accepted.
    pub created_at: i64,
}

/// An order with its due time.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracked {
    /// The order.
    pub order: Order,
    /// Due time in the queue, Unix milliseconds, if it is queued.
    pub due_at: Option<i64>,
}

/// Result of accepting an order.
#[derive(Clone, Debug)]
pub enum Opened {
    /// Accepted; the caller holds this lease.
    New(Order, Job),
    /// The key was used before.
    Known(Known),
}

/// The order for which a key was used.
#[derive(Clone, Debug)]
pub struct Known {
    /// Whether the request's body was the same.
    pub same: bool,
    /// The order; `None` if it was already deleted.
    pub order: Option<Order>,
    /// The stored answer, if there is one.
    pub answer: Option<String>,
}

/// One entry of the saga log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Name of the step, such as `reserve`.
    pub step: &'static str,
    /// Outcome, such as `done`.
    pub outcome: &'static str,
    /// Further details.
    pub detail: String,
}

/// Effect of a change on the order's queue item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// None; the holder of the lease continues.
    Keep,
    /// To be retried at `due_at`. A parked item counts as waiting.
    Park {
        /// Due time, Unix milliseconds.
        due_at: i64,
        /// Failed attempts so far.
        attempts: i64,
        /// Error of the last attempt.
        error: String,
        /// Whether no attempt was made, because the breaker rejected it.
        blocked: bool,
    },
    /// Taken over from its holder, and leased until then.
    Seize {
        /// End of the lease, Unix milliseconds.
        until: i64,
    },
    /// Removed from the queue.
    Remove,
    /// A dead letter until an operator replays it.
    Bury {
        /// Error of the last attempt.
        error: String,
    },
}

/// A change of an order.
#[derive(Clone, Debug)]
pub struct Change {
    /// The new state.
    pub state: OrderState,
    /// Whether a charge may have reached the payment gateway; `None` leaves it unchanged.
    pub charge_sent: Option<bool>,
    /// Why it was cancelled; empty leaves it unchanged.
    pub reason: String,
    /// The new deadline; `None` leaves it unchanged.
    pub deadline: Option<i64>,
    /// Entries for the saga log.
    pub steps: Vec<Step>,
    /// Effect on the queue item.
    pub effect: Effect,
    /// The viewer's answer, stored for repetitions with the same key.
    pub answer: Option<String>,
}

/// Totals over all orders, for audits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderAudit {
    /// Orders of any state.
    pub orders: i64,
    /// Paid orders.
    pub paid: i64,
    /// Their total, in won.
    pub paid_amount: i64,
    /// Orders that are neither final nor dead.
    pub unfinished: i64,
    /// Dead orders.
    pub dead: i64,
    /// Their total, in won.
    pub dead_amount: i64,
}
