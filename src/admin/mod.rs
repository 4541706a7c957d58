//! The admin port: metrics, health, breakers, faults, alerts.
//!
//! Reading is free; changing anything takes the token when one is set, and is refused to pages of
//! other sites that a browser on this machine may have open.

mod breakers;
mod faults;
mod forward;
mod inbox;
mod lock;
mod peers;
mod runbook;
mod settings;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use axum::extract::{DefaultBodyLimit, State};
use axum::middleware;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, patch, post, put};
use axum::{Json, Router};
use futures_util::stream::{self, Stream};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tower_http::compression::CompressionLayer;

use self::breakers::{breakers, change_breaker, is_open};
use self::faults::{clear_fault, clear_faults, faults, set_fault};
use self::inbox::Delivery;
use self::lock::{Locked, locked};
use self::runbook::runbook;
use crate::client::Client;
use crate::faults::Faults;
use crate::web::problem::{Body, Problem, Query};
use breakerbox_telemetry::{Metrics, TransitionLog, encode};

pub use self::inbox::{Alert, Inbox, Overview};
pub use self::peers::{Answer, Command, Instance, Peers, instances};
pub use self::settings::{AdminSettings, Secret};

/// Largest body of an admin request, in bytes.
const LARGEST_BODY: usize = 256 * 1024;

/// What the admin port shows and commands. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
}

/// What it shows and commands.
pub struct AdminParts {
    /// The process's metrics.
    pub metrics: Metrics,
    /// The process's transitions.
    pub transitions: TransitionLog,
    /// Every client with a breaker.
    pub clients: Vec<Client>,
    /// The faults of the process's services.
    pub faults: Faults,
    /// The process's services.
    pub services: Vec<&'static str>,
    /// Where the admin port is reached, as `host:port`.
    pub address: String,
}

struct Inner {
    parts: AdminParts,
    inbox: Inbox,
    settings: AdminSettings,
    ready: AtomicBool,
    peers: Peers,
}

impl Admin {
    /// An admin port over these parts.
    pub fn new(parts: AdminParts, settings: &AdminSettings) -> Result<Self, String> {
        let peers = Peers::new(settings)?;
        let inbox = Inbox::new(parts.metrics.inbox());
        let inner = Inner { parts, inbox, settings: settings.clone(), ready: AtomicBool::new(false), peers };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Says whether the process takes requests.
    pub fn set_ready(&self, ready: bool) {
        self.inner.ready.store(ready, Ordering::Release);
    }

    /// The alerts that were delivered.
    #[must_use]
    pub fn inbox(&self) -> &Inbox {
        &self.inner.inbox
    }

    /// All routes; `more` are those of layers above, under the same lock.
    pub fn router(&self, more: Router) -> Router {
        Router::new()
            .route("/", get(index))
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { Json(json!({"status": "alive"})) }))
            .route("/readyz", get(ready))
            .route("/health", get(health))
            .route("/breakers", get(breakers))
            .route("/breakers/{service}/{name}", patch(change_breaker))
            .route("/transitions", get(transitions))
            .route("/faults", get(faults).delete(clear_faults))
            .route("/faults/{target}", put(set_fault).delete(clear_fault))
            .route("/alerts", get(alerts))
            .route("/alerts/webhook", post(webhook))
            .route("/events", get(events))
            .route("/sd", get(discovery))
            .route("/runbook", get(runbook))
            .fallback(|| async { Problem::not_found("no such admin page; GET / lists them") })
            .with_state(self.clone())
            .merge(more)
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .layer(middleware::from_fn_with_state(Locked(self.inner.settings.token.clone()), locked))
            .layer(CompressionLayer::new())
    }
}

/// What there is: for a browser the console, for everybody else a list.
async fn index(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("text/html")) {
        return Redirect::to("/console").into_response();
    }
    let list = json!({
        "program": concat!("breakerbox ", env!("CARGO_PKG_VERSION")),
        "services": admin.inner.parts.services,
        "read": ["/metrics", "/healthz", "/readyz", "/health", "/breakers", "/transitions", "/faults", "/alerts", "/events", "/sd", "/scenario", "/queue", "/runbook", "/console"],
        "of all processes": ["/health?everywhere=true", "/breakers?everywhere=true", "/transitions?everywhere=true", "/faults?everywhere=true"],
        "change": [
            "PATCH /breakers/{service}/{name}", "PUT /faults/{target}", "DELETE /faults/{target}", "DELETE /faults",
            "POST /scenario/{start,pause,stop}", "POST /alerts/webhook",
        ],
    });
    Json(list).into_response()
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let exposition = encode(&admin.inner.parts.metrics, accept);
    ([(header::CONTENT_TYPE, exposition.content_type)], exposition.body).into_response()
}

async fn ready(State(admin): State<Admin>) -> Result<Json<Value>, Problem> {
    if admin.inner.ready.load(Ordering::Acquire) {
        return Ok(Json(json!({"status": "ready"})));
    }
    Err(Problem::unavailable("not ready: starting or stopping", None))
}

/// What a page tells of.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    /// All processes that the settings name, instead of this one alone.
    #[serde(default)]
    everywhere: bool,
}

/// The status of [`breakers`], and which are open.
async fn health(State(admin): State<Admin>, scope: Query<Scope>) -> Json<Value> {
    let Json(page) = breakers(State(admin), scope).await;
    let all = page["breakers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let open: Vec<_> = all
        .iter()
        .filter(|breaker| is_open(breaker))
        .map(|breaker| {
            let text = |key: &str| breaker[key].as_str().unwrap_or_default();
            format!("{}/{}", text("service"), text("name"))
        })
        .collect();
    Json(json!({"status": page["status"], "breakers": all.len(), "open": open}))
}

/// The latest last.
async fn transitions(State(admin): State<Admin>, Query(scope): Query<Scope>) -> Json<Value> {
    let own = json!({"transitions": admin.inner.parts.transitions.latest()});
    let mut page = admin.joined(scope.everywhere, own, ("/transitions", "transitions")).await;
    if let Some(all) = page["transitions"].as_array_mut() {
        let at = |transition: &Value| transition["unix_seconds"].as_f64().unwrap_or_default();
        all.sort_by(|a, b| at(a).total_cmp(&at(b)));
    }
    Json(page)
}

async fn alerts(State(admin): State<Admin>) -> Response {
    Json(admin.inner.inbox.overview()).into_response()
}

async fn webhook(State(admin): State<Admin>, Body(delivery): Body<Delivery>) -> StatusCode {
    admin.inner.inbox.deliver(delivery, SystemTime::now());
    StatusCode::NO_CONTENT
}

/// Transitions as they happen, as server-sent events.
async fn events(State(admin): State<Admin>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let feed = stream::unfold(admin.inner.parts.transitions.subscribe(), |mut feed| async {
        loop {
            match feed.recv().await {
                Ok(record) => {
                    let event = Event::default().event("transition").json_data(record).unwrap_or_default();
                    return Some((Ok(event), feed));
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    Sse::new(feed).keep_alive(KeepAlive::default())
}

/// Prometheus' HTTP service discovery: this process, or all that its settings name.
async fn discovery(State(admin): State<Admin>) -> Json<Value> {
    let inner = &admin.inner;
    let group =
        |name: &str, targets: &[String]| json!({"targets": targets, "labels": {"__meta_breakerbox_process": name}});
    let mut groups = Vec::new();
    for name in inner.peers.names() {
        // Whoever is not to be found now was a target before, and Prometheus shall go on missing it.
        let targets = match inner.peers.behind(name).await {
            Ok(instances) => instances.into_iter().map(|instance| instance.address).collect(),
            Err(_) => inner.peers.addresses(name),
        };
        groups.push(group(name, &targets));
    }
    if groups.is_empty() {
        groups.push(group("breakerbox", std::slice::from_ref(&inner.parts.address)));
    }
    Json(Value::Array(groups))
}
