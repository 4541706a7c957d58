//! The admin port: metrics, health, breakers, faults, alerts.
//!
//! Reading needs no token; every other method needs it when one is set. Requests from pages of other sites are
//! refused in any case.

mod audit;
mod breakers;
mod faults;
mod forward;
mod inbox;
mod lock;
mod peers;
mod runbook;
mod scrape;
mod settings;
pub mod wire;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use axum::extract::{DefaultBodyLimit, State};
use axum::middleware;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, patch, post, put};
use axum::{Json, Router};
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::{self, Stream};
use http::{HeaderMap, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tower_http::compression::CompressionLayer;
use utoipa::{IntoParams, OpenApi};

use self::audit::{Audit, actions, audited};
use self::breakers::{breakers, change_breaker, health};
use self::faults::{clear_fault, clear_faults, faults, set_fault};
use self::inbox::Delivery;
use self::lock::{Lock, locked};
use self::runbook::runbook;
use self::scrape::Scrapes;
use self::wire::{Index, Liveness, ProblemBody, TargetGroup, Transition, Transitions};
use crate::client::Client;
use crate::faults::Faults;
use crate::web::problem::{Body, Problem, Query};
use breakerbox_telemetry::{Metrics, TransitionLog};

pub use self::inbox::{Alert, Inbox, Overview};
pub use self::peers::{Answer, Command, Instance, Peers, instances};
pub use self::settings::{AdminSettings, Secret};

/// Largest body of an admin request, in bytes.
const LARGEST_BODY: usize = 256 * 1024;

/// The state and commands of the admin port. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
}

/// State and commands.
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
    /// Address of the admin port, as `host:port`.
    pub address: String,
    /// Additional readiness checks: whether the stores of the process's services are writable.
    pub probes: Vec<Probe>,
}

/// Checks that something works; returns the error if it does not.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Timeout of a probe.
const PROBE: std::time::Duration = std::time::Duration::from_secs(2);

struct Inner {
    parts: AdminParts,
    inbox: Inbox,
    audit: Audit,
    scrapes: Scrapes,
    settings: AdminSettings,
    ready: AtomicBool,
    peers: Peers,
}

impl Admin {
    /// Creates an admin port for these parts.
    pub fn new(parts: AdminParts, settings: &AdminSettings) -> Result<Self, String> {
        let peers = Peers::new(settings)?;
        let inbox = Inbox::new(parts.metrics.inbox());
        let audit = Audit::new(parts.metrics.admin());
        let inner = Inner {
            parts,
            inbox,
            audit,
            scrapes: Scrapes::default(),
            settings: settings.clone(),
            ready: AtomicBool::new(false),
            peers,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Sets whether the process accepts requests.
    pub fn set_ready(&self, ready: bool) {
        self.inner.ready.store(ready, Ordering::Release);
    }

    /// The delivered alerts.
    #[must_use]
    pub fn inbox(&self) -> &Inbox {
        &self.inner.inbox
    }

    /// Whether changes need a token.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.inner.settings.token.is_some()
    }

    /// A page of every other configured process, of those that answer in time.
    pub async fn read_peers(&self, path: &str) -> Vec<Value> {
        const SOON: Duration = Duration::from_millis(1500);
        let Inner { peers, parts, .. } = &*self.inner;
        let command = Command { method: Method::GET, path, body: None };
        let others = peers.names().filter(|name| !parts.services.contains(name));
        let asked = others.map(|name| tokio::time::timeout(SOON, peers.tell_all(name, &command)));
        let answers = join_all(asked).await.into_iter().flatten().flatten().flatten().flatten();
        let read = answers.filter(|answer| answer.status.is_success());
        read.filter_map(|answer| serde_json::from_slice(&answer.body).ok()).collect()
    }

    /// All routes; `more` are those of layers above, with the same checks.
    pub fn router(&self, more: Router) -> Router {
        Router::new()
            .route("/", get(index))
            .route("/metrics", get(metrics))
            .route("/healthz", get(alive))
            .route("/readyz", get(ready))
            .route("/health", get(health))
            .route("/breakers", get(breakers))
            .route("/breakers/{service}/{name}", patch(change_breaker))
            .route("/transitions", get(transitions))
            .route("/faults", get(faults).delete(clear_faults))
            .route("/faults/{target}", put(set_fault).delete(clear_fault))
            .route("/alerts", get(alerts))
            .route("/alerts/webhook", post(webhook))
            .route("/actions", get(actions))
            .route("/events", get(events))
            .route("/sd", get(discovery))
            .route("/runbook", get(runbook))
            .fallback(|| async { Problem::not_found("no such admin page; GET / lists them") })
            .with_state(self.clone())
            .merge(more)
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .layer(middleware::from_fn_with_state(Lock::new(&self.inner.settings), locked))
            // Outside of the lock, so that refused commands are recorded, too.
            .layer(middleware::from_fn_with_state(self.inner.audit.clone(), audited))
            .layer(CompressionLayer::new())
    }
}

/// Overview: the console for a browser, a list for all other clients.
#[utoipa::path(get, path = "/", responses((status = 200, body = Index), (status = 303, description = "To the console")))]
async fn index(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("text/html")) {
        return Redirect::to("/console").into_response();
    }
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    Json(Index {
        program: concat!("breakerbox ", env!("CARGO_PKG_VERSION")).to_owned(),
        services: texts(&admin.inner.parts.services),
        openapi: "/openapi.json".to_owned(),
        read: texts(&[
            "/metrics",
            "/healthz",
            "/readyz",
            "/health",
            "/breakers",
            "/transitions",
            "/faults",
            "/alerts",
            "/actions",
            "/events",
            "/sd",
            "/scenario",
            "/drills",
            "/queue",
            "/queue/dead",
            "/runbook",
            "/console",
        ]),
        everywhere: ["/health", "/breakers", "/transitions", "/faults"]
            .map(|page| format!("{page}?everywhere=true"))
            .into(),
        change: texts(&[
            "PATCH /breakers/{service}/{name}",
            "PUT /faults/{target}",
            "DELETE /faults/{target}",
            "DELETE /faults",
            "POST /scenario",
            "POST /scenario/{start,pause,stop,skip}",
            "POST /scenario/step/{name}",
            "POST /queue/replay",
            "POST /drills",
            "DELETE /drills",
            "POST /alerts/webhook",
        ]),
    })
    .into_response()
}

/// Liveness of the process.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = Liveness)))]
async fn alive() -> Json<Liveness> {
    Json(Liveness { status: "alive".to_owned() })
}

/// All series, by the `Accept` header: Prometheus' text format, or `OpenMetrics`.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "text/plain")))]
async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    admin.inner.scrapes.answer(&admin.inner.parts.metrics, &headers).await
}

/// Readiness of the process.
#[utoipa::path(
    get,
    path = "/readyz",
    responses((status = 200, body = Liveness), (status = 503, body = ProblemBody)),
)]
async fn ready(State(admin): State<Admin>) -> Result<Json<Liveness>, Problem> {
    if !admin.inner.ready.load(Ordering::Acquire) {
        return Err(Problem::unavailable("not ready: starting or stopping", None));
    }
    for probe in &admin.inner.parts.probes {
        let asked = tokio::time::timeout(PROBE, probe()).await;
        if let Err(why) = asked.unwrap_or_else(|_| Err("a database does not answer".to_owned())) {
            return Err(Problem::unavailable(format!("not ready: {why}"), None));
        }
    }
    Ok(Json(Liveness { status: "ready".to_owned() }))
}

/// The processes that a page covers.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Scope {
    /// All configured processes, instead of only this one.
    #[serde(default)]
    everywhere: bool,
}

/// The latest transitions, oldest first.
#[utoipa::path(get, path = "/transitions", params(Scope), responses((status = 200, body = Transitions)))]
async fn transitions(State(admin): State<Admin>, Query(scope): Query<Scope>) -> Json<Transitions> {
    let latest = admin.inner.parts.transitions.latest().into_iter().map(Transition::from).collect();
    let own = Transitions { transitions: latest, ..Transitions::default() };
    let mut page = admin.joined(scope.everywhere, own).await;
    page.transitions.sort_by(|a, b| a.unix_seconds.total_cmp(&b.unix_seconds));
    Json(page)
}

/// Delivered alerts, newest first.
#[utoipa::path(get, path = "/alerts", responses((status = 200, body = Overview)))]
async fn alerts(State(admin): State<Admin>) -> Response {
    Json(admin.inner.inbox.overview()).into_response()
}

/// Receives a delivery of Alertmanager's webhook (version 4).
#[utoipa::path(
    post,
    path = "/alerts/webhook",
    request_body = Delivery,
    responses((status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)),
)]
async fn webhook(State(admin): State<Admin>, Body(delivery): Body<Delivery>) -> StatusCode {
    admin.inner.inbox.deliver(delivery, SystemTime::now());
    StatusCode::NO_CONTENT
}

/// Transitions as they happen, as server-sent events called `transition`.
#[utoipa::path(
    get,
    path = "/events",
    responses((status = 200, body = Transition, content_type = "text/event-stream")),
)]
async fn events(State(admin): State<Admin>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let feed = stream::unfold(admin.inner.parts.transitions.subscribe(), |mut feed| async {
        loop {
            match feed.recv().await {
                Ok(record) => {
                    let event =
                        Event::default().event("transition").json_data(Transition::from(record)).unwrap_or_default();
                    return Some((Ok(event), feed));
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    Sse::new(feed).keep_alive(KeepAlive::default())
}

/// Prometheus' HTTP service discovery: this process, or all configured ones.
#[utoipa::path(get, path = "/sd", responses((status = 200, body = Vec<TargetGroup>)))]
async fn discovery(State(admin): State<Admin>) -> Json<Vec<TargetGroup>> {
    let inner = &admin.inner;
    let group = |name: &str, targets| TargetGroup {
        targets,
        labels: BTreeMap::from([("__meta_breakerbox_process".to_owned(), name.to_owned())]),
    };
    let mut groups = Vec::new();
    for name in inner.peers.names() {
        // If a process can't be resolved now its configured addresses stay targets, so that Prometheus reports it as
        // down.
        let targets = match inner.peers.behind(name).await {
            Ok(instances) => instances.into_iter().map(|instance| instance.address).collect(),
            Err(_) => inner.peers.addresses(name),
        };
        groups.push(group(name, targets));
    }
    if groups.is_empty() {
        groups.push(group("breakerbox", vec![inner.parts.address.clone()]));
    }
    Json(groups)
}

/// The admin port's part of the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(paths(
    index,
    metrics,
    alive,
    ready,
    breakers::health,
    breakers::breakers,
    breakers::change_breaker,
    transitions,
    faults::faults,
    faults::set_fault,
    faults::clear_fault,
    faults::clear_faults,
    alerts,
    webhook,
    audit::actions,
    events,
    discovery,
))]
struct Paths;

/// The admin port's part of the `OpenAPI` document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Paths::openapi()
}
