//! A breaker that stores nothing: it asks Prometheus how the payment gateway did lately.
//!
//! Good where even one conditional write for each call is too much. It is late by a scrape interval,
//! has no half-open state (while it rejects everything there is nothing to measure; once the window has
//! passed it lets calls through again), and needs all instances' numbers in one Prometheus, for functions
//! by remote write or the OTLP receiver. When Prometheus does not answer in time, calls pass.

use std::time::Duration;

use serde_json::Value;

/// Thresholds.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Prometheus' address, such as `http://127.0.0.1:9090`.
    pub prometheus: String,
    /// An instant query whose only sample is the share of failures, 0–1. NaN or no sample lets calls pass.
    pub query: String,
    /// Share of failures from which calls are rejected, 0–1.
    pub threshold: f64,
    /// How long a rejected caller should wait, milliseconds: the query's window.
    pub retry_after: u64,
    /// How long Prometheus may take.
    pub timeout: Duration,
}

/// The breaker.
#[derive(Clone, Debug)]
pub struct Stateless {
    client: reqwest::Client,
    settings: Settings,
}

impl Stateless {
    /// A breaker with these thresholds.
    pub fn new(settings: Settings) -> Result<Self, reqwest::Error> {
        Ok(Self { client: reqwest::Client::builder().timeout(settings.timeout).build()?, settings })
    }

    /// `Err` with the milliseconds to wait when calls are rejected.
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
