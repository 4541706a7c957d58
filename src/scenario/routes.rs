//! The scenario on the admin port.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::runner::{Mode, Scenario, Status};
use crate::web::problem::Problem;

/// `GET /scenario` and `POST /scenario/{start,pause,stop}`.
pub fn routes(scenario: Scenario) -> Router {
    Router::new().route("/scenario", get(status)).route("/scenario/{command}", post(command)).with_state(scenario)
}

async fn status(State(scenario): State<Scenario>) -> Json<Status> {
    Json(scenario.status())
}

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
