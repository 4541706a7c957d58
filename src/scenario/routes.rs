//! The scenario on the admin port.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};

use utoipa::OpenApi;

use super::runner::{Mode, Scenario, Status};
use crate::admin::wire::ProblemBody;
use crate::web::problem::Problem;

/// `GET /scenario` and `POST /scenario/{start,pause,stop}`.
pub fn routes(scenario: Scenario) -> Router {
    Router::new().route("/scenario", get(status)).route("/scenario/{command}", post(command)).with_state(scenario)
}

/// The scenario as it stands.
#[utoipa::path(
    get,
    path = "/scenario",
    responses((status = 200, body = Status), (status = 404, body = ProblemBody)),
)]
async fn status(State(scenario): State<Scenario>) -> Json<Status> {
    Json(scenario.status())
}

/// Starts, pauses or stops the scenario.
#[utoipa::path(
    post,
    path = "/scenario/{command}",
    params(("command" = String, Path, description = "`start`, `pause` or `stop`")),
    responses((status = 200, body = Status), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)),
)]
async fn command(State(scenario): State<Scenario>, Path(command): Path<String>) -> Result<Json<Status>, Problem> {
    let mode = match command.as_str() {
        "start" => Mode::Running,
        "pause" => Mode::Paused,
        "stop" => Mode::Stopped,
        other => return Err(Problem::not_found(format!("no command {other:?}; there are start, pause and stop"))),
    };
    scenario.set(mode);
    tracing::info!(command, "scenario commanded");
    Ok(Json(scenario.status()))
}

#[derive(OpenApi)]
#[openapi(paths(status, command))]
struct Paths;

/// The scenario's part of the `OpenAPI` document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Paths::openapi()
}
