//! Two copies of the viewers' data: a primary for reads and writes, and a replica for reads when the primary fails.
//!
//! Each has its own client with its own breaker: with a shared breaker, failures of the primary would block the
//! replica, too. A read that falls back says so in a header; a write does not fall back, because a replica must not be
//! written.
//!
//! Both copies are in the memory of the process, with separate data: a write reaches the replica [some
//! time](super::UserSettings::replication_lag) after the primary. They fail separately, as the fault targets
//! `user-primary` and `user-replica`.

use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderName, HeaderValue, StatusCode};

use super::{UserState, history, profile, watch};
use crate::client::{Client, Context, Error, FallbackKind, Fallbacks, Reply, Request, Telemetry};
use crate::services::wire::{HistoryEntry, WatchRequest};
use crate::web::problem::Problem;
use breakerbox_resilience::deadline::TimeLimiterSettings;
use breakerbox_resilience::policy::PolicySettings;

/// Fault target and breaker of the primary.
pub const PRIMARY: &str = "user-primary";
/// Fault target and breaker of the replica.
pub const REPLICA: &str = "user-replica";
/// Header that names the copy from which a response comes.
pub const SOURCE_HEADER: &str = "x-data-source";

/// The clients of both copies.
#[derive(Clone)]
pub struct StoreClients {
    primary: Client,
    replica: Client,
    fallbacks: Fallbacks,
}

/// A preset for one of the copies, with a timeout that leaves time to try the other one: the preset's timeout is longer
/// than a page may take.
pub(super) fn policy(preset: &str) -> PolicySettings {
    let database = crate::client::preset(preset).unwrap_or_default();
    let time_limiter = TimeLimiterSettings { timeout_duration: Duration::from_millis(200), ..database.time_limiter };
    PolicySettings { time_limiter, ..database }
}

/// The routes of one copy.
pub fn store_routes(state: UserState) -> Router {
    Router::new()
        .route("/users/{id}", get(profile))
        .route("/users/{id}/history", get(history).post(watch))
        .with_state(state)
}

impl StoreClients {
    /// Clients of both copies.
    #[must_use]
    pub fn new(primary: Client, replica: Client, telemetry: &Telemetry) -> Self {
        let kinds = [FallbackKind::Replica];
        let fallbacks = Fallbacks::new(primary.service(), primary.dependency(), &kinds, telemetry);
        Self { primary, replica, fallbacks }
    }

    pub(super) async fn read(&self, context: &Context, path: &str) -> Result<Response, Problem> {
        let error = match self.primary.call(context, Request::get(path)).await {
            Ok(reply) => return Ok(told(reply, "primary")),
            Err(error) => error,
        };
        // An invalid request is invalid at the replica, too.
        if is_callers_own(&error) || !context.protection {
            return Err(error.into());
        }
        match self.replica.call(context, Request::get(path)).await {
            Ok(reply) => {
                self.fallbacks.served(FallbackKind::Replica, error.reason(), None);
                Ok(told(reply, "replica"))
            }
            Err(other) if is_callers_own(&other) => Err(other.into()),
            Err(_) => {
                self.fallbacks.failed(FallbackKind::Replica);
                Err(error.into())
            }
        }
    }

    pub(super) async fn write(
        &self,
        context: &Context,
        path: &str,
        request: &WatchRequest,
    ) -> Result<(StatusCode, axum::Json<HistoryEntry>), Problem> {
        let entry = self.primary.call_json(context, Request::post(path).json(request)).await?;
        Ok((StatusCode::CREATED, axum::Json(entry)))
    }
}

fn is_callers_own(error: &Error) -> bool {
    error.status().is_some_and(|status| status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS)
}

fn told(reply: Reply, source: &'static str) -> Response {
    let kind = reply.headers.get(http::header::CONTENT_TYPE).cloned();
    let mut response = (reply.status, reply.body).into_response();
    let headers = response.headers_mut();
    if let Some(kind) = kind {
        headers.insert(http::header::CONTENT_TYPE, kind);
    }
    headers.insert(HeaderName::from_static(SOURCE_HEADER), HeaderValue::from_static(source));
    response
}
