//! The console: one page on the admin port that shows what it knows and does what it can.
//!
//! It is made of the admin port's own JSON, read every two seconds by the browser, so that it shows
//! nothing a command line can't see. Everything is in the binary; nothing is loaded from elsewhere, and
//! the page may not load anything. Labels come from whoever sends alerts, so the page never takes a
//! text for markup.

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header::{self, HeaderName};

const PAGE: &str = include_str!("console.html");
const SCRIPT: &str = include_str!("console.js");
const STYLE: &str = include_str!("console.css");

/// What the page may do: its own script, its own style, and questions to its own port.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// `GET /console` and what belongs to it.
pub fn routes() -> Router {
    Router::new()
        .route("/console", get(|| async { file("text/html; charset=utf-8", PAGE) }))
        .route("/console/console.js", get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/console/console.css", get(|| async { file("text/css; charset=utf-8", STYLE) }))
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    const HEADERS: [(HeaderName, &str); 4] = [
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    ([(header::CONTENT_TYPE, kind)], HEADERS, text)
}
