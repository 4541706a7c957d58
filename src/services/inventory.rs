//! inventory: stock and reservations.
//!
//! `POST /reservations`, `POST /reservations/{order}/release`, `GET /stock/{film}`. A premiere has a limited number of
//! seats per showing, and new showings start at a fixed interval, so that seats sell out and become available again.
//! Rentals and purchases have so many licences that they hardly sell out.
//!
//! Both changes are idempotent by the order's id, and a release that arrives first wins: a delayed reservation must not
//! reserve a seat for a cancelled order.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio_util::task::TaskTracker;

use super::Host;
use super::data::films;
use crate::clock::Clock;
use crate::store::{
    DatabaseUrl, InventoryStore, OrderKind, Place, Reserved, StoreError, StoreSettings, check_url, millis,
};
use crate::web::params;
use crate::web::problem::{Body, Problem, Query};
use breakerbox_resilience::SettingsError;

/// Methods and routes whose series exist before the first request.
pub const ROUTES: &[(&str, &str)] = &[("POST", "/reservations"), ("POST", "/reservations/{order}/release")];

/// Interval of deleting old reservations, number in one transaction, and transactions in a row.
const PRUNE: Duration = Duration::from_mins(5);
const PRUNE_AT_ONCE: u32 = 500;
const PRUNE_ROUNDS: u32 = 200;

/// Settings of inventory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct InventorySettings {
    /// Its database URL; if empty, the one in `store`.
    pub url: DatabaseUrl,
    /// Seats of a premiere per showing.
    pub premiere_seats: u32,
    /// Licences per film and showing, for rentals and for purchases each.
    pub licences: u32,
    /// How long a showing lasts.
    #[serde(with = "humantime_serde")]
    pub showing: Duration,
    /// How long reservations are kept, but at least until their showing has ended.
    #[serde(with = "humantime_serde")]
    pub keep_reservations: Duration,
}

impl Default for InventorySettings {
    fn default() -> Self {
        Self {
            url: DatabaseUrl::default(),
            premiere_seats: 20,
            licences: 100_000,
            showing: Duration::from_mins(10),
            keep_reservations: Duration::from_hours(72),
        }
    }
}

impl InventorySettings {
    /// Validates the settings; an error names the field and its allowed values.
    pub fn validate(&self) -> Result<(), String> {
        check_url("inventory.url", &self.url)?;
        if self.showing < Duration::from_secs(1) {
            let showing = humantime::format_duration(self.showing);
            return Err(SettingsError::new("inventory.showing", showing, "at least 1s").to_string());
        }
        // Longer than a request of an order can be delayed.
        if self.keep_reservations < Duration::from_hours(1) {
            let keep = humantime::format_duration(self.keep_reservations);
            return Err(SettingsError::new("inventory.keep-reservations", keep, "at least 1h").to_string());
        }
        Ok(())
    }
}

/// State of inventory. Cheap to clone.
#[derive(Clone)]
pub struct InventoryState {
    store: InventoryStore,
    settings: InventorySettings,
    /// Last deletion of old reservations, Unix milliseconds.
    pruned: Arc<AtomicI64>,
    tasks: TaskTracker,
}

impl InventoryState {
    /// An inventory over the configured database.
    pub fn new(settings: &InventorySettings, store: &StoreSettings, host: &Host) -> Result<Self, String> {
        settings.validate()?;
        let url = store.locate("inventory", &settings.url)?;
        let store =
            InventoryStore::new(&url, store, host.virtual_time).map_err(|error| format!("inventory.url: {error}"))?;
        let pruned = Arc::new(AtomicI64::new(Clock::of_a_store(host.virtual_time).unix_millis()));
        Ok(Self { store, settings: settings.clone(), pruned, tasks: host.tasks.clone() })
    }

    /// Its database, for comparison with other services' data.
    #[must_use]
    pub fn store(&self) -> &InventoryStore {
        &self.store
    }

    fn place(&self, film_id: u32, kind: OrderKind, now: i64) -> Place {
        let capacity = match kind {
            OrderKind::Premiere => self.settings.premiere_seats,
            OrderKind::Rent | OrderKind::Buy => self.settings.licences,
        };
        Place { film_id, kind, showing: self.showing(now), capacity: capacity.into() }
    }

    /// Length of a showing, in seconds.
    fn length(&self) -> i64 {
        i64::try_from(self.settings.showing.as_secs()).unwrap_or(i64::MAX / 1_000_000).max(1)
    }

    /// Number of the present showing.
    fn showing(&self, now: i64) -> i64 {
        now / 1000 / self.length()
    }

    /// Deletes old reservations from time to time, triggered by requests that add some.
    fn prune(&self, now: i64) {
        let last = self.pruned.load(Ordering::Relaxed);
        let due = now - last >= millis(PRUNE);
        if !due || self.pruned.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let (own, before) = (self.clone(), now - millis(self.settings.keep_reservations));
        self.tasks.spawn(async move {
            for _ in 0..PRUNE_ROUNDS {
                match own.store.prune(before, own.showing(now), PRUNE_AT_ONCE).await {
                    Ok(gone) if gone >= u64::from(PRUNE_AT_ONCE) => {}
                    Ok(_) => return,
                    Err(error) => return tracing::warn!(%error, "deletion of old reservations failed"),
                }
            }
        });
    }
}

/// The service.
pub fn router(state: InventoryState) -> Router {
    Router::new()
        .route("/reservations", post(reserve))
        .route("/reservations/{order}/release", post(release))
        .route("/stock/{film}", get(stock))
        .with_state(state)
}

/// A request to reserve a place for an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReservationRequest {
    /// The order.
    pub order_id: String,
    /// The film.
    pub film_id: u32,
    /// The kind of the sale.
    pub kind: OrderKind,
}

/// A reservation.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Reservation {
    /// The showing.
    pub showing: i64,
    /// End of a premiere's showing, Unix milliseconds; `None` if there is no end.
    #[serde(default)]
    pub ends_at: Option<i64>,
}

/// Result of a release.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Released {
    /// Whether there was a reservation.
    pub released: bool,
}

async fn reserve(
    State(state): State<InventoryState>,
    Body(request): Body<ReservationRequest>,
) -> Result<(StatusCode, Json<Reservation>), Problem> {
    if films::by_id(request.film_id).is_none() {
        return Err(Problem::bad_request("film_id", format!("must be a film's id, 1 to {}", films::count())));
    }
    let now = state.store.now().await.map_err(|e| away(&e))?;
    state.prune(now);
    let place = state.place(request.film_id, request.kind, now);
    match state.store.reserve(&request.order_id, place, now).await.map_err(|e| away(&e))? {
        Reserved::Held { showing } => {
            let over = (showing + 1).saturating_mul(state.length()).saturating_mul(1000);
            let ends_at = (request.kind == OrderKind::Premiere).then_some(over);
            Ok((StatusCode::CREATED, Json(Reservation { showing, ends_at })))
        }
        Reserved::SoldOut => Err(Problem::conflict("sold out")),
        Reserved::Released => Err(Problem::new(StatusCode::GONE, "this order was cancelled")),
    }
}

async fn release(State(state): State<InventoryState>, Path(order): Path<String>) -> Result<Json<Released>, Problem> {
    let now = state.store.now().await.map_err(|e| away(&e))?;
    let released = state.store.release(&order, now).await.map_err(|e| away(&e))?;
    Ok(Json(Released { released }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StockQuery {
    kind: OrderKind,
}

/// Stock of a film.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Stock {
    /// Places left in the present showing.
    pub left: i64,
    /// Capacity of a showing.
    pub capacity: i64,
    /// Seconds until the next showing starts.
    pub next_showing_seconds: u64,
}

async fn stock(
    State(state): State<InventoryState>,
    Path(film): Path<String>,
    Query(query): Query<StockQuery>,
) -> Result<Json<Stock>, Problem> {
    let now = state.store.now().await.map_err(|e| away(&e))?;
    let place = state.place(params::id("film", &film)?, query.kind, now);
    let capacity = place.capacity;
    let left = state.store.left(place).await.map_err(|e| away(&e))?;
    let length = state.settings.showing.as_secs().max(1);
    let into = u64::try_from(now / 1000).unwrap_or(0) % length;
    Ok(Json(Stock { left, capacity, next_showing_seconds: length - into }))
}

/// The error for callers when the store is unavailable. The cause is only logged.
pub(super) fn away(error: &StoreError) -> Problem {
    tracing::warn!(%error, "store");
    Problem::unavailable("the database is not available", None)
}
