//! The admin port: metrics, health, breakers, faults, alerts.
//!
//! Reading is free; changing anything takes the token when one is set, and is refused to pages of
//! other sites that a browser on this machine may have open.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use axum::body::Body as HttpBody;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, patch, post, put};
use axum::{Json, Router};
use futures_util::stream::{self, Stream};
use http::{HeaderMap, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tower_http::compression::CompressionLayer;

use super::inbox::{Delivery, Inbox};
use super::runbook::runbook;
use super::settings::{AdminSettings, Secret};
use crate::client::Client;
use crate::faults::{FaultPlan, Faults, Refused};
use crate::resilience::breaker::Command;
use crate::services::ServiceName;
use crate::services::problem::{Body, Problem, Query};
use crate::telemetry::{Metrics, TransitionLog, encode};

/// Largest body of an admin request, in bytes.
const LARGEST_BODY: usize = 256 * 1024;
/// The process that runs the scenario where services run apart.
const SCENARIO_PROCESS: &str = "traffic";
/// Longest wait for another process's admin port.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);

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
    peers: reqwest::Client,
}

impl Admin {
    /// An admin port over these parts.
    pub fn new(parts: AdminParts, settings: &AdminSettings) -> Result<Self, String> {
        let peers = reqwest::Client::builder()
            .no_proxy()
            .timeout(PEER_TIMEOUT)
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| error.to_string())?;
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

/// What locks changes.
#[derive(Clone)]
struct Locked(Option<Secret>);

async fn locked(State(Locked(token)): State<Locked>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let headers = request.headers();
    if from_another_site(headers) {
        return Problem::new(StatusCode::FORBIDDEN, "pages of other sites may not change anything here")
            .into_response();
    }
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match token {
        Some(token) if !shown.is_some_and(|shown| token.matches(shown)) => {
            let mut refused =
                Problem::unauthorized("changes take the admin token: Authorization: Bearer <token>").into_response();
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
            refused
        }
        _ => next.run(request).await,
    }
}

/// A browser names the page a request comes from; a command line doesn't.
fn from_another_site(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match (headers.get(header::ORIGIN), text(header::HOST)) {
        (None, _) => false,
        (Some(origin), Some(host)) => {
            origin.to_str().ok().and_then(|o| o.split_once("://")).map(|(_, o)| o) != Some(host)
        }
        (Some(_), None) => true,
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
        "read": ["/metrics", "/healthz", "/readyz", "/health", "/breakers", "/transitions", "/faults", "/alerts", "/events", "/sd", "/scenario", "/runbook", "/console"],
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

/// `healthy` while no breaker is open, `degraded` while fewer than half are, `unhealthy` beyond.
async fn health(State(admin): State<Admin>) -> Json<Value> {
    let states: Vec<_> =
        admin.inner.parts.clients.iter().filter_map(|c| Some((c, c.snapshot()?.state.as_str()))).collect();
    let open: Vec<_> = states
        .iter()
        .filter(|(_, state)| matches!(*state, "open" | "forced_open"))
        .map(|(client, _)| format!("{}/{}", client.service(), client.dependency()))
        .collect();
    let status = match open.len() {
        0 => "healthy",
        n if n * 2 < states.len() => "degraded",
        _ => "unhealthy",
    };
    Json(json!({"status": status, "breakers": states.len(), "open": open}))
}

async fn breakers(State(admin): State<Admin>) -> Json<Value> {
    let mut all: Vec<_> = admin.inner.parts.clients.iter().filter_map(describe).collect();
    let score = |breaker: &Value| breaker["health_score"].as_f64().unwrap_or_default();
    all.sort_by(|a, b| score(a).total_cmp(&score(b)));
    Json(json!({"breakers": all}))
}

fn describe(client: &Client) -> Option<Value> {
    let now = client.snapshot()?;
    Some(json!({
        "service": client.service(),
        "name": client.dependency(),
        "state": now.state.as_str(),
        "generation": now.generation,
        "health_score": now.health_score,
        "failure_ratio": now.failure_ratio,
        "slow_ratio": now.slow_ratio,
        "window_calls": now.window_calls,
        "failures": now.failures,
        "slow_calls": now.slow,
        "late_results": now.late_results,
        "half_open_permits_in_use": now.half_open_in_use,
        "open_remaining_seconds": now.open_remaining.as_secs_f64(),
        "settings": client.breaker_settings(),
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BreakerChange {
    state: Option<String>,
    settings: Option<Value>,
}

async fn change_breaker(
    State(admin): State<Admin>,
    Path((service, name)): Path<(String, String)>,
    headers: HeaderMap,
    Body(change): Body<BreakerChange>,
) -> Result<Response, Problem> {
    let own = admin.inner.parts.clients.iter().find(|c| c.service() == service && c.dependency() == name);
    let Some(client) = own.filter(|client| client.snapshot().is_some()) else {
        let body = json!({"state": change.state, "settings": change.settings});
        let path = format!("/breakers/{service}/{name}");
        return match admin.forward(&service, Method::PATCH, &path, &headers, Some(&body)).await {
            Some(answer) => answer,
            None => Err(Problem::not_found(format!(
                "no breaker {service}/{name} here; there are {}",
                admin.known_breakers()
            ))),
        };
    };
    if change.state.is_none() && change.settings.is_none() {
        return Err(Problem::bad_request("state", "give a state, settings, or both"));
    }
    if let Some(settings) = change.settings {
        client.reconfigure(settings).map_err(|error| Problem::bad_request("settings", error))?;
    }
    if let Some(state) = change.state {
        client.command(command(&state)?);
    }
    Ok(Json(describe(client)).into_response())
}

fn command(state: &str) -> Result<Command, Problem> {
    Ok(match state {
        "forced_open" => Command::ForceOpen,
        "closed" => Command::Close,
        "disabled" => Command::Disable,
        "metrics_only" => Command::MetricsOnly,
        "reset" => Command::Reset,
        other => {
            let allowed = "may be forced_open, closed, disabled, metrics_only or reset";
            return Err(Problem::bad_request("state", format!("{other:?} {allowed}")));
        }
    })
}

async fn transitions(State(admin): State<Admin>) -> Json<Value> {
    Json(json!({"transitions": admin.inner.parts.transitions.latest()}))
}

async fn faults(State(admin): State<Admin>) -> Json<Value> {
    Json(json!({"targets": admin.inner.parts.faults.snapshot()}))
}

async fn set_fault(
    State(admin): State<Admin>,
    Path(target): Path<String>,
    headers: HeaderMap,
    Body(plan): Body<FaultPlan>,
) -> Result<Response, Problem> {
    plan.validate().map_err(|error| Problem::bad_request(error.field(), error.to_string()))?;
    if admin.inner.parts.faults.target(&target).is_none() {
        let path = format!("/faults/{target}");
        let body = serde_json::to_value(&plan).unwrap_or_default();
        return admin.to_peer(&target, Method::PUT, &path, &headers, Some(&body)).await;
    }
    let shown = serde_json::to_string(&plan).unwrap_or_default();
    admin.inner.parts.faults.set(&target, plan).map_err(|error| match error {
        Refused::Unknown(error) => Problem::not_found(error.to_string()),
        Refused::Invalid(error) => Problem::bad_request(error.field(), error.to_string()),
    })?;
    tracing::info!(target, plan = shown, "fault set");
    Ok(Json(json!({"targets": admin.inner.parts.faults.snapshot()})).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClearQuery {
    /// Back to what is wrong there from the start, instead of nothing at all.
    #[serde(default)]
    baseline: bool,
}

async fn clear_fault(
    State(admin): State<Admin>,
    Path(target): Path<String>,
    Query(query): Query<ClearQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let faults = &admin.inner.parts.faults;
    if faults.target(&target).is_none() {
        let path = format!("/faults/{target}?baseline={}", query.baseline);
        return admin.to_peer(&target, Method::DELETE, &path, &headers, None).await;
    }
    tracing::info!(target, baseline = query.baseline, "fault cleared");
    let cleared = if query.baseline { faults.restore(&target) } else { faults.clear(&target) };
    cleared.map_err(|error| Problem::not_found(error.to_string()))?;
    Ok(Json(json!({"targets": admin.inner.parts.faults.snapshot()})).into_response())
}

async fn clear_faults(State(admin): State<Admin>, headers: HeaderMap) -> Result<Response, Problem> {
    admin.inner.parts.faults.clear_all();
    tracing::info!("all faults cleared");
    let own: Vec<_> = admin.inner.parts.services.clone();
    for target in admin.inner.settings.peers.keys().filter(|peer| !own.contains(&peer.as_str())) {
        let path = format!("/faults/{target}");
        // A peer that is down has no faults to clear, and one that has none says so.
        if let Some(Err(problem)) = admin.forward(target, Method::DELETE, &path, &headers, None).await {
            tracing::warn!(target, problem = problem.detail(), "fault not cleared");
        }
    }
    Ok(Json(json!({"targets": admin.inner.parts.faults.snapshot()})).into_response())
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

/// Prometheus' HTTP service discovery: this process and its peers.
async fn discovery(State(admin): State<Admin>) -> Json<Value> {
    let inner = &admin.inner;
    let group =
        |name: &str, address: &str| json!({"targets": [address], "labels": {"__meta_breakerbox_process": name}});
    let host = |url: &str| url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let groups: Vec<_> = if inner.settings.peers.is_empty() {
        vec![group("breakerbox", &inner.parts.address)]
    } else {
        inner.settings.peers.iter().map(|(name, url)| group(name, &host(url))).collect()
    };
    Json(Value::Array(groups))
}

impl Admin {
    /// The scenario's routes for a process that has none: they go to the one called `traffic`.
    #[must_use = "routes do nothing until they are served"]
    pub fn scenario_elsewhere(&self) -> Router {
        async fn forward(State(admin): State<Admin>, request: Request) -> Result<Response, Problem> {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let answer = admin.forward(SCENARIO_PROCESS, method, &path, request.headers(), None).await;
            answer.unwrap_or_else(|| Err(Problem::not_found("no scenario runs in this process")))
        }
        Router::new()
            .route("/scenario", get(forward))
            .route("/scenario/{command}", post(forward))
            .with_state(self.clone())
    }

    fn known_breakers(&self) -> String {
        let names = self.inner.parts.clients.iter().map(|c| format!("{}/{}", c.service(), c.dependency()));
        names.collect::<Vec<_>>().join(", ")
    }

    async fn to_peer(
        &self,
        target: &str,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Option<&Value>,
    ) -> Result<Response, Problem> {
        if let Some(answer) = self.forward(target, method, path, headers, body).await {
            return answer;
        }
        let mut known = self.inner.parts.faults.targets();
        known.extend(self.inner.settings.peers.keys().cloned());
        Err(Problem::not_found(format!("no target {target:?}; there are {}", known.join(", "))))
    }

    /// Hands a command on to the process that runs `service`; nothing when none is known.
    async fn forward(
        &self,
        service: &str,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Option<&Value>,
    ) -> Option<Result<Response, Problem>> {
        /// Stops two processes that name each other from playing ping-pong.
        const FORWARDED: &str = "x-forwarded-admin";
        // A store is reached where its service is.
        let owner = ServiceName::ALL.iter().find(|owner| owner.stores().contains(&service)).map(|owner| owner.as_str());
        let peers = &self.inner.settings.peers;
        let url = peers.get(service).or_else(|| peers.get(owner?))?;
        if headers.contains_key(FORWARDED) || self.inner.parts.services.contains(&service) {
            return None;
        }
        let mut request = self.inner.peers.request(method, format!("{}{path}", url.trim_end_matches('/')));
        request = request.header(FORWARDED, "1");
        if let Some(token) = &self.inner.settings.token {
            request = request.bearer_auth(token.reveal());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = async {
            let response = request.send().await.map_err(|_| {
                Problem::new(StatusCode::BAD_GATEWAY, format!("the admin port of {service} at {url} does not answer"))
            })?;
            let status = response.status();
            let kind = response.headers().get(header::CONTENT_TYPE).cloned();
            let bytes = response.bytes().await.unwrap_or_default();
            let mut relayed = Response::new(HttpBody::from(bytes));
            *relayed.status_mut() = status;
            if let Some(kind) = kind {
                relayed.headers_mut().insert(header::CONTENT_TYPE, kind);
            }
            Ok(relayed)
        };
        Some(answer.await)
    }
}
