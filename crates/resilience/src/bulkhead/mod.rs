//! The bulkhead: no dependency may take more than its share of the caller.
//!
//! # Motivation
//!
//! When one dependency slows down, the calls waiting for it pile up until they hold every
//! connection, every worker and all the memory there is, and calls to healthy dependencies find
//! nothing left. A ship survives a hole because its hull is divided; a service, because each
//! dependency has a limited number of places.
//!
//! # Theory of operation
//!
//! A fair semaphore: calls beyond the limit wait their turn, at most
//! [`max_wait_duration`](BulkheadSettings::max_wait_duration), then they are turned away. A caller
//! that stops waiting leaves the queue; one that goes away during its call gives its place back.
//! How many places? Little's law: rate × time. 50 calls a second of 100 ms each hold 5 places;
//! twice to four times that leaves room for bursts.
//!
//! The [`PoolBulkhead`] is the form that thread pools are known by: a core, a maximum and a
//! bounded queue, with calls run by their caller or turned away when all of it is full.
//!
//! # How it fails
//!
//! Too few places turn away healthy traffic; too many protect nothing. A long wait only moves the
//! pile-up from the dependency to the queue in front of it.
//!
//! # When not to use it
//!
//! In front of something that limits itself (a connection pool with a short wait is a bulkhead),
//! and around calls that cost no more than the place does.
//!
//! ```
//! use std::time::Duration;
//! use breakerbox_resilience::bulkhead::{Bulkhead, BulkheadSettings};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let bulkhead = Bulkhead::new(&BulkheadSettings {
//!     max_concurrent_calls: 1,
//!     max_wait_duration: Duration::ZERO,
//! })?;
//! let place = bulkhead.enter().await.expect("empty");
//! assert!(bulkhead.enter().await.is_err());
//! drop(place);
//! assert!(bulkhead.enter().await.is_ok());
//! # Ok::<(), breakerbox_resilience::SettingsError>(())
//! # }).unwrap();
//! ```

mod places;
mod pool;

use std::{mem, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use self::places::Places;

pub use self::pool::{PoolBulkhead, PoolPlace, PoolSettings, PoolSnapshot, WhenFull};
use super::{
    settings::{SettingsError, duration, within},
    sync::{AtomicU64, Ordering},
};

/// Places of a bulkhead and the patience of those who wait for one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BulkheadSettings {
    /// Calls that may be inside at once.
    pub max_concurrent_calls: u32,
    /// How long a call waits for a place; zero turns it away at once.
    #[serde(with = "humantime_serde")]
    pub max_wait_duration: Duration,
}

impl Default for BulkheadSettings {
    fn default() -> Self {
        Self { max_concurrent_calls: 25, max_wait_duration: Duration::from_millis(100) }
    }
}

impl BulkheadSettings {
    /// Whether a bulkhead can be built from these.
    pub fn validate(&self) -> Result<(), SettingsError> {
        within("max-concurrent-calls", self.max_concurrent_calls, 1..=1_000_000, "1–1000000")?;
        duration("max-wait-duration", self.max_wait_duration, Duration::ZERO)
    }
}

/// No place became free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {capacity} places were taken for {waited:?}")]
pub struct BulkheadFull {
    /// Places there are.
    pub capacity: u32,
    /// How long the call waited for one.
    pub waited: Duration,
}

/// A bulkhead at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkheadSnapshot {
    /// Calls inside.
    pub in_flight: u32,
    /// Places there are.
    pub capacity: u32,
    /// Calls waiting for a place.
    pub queued: u32,
    /// Calls turned away so far.
    pub rejected: u64,
}

/// A semaphore bulkhead; see the [module](self).
#[derive(Debug)]
pub struct Bulkhead {
    places: Places,
    capacity: u32,
    max_wait: Duration,
    rejected: AtomicU64,
}

/// A place in a bulkhead, free again when dropped.
#[derive(Debug)]
#[must_use = "the place is free again as soon as this is dropped"]
pub struct Place<'a>(&'a Bulkhead);

impl Drop for Place<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.places.give_back();
    }
}

/// A [`Place`] that owns a share of its bulkhead, for spawned tasks and for response bodies that are
/// still being sent.
#[derive(Debug)]
#[must_use = "the place is free again as soon as this is dropped"]
pub struct OwnedPlace(Arc<Bulkhead>);

impl Drop for OwnedPlace {
    fn drop(&mut self) {
        self.0.places.give_back();
    }
}

impl Bulkhead {
    /// An empty bulkhead.
    pub fn new(settings: &BulkheadSettings) -> Result<Self, SettingsError> {
        settings.validate()?;
        Ok(Self {
            places: Places::new(settings.max_concurrent_calls),
            capacity: settings.max_concurrent_calls,
            max_wait: settings.max_wait_duration,
            rejected: AtomicU64::new(0),
        })
    }

    /// Takes a place, waiting for it no longer than the settings allow.
    pub async fn enter(&self) -> Result<Place<'_>, BulkheadFull> {
        self.enter_within(self.max_wait).await
    }

    /// Takes a place, waiting for it no longer than `limit`, nor than the settings allow.
    pub async fn enter_within(&self, limit: Duration) -> Result<Place<'_>, BulkheadFull> {
        if let Some(place) = self.try_enter() {
            return Ok(place);
        }
        let limit = limit.min(self.max_wait);
        if !limit.is_zero() && tokio::time::timeout(limit, self.places.take()).await.is_ok() {
            return Ok(Place(self));
        }
        self.rejected.fetch_add(1, Ordering::Relaxed);
        Err(BulkheadFull { capacity: self.capacity, waited: limit })
    }

    /// As [`enter`](Self::enter), for a place that can leave this scope.
    pub async fn enter_owned(self: &Arc<Self>) -> Result<OwnedPlace, BulkheadFull> {
        // The place is handed on, not given back.
        mem::forget(self.enter().await?);
        Ok(OwnedPlace(self.clone()))
    }

    /// Takes a place if one is free and no caller waits for it. Does not count as a rejection.
    #[must_use]
    #[inline]
    pub fn try_enter(&self) -> Option<Place<'_>> {
        self.places.try_take().then(|| Place(self))
    }

    /// What it looks like now.
    #[must_use]
    pub fn snapshot(&self) -> BulkheadSnapshot {
        let (free, queued) = self.places.now();
        BulkheadSnapshot {
            in_flight: self.capacity.saturating_sub(free),
            capacity: self.capacity,
            queued,
            rejected: self.rejected.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulkhead(places: u32, wait: u64) -> Arc<Bulkhead> {
        let settings =
            BulkheadSettings { max_concurrent_calls: places, max_wait_duration: Duration::from_millis(wait) };
        Arc::new(Bulkhead::new(&settings).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_as_long_as_allowed_and_is_then_turned_away() {
        let bulkhead = bulkhead(1, 100);
        let _inside = bulkhead.enter().await.unwrap();
        let start = tokio::time::Instant::now();
        let full = bulkhead.enter().await.unwrap_err();
        assert_eq!(start.elapsed(), Duration::from_millis(100));
        assert_eq!(full.capacity, 1);
        assert_eq!(bulkhead.snapshot().rejected, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn places_go_to_those_who_waited_longest() {
        let bulkhead = bulkhead(1, 100);
        let inside = bulkhead.enter().await.unwrap();
        let (order, mut served) = tokio::sync::mpsc::unbounded_channel();
        for name in ["first", "second"] {
            let (bulkhead, order) = (bulkhead.clone(), order.clone());
            tokio::spawn(async move {
                let _place = bulkhead.enter().await.unwrap();
                order.send(name).unwrap();
            });
            tokio::task::yield_now().await;
        }
        assert_eq!(bulkhead.snapshot().queued, 2);
        drop(inside);
        assert!(bulkhead.try_enter().is_none(), "a newcomer does not overtake");
        assert_eq!(served.recv().await, Some("first"));
        assert_eq!(served.recv().await, Some("second"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_owned_place_leaves_its_scope_and_comes_back() {
        let bulkhead = bulkhead(1, 0);
        let place = bulkhead.enter_owned().await.unwrap();
        assert!(bulkhead.enter_owned().await.is_err());
        tokio::spawn(async move { drop(place) }).await.unwrap();
        assert_eq!(bulkhead.snapshot().in_flight, 0);
        assert!(bulkhead.enter_owned().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_gives_up_leaves_no_trace() {
        let bulkhead = bulkhead(1, 1_000);
        let inside = bulkhead.enter().await.unwrap();
        let gave_up = tokio::time::timeout(Duration::from_millis(5), bulkhead.enter()).await;
        assert!(gave_up.is_err());
        let snapshot = bulkhead.snapshot();
        assert_eq!((snapshot.queued, snapshot.in_flight, snapshot.rejected), (0, 1, 0));
        drop(inside);
        assert_eq!(bulkhead.snapshot().in_flight, 0);
        assert!(bulkhead.try_enter().is_some());
    }
}
