//! The storefront: the viewers' site, on the public port of each gateway.
//!
//! The page calls the gateway's own `/api/*`. It is served beside the gateway's edge, not behind it: a fault injected
//! there fails the page's requests but not the page, which can show the error. On the protected gateway's port,
//! `/twin/api/*` reaches the unprotected twin, so that one page can show both sides without another origin.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio_util::task::TaskTracker;
use tower_http::compression::CompressionLayer;

use super::assets::Asset;
use super::{live, twin};
use crate::client::Client;
use crate::services::user;

/// Demonstration accounts that the page offers for login.
const DEMO_VIEWERS: [&str; 5] = ["viewer7", "viewer12", "viewer23", "viewer31", "viewer84"];

/// The gateway of a storefront.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The protected gateway.
    Protected,
    /// Its unprotected twin.
    Bare,
}

/// Parts of a storefront.
#[derive(Clone)]
pub struct Storefront {
    /// Its gateway.
    pub side: Side,
    /// Base URL of the unprotected twin, for the split view.
    pub twin: Option<String>,
    /// URL of the console, if browsers that reach this page can reach it.
    pub console: Option<String>,
    /// The process's clients, whose breakers are shown read-only.
    pub clients: Vec<Client>,
    /// The gateway's own routes, from which the stream reads a viewer's orders.
    pub api: Router,
    /// The process's tasks; streams end with them.
    pub tasks: TaskTracker,
}

/// Configuration of the page.
#[derive(Debug, Serialize)]
struct Site {
    side: Side,
    /// Prefix of the twin's API.
    twin: Option<&'static str>,
    console: Option<String>,
    demo: Demo,
}

#[derive(Debug, Serialize)]
struct Demo {
    viewers: [&'static str; 5],
    password: &'static str,
}

/// The public status of a breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct BreakerStatus {
    pub(super) service: String,
    pub(super) name: String,
    pub(super) state: &'static str,
    /// Seconds until the next probe; 0 unless it is open.
    pub(super) retry_after_seconds: u64,
}

impl Storefront {
    /// `GET /`, its files, `/site.json`, `/status.json`, `/live`, and `/twin/api/*` when there is a twin.
    pub fn routes(self) -> Result<Router, String> {
        let files = Router::new()
            .route("/", Asset::new("text/html; charset=utf-8", include_str!("dist/storefront.html")).route())
            .route(
                "/assets/storefront.js",
                Asset::new("text/javascript; charset=utf-8", include_str!("dist/storefront.js")).route(),
            )
            .route(
                "/assets/storefront.css",
                Asset::new("text/css; charset=utf-8", include_str!("dist/storefront.css")).route(),
            )
            .layer(CompressionLayer::new());
        let twin = self.twin.as_deref().map(twin::routes).transpose()?;
        let streams = live::routes(self.clone());
        let site =
            Router::new().route("/site.json", get(site)).route("/status.json", get(status)).with_state(Arc::new(self));
        let site = site.merge(streams);
        let routes = files.merge(site);
        Ok(match twin {
            Some(twin) => routes.merge(twin),
            None => routes,
        })
    }
}

async fn site(State(storefront): State<Arc<Storefront>>) -> Json<Site> {
    let Storefront { side, twin, console, .. } = &*storefront;
    Json(Site {
        side: *side,
        twin: twin.is_some().then_some(twin::PREFIX),
        console: console.clone(),
        demo: Demo { viewers: DEMO_VIEWERS, password: user::PASSWORD },
    })
}

async fn status(State(storefront): State<Arc<Storefront>>) -> Json<Vec<BreakerStatus>> {
    Json(statuses(&storefront))
}

/// The current status of every breaker.
pub(super) fn statuses(storefront: &Storefront) -> Vec<BreakerStatus> {
    let seen = storefront.clients.iter().filter_map(|client| {
        let now = client.snapshot()?;
        Some(BreakerStatus {
            service: client.service().to_owned(),
            name: client.dependency().to_owned(),
            state: now.state.as_str(),
            retry_after_seconds: now.open_remaining.as_secs() + u64::from(now.open_remaining.subsec_nanos() > 0),
        })
    });
    seen.collect()
}
