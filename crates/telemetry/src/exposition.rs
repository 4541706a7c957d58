//! Expositions for scrapers: Prometheus text by default, OpenMetrics with exemplars on request.

use prometheus::{Encoder, TextEncoder};

use super::metrics::Metrics;
use super::openmetrics;

/// Response to a scrape.
pub struct Exposition {
    /// `Content-Type` header; Prometheus 3 refuses a response without one.
    pub content_type: &'static str,
    /// Encoded families.
    pub body: Vec<u8>,
}

/// Format of an exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text, version 0.0.4.
    Text,
    /// OpenMetrics 1.0, with exemplars.
    OpenMetrics,
}

impl Format {
    /// The format that an `Accept` header prefers.
    ///
    /// Exemplars in the plain format would fail the whole scrape, so OpenMetrics is chosen only if it is named and
    /// preferred no less than plain text.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        if accept.is_some_and(prefers_openmetrics) { Self::OpenMetrics } else { Self::Text }
    }
}

/// Encodes all current values.
#[must_use]
pub fn encode(metrics: &Metrics, format: Format) -> Exposition {
    let (content_type, body) = match format {
        Format::OpenMetrics => (openmetrics::CONTENT_TYPE, openmetrics::encode(metrics).into_bytes()),
        Format::Text => {
            let mut body = Vec::with_capacity(metrics.last_size());
            TextEncoder::new()
                .encode(&metrics.gather(), &mut body)
                .expect("writing into a Vec can't fail and every family has a known type");
            (prometheus::TEXT_FORMAT, body)
        }
    };
    metrics.encoded(body.len());
    Exposition { content_type, body }
}

/// Parses an `Accept` header (RFC 9110 §12.5.1) for the two formats.
fn prefers_openmetrics(accept: &str) -> bool {
    let (mut open, mut plain) = (0.0_f64, 0.0_f64);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut version) = (1.0, None);
        for parameter in parts {
            match parameter.split_once('=') {
                Some((key, value)) if key.trim().eq_ignore_ascii_case("q") => {
                    quality = value.trim().parse().unwrap_or(0.0);
                }
                Some((key, value)) if key.trim().eq_ignore_ascii_case("version") => {
                    version = Some(value.trim().trim_matches('"'));
                }
                _ => {}
            }
        }
        match media.as_str() {
            "application/openmetrics-text" if matches!(version, None | Some("1.0.0")) => open = open.max(quality),
            "text/plain" | "text/*" | "*/*" => plain = plain.max(quality),
            _ => {}
        }
    }
    open > 0.0 && open >= plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_follows_the_scraper() {
        // Headers of Prometheus 2.42 and 3.5.
        for prometheus in [
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        ] {
            assert!(prefers_openmetrics(prometheus), "{prometheus}");
        }
        for other in [
            "*/*",
            "text/plain",
            "text/html, application/openmetrics-text;q=0",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0.1, text/plain;q=0.9",
            "",
        ] {
            assert!(!prefers_openmetrics(other), "{other}");
        }
    }
}
