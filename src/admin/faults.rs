//! Faults: what is set, and setting it.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use super::peers::Command;
use super::{Admin, Scope};
use crate::faults::{FaultPlan, Refused};
use crate::web::problem::{Body, Problem, Query};

pub(super) async fn faults(State(admin): State<Admin>, Query(scope): Query<Scope>) -> Json<Value> {
    let own = json!({"targets": admin.inner.parts.faults.snapshot()});
    Json(admin.joined(scope.everywhere, own, ("/faults", "targets")).await)
}

pub(super) async fn set_fault(
    State(admin): State<Admin>,
    Path(target): Path<String>,
    headers: HeaderMap,
    Body(plan): Body<FaultPlan>,
) -> Result<Response, Problem> {
    plan.validate().map_err(|error| Problem::bad_request(error.field(), error.why()))?;
    if admin.inner.parts.faults.target(&target).is_none() {
        let path = format!("/faults/{target}");
        let body = serde_json::to_value(&plan).unwrap_or_default();
        let command = Command { method: Method::PUT, path: &path, body: Some(&body) };
        return admin.to_peer(&target, &command, &headers).await;
    }
    let shown = serde_json::to_string(&plan).unwrap_or_default();
    admin.inner.parts.faults.set(&target, plan).map_err(|error| match error {
        Refused::Unknown(error) => Problem::not_found(error.to_string()),
        Refused::Invalid(error) => Problem::bad_request(error.field(), error.why()),
    })?;
    tracing::info!(target, plan = shown, "fault set");
    Ok(Json(json!({"targets": admin.inner.parts.faults.snapshot()})).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClearQuery {
    /// Back to what is wrong there from the start, instead of nothing at all.
    #[serde(default)]
    baseline: bool,
}

pub(super) async fn clear_fault(
    State(admin): State<Admin>,
    Path(target): Path<String>,
    Query(query): Query<ClearQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let faults = &admin.inner.parts.faults;
    if faults.target(&target).is_none() {
        let path = format!("/faults/{target}?baseline={}", query.baseline);
        let command = Command { method: Method::DELETE, path: &path, body: None };
        return admin.to_peer(&target, &command, &headers).await;
    }
    tracing::info!(target, baseline = query.baseline, "fault cleared");
    let cleared = if query.baseline { faults.restore(&target) } else { faults.clear(&target) };
    cleared.map_err(|error| Problem::not_found(error.to_string()))?;
    Ok(Json(json!({"targets": admin.inner.parts.faults.snapshot()})).into_response())
}

pub(super) async fn clear_faults(State(admin): State<Admin>, headers: HeaderMap) -> Result<Response, Problem> {
    admin.inner.parts.faults.clear_all();
    tracing::info!("all faults cleared");
    let command = Command { method: Method::DELETE, path: "/faults", body: None };
    for name in admin.inner.peers.names() {
        // A process that is down has no faults to clear.
        if let Some(Err(problem)) = admin.forward(name, &command, &headers).await {
            tracing::warn!(name, problem = problem.detail(), "faults not cleared");
        }
    }
    Ok(Json(json!({"targets": admin.inner.parts.faults.snapshot()})).into_response())
}
