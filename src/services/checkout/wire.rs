//! Messages of checkout's API.

use serde::{Deserialize, Serialize};

use crate::store::{OrderKind, OrderState};
use breakerbox_telemetry::OrderStatus;

/// What viewers read when the payment gateway can't be had.
pub const PAYMENT_NOTICE: &str = "현재 결제 서비스에 일시적인 오류가 발생했습니다. 나중에 다시 시도해 주세요.";

/// What a viewer wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckoutRequest {
    /// The film.
    pub film_id: u32,
    /// How.
    pub kind: OrderKind,
    /// Whether they are content to be charged when the payment gateway is back.
    #[serde(default)]
    pub retry_later: bool,
}

/// The same from the gateway, which knows who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// Who.
    pub user_id: u32,
    /// The film.
    pub film_id: u32,
    /// How.
    pub kind: OrderKind,
    /// Whether they are content to be charged later.
    #[serde(default)]
    pub retry_later: bool,
}

impl OrderRequest {
    /// What makes two requests the same.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("{}:{}:{}", self.film_id, self.kind.as_str(), self.retry_later)
    }
}

/// What came of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderOutcome {
    /// Charged.
    Paid,
    /// Will be charged when the payment gateway is back.
    Queued,
    /// Not taken, since the payment gateway can't be had; nothing was charged.
    PaymentFailed,
    /// Not taken, since the card was declined.
    Declined,
    /// Not taken, since nothing is left.
    SoldOut,
    /// Not taken, since the stock couldn't be looked at.
    Unavailable,
    /// Cancelled by its viewer while it waited.
    Cancelled,
    /// Cancelled because its showing ended before it could be charged.
    Expired,
}

impl OrderOutcome {
    /// Spelled as the metrics contract does.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Queued => "queued",
            Self::PaymentFailed => "payment_failed",
            Self::Declined => "declined",
            Self::SoldOut => "sold_out",
            Self::Unavailable => "unavailable",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

impl From<OrderOutcome> for OrderStatus {
    fn from(outcome: OrderOutcome) -> Self {
        match outcome {
            OrderOutcome::Paid => Self::Paid,
            OrderOutcome::Queued => Self::Queued,
            OrderOutcome::PaymentFailed => Self::PaymentFailed,
            OrderOutcome::Declined => Self::Declined,
            OrderOutcome::SoldOut => Self::SoldOut,
            OrderOutcome::Unavailable => Self::Unavailable,
            OrderOutcome::Cancelled => Self::Cancelled,
            OrderOutcome::Expired => Self::Expired,
        }
    }
}

/// The answer to an order. It is a good answer even when the order was not taken: a payment gateway
/// that is away must not look like a checkout that is, or breakers in front of it would open too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderAnswer {
    /// The order, to be asked about.
    pub order_id: String,
    /// What came of it.
    pub outcome: OrderOutcome,
    /// Its price.
    pub amount_won: i64,
    /// What to tell the viewer.
    pub notice: Option<String>,
    /// When another try makes sense.
    pub retry_after_seconds: Option<u64>,
}

/// One step of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStep {
    /// What was done.
    pub step: String,
    /// How it ended.
    pub outcome: String,
    /// What there is to add.
    pub detail: String,
    /// When, in Unix milliseconds.
    pub at: i64,
}

/// An order as its viewer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    /// Its id.
    pub order_id: String,
    /// The film.
    pub film_id: u32,
    /// How.
    pub kind: OrderKind,
    /// Its price.
    pub amount_won: i64,
    /// Where it stands.
    pub state: OrderState,
    /// Why it was cancelled; empty if it was not.
    pub reason: String,
    /// When it was taken, in Unix milliseconds.
    pub created_at: i64,
    /// Whether its viewer may cancel it now.
    pub can_cancel: bool,
    /// When it is tried again at the latest, in Unix milliseconds, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<i64>,
    /// What was done for it; empty in a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<OrderStep>,
}

/// A viewer's orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderList {
    /// The latest first.
    pub items: Vec<OrderView>,
}

/// What a film costs, in won.
#[must_use]
pub fn price(kind: OrderKind) -> i64 {
    match kind {
        OrderKind::Rent => 4_500,
        OrderKind::Buy => 12_900,
        OrderKind::Premiere => 25_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payment_notice_is_the_agreed_one_to_the_byte() {
        assert_eq!(
            PAYMENT_NOTICE.as_bytes(),
            b"\xed\x98\x84\xec\x9e\xac \xea\xb2\xb0\xec\xa0\x9c \
              \xec\x84\x9c\xeb\xb9\x84\xec\x8a\xa4\xec\x97\x90 \
              \xec\x9d\xbc\xec\x8b\x9c\xec\xa0\x81\xec\x9d\xb8 \xec\x98\xa4\xeb\xa5\x98\xea\xb0\x80 \
              \xeb\xb0\x9c\xec\x83\x9d\xed\x96\x88\xec\x8a\xb5\xeb\x8b\x88\xeb\x8b\xa4. \
              \xeb\x82\x98\xec\xa4\x91\xec\x97\x90 \xeb\x8b\xa4\xec\x8b\x9c \
              \xec\x8b\x9c\xeb\x8f\x84\xed\x95\xb4 \xec\xa3\xbc\xec\x84\xb8\xec\x9a\x94."
        );
    }
}
