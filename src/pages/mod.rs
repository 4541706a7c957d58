//! The web pages of the program: the storefront on the public ports, the console on the admin port.
//!
//! Both are built from `web/` (Vite, Preact, TypeScript) and the result is committed under `dist`, so that `cargo
//! build` needs no Node; `scripts/pages.sh --check` rebuilds and compares. A page uses the same JSON as any other
//! client, loads nothing from other origins and can only run its own script.

mod assets;
mod console;
mod feed;
mod live;
mod storefront;
mod twin;

#[cfg(test)]
mod tests;

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use tower::ServiceExt;

pub use console::console;
pub use feed::Feed;
pub use storefront::{Side, Storefront};

/// The response of these routes as JSON of at most `largest` bytes; `None` if it is unavailable.
async fn json_of(routes: &Router, request: http::request::Builder, largest: usize) -> Option<Value> {
    let request: Request<Body> = request.body(Body::empty()).ok()?;
    let response = routes.clone().oneshot(request).await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    let body = Limited::new(response.into_body(), largest).collect().await.ok()?;
    serde_json::from_slice(&body.to_bytes()).ok()
}
