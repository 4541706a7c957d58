//! notification: sends messages to viewers about their orders.
//!
//! `POST /notifications`, `GET /notifications`. As a demonstration it sends no mail; the latest messages are kept for
//! inspection. A repeated id is accepted only once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::web::problem::{Body, Problem};

/// Methods and routes whose series exist before the first request.
pub const ROUTES: &[(&str, &str)] = &[("POST", "/notifications")];

/// Maximum number of notifications kept.
const KEPT: usize = 10_000;
/// Maximum number of notifications listed.
const LISTED: usize = 200;
/// Maximum length of a text, in bytes.
const LONGEST_TEXT: usize = 500;

/// A message to a viewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notification {
    /// Its id, the same in each delivery.
    pub id: String,
    /// The order.
    pub order_id: String,
    /// The viewer.
    pub user_id: u32,
    /// The text.
    pub text: String,
}

/// The notifications received. Cheap to clone.
#[derive(Clone, Default)]
pub struct NotificationState {
    sent: Arc<Mutex<VecDeque<Notification>>>,
}

/// The service.
pub fn router(state: NotificationState) -> Router {
    Router::new().route("/notifications", post(send).get(list)).with_state(state)
}

async fn send(
    State(state): State<NotificationState>,
    Body(notification): Body<Notification>,
) -> Result<StatusCode, Problem> {
    if notification.text.is_empty() || notification.text.len() > LONGEST_TEXT {
        return Err(Problem::bad_request("text", format!("must have 1 to {LONGEST_TEXT} bytes")));
    }
    let mut sent = state.sent.lock().unwrap_or_else(PoisonError::into_inner);
    if sent.iter().any(|earlier| earlier.id == notification.id) {
        return Ok(StatusCode::OK);
    }
    tracing::debug!(user = notification.user_id, order = notification.order_id, "notified");
    sent.truncate(KEPT - 1);
    sent.push_front(notification);
    Ok(StatusCode::CREATED)
}

/// The latest notifications.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Notifications {
    /// Newest first.
    pub items: Vec<Notification>,
}

async fn list(State(state): State<NotificationState>) -> Json<Notifications> {
    let sent = state.sent.lock().unwrap_or_else(PoisonError::into_inner);
    Json(Notifications { items: sent.iter().take(LISTED).cloned().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::testing::get;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    #[tokio::test]
    async fn a_notification_is_taken_once() {
        let service = router(NotificationState::default());
        for expected in [201, 200] {
            let body = r#"{"id":"o1:4","order_id":"o1","user_id":7,"text":"paid"}"#;
            let request = http::Request::post("/notifications").header("content-type", "application/json");
            let response = service.clone().oneshot(request.body(axum::body::Body::from(body)).unwrap()).await.unwrap();
            assert_eq!(response.status().as_u16(), expected);
            let _ = response.into_body().collect().await;
        }
        let all: Notifications = get(service, "/notifications").await;
        assert_eq!(all.items.len(), 1);
    }
}
