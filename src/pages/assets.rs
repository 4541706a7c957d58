//! Embedded files, served with their headers.

use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::header::{self, HeaderMap, HeaderName};
use http::{HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

/// Content security policy of the pages: they run their own script, use their own style, draw generated images, and
/// connect to their own port.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the built front end.
#[derive(Clone)]
pub(super) struct Asset {
    kind: &'static str,
    body: &'static str,
    tag: HeaderValue,
}

impl Asset {
    /// A file with this media type.
    pub(super) fn new(kind: &'static str, body: &'static str) -> Self {
        let digest = Sha256::digest(body.as_bytes());
        let tag = digest.iter().take(8).fold(0_u64, |tag, byte| tag << 8 | u64::from(*byte));
        // Hexadecimal digits in quotes are always a valid header value.
        let tag = HeaderValue::try_from(format!("\"{tag:016x}\"")).unwrap_or(HeaderValue::from_static("\"0\""));
        Self { kind, body, tag }
    }

    /// A route that serves the file.
    pub(super) fn route<S: Clone + Send + Sync + 'static>(self) -> MethodRouter<S> {
        get(move |headers: HeaderMap| {
            let asset = self.clone();
            async move { asset.serve(&headers) }
        })
    }

    /// The file, or 304 if the browser's copy is up to date.
    fn serve(&self, request: &HeaderMap) -> Response {
        const HEADERS: [(HeaderName, &str); 4] = [
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
        ];
        let known = request.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
        let own = self.tag.to_str().unwrap_or_default();
        // Compression turns the tag into a weak one.
        if known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == own)) {
            return (StatusCode::NOT_MODIFIED, [(header::ETAG, self.tag.clone())], HEADERS).into_response();
        }
        (
            [(header::CONTENT_TYPE, HeaderValue::from_static(self.kind)), (header::ETAG, self.tag.clone())],
            HEADERS,
            self.body,
        )
            .into_response()
    }
}
