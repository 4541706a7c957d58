//! A registry of breakers: one per key, for a bounded number of keys.
//!
//! # Motivation
//!
//! One breaker around a whole dependency blames every endpoint for the worst one, and one around
//! many hosts, the healthy hosts for the sick. One per key (service, host, endpoint) blames only
//! who failed. But keys come from outside, and a map that grows with them is a leak.
//!
//! # Theory of operation
//!
//! Breakers are made when their key is first asked for. When there is no room for one more, the
//! closed breaker that was not asked for the longest makes way: a closed one that nobody uses has
//! the least to tell. When no breaker is closed, further keys share a common one.
//!
//! # How it fails
//!
//! Keys that are too fine never fill a window: a breaker per user or per film never trips. Use a
//! route's template, not its path.
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

use std::{collections::HashMap, sync::Arc, time::Instant};

use super::{
    breaker::{Breaker, BreakerSettings, State, Transition},
    settings::{SettingsError, within},
    sync::{Mutex, lock},
};

/// Breakers by key; see the [module](self).
#[derive(Debug)]
pub struct Registry {
    max_keys: usize,
    seed: u64,
    overflow: Arc<Breaker>,
    entries: Mutex<Entries>,
}

#[derive(Debug)]
struct Entries {
    settings: BreakerSettings,
    made: u64,
    by_key: HashMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    breaker: Arc<Breaker>,
    used: Instant,
}

/// Stands for the key of the breaker that keys without room share.
pub const OVERFLOW: &str = "*";

impl Registry {
    /// An empty registry for at most `max_keys` breakers with these settings.
    pub fn new(settings: BreakerSettings, max_keys: usize, now: Instant, seed: u64) -> Result<Self, SettingsError> {
        within("max-keys", max_keys, 1..=1_000_000, "1–1000000")?;
        Ok(Self {
            max_keys,
            seed,
            overflow: Arc::new(Breaker::new(settings.clone(), now, seed)?),
            entries: Mutex::new(Entries { settings, made: 0, by_key: HashMap::new() }),
        })
    }

    /// The breaker of a key, made if there is none yet.
    #[must_use]
    pub fn breaker(&self, key: &str, now: Instant) -> Arc<Breaker> {
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.by_key.get_mut(key) {
            entry.used = entry.used.max(now);
            return entry.breaker.clone();
        }
        if entries.by_key.len() >= self.max_keys && !entries.make_way(now) {
            return self.overflow.clone();
        }
        entries.made += 1;
        let seed = self.seed.wrapping_add(entries.made);
        let breaker = Breaker::new(entries.settings.clone(), now, seed).expect("the settings were validated");
        let breaker = Arc::new(breaker);
        let entry = Entry { breaker: breaker.clone(), used: now };
        entries.by_key.insert(key.to_owned(), entry);
        breaker
    }

    /// The breaker shared by keys that found no room.
    #[must_use]
    pub fn overflow(&self) -> &Arc<Breaker> {
        &self.overflow
    }

    /// All breakers with their keys, in the keys' order.
    #[must_use]
    pub fn breakers(&self) -> Vec<(String, Arc<Breaker>)> {
        let entries = lock(&self.entries);
        let mut all: Vec<_> = entries.by_key.iter().map(|(key, entry)| (key.clone(), entry.breaker.clone())).collect();
        drop(entries);
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// Gives new settings to every breaker there is and will be. The transitions this leads to come
    /// with the keys of their breakers, that of the [shared](Self::overflow) one with [`OVERFLOW`].
    pub fn reconfigure(
        &self,
        settings: &BreakerSettings,
        now: Instant,
    ) -> Result<Vec<(String, Transition)>, SettingsError> {
        settings.validate()?;
        lock(&self.entries).settings = settings.clone();
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

impl Entries {
    /// Makes room for one more; `false` when every breaker has something to tell. A closed one has
    /// not, nor has one whose wait is over and that nobody has called since: its dependency may be
    /// gone for good.
    fn make_way(&mut self, now: Instant) -> bool {
        let rank = |entry: &Entry| match entry.breaker.state() {
            State::Closed => Some(0),
            State::Open | State::HalfOpen if entry.breaker.would_reject(now).is_none() => Some(1),
            _ => None,
        };
        let idle = self
            .by_key
            .iter()
            .filter_map(|(key, entry)| Some(((rank(entry)?, entry.used), key)))
            .min()
            .map(|(_, key)| key.clone());
        idle.is_some_and(|key| self.by_key.remove(&key).is_some())
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
    fn when_none_can_go_further_keys_share_one() {
        let (registry, now) = registry(1);
        registry.breaker("open", now).command(Command::ForceOpen, now);
        assert!(Arc::ptr_eq(&registry.breaker("b", now), &registry.breaker("c", now)));
        assert!(Arc::ptr_eq(&registry.breaker("b", now), registry.overflow()));
    }

    #[test]
    fn what_tripped_once_and_is_gone_makes_way_when_its_wait_is_over() {
        let settings = BreakerSettings { consecutive_failure_threshold: Some(1), ..BreakerSettings::default() };
        let now = Instant::now();
        let registry = Registry::new(settings, 1, now, 1).unwrap();
        let dead = registry.breaker("dead", now);
        let permit = dead.try_acquire(now).permit.unwrap();
        permit.record(crate::breaker::Outcome::Failure, now);
        assert_eq!(dead.state(), State::Open);
        assert!(Arc::ptr_eq(&registry.breaker("x", now), registry.overflow()), "it still has something to tell");
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
