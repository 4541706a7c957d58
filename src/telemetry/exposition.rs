//! What a scraper gets.

use prometheus::{Encoder, TextEncoder};

use super::metrics::Metrics;

/// A scrape's answer.
pub struct Exposition {
    /// For the `Content-Type` header; Prometheus 3 refuses an answer without one.
    pub content_type: &'static str,
    /// The families.
    pub body: Vec<u8>,
}

/// Encodes everything as it stands now.
#[must_use]
pub fn encode(metrics: &Metrics) -> Exposition {
    let mut body = Vec::with_capacity(64 * 1024);
    TextEncoder::new()
        .encode(&metrics.gather(), &mut body)
        .expect("writing into a Vec can't fail and every family has a known type");
    Exposition { content_type: prometheus::TEXT_FORMAT, body }
}
