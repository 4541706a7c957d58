//! A registry of breakers: one per key, for a bounded number of keys.
//!
//! # Motivation
//!
//! One breaker around a whole dependency blocks every endpoint because of the worst one, and one around many
//! hosts blocks the healthy hosts. With one per key (service, host, endpoint) only the failing one is blocked.
//! But keys come from outside, and a map that grows with them is a memory leak.
//!
//! # Theory of operation
//!
//! Breakers are created on first use of their key. When the registry is full, one of the least recently
//! used breakers is evicted if it is closed, since it holds the least information. If there is none, further
//! keys share a common breaker. Keys are spread over shards with a lock each, and only a few breakers are
//! examined for eviction, so that the cost of a lookup does not depend on the number of keys.
//!
//! # How it fails
//!
//! Keys that are too fine never fill a window: a breaker per user or per film never trips. Use a route's
//! template, not its path.
//!
//! ```
//! use std::time::Instant;
//! use breakerbox_resilience::{breaker::BreakerSettings, registry::Registry};
//!
//! let now = Instant::now();
//! let registry = Registry::new(BreakerSettings::default(), 100, now, 42)?;
//! let films = registry.breaker("GET /films/{id}", now);
//! assert!(films.try_acquire(now).permit.is_ok());
//! # Ok::<(), breakerbox_resilience::SettingsError>(())
//! ```

use std::{sync::Arc, time::Instant};

use lru::LruCache;

use super::{
    breaker::{Breaker, BreakerSettings, State, Transition},
    settings::{SettingsError, within},
    shards::{Shards, make_way},
    sync::{AtomicU64, Mutex, Ordering, lock},
};

/// Breakers by key; see the [module](self).
#[derive(Debug)]
pub struct Registry {
    seed: u64,
    made: AtomicU64,
    overflow: Arc<Breaker>,
    shards: Shards<LruCache<String, Arc<Breaker>>>,
    settings: Mutex<BreakerSettings>,
}

/// Key of the shared breaker, for keys that did not fit.
pub const OVERFLOW: &str = "*";

impl Registry {
    /// Creates an empty registry for at most `max_keys` breakers with these settings.
    pub fn new(settings: BreakerSettings, max_keys: usize, now: Instant, seed: u64) -> Result<Self, SettingsError> {
        within("max-keys", max_keys, 1..=1_000_000, "1–1000000")?;
        Ok(Self {
            seed,
            made: AtomicU64::new(0),
            overflow: Arc::new(Breaker::new(settings.clone(), now, seed)?),
            shards: Shards::new(max_keys, LruCache::unbounded),
            settings: Mutex::new(settings),
        })
    }

    /// Returns the breaker of a key, creating it if needed.
    #[must_use]
    pub fn breaker(&self, key: &str, now: Instant) -> Arc<Breaker> {
        let (mut breakers, capacity) = self.shards.of(key);
        if let Some(breaker) = breakers.get(key) {
            return breaker.clone();
        }
        if breakers.len() >= capacity && !make_way(&mut breakers, |breaker| has_nothing_to_tell(breaker, now)) {
            return self.overflow.clone();
        }
        let seed = self.seed.wrapping_add(self.made.fetch_add(1, Ordering::Relaxed) + 1);
        let breaker = Breaker::new(lock(&self.settings).clone(), now, seed).expect("the settings were validated");
        let breaker = Arc::new(breaker);
        breakers.put(key.to_owned(), breaker.clone());
        breaker
    }

    /// The breaker shared by keys that did not fit.
    #[must_use]
    pub fn overflow(&self) -> &Arc<Breaker> {
        &self.overflow
    }

    /// All breakers with their keys, in the keys' order.
    #[must_use]
    pub fn breakers(&self) -> Vec<(String, Arc<Breaker>)> {
        let mut all = Vec::new();
        for breakers in self.shards.each() {
            all.extend(breakers.iter().map(|(key, breaker)| (key.clone(), breaker.clone())));
        }
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// Applies new settings to all present and future breakers. Returns the transitions that this causes, with
    /// the keys of their breakers; the key of the [shared](Self::overflow) one is [`OVERFLOW`].
    pub fn reconfigure(
        &self,
        settings: &BreakerSettings,
        now: Instant,
    ) -> Result<Vec<(String, Transition)>, SettingsError> {
        settings.validate()?;
        *lock(&self.settings) = settings.clone();
        let mut transitions = Vec::new();
        let shared = (OVERFLOW.to_owned(), self.overflow.clone());
        for (key, breaker) in self.breakers().into_iter().chain([shared]) {
            if let Some(transition) = breaker.reconfigure(settings.clone(), now)? {
                transitions.push((key, transition));
            }
        }
        Ok(transitions)
    }
}

/// Whether a breaker can be evicted: it is closed, or its wait is over and no call has followed: its
/// dependency may be gone for good.
fn has_nothing_to_tell(breaker: &Breaker, now: Instant) -> bool {
    match breaker.state() {
        State::Closed => true,
        State::Open | State::HalfOpen => breaker.would_reject(now).is_none(),
        State::ForcedOpen | State::Disabled | State::MetricsOnly => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::breaker::Command;

    fn registry(max_keys: usize) -> (Registry, Instant) {
        let now = Instant::now();
        (Registry::new(BreakerSettings::default(), max_keys, now, 1).unwrap(), now)
    }

    #[test]
    fn a_key_always_gets_the_same_breaker() {
        let (registry, now) = registry(2);
        assert!(Arc::ptr_eq(&registry.breaker("a", now), &registry.breaker("a", now)));
        assert!(!Arc::ptr_eq(&registry.breaker("a", now), &registry.breaker("b", now)));
    }

    #[test]
    fn the_longest_unused_closed_breaker_makes_way() {
        let (registry, now) = registry(2);
        registry.breaker("open", now).command(Command::ForceOpen, now);
        let _ = registry.breaker("closed", now + Duration::from_secs(1));
        let _ = registry.breaker("new", now + Duration::from_secs(2));
        let keys: Vec<_> = registry.breakers().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["new", "open"]);
    }

    #[test]
    fn a_full_registry_of_open_breakers_makes_room_where_it_can() {
        let (registry, now) = registry(100);
        for key in 0..100 {
            let breaker = registry.breaker(&key.to_string(), now);
            if key != 50 {
                breaker.command(Command::ForceOpen, now);
            }
        }
        // The one that is closed is found in a few tries, though all but it have something to tell.
        let mine = (0..20).map(|_| registry.breaker("new", now)).any(|got| !Arc::ptr_eq(&got, registry.overflow()));
        assert!(mine);
        assert_eq!(registry.breakers().len(), 100);
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes hours in Miri")]
    fn many_keys_stay_within_the_bound() {
        let (registry, now) = registry(5_000);
        for key in 0..12_000 {
            let _ = registry.breaker(&key.to_string(), now);
        }
        let held = registry.breakers().len();
        assert!((4_900..=5_000).contains(&held), "{held}");
    }

    #[test]
    fn when_none_can_go_further_keys_share_one() {
        let (registry, now) = registry(1);
        registry.breaker("open", now).command(Command::ForceOpen, now);
        assert!(Arc::ptr_eq(&registry.breaker("b", now), &registry.breaker("c", now)));
        assert!(Arc::ptr_eq(&registry.breaker("b", now), registry.overflow()));
    }

    #[test]
    fn tripped_and_unused_keys_make_way_when_their_wait_is_over() {
        let settings = BreakerSettings { consecutive_failure_threshold: Some(1), ..BreakerSettings::default() };
        let now = Instant::now();
        let registry = Registry::new(settings, 1, now, 1).unwrap();
        let dead = registry.breaker("dead", now);
        let permit = dead.try_acquire(now).permit.unwrap();
        permit.record(crate::breaker::Outcome::Failure, now);
        assert_eq!(dead.state(), State::Open);
        assert!(Arc::ptr_eq(&registry.breaker("x", now), registry.overflow()), "it still holds information");
        let later = now + Duration::from_hours(24);
        assert!(!Arc::ptr_eq(&registry.breaker("x", later), registry.overflow()));
    }

    #[test]
    fn new_settings_reach_present_and_future_breakers() {
        let (registry, now) = registry(2);
        let _ = registry.breaker("a", now);
        let settings = BreakerSettings { sliding_window_size: 7, ..BreakerSettings::default() };
        registry.reconfigure(&settings, now).unwrap();
        for key in ["a", "b"] {
            assert_eq!(registry.breaker(key, now).settings(), settings);
        }
    }
}
