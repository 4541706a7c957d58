//! Audit of admin commands: a log line, a counter, and the latest commands for `GET /actions`.
//!
//! Every command is recorded, including refused ones: attempts without the token matter most. Tokens are never
//! recorded, only paths and bodies; large bodies are left out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, header};

use super::Admin;
use super::wire::{Action, Actions};
use crate::clock;
use crate::web::problem::Problem;
use breakerbox_telemetry::{AdminAction, AdminOutcome, AdminTelemetry};

/// Number of commands kept.
const KEPT: usize = 200;
/// Largest recorded body, in bytes.
const LARGEST_BODY: u64 = 2048;

/// The commands of this process. Cheap to clone.
#[derive(Clone)]
pub(super) struct Audit {
    latest: Arc<Mutex<VecDeque<Action>>>,
    telemetry: AdminTelemetry,
}

impl Audit {
    pub(super) fn new(telemetry: AdminTelemetry) -> Self {
        Self { latest: Arc::default(), telemetry }
    }

    fn write(&self, kind: AdminAction, outcome: AdminOutcome, action: Action) {
        self.telemetry.commanded(kind, outcome);
        let Action { method, path, body, status, from, .. } = &action;
        let (body, from) = (body.as_deref().unwrap_or_default(), from.as_deref().unwrap_or_default());
        tracing::info!(
            target: "audit",
            action = kind.as_str(), outcome = outcome.as_str(), method, path, body, status, from,
            "admin command"
        );
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.push_back(action);
        if latest.len() > KEPT {
            latest.pop_front();
        }
    }
}

/// The latest commands of this process, oldest first.
#[utoipa::path(get, path = "/actions", responses((status = 200, body = Actions)))]
pub(super) async fn actions(State(admin): State<Admin>) -> Json<Actions> {
    let latest = admin.inner.audit.latest.lock().unwrap_or_else(PoisonError::into_inner);
    Json(Actions { actions: latest.iter().cloned().collect() })
}

/// What a path changes; `None` if it is not an operator's command, such as a delivery of alerts.
fn kind(path: &str) -> Option<AdminAction> {
    match path.split('/').nth(1)? {
        "breakers" => Some(AdminAction::Breaker),
        "faults" => Some(AdminAction::Fault),
        "scenario" => Some(AdminAction::Scenario),
        "queue" => Some(AdminAction::Queue),
        "drills" => Some(AdminAction::Drill),
        _ => None,
    }
}

fn outcome(status: StatusCode) -> AdminOutcome {
    match status {
        StatusCode::UNAUTHORIZED => AdminOutcome::Unauthorized,
        status if status.is_client_error() => AdminOutcome::Refused,
        status if status.is_server_error() => AdminOutcome::Failed,
        _ => AdminOutcome::Done,
    }
}

/// Records every command with its result.
pub(super) async fn audited(State(audit): State<Audit>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let Some(kind) = kind(request.uri().path()).filter(|_| !reads) else { return next.run(request).await };
    let unix_seconds = clock::wall().as_secs_f64();
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(from)| from.ip().to_string());
    let method = request.method().to_string();
    let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let (request, body) = match length {
        Some(1..=LARGEST_BODY) => match copied(request).await {
            Ok((request, body)) => (request, Some(body)),
            Err(problem) => return problem.into_response(),
        },
        _ => (request, None),
    };
    let response = next.run(request).await;
    let (status, outcome) = (response.status(), outcome(response.status()));
    let (action, ended) = (kind.as_str().to_owned(), outcome.as_str().to_owned());
    let status = status.as_u16();
    audit.write(kind, outcome, Action { unix_seconds, action, outcome: ended, method, path, body, status, from });
    response
}

/// Reads the body of a request as text.
async fn copied(request: Request) -> Result<(Request, String), Problem> {
    let (parts, body) = request.into_parts();
    let most = usize::try_from(LARGEST_BODY).unwrap_or(usize::MAX);
    let bytes = axum::body::to_bytes(body, most)
        .await
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body ended before its content-length"))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok((Request::from_parts(parts, Body::from(bytes)), text))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware;
    use axum::routing::put;
    use breakerbox_telemetry::Metrics;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn every_command_is_recorded_with_its_result() {
        let audit = Audit::new(Metrics::new(&[]).admin());
        let refuse = |body: String| async move { (StatusCode::BAD_REQUEST, body) };
        let router = Router::new()
            .route("/faults/{target}", put(refuse).get(|| async {}))
            .route("/alerts/webhook", put(|| async {}))
            .layer(middleware::from_fn_with_state(audit.clone(), audited));
        let ask = |method: Method, path: &'static str, body: &'static str| {
            let request = Request::builder().method(method).uri(path).header(header::CONTENT_LENGTH, body.len());
            router
                .clone()
                .oneshot(request.header(header::AUTHORIZATION, "Bearer secret").body(Body::from(body)).unwrap())
        };
        let answer = ask(Method::PUT, "/faults/catalog?x=1", "{\"crash\": 3}").await.unwrap();
        let echoed = axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
        assert_eq!(echoed, "{\"crash\": 3}", "the handler got the body, too");
        // Neither reads nor deliveries of alerts are recorded.
        ask(Method::GET, "/faults/catalog", "").await.unwrap();
        ask(Method::PUT, "/alerts/webhook", "{}").await.unwrap();
        let latest: Vec<_> = audit.latest.lock().unwrap().iter().cloned().collect();
        let [one] = latest.as_slice() else { panic!("{latest:?}") };
        assert_eq!((one.path.as_str(), one.status, one.outcome.as_str()), ("/faults/catalog?x=1", 400, "refused"));
        assert_eq!(one.body.as_deref(), Some("{\"crash\": 3}"));
        assert!(!format!("{one:?}").contains("secret"));
    }
}
