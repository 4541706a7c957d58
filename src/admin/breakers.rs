//! Breakers: what they see, and commands to them.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use super::peers;
use super::{Admin, Scope};
use crate::client::Client;
use crate::web::problem::{Body, Problem, Query};
use breakerbox_resilience::breaker::Command;

pub(super) async fn breakers(State(admin): State<Admin>, Query(scope): Query<Scope>) -> Json<Value> {
    let own: Vec<_> = admin.inner.parts.clients.iter().filter_map(describe).collect();
    let mut page = admin.joined(scope.everywhere, json!({"breakers": own}), ("/breakers", "breakers")).await;
    if let Some(all) = page["breakers"].as_array_mut() {
        let score = |breaker: &Value| breaker["health_score"].as_f64().unwrap_or_default();
        all.sort_by(|a, b| score(a).total_cmp(&score(b)));
        page["status"] = Value::from(status(all));
    }
    Json(page)
}

/// `healthy` while no breaker is open, `degraded` while fewer than half are, `unhealthy` beyond.
fn status(all: &[Value]) -> &'static str {
    match all.iter().filter(|breaker| is_open(breaker)).count() {
        0 => "healthy",
        open if open * 2 < all.len() => "degraded",
        _ => "unhealthy",
    }
}

pub(super) fn is_open(breaker: &Value) -> bool {
    matches!(breaker["state"].as_str(), Some("open" | "forced_open"))
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
pub(super) struct BreakerChange {
    state: Option<String>,
    settings: Option<Value>,
}

pub(super) async fn change_breaker(
    State(admin): State<Admin>,
    Path((service, name)): Path<(String, String)>,
    headers: HeaderMap,
    Body(change): Body<BreakerChange>,
) -> Result<Response, Problem> {
    let own = admin.inner.parts.clients.iter().find(|c| c.service() == service && c.dependency() == name);
    let Some(client) = own.filter(|client| client.snapshot().is_some()) else {
        let body = json!({"state": change.state, "settings": change.settings});
        let path = format!("/breakers/{service}/{name}");
        let command = peers::Command { method: Method::PATCH, path: &path, body: Some(&body) };
        return match admin.forward(&service, &command, &headers).await {
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

impl Admin {
    fn known_breakers(&self) -> String {
        let names = self.inner.parts.clients.iter().map(|c| format!("{}/{}", c.service(), c.dependency()));
        names.collect::<Vec<_>>().join(", ")
    }
}
