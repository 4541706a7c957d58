//! Commands that are for another process.

use std::time::Duration;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::Value;

use super::Admin;
use crate::services::ServiceName;
use crate::services::problem::Problem;

/// The process that runs the scenario where services run apart.
const SCENARIO_PROCESS: &str = "traffic";
/// Longest wait for another process's admin port.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);

/// What reaches other processes' admin ports.
pub(super) fn client() -> Result<reqwest::Client, String> {
    let builder = reqwest::Client::builder().no_proxy().timeout(PEER_TIMEOUT).pool_max_idle_per_host(0);
    builder.build().map_err(|error| error.to_string())
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

    pub(super) async fn to_peer(
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
    pub(super) async fn forward(
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
