//! The console on the admin port: one page that shows the program's state and sends its commands.
//!
//! Its data comes from [`Feed`](super::Feed); the page does not poll. Labels come from outside, so the page never
//! interprets a text as markup.

use axum::Router;
use axum::routing::get;

use super::assets::Asset;

/// `GET /console` and its files.
#[must_use = "routes do nothing until they are served"]
pub fn console() -> Router {
    Router::new()
        .route("/console", Asset::new("text/html; charset=utf-8", include_str!("dist/console.html")).route())
        .route(
            "/assets/console.js",
            Asset::new("text/javascript; charset=utf-8", include_str!("dist/console.js")).route(),
        )
        .route("/assets/console.css", Asset::new("text/css; charset=utf-8", include_str!("dist/console.css")).route())
        // The former address of the page.
        .route("/console/", get(|| async { axum::response::Redirect::permanent("/console") }))
}
