//! Routes of faults.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method};
use serde::Deserialize;
use utoipa::IntoParams;

use super::peers::Command;
use super::wire::{FaultTarget, Faults, ProblemBody};
use super::{Admin, Scope};
use crate::faults::{FaultPlan, Refused};
use crate::web::problem::{Body, Problem, Query};

/// Every target, with its injected faults.
#[utoipa::path(get, path = "/faults", params(Scope), responses((status = 200, body = Faults)))]
pub(super) async fn faults(State(admin): State<Admin>, Query(scope): Query<Scope>) -> Json<Faults> {
    let own = admin.own_faults();
    Json(admin.joined(scope.everywhere, own).await)
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct SetQuery {
    /// Keeps the current faults if they were set by hand.
    #[serde(default)]
    scenario: bool,
}

/// Injects faults at a target, replacing those injected before.
#[utoipa::path(
    put,
    path = "/faults/{target}",
    params(("target" = String, Path, description = "A service, or one of its stores"), SetQuery),
    request_body = FaultPlan,
    responses((status = 200, body = Faults), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)),
)]
pub(super) async fn set_fault(
    State(admin): State<Admin>,
    Path(target): Path<String>,
    Query(query): Query<SetQuery>,
    headers: HeaderMap,
    Body(plan): Body<FaultPlan>,
) -> Result<Response, Problem> {
    plan.validate().map_err(|error| Problem::bad_request(error.field(), error.why()))?;
    if admin.inner.parts.faults.target(&target).is_none() {
        let path = format!("/faults/{target}?scenario={}", query.scenario);
        let body = serde_json::to_value(&plan).unwrap_or_default();
        let command = Command { method: Method::PUT, path: &path, body: Some(&body) };
        return admin.to_peer(&target, &command, &headers).await;
    }
    let shown = serde_json::to_string(&plan).unwrap_or_default();
    let faults = &admin.inner.parts.faults;
    let set =
        if query.scenario { faults.set_by_scenario(&target, plan) } else { faults.set(&target, plan).map(|()| true) };
    let replaced = set.map_err(|error| match error {
        Refused::Unknown(error) => Problem::not_found(error.to_string()),
        Refused::Invalid(error) => Problem::bad_request(error.field(), error.why()),
    })?;
    if replaced {
        tracing::info!(target, plan = shown, "fault set");
    } else {
        tracing::info!(target, "a fault set by hand takes precedence; the scenario's is not set");
    }
    Ok(Json(admin.own_faults()).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ClearQuery {
    /// Restores the default faults of the settings instead of clearing all.
    #[serde(default)]
    baseline: bool,
    /// With `baseline`: keeps faults that were set by hand.
    #[serde(default)]
    scenario: bool,
}

/// Clears the faults of a target.
#[utoipa::path(
    delete,
    path = "/faults/{target}",
    params(("target" = String, Path, description = "A service, or one of its stores"), ClearQuery),
    responses((status = 200, body = Faults), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)),
)]
pub(super) async fn clear_fault(
    State(admin): State<Admin>,
    Path(target): Path<String>,
    Query(query): Query<ClearQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let faults = &admin.inner.parts.faults;
    if faults.target(&target).is_none() {
        let path = format!("/faults/{target}?baseline={}&scenario={}", query.baseline, query.scenario);
        let command = Command { method: Method::DELETE, path: &path, body: None };
        return admin.to_peer(&target, &command, &headers).await;
    }
    tracing::info!(target, baseline = query.baseline, "fault cleared");
    let cleared = match (query.baseline, query.scenario) {
        (true, true) => faults.restore_by_scenario(&target),
        (true, false) => faults.restore(&target),
        (false, _) => faults.clear(&target),
    };
    cleared.map_err(|error| Problem::not_found(error.to_string()))?;
    Ok(Json(admin.own_faults()).into_response())
}

/// Clears all faults, including those of other processes.
#[utoipa::path(
    delete,
    path = "/faults",
    responses((status = 200, body = Faults), (status = 401, body = ProblemBody)),
)]
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
    Ok(Json(admin.own_faults()).into_response())
}

impl Admin {
    fn own_faults(&self) -> Faults {
        let targets = self.inner.parts.faults.snapshot().into_iter().map(FaultTarget::from).collect();
        Faults { targets, ..Faults::default() }
    }
}
