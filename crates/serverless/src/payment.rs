//! The payment gateway's client.
//!
//! One attempt, with a connect timeout and a total timeout, and the order's id as `Idempotency-Key`.
//! There is no retry here: the queue and the state machine retry, after the breaker was asked again.

use std::time::Duration;

use serde::Serialize;

use crate::breaker::Outcome;

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// The gateway says that it was charged.
    Charged,
    /// The gateway says that nothing was charged (402).
    Declined,
    /// No answer that says so: it may have been charged, or not.
    Unknown,
    /// The connection was never made, so nothing was sent.
    NotSent,
}

impl Charge {
    /// What the breaker makes of it: a declined card is no failure of the gateway.
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
    /// A client of the gateway at `url`, each attempt of which takes at most `timeout`.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().connect_timeout(timeout / 2).timeout(timeout).build()?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned() })
    }

    /// Voids the charge of an order, if any. True when nothing is charged any more, which is also
    /// the answer when nothing ever was; false when the gateway did not say so.
    pub async fn void(&self, order: &str) -> bool {
        let answer = self.client.delete(format!("{}/charges/{order}", self.url)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success() || answer.status() == reqwest::StatusCode::NOT_FOUND)
    }

    /// Charges an order once, however often this is called with the same id.
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
