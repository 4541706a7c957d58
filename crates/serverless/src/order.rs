//! Orders and their states.

use serde::{Deserialize, Serialize};

/// A request for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    /// Title to buy: 1–64 characters of `a-z`, `0-9` and `-`.
    pub title: String,
    /// Price in won, 1–10 000 000.
    pub amount: i64,
}

/// An invalid field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidOrder {
    /// Its name.
    pub field: &'static str,
    /// Its allowed values.
    pub reason: &'static str,
}

impl NewOrder {
    /// Validates the request.
    pub fn validate(&self) -> Result<(), InvalidOrder> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.title.is_empty() || self.title.len() > 64 || !self.title.chars().all(plain) {
            return Err(InvalidOrder { field: "title", reason: "must be 1–64 characters of a–z, 0–9 and -" });
        }
        if !(1..=10_000_000).contains(&self.amount) {
            return Err(InvalidOrder { field: "amount", reason: "must be 1–10000000 won" });
        }
        Ok(())
    }
}

/// Validates an idempotency key: 8–64 visible ASCII characters, chosen by the client.
pub fn validate_key(key: &str) -> Result<(), InvalidOrder> {
    if (8..=64).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(InvalidOrder { field: "Idempotency-Key", reason: "must be 8–64 visible ASCII characters" })
    }
}

/// Status of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its stock is reserved; nothing was sent to the payment gateway.
    Reserved,
    /// A charge may have been made: the request is about to be sent, or its outcome is unknown.
    Charging,
    /// It waits in the retry queue; `maybe_charged` tells whether a charge may have been made.
    Queued,
    /// Paid. Final.
    Paid,
    /// Declined or cancelled before anything was charged; the stock is released. Final.
    Cancelled,
    /// Out of attempts while a charge may have been made: needs manual action. Final for the functions.
    Dead,
}

impl Status {
    /// Whether the status is final.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Paid | Self::Cancelled | Self::Dead)
    }

    /// Spelling in the store and in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Charging => "charging",
            Self::Queued => "queued",
            Self::Paid => "paid",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }
}

/// A stored order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The idempotency key, which is also that of the charge.
    pub id: String,
    /// Incremented by each write, which is conditional on the previous value.
    pub version: u64,
    /// The title.
    pub title: String,
    /// Price in won.
    pub amount: i64,
    /// The status.
    pub status: Status,
    /// Whether any attempt so far has an unknown outcome.
    pub maybe_charged: bool,
    /// Attempts that reached, or may have reached, the payment gateway.
    pub attempts: u32,
    /// End of the lease of the function that works on it, Unix milliseconds.
    pub lease_until: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_out_of_range_name_the_field() {
        let field = |title: &str, amount| {
            NewOrder { title: title.to_owned(), amount }.validate().err().map(|error| error.field)
        };
        assert_eq!(field("parasite", 3_500), None);
        assert_eq!(field("", 3_500), Some("title"));
        assert_eq!(field("Über", 3_500), Some("title"));
        assert_eq!(field("parasite", 0), Some("amount"));
        assert_eq!(field("parasite", 10_000_001), Some("amount"));
    }

    #[test]
    fn keys_are_bounded_and_visible() {
        assert!(validate_key("12345678").is_ok());
        for key in ["1234567", "has space", &"x".repeat(65), "줄바꿈이없는키입니다"] {
            assert!(validate_key(key).is_err(), "{key}");
        }
    }
}
