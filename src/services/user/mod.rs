//! user: accounts and viewing histories.
//!
//! `POST /login`, `POST /verify` (identifies the owner of a token, for the gateway), `GET /users/{id}`, `GET
//! /users/{id}/history`, `POST /users/{id}/history`. It trusts the gateway, which alone checks that a viewer only
//! accesses their own history.

mod accounts;
mod stores;
mod token;
mod viewers;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};

pub use crate::clock::Clock;
pub use accounts::PASSWORD;
pub use stores::{PRIMARY, REPLICA, SOURCE_HEADER, StoreClients, store_routes};
pub use token::TokenKey;

use super::data::films;
use super::wire::{History, HistoryEntry, LoginReply, LoginRequest, VerifyReply, VerifyRequest, WatchRequest};
use crate::client::Context;
use crate::web::params;
use crate::web::problem::{Body, Problem, Query};
use accounts::Accounts;
use breakerbox_resilience::SettingsError;
use breakerbox_resilience::policy::PolicySettings;
use token::Claims;
use viewers::Viewers;

/// Methods and routes whose series exist before the first request.
pub const ROUTES: &[(&str, &str)] = &[("POST", "/login"), ("POST", "/verify"), ("GET", "/users/{id}")];

/// Maximum size of a request body, in bytes.
const LARGEST_BODY: usize = 4096;
/// Maximum number of history entries in a response.
const MOST_HISTORY: u32 = 100;
/// Maximum length of a name or password, in bytes.
const LONGEST_CREDENTIAL: usize = 128;

/// Settings of user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct UserSettings {
    /// Key that signs tokens, at least 32 bytes. Without one, each process generates its own at start, and tokens of an
    /// earlier run or of another instance are invalid.
    pub token_key: Option<TokenKey>,
    /// Lifetime of a token.
    #[serde(with = "humantime_serde")]
    pub token_lifetime: Duration,
    /// Policy of reads and writes of the primary store.
    pub primary: PolicySettings,
    /// Policy of reads of the replica.
    pub replica: PolicySettings,
    /// Replication lag of the replica.
    #[serde(with = "humantime_serde")]
    pub replication_lag: Duration,
}

impl Default for UserSettings {
    fn default() -> Self {
        Self {
            token_key: None,
            token_lifetime: Duration::from_hours(1),
            primary: stores::policy("primary-database"),
            replica: stores::policy("replica-database"),
            replication_lag: Duration::from_secs(1),
        }
    }
}

impl UserSettings {
    /// Validates the key's length and the lifetime (1 s to 30 days).
    pub fn validate(&self) -> Result<(), String> {
        let allowed = Duration::from_secs(1)..=Duration::from_hours(30 * 24);
        if !allowed.contains(&self.token_lifetime) {
            let lifetime = humantime::format_duration(self.token_lifetime);
            return Err(SettingsError::new("user.token-lifetime", lifetime, "from 1s to 30days").to_string());
        }
        if self.replication_lag > Duration::from_mins(1) {
            let lag = humantime::format_duration(self.replication_lag);
            return Err(SettingsError::new("user.replication-lag", lag, "from 0s to 1m").to_string());
        }
        for (field, policy) in [("user.primary", &self.primary), ("user.replica", &self.replica)] {
            policy.validate().map_err(|error| error.within(field).to_string())?;
        }
        self.token_key.as_ref().map_or(Ok(()), |key| key.validate("user.token-key").map_err(|error| error.to_string()))
    }
}

/// State of user. Cheap to clone.
#[derive(Clone)]
pub struct UserState {
    inner: Arc<Inner>,
}

struct Inner {
    accounts: Arc<Accounts>,
    viewers: Arc<Viewers>,
    /// Clients of the primary and the replica; `None` if there is only one copy.
    stores: Option<StoreClients>,
    key: TokenKey,
    lifetime: Duration,
    clock: Clock,
}

impl UserState {
    /// The viewers and histories of this seed, by the system clock.
    pub fn new(settings: &UserSettings, seed: u64) -> Result<Self, String> {
        Self::at(settings, seed, Clock::system())
    }

    /// The viewers and histories of this seed, by another clock.
    pub fn at(settings: &UserSettings, seed: u64, clock: Clock) -> Result<Self, String> {
        settings.validate()?;
        let inner = Inner {
            accounts: Arc::new(Accounts::seeded(seed)),
            viewers: Arc::new(Viewers::seeded(seed, clock.unix_seconds())),
            stores: None,
            key: settings.token_key.clone().unwrap_or_else(TokenKey::random),
            lifetime: settings.token_lifetime,
            clock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A replica that lags behind this copy by `lag`.
    #[must_use]
    pub fn replica(&self, lag: Duration) -> Self {
        let Inner { accounts, viewers, key, lifetime, clock, .. } = &*self.inner;
        let inner = Inner {
            accounts: Arc::clone(accounts),
            viewers: Arc::new(Viewers::replica(viewers, lag)),
            stores: None,
            key: key.clone(),
            lifetime: *lifetime,
            clock: *clock,
        };
        Self { inner: Arc::new(inner) }
    }

    /// This service, with reads and writes through two stores that can fail separately.
    #[must_use]
    pub fn over(&self, stores: StoreClients) -> Self {
        let Inner { accounts, viewers, key, lifetime, clock, .. } = &*self.inner;
        let inner = Inner {
            accounts: Arc::clone(accounts),
            viewers: Arc::clone(viewers),
            stores: Some(stores),
            key: key.clone(),
            lifetime: *lifetime,
            clock: *clock,
        };
        Self { inner: Arc::new(inner) }
    }
}

/// The service.
pub fn router(state: UserState) -> Router {
    Router::new()
        .route("/login", post(login))
        .route("/verify", post(verify))
        .route("/users/{id}", get(profile))
        .route("/users/{id}/history", get(history).post(watch))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(state)
}

async fn login(State(state): State<UserState>, Body(request): Body<LoginRequest>) -> Result<Json<LoginReply>, Problem> {
    for (field, value) in [("username", &request.username), ("password", &request.password)] {
        if value.is_empty() || value.len() > LONGEST_CREDENTIAL {
            return Err(Problem::bad_request(field, format!("must have 1 to {LONGEST_CREDENTIAL} bytes")));
        }
    }
    let Inner { accounts, key, lifetime, clock, .. } = &*state.inner;
    let user_id = accounts
        .open(&request.username, &request.password)
        .ok_or_else(|| Problem::unauthorized("no account has this name and this password"))?;
    let expires_at = clock.unix_seconds() + lifetime.as_secs();
    let token = token::issue(key, Claims { user_id, expires_at });
    Ok(Json(LoginReply { token, user_id, expires_at }))
}

async fn verify(
    State(state): State<UserState>,
    Body(request): Body<VerifyRequest>,
) -> Result<Json<VerifyReply>, Problem> {
    let Inner { key, clock, .. } = &*state.inner;
    let Claims { user_id, expires_at } = token::verify(key, &request.token, clock.unix_seconds())
        .map_err(|error| Problem::unauthorized(error.to_string()))?;
    Ok(Json(VerifyReply { user_id, expires_at }))
}

async fn profile(
    State(state): State<UserState>,
    context: Context,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = params::id("id", &id)?;
    if let Some(stores) = &state.inner.stores {
        return stores.read(&context, &format!("/users/{id}")).await;
    }
    state.inner.viewers.profile(id).map(|profile| Json(profile).into_response()).ok_or_else(|| no_viewer(id))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    limit: Option<String>,
}

async fn history(
    State(state): State<UserState>,
    context: Context,
    Path(id): Path<String>,
    Query(query): Query<HistoryQuery>,
) -> Result<Response, Problem> {
    let id = params::id("id", &id)?;
    let limit = params::number("limit", query.limit.as_deref(), 20, &(1..=MOST_HISTORY))?;
    if let Some(stores) = &state.inner.stores {
        return stores.read(&context, &format!("/users/{id}/history?limit={limit}")).await;
    }
    let history = state.inner.viewers.history(id, limit as usize);
    history.map(|history| Json::<History>(history).into_response()).ok_or_else(|| no_viewer(id))
}

async fn watch(
    State(state): State<UserState>,
    context: Context,
    Path(id): Path<String>,
    Body(request): Body<WatchRequest>,
) -> Result<(StatusCode, Json<HistoryEntry>), Problem> {
    let id = params::id("id", &id)?;
    if films::by_id(request.film_id).is_none() {
        return Err(Problem::bad_request("film_id", format!("must be a film's id, 1 to {}", films::count())));
    }
    if let Some(stores) = &state.inner.stores {
        return stores.write(&context, &format!("/users/{id}/history"), &request).await;
    }
    let entry = HistoryEntry { film_id: request.film_id, watched_at: state.inner.clock.unix_seconds() };
    if state.inner.viewers.watched(id, entry) { Ok((StatusCode::CREATED, Json(entry))) } else { Err(no_viewer(id)) }
}

fn no_viewer(id: u32) -> Problem {
    Problem::not_found(format!("there is no viewer {id}"))
}

#[cfg(test)]
mod tests;
