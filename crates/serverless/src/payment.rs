//! Client of the payment gateway.
//!
//! One attempt, with a connect timeout and a total timeout, and the order's id as `Idempotency-Key`.
//! There is no retry here: the queue and the state machine retry, each time with a new permit from the breaker.

use std::time::Duration;

use serde::Serialize;

use crate::breaker::Outcome;

/// Result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// Charged, according to the gateway.
    Charged,
    /// Not charged, according to the gateway (402).
    Declined,
    /// No conclusive answer: it may have been charged.
    Unknown,
    /// No connection, so that nothing was sent.
    NotSent,
}

impl Charge {
    /// The outcome for the breaker: a declined card is not a failure of the gateway.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Charged | Self::Declined => Outcome::Success,
            Self::Unknown | Self::NotSent => Outcome::Failure,
        }
    }
}

/// A client of the gateway.
#[derive(Clone, Debug)]
pub struct Payments {
    client: reqwest::Client,
    url: String,
}

#[derive(Serialize)]
struct Request<'a> {
    order: &'a str,
    amount: i64,
}

impl Payments {
    /// Creates a client of the gateway at `url`; an attempt takes at most `timeout`.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().connect_timeout(timeout / 2).timeout(timeout).build()?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned() })
    }

    /// Voids the charge of an order, if there is one. True if the gateway confirms that nothing is charged; also if
    /// nothing ever was.
    pub async fn void(&self, order: &str) -> bool {
        let answer = self.client.delete(format!("{}/charges/{order}", self.url)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success() || answer.status() == reqwest::StatusCode::NOT_FOUND)
    }

    /// Charges an order. Repeated calls with the same id charge it once.
    pub async fn charge(&self, order: &str, amount: i64) -> Charge {
        let request = self.client.post(format!("{}/charges", self.url)).header("Idempotency-Key", order);
        match request.json(&Request { order, amount }).send().await {
            Ok(answer) if answer.status().is_success() => Charge::Charged,
            Ok(answer) if answer.status() == reqwest::StatusCode::PAYMENT_REQUIRED => Charge::Declined,
            Err(error) if error.is_connect() => Charge::NotSent,
            Ok(_) | Err(_) => Charge::Unknown,
        }
    }
}
