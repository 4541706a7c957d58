//! The scenario on the admin port.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};

use utoipa::OpenApi;

use super::runner::{Mode, Scenario, Status};
use crate::admin::wire::{ProblemBody, ScenarioChoice};
use crate::web::problem::{Body, Problem};

/// `GET` and `POST /scenario`, `POST /scenario/{start,pause,stop,skip}` and `POST /scenario/step/{name}`.
pub fn routes(scenario: Scenario) -> Router {
    Router::new()
        .route("/scenario", get(status).post(choose))
        .route("/scenario/{command}", post(command))
        .route("/scenario/step/{name}", post(step))
        .with_state(scenario)
}

/// Current state of the scenario.
#[utoipa::path(
    get,
    path = "/scenario",
    responses((status = 200, body = Status), (status = 404, body = ProblemBody)),
)]
async fn status(State(scenario): State<Scenario>) -> Json<Status> {
    Json(scenario.status())
}

/// Selects another scenario and starts it from its beginning.
#[utoipa::path(
    post,
    path = "/scenario",
    request_body = ScenarioChoice,
    responses((status = 200, body = Status), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
              (status = 404, body = ProblemBody)),
)]
async fn choose(State(scenario): State<Scenario>, Body(choice): Body<ScenarioChoice>) -> Result<Json<Status>, Problem> {
    scenario.choose(&choice.name, choice.seed).map_err(|unknown| {
        let names: Vec<_> = unknown.0.into_iter().map(|choice| choice.name).collect();
        Problem::bad_request("name", format!("no scenario {:?}; there are {}", choice.name, names.join(", ")))
    })?;
    tracing::info!(name = choice.name, seed = choice.seed, "scenario chosen");
    Ok(Json(scenario.status()))
}

/// Starts, pauses or stops the scenario, or skips to its next step.
#[utoipa::path(
    post,
    path = "/scenario/{command}",
    params(("command" = String, Path, description = "`start`, `pause`, `stop` or `skip`")),
    responses((status = 200, body = Status), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)),
)]
async fn command(State(scenario): State<Scenario>, Path(command): Path<String>) -> Result<Json<Status>, Problem> {
    let mode = match command.as_str() {
        "start" => Mode::Running,
        "pause" => Mode::Paused,
        "stop" => Mode::Stopped,
        "skip" => {
            scenario.skip();
            tracing::info!(command, "scenario commanded");
            return Ok(Json(scenario.status()));
        }
        other => {
            return Err(Problem::not_found(format!("no command {other:?}; there are start, pause, stop and skip")));
        }
    };
    scenario.set(mode);
    tracing::info!(command, "scenario commanded");
    Ok(Json(scenario.status()))
}

#[derive(OpenApi)]
#[openapi(paths(status, choose, command, step))]
struct Paths;

/// The scenario's part of the `OpenAPI` document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Paths::openapi()
}

/// Goes to the beginning of a step.
#[utoipa::path(
    post,
    path = "/scenario/step/{name}",
    params(("name" = String, Path, description = "Name of a step in `GET /scenario`")),
    responses((status = 200, body = Status), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)),
)]
async fn step(State(scenario): State<Scenario>, Path(name): Path<String>) -> Result<Json<Status>, Problem> {
    if !scenario.run_step(&name) {
        let timeline = scenario.timeline();
        let names: Vec<_> = timeline.incidents().map(|step| step.name.as_str()).collect();
        return Err(Problem::not_found(format!("no step {name:?}; there are {}", names.join(", "))));
    }
    tracing::info!(step = name, "scenario commanded");
    Ok(Json(scenario.status()))
}
