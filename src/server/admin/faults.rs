//! Faults: what is set, and setting it.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use crate::faults::{FaultPlan, Refused};
use crate::services::problem::{Body, Problem, Query};

pub(super) async fn faults(State(admin): State<Admin>) -> Json<Value> {
    Json(json!({"targets": admin.inner.parts.faults.snapshot()}))
}

pub(super) async fn set_fault(
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
        return admin.to_peer(&target, Method::DELETE, &path, &headers, None).await;
    }
    tracing::info!(target, baseline = query.baseline, "fault cleared");
    let cleared = if query.baseline { faults.restore(&target) } else { faults.clear(&target) };
    cleared.map_err(|error| Problem::not_found(error.to_string()))?;
    Ok(Json(json!({"targets": admin.inner.parts.faults.snapshot()})).into_response())
}

pub(super) async fn clear_faults(State(admin): State<Admin>, headers: HeaderMap) -> Result<Response, Problem> {
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
