//! The retry queue on SQS: one message per order.
//!
//! The queue's redrive policy moves a message that was received too often to the dead-letter queue.
//! A message that only waits for the breaker is sent again with a delay instead of being received
//! repeatedly, so that waiting does not count as an attempt.

use aws_sdk_sqs::Client;
use serde::{Deserialize, Serialize};

/// Maximum delay of a message in SQS, in seconds.
const LONGEST_DELAY: u64 = 900;

/// Body of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// The order to continue.
    pub order: String,
    /// Attempts before the order becomes a dead letter, counted by the queue's worker.
    #[serde(default)]
    pub tries: u32,
}

/// The message could not be sent.
#[derive(Debug, thiserror::Error)]
#[error("queue: {0}")]
pub struct QueueError(String);

/// A client of the queue.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    /// Creates a client of the queue at `url`.
    #[must_use]
    pub fn new(client: Client, url: &str) -> Self {
        Self { client, url: url.to_owned() }
    }

    /// Sends a message that is delivered after `delay_millis`, at most 15 minutes.
    pub async fn send(&self, retry: &Retry, delay_millis: u64) -> Result<(), QueueError> {
        let body = serde_json::to_string(retry).map_err(|error| QueueError(error.to_string()))?;
        let seconds = i32::try_from(delay_millis.div_ceil(1_000).min(LONGEST_DELAY)).unwrap_or(i32::MAX);
        let request = self.client.send_message().queue_url(&self.url).message_body(body).delay_seconds(seconds);
        request.send().await.map_err(|error| QueueError(error.into_service_error().to_string()))?;
        Ok(())
    }
}
