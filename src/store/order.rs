//! What an order is: its kind, its states, how it is taken and how it changes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Job, StoreError};

/// What is sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderKind {
    /// To watch for two days.
    Rent,
    /// To keep.
    Buy,
    /// A seat of a limited premiere.
    Premiere,
}

impl OrderKind {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Rent, Self::Buy, Self::Premiere];

    /// Its spelling.
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

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderState {
    /// Taken; nothing has been reserved for it yet, as far as is known.
    Pending,
    /// Its stock is reserved, and a charge may be under way.
    Charging,
    /// Waits in the queue for the payment gateway.
    Queued,
    /// Cancelled; its charge and reservation are being compensated.
    Cancelling,
    /// Final: charged once.
    Paid,
    /// Final: nothing charged, nothing reserved.
    Cancelled,
    /// Ran out of attempts; waits for a person, its stock still reserved.
    Dead,
}

impl OrderState {
    /// All of them.
    pub const ALL: &[Self] =
        &[Self::Pending, Self::Charging, Self::Queued, Self::Cancelling, Self::Paid, Self::Cancelled, Self::Dead];

    /// Its spelling.
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

    /// Whether nothing will change any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Paid | Self::Cancelled)
    }

    pub(super) fn read(value: String) -> Result<Self, StoreError> {
        let known = Self::ALL.iter().find(|state| state.as_str() == value);
        known.copied().ok_or(StoreError::Unknown { what: "state", value })
    }
}

/// An order to be taken.
#[derive(Clone, Debug)]
pub struct NewOrder<'a> {
    /// Its id, which cannot be guessed.
    pub id: &'a str,
    /// Whose it is.
    pub user_id: u32,
    /// What is sold.
    pub film_id: u32,
    /// How.
    pub kind: OrderKind,
    /// In won.
    pub amount: i64,
    /// Whether it may be paid later.
    pub retry_later: bool,
    /// The viewer's idempotency key.
    pub key: &'a str,
    /// Of the request's body: the same key with another one is a mistake.
    pub fingerprint: &'a str,
    /// How long the key is remembered.
    pub key_lifetime: Duration,
    /// How long the taker has until another instance goes on with the order.
    pub lease: Duration,
    /// Orders that may wait at most. One that may be paid later reserves its place in the queue when it is
    /// taken.
    pub capacity: u32,
}

/// An order as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: u32,
    /// What is sold.
    pub film_id: u32,
    /// How.
    pub kind: OrderKind,
    /// In won.
    pub amount: i64,
    /// Whether it may be paid later.
    pub retry_later: bool,
    /// Where it stands.
    pub state: OrderState,
    /// Grows by one with each change.
    pub version: i64,
    /// Whether a charge may have reached the payment gateway.
    pub charge_sent: bool,
    /// Why it was cancelled.
    pub reason: String,
    /// When what it buys is over, Unix milliseconds: it isn't charged from then on. 0 when it never is.
    pub deadline: i64,
    /// When it was taken.
    pub created_at: i64,
}

/// An order with its place in the queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracked {
    /// The order.
    pub order: Order,
    /// When it is due, Unix milliseconds, while it is in the queue.
    pub due_at: Option<i64>,
}

/// Result of a request to accept an order.
#[derive(Clone, Debug)]
pub enum Opened {
    /// It was taken; the caller has this lease.
    New(Order, Job),
    /// The key was used before.
    Known(Known),
}

/// What a key was used for.
#[derive(Clone, Debug)]
pub struct Known {
    /// Whether with the same body.
    pub same: bool,
    /// The order it was used for; `None` if that is already deleted.
    pub order: Option<Order>,
    /// What was answered, if that had come to it.
    pub answer: Option<String>,
}

/// One entry of the saga log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Such as `reserve`.
    pub step: &'static str,
    /// Such as `done`.
    pub outcome: &'static str,
    /// What there is to add.
    pub detail: String,
}

/// What a change means for the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// None; the holder of the lease continues.
    Keep,
    /// To be tried again at `due_at`. What is parked counts as waiting.
    Park {
        /// When, Unix milliseconds.
        due_at: i64,
        /// Attempts that failed so far.
        attempts: i64,
        /// Why the last one did.
        error: String,
        /// Whether no attempt was made, because the breaker turned it away.
        blocked: bool,
    },
    /// Taken over from its holder, dead or alive, and leased until then.
    Seize {
        /// Unix milliseconds.
        until: i64,
    },
    /// Done with.
    Remove,
    /// A dead letter until a person replays it.
    Bury {
        /// Why.
        error: String,
    },
}

/// A change of an order.
#[derive(Clone, Debug)]
pub struct Change {
    /// The new state.
    pub state: OrderState,
    /// Whether a charge may have reached the payment gateway; nothing for as before.
    pub charge_sent: Option<bool>,
    /// Why it was cancelled; empty: unchanged.
    pub reason: String,
    /// When what it buys is over; nothing for as before.
    pub deadline: Option<i64>,
    /// What was done.
    pub steps: Vec<Step>,
    /// What it means for the queue.
    pub effect: Effect,
    /// What the viewer is answered, kept for the next time they ask with the same key.
    pub answer: Option<String>,
}

/// What all orders together come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderAudit {
    /// Orders of any state.
    pub orders: i64,
    /// Paid ones.
    pub paid: i64,
    /// What they paid, won.
    pub paid_amount: i64,
    /// Orders that are neither final nor dead.
    pub unfinished: i64,
    /// Dead ones.
    pub dead: i64,
    /// What dead ones would pay, won.
    pub dead_amount: i64,
}
