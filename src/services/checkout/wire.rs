//! Messages of checkout's API.

use serde::{Deserialize, Serialize};

use crate::store::{OrderKind, OrderState};
use breakerbox_telemetry::OrderStatus;

/// Notice for viewers while the payment gateway is unavailable.
pub const PAYMENT_NOTICE: &str = "현재 결제 서비스에 일시적인 오류가 발생했습니다. 나중에 다시 시도해 주세요.";

/// An order request from a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckoutRequest {
    /// The film.
    pub film_id: u32,
    /// The kind of the sale.
    pub kind: OrderKind,
    /// Whether the order may be queued and charged later.
    #[serde(default)]
    pub retry_later: bool,
}

/// The request from the gateway, which has identified the viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// The viewer.
    pub user_id: u32,
    /// The film.
    pub film_id: u32,
    /// The kind of the sale.
    pub kind: OrderKind,
    /// Whether the order may be queued and charged later.
    #[serde(default)]
    pub retry_later: bool,
}

impl OrderRequest {
    /// Hash of the request; equal for equal requests.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("{}:{}:{}", self.film_id, self.kind.as_str(), self.retry_later)
    }
}

/// Outcome of an order request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderOutcome {
    /// Charged.
    Paid,
    /// Queued; will be charged when the payment gateway is back.
    Queued,
    /// Refused because the payment gateway is unavailable; nothing was charged.
    PaymentFailed,
    /// Refused because the card was declined.
    Declined,
    /// Refused because it is sold out.
    SoldOut,
    /// Refused because the stock is unavailable.
    Unavailable,
    /// Cancelled by its viewer while it was queued.
    Cancelled,
    /// Cancelled because its showing ended before it could be charged.
    Expired,
}

impl OrderOutcome {
    /// Its label value.
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

/// The response to an order request. It is a success even if the order was refused: a failing payment gateway must not
/// look like a failing checkout, or breakers for checkout would open, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderAnswer {
    /// The order's id.
    pub order_id: String,
    /// Its outcome.
    pub outcome: OrderOutcome,
    /// Its price.
    pub amount_won: i64,
    /// Notice for the viewer.
    pub notice: Option<String>,
    /// When a retry makes sense.
    pub retry_after_seconds: Option<u64>,
}

/// An entry in the history of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStep {
    /// The step.
    pub step: String,
    /// Its outcome.
    pub outcome: String,
    /// Further details.
    pub detail: String,
    /// Time, in Unix milliseconds.
    pub at: i64,
}

/// An order as its viewer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    /// Its id.
    pub order_id: String,
    /// The film.
    pub film_id: u32,
    /// The kind of the sale.
    pub kind: OrderKind,
    /// Its price.
    pub amount_won: i64,
    /// Its state.
    pub state: OrderState,
    /// Why it was cancelled; empty if it was not.
    pub reason: String,
    /// When it was accepted, in Unix milliseconds.
    pub created_at: i64,
    /// Whether its viewer may cancel it now.
    pub can_cancel: bool,
    /// Due time of the next attempt, in Unix milliseconds, while it is queued. The attempt may be earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<i64>,
    /// Its history; empty in a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<OrderStep>,
}

/// A viewer's orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderList {
    /// The latest first.
    pub items: Vec<OrderView>,
}

/// The price of a film, in won.
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
