//! A breaker without stored state: it queries Prometheus for the recent failure ratio of the payment gateway.
//!
//! Useful if even one conditional write per call is too much. Its decisions lag by a scrape interval; it has no
//! half-open state (while it rejects all calls there are no samples, and after the window has passed calls pass again);
//! and it needs the samples of all instances in one Prometheus, for functions by remote write or the OTLP receiver. If
//! Prometheus does not answer in time, calls pass.

use std::time::Duration;

use serde_json::Value;

/// Thresholds.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Address of Prometheus, such as `http://127.0.0.1:9090`.
    pub prometheus: String,
    /// An instant query whose only sample is the failure ratio, 0–1. With NaN or without a sample, calls pass.
    pub query: String,
    /// Failure ratio from which calls are rejected, 0–1.
    pub threshold: f64,
    /// Time that a rejected caller should wait, milliseconds: the window of the query.
    pub retry_after: u64,
    /// Timeout of the query.
    pub timeout: Duration,
}

/// The breaker.
#[derive(Clone, Debug)]
pub struct Stateless {
    client: reqwest::Client,
    settings: Settings,
}

impl Stateless {
    /// Creates a breaker with these thresholds.
    pub fn new(settings: Settings) -> Result<Self, reqwest::Error> {
        Ok(Self { client: reqwest::Client::builder().timeout(settings.timeout).build()?, settings })
    }

    /// Decides about a call; `Err` has the milliseconds to wait.
    pub async fn admit(&self) -> Result<(), u64> {
        match self.failure_ratio().await {
            Some(ratio) if ratio >= self.settings.threshold => Err(self.settings.retry_after),
            _ => Ok(()),
        }
    }

    async fn failure_ratio(&self) -> Option<f64> {
        let request = self.client.get(format!("{}/api/v1/query", self.settings.prometheus.trim_end_matches('/')));
        let answer = request.query(&[("query", &self.settings.query)]).send().await.ok()?.error_for_status().ok()?;
        let answer: Value = answer.json().await.ok()?;
        let text = answer.pointer("/data/result/0/value/1")?.as_str()?;
        text.parse().ok()
    }
}
