//! Scrapes: encoded at most once a second, for any number of clients.
//!
//! An exposition is half a megabyte of text and takes milliseconds. If it were encoded for each request, and kept
//! for each slow reader, a few hundred scrapers could exhaust a small container's memory. Here all requests within
//! a second share one, in each of the two formats, plain and compressed.

use std::io::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, header};
use tokio::sync::Mutex;
use tokio::time::Instant;

use breakerbox_telemetry::{Exposition, Format, Metrics, encode};

/// Maximum age of a cached exposition: less than any scrape interval.
const FRESH: Duration = Duration::from_secs(1);

/// The latest exposition in each format.
#[derive(Default)]
pub(super) struct Scrapes {
    plain: Mutex<Option<Kept>>,
    openmetrics: Mutex<Option<Kept>>,
}

struct Kept {
    at: Instant,
    content_type: &'static str,
    text: Bytes,
    gzip: Option<Bytes>,
}

impl Scrapes {
    /// The answer to a scrape with these headers.
    pub(super) async fn answer(&self, metrics: &Metrics, headers: &HeaderMap) -> Response {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let format = Format::accepted(text(header::ACCEPT));
        let slot = match format {
            Format::Text => &self.plain,
            Format::OpenMetrics => &self.openmetrics,
        };
        // A request that waits for the lock shares the exposition of the previous one.
        let mut slot = slot.lock().await;
        if slot.as_ref().is_none_or(|kept| kept.at.elapsed() >= FRESH) {
            let Exposition { content_type, body } = encode(metrics, format);
            *slot = Some(Kept { at: Instant::now(), content_type, text: body.into(), gzip: None });
        }
        let kept = slot.as_mut().expect("it was made above");
        let zipped = text(header::ACCEPT_ENCODING).is_some_and(takes_gzip);
        let body = if zipped { kept.gzip.get_or_insert_with(|| gzip(&kept.text)).clone() } else { kept.text.clone() };
        let mut response = Response::new(Body::from(body));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kept.content_type));
        headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
        if zipped {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

fn gzip(text: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text).expect("writing into a Vec can't fail");
    encoder.finish().expect("writing into a Vec can't fail").into()
}

/// Whether `Accept-Encoding` (RFC 9110, section 12.5.3) allows gzip.
fn takes_gzip(accept: &str) -> bool {
    accept.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        named && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    async fn body(response: Response) -> Bytes {
        response.into_body().collect().await.unwrap().to_bytes()
    }

    #[tokio::test(start_paused = true)]
    async fn scrapes_of_one_second_share_one_exposition() {
        let (metrics, scrapes) = (Metrics::new(&[]), Scrapes::default());
        let inbox = metrics.inbox();
        let plain = HeaderMap::new();
        let first = body(scrapes.answer(&metrics, &plain).await).await;
        inbox.delivered(breakerbox_telemetry::AlertStatus::Resolved);
        let again = body(scrapes.answer(&metrics, &plain).await).await;
        assert_eq!(first.as_ptr(), again.as_ptr(), "the same bytes, not a copy");
        tokio::time::advance(FRESH).await;
        let later = body(scrapes.answer(&metrics, &plain).await).await;
        let text = String::from_utf8(later.to_vec()).unwrap();
        assert!(text.contains("alert_webhook_notifications_total{status=\"resolved\"} 1"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn formats_and_encodings_are_kept_apart() {
        let (metrics, scrapes) = (Metrics::new(&[]), Scrapes::default());
        let asked = |accept: &'static str, encoding: &'static str| {
            let pairs = [(header::ACCEPT, accept), (header::ACCEPT_ENCODING, encoding)];
            HeaderMap::from_iter(pairs.map(|(name, value)| (name, HeaderValue::from_static(value))))
        };
        let open = scrapes.answer(&metrics, &asked("application/openmetrics-text;version=1.0.0", "gzip")).await;
        assert_eq!(open.headers()[header::CONTENT_ENCODING], "gzip");
        assert!(open.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("application/openmetrics-text"));
        let zipped = body(open).await;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&zipped[..]), &mut text).unwrap();
        assert!(text.ends_with("# EOF\n"));
        let plain = scrapes.answer(&metrics, &asked("text/plain", "gzip;q=0, br")).await;
        assert!(!String::from_utf8(body(plain).await.to_vec()).unwrap().contains("# EOF"));
        assert!(takes_gzip("br, GZIP;q=0.5") && !takes_gzip("gzip;q=0") && !takes_gzip("") && !takes_gzip("gzipped"));
    }
}
