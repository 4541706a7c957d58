//! The bulkhead: limits the share of the caller that one dependency can occupy.
//!
//! # Motivation
//!
//! When a dependency slows down, the calls waiting for it pile up until they occupy every connection, worker
//! and all memory, and calls to healthy dependencies fail as well. A ship survives a leak because its hull is
//! divided into compartments; a service, because each dependency has a limited number of concurrent calls.
//!
//! # Theory of operation
//!
//! A fair semaphore: calls beyond the limit wait in a queue for at most
//! [`max_wait_duration`](BulkheadSettings::max_wait_duration), then they are rejected. A caller that stops
//! waiting leaves the queue; a call that is cancelled returns its slot.
//! The limit follows from Little's law: rate × duration. 50 calls per second of 100 ms each occupy 5 slots;
//! two to four times that leaves capacity for bursts.
//!
//! [`PoolBulkhead`] has the semantics of a thread pool: a core size, a maximum and a bounded queue; calls
//! that exceed them are run by their caller or rejected.
//!
//! # How it fails
//!
//! A limit that is too low rejects healthy traffic; one that is too high protects nothing. A long wait only
//! moves the pile-up from the dependency to the queue in front of it.
//!
//! # When not to use it
//!
//! In front of a resource that limits itself (a connection pool with a short wait is a bulkhead), and around
//! calls that cost no more than the bulkhead itself.
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

/// Limit of concurrent calls, and how long a call waits for admission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BulkheadSettings {
    /// Maximum number of concurrent calls.
    pub max_concurrent_calls: u32,
    /// How long a call waits for admission; zero rejects it at once.
    #[serde(with = "humantime_serde")]
    pub max_wait_duration: Duration,
}

impl Default for BulkheadSettings {
    fn default() -> Self {
        Self { max_concurrent_calls: 25, max_wait_duration: Duration::from_millis(100) }
    }
}

impl BulkheadSettings {
    /// Validates the settings.
    pub fn validate(&self) -> Result<(), SettingsError> {
        within("max-concurrent-calls", self.max_concurrent_calls, 1..=1_000_000, "1–1000000")?;
        duration("max-wait-duration", self.max_wait_duration, Duration::ZERO)
    }
}

/// Error: the bulkhead was full until the end of the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bulkhead of {capacity} calls was full for {waited:?}")]
pub struct BulkheadFull {
    /// The limit of concurrent calls.
    pub capacity: u32,
    /// How long the call waited.
    pub waited: Duration,
}

/// State of a bulkhead at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkheadSnapshot {
    /// Admitted calls.
    pub in_flight: u32,
    /// Maximum number of concurrent calls.
    pub capacity: u32,
    /// Waiting calls.
    pub queued: u32,
    /// Rejected calls so far.
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

/// A slot in a bulkhead, returned when dropped.
#[derive(Debug)]
#[must_use = "the place is free again as soon as this is dropped"]
pub struct Place<'a>(&'a Bulkhead);

impl Drop for Place<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.places.give_back();
    }
}

/// A [`Place`] that owns a reference to its bulkhead, for spawned tasks and for response bodies that are
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
    /// Creates an empty bulkhead.
    pub fn new(settings: &BulkheadSettings) -> Result<Self, SettingsError> {
        settings.validate()?;
        Ok(Self {
            places: Places::new(settings.max_concurrent_calls),
            capacity: settings.max_concurrent_calls,
            max_wait: settings.max_wait_duration,
            rejected: AtomicU64::new(0),
        })
    }

    /// Waits for a slot, no longer than the settings allow.
    pub async fn enter(&self) -> Result<Place<'_>, BulkheadFull> {
        self.enter_within(self.max_wait).await
    }

    /// Waits for a slot, no longer than `limit` and the settings allow.
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

    /// As [`enter`](Self::enter), with an owned slot.
    pub async fn enter_owned(self: &Arc<Self>) -> Result<OwnedPlace, BulkheadFull> {
        // The place is handed on, not given back.
        mem::forget(self.enter().await?);
        Ok(OwnedPlace(self.clone()))
    }

    /// Takes a slot if one is free and no caller is waiting. A failure does not count as a rejection.
    #[must_use]
    #[inline]
    pub fn try_enter(&self) -> Option<Place<'_>> {
        self.places.try_take().then(|| Place(self))
    }

    /// Snapshot of the bulkhead.
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
