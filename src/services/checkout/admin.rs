//! The queue on the admin port: `GET /queue`, `GET /queue/dead`, `POST /queue/replay`.

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{CheckoutState, QUEUE};
use crate::services::inventory::away;
use crate::web::problem::{Body, Problem};

/// Most dead letters listed or replayed at once.
const MOST: u32 = 1000;

/// Routes for whoever runs the site.
pub fn admin_routes(state: CheckoutState) -> Router {
    Router::new()
        .route("/queue", get(show))
        .route("/queue/dead", get(dead))
        .route("/queue/replay", post(replay))
        .with_state(state)
}

async fn show(State(state): State<CheckoutState>) -> Result<Json<Value>, Problem> {
    let stats = state.store().queue().await.map_err(|error| away(&error))?;
    let age = stats.oldest.map_or(0, |since| state.now() - since);
    Ok(Json(json!({
        "queue": QUEUE,
        "depth": stats.depth,
        "capacity": state.inner.settings.queue.capacity,
        "dead": stats.dead,
        "oldest_item_age_seconds": age as f64 / 1000.0,
    })))
}

async fn dead(State(state): State<CheckoutState>) -> Result<Json<Value>, Problem> {
    let letters = state.store().dead_letters(MOST).await.map_err(|error| away(&error))?;
    Ok(Json(json!({"queue": QUEUE, "dead": letters})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    /// One order; all dead ones when left out.
    order_id: Option<String>,
}

async fn replay(State(state): State<CheckoutState>, Body(replay): Body<Replay>) -> Result<Json<Value>, Problem> {
    let store = state.store();
    let wanted = match replay.order_id {
        Some(id) => vec![id],
        None => {
            let letters = store.dead_letters(MOST).await.map_err(|error| away(&error))?;
            letters.into_iter().map(|letter| letter.order_id).collect()
        }
    };
    let mut replayed = 0;
    for id in &wanted {
        if let Some(revived) = store.replay(id, state.now()).await.map_err(|error| away(&error))? {
            replayed += 1;
            if revived.to_be_paid {
                // Once more it may be kept or lost.
                state.inner.telemetry.revenue("at_risk", revived.amount);
            }
        } else if wanted.len() == 1 {
            return Err(Problem::not_found(format!("no dead item {id}")));
        }
    }
    state.inner.wake.notify_one();
    Ok(Json(json!({"replayed": replayed})))
}
