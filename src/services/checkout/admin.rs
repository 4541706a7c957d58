//! The queue on the admin port: `GET /queue`, `GET /queue/dead`, `POST /queue/replay`.

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::{CheckoutState, QUEUE};
use crate::services::inventory::away;
use crate::store::DeadLetter;
use crate::web::problem::{Body, Problem, ProblemBody};
use breakerbox_telemetry::RevenueStatus;

/// Most dead letters listed or replayed at once.
const MOST: u32 = 1000;

/// Routes for operators.
pub fn admin_routes(state: CheckoutState) -> Router {
    Router::new()
        .route("/queue", get(show))
        .route("/queue/dead", get(dead))
        .route("/queue/replay", post(replay))
        .with_state(state)
}

/// `GET /queue`: the retry queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueueStatus {
    /// Its name.
    pub queue: String,
    /// Number of waiting orders.
    pub depth: i64,
    /// Maximum number of waiting orders.
    pub capacity: u32,
    /// Dead letters.
    pub dead: i64,
    /// Age of the oldest waiting order, in seconds.
    pub oldest_item_age_seconds: f64,
}

/// `GET /queue/dead`: orders that ran out of attempts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetters {
    /// The queue's name.
    pub queue: String,
    /// The orders, oldest first, at most 1000.
    pub dead: Vec<DeadLetter>,
}

/// `POST /queue/replay`: the dead letters to replay, either one order or all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// One order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<String>,
    /// Replays all dead letters.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// Number of dead letters that were replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Replayed {
    /// Number of dead letters.
    pub replayed: u64,
}

/// The retry queue.
#[utoipa::path(
    get,
    path = "/queue",
    responses((status = 200, body = QueueStatus), (status = 404, body = ProblemBody), (status = 503, body = ProblemBody)),
)]
async fn show(State(state): State<CheckoutState>) -> Result<Json<QueueStatus>, Problem> {
    let stats = state.store().queue().await.map_err(|error| away(&error))?;
    let now = state.now().await.map_err(|error| away(&error))?;
    let age = stats.oldest.map_or(0, |since| now - since);
    Ok(Json(QueueStatus {
        queue: QUEUE.to_owned(),
        depth: stats.depth,
        capacity: state.inner.settings.queue.capacity,
        dead: stats.dead,
        oldest_item_age_seconds: age as f64 / 1000.0,
    }))
}

/// Orders that ran out of attempts.
#[utoipa::path(
    get,
    path = "/queue/dead",
    responses((status = 200, body = DeadLetters), (status = 404, body = ProblemBody), (status = 503, body = ProblemBody)),
)]
async fn dead(State(state): State<CheckoutState>) -> Result<Json<DeadLetters>, Problem> {
    let letters = state.store().dead_letters(MOST).await.map_err(|error| away(&error))?;
    Ok(Json(DeadLetters { queue: QUEUE.to_owned(), dead: letters }))
}

/// Replays dead letters: queues them again, with new attempts.
#[utoipa::path(
    post,
    path = "/queue/replay",
    request_body = Replay,
    responses((status = 200, body = Replayed), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
              (status = 404, body = ProblemBody), (status = 503, body = ProblemBody)),
)]
async fn replay(State(state): State<CheckoutState>, Body(replay): Body<Replay>) -> Result<Json<Replayed>, Problem> {
    let store = state.store();
    let wanted = match (replay.order_id, replay.all) {
        (Some(id), false) => vec![id],
        (None, false) | (Some(_), true) => {
            return Err(Problem::bad_request(
                "order_id",
                "must be one order's id; or give all: true for every dead one",
            ));
        }
        (None, true) => {
            let letters = store.dead_letters(MOST).await.map_err(|error| away(&error))?;
            letters.into_iter().map(|letter| letter.order_id).collect()
        }
    };
    let now = state.now().await.map_err(|error| away(&error))?;
    let revived = store.replay(wanted.clone(), now).await.map_err(|error| away(&error))?;
    if let (true, [id]) = (revived.is_empty(), wanted.as_slice()) {
        return Err(Problem::not_found(format!("no dead item {id}")));
    }
    for order in revived.iter().filter(|order| order.to_be_paid) {
        // The order's revenue can again be kept or lost.
        state.inner.telemetry.revenue(RevenueStatus::AtRisk, order.amount);
    }
    let replayed = revived.len() as u64;
    state.inner.wake.charge.notify_one();
    state.inner.wake.urgent.notify_one();
    Ok(Json(Replayed { replayed }))
}

#[derive(OpenApi)]
#[openapi(paths(show, dead, replay))]
struct Paths;

/// The queue's part of the `OpenAPI` document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Paths::openapi()
}
