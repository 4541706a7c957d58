//! Adaptive throttling: sends fewer requests the smaller the share that the dependency accepts.
//!
//! # Motivation
//!
//! A breaker admits all calls or none. An overloaded dependency that still serves half of its requests needs something
//! in between. The client can infer the right rate from the share of its requests that succeed.
//!
//! # Theory of operation
//!
//! Google's *Site Reliability Engineering*, chapter 21: over the last two minutes, a client counts its
//! `requests` and the dependency's `accepts`, and rejects a new request itself with the probability
//!
//! ```text
//! max(0, (requests − K × accepts) / (requests + 1))
//! ```
//!
//! With K = 2 the dependency gets up to twice what it accepts, so that a recovery is detected at once. A
//! request rejected locally also counts as not accepted: the longer the failure lasts, the fewer requests are
//! sent, but never none.
//!
//! # How it fails
//!
//! With K near 1 it throttles on noise; with a large K it reacts late. A few requests always pass, so callers
//! of a dead dependency still wait for a timeout now and then.
//!
//! # When not to use it
//!
//! Together with a breaker on the same dependency: each would count the other's rejections as failures. And
//! for calls so rare that two minutes contain only a few.
//!
//! ```
//! use std::time::Instant;
//! use breakerbox_resilience::throttle::{Throttle, ThrottleSettings};
//!
//! let now = Instant::now();
//! let throttle = Throttle::new(&ThrottleSettings::default(), now)?;
//! for accepted in [true, false, false, false] {
//!     throttle.record(accepted, now);
//! }
//! // (4 − 2 × 1) / (4 + 1)
//! assert!((throttle.rejection_chance(now) - 0.4).abs() < 1e-9);
//! # Ok::<(), breakerbox_resilience::SettingsError>(())
//! ```

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{
    breaker::WindowSnapshot,
    recent::{self, Recent},
    settings::{SettingsError, within},
    sync::{AtomicU64, Ordering},
};

/// Settings of the throttle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ThrottleSettings {
    /// K: requests sent for each accepted one.
    pub multiplier: f64,
    /// Period over which requests and accepts are counted.
    #[serde(with = "humantime_serde")]
    pub recent_duration: Duration,
}

impl Default for ThrottleSettings {
    fn default() -> Self {
        Self { multiplier: 2.0, recent_duration: Duration::from_mins(2) }
    }
}

impl ThrottleSettings {
    /// Validates the settings.
    pub fn validate(&self) -> Result<(), SettingsError> {
        within("multiplier", self.multiplier, 1.0..=100.0, "1–100")?;
        recent::span("recent-duration", self.recent_duration)
    }
}

/// An adaptive throttle; see the [module](self).
#[derive(Debug)]
pub struct Throttle {
    multiplier: f64,
    requests: Recent,
    sums: Sums,
}

/// Sums of the window at the last evaluation, and what has been added since. Summing the window on every
/// request would dominate its cost; between two evaluations the sums are off by what has expired, at most one
/// bucket.
#[derive(Debug)]
struct Sums {
    origin: Instant,
    every: u64,
    next: AtomicU64,
    /// `[failures: 32 | calls: 32]`, at the last evaluation and since.
    held: AtomicU64,
}

impl Sums {
    fn new(span: Duration, now: Instant) -> Self {
        Self { origin: now, every: nanos(span) / 32, next: AtomicU64::new(0), held: AtomicU64::new(0) }
    }

    fn add(&self, failed: bool) {
        self.held.fetch_add((u64::from(failed) << 32) | 1, Ordering::Relaxed);
    }

    /// Calls and failures in the window at `now`.
    fn read(&self, now: Instant, sum: impl FnOnce() -> WindowSnapshot) -> (u64, u64) {
        let at = nanos(now.saturating_duration_since(self.origin));
        let next = self.next.load(Ordering::Relaxed);
        let due = at >= next
            && self
                .next
                .compare_exchange(next, at.saturating_add(self.every), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if due {
            let fresh = sum();
            self.held.store((fresh.failures << 32) | fresh.calls, Ordering::Relaxed);
        }
        let held = self.held.load(Ordering::Relaxed);
        (held & u64::from(u32::MAX), held >> 32)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Throttle {
    /// Creates a throttle that admits everything until it has recorded failures.
    pub fn new(settings: &ThrottleSettings, now: Instant) -> Result<Self, SettingsError> {
        settings.validate()?;
        Ok(Self {
            multiplier: settings.multiplier,
            requests: Recent::new(settings.recent_duration, now),
            sums: Sums::new(settings.recent_duration, now),
        })
    }

    /// Probability (0–1) that a request is rejected at `now`.
    #[must_use]
    pub fn rejection_chance(&self, now: Instant) -> f64 {
        let (calls, failures) = self.sums.read(now, || self.requests.totals(now));
        let requests = calls as f64;
        let accepts = calls.saturating_sub(failures) as f64;
        ((requests - self.multiplier * accepts) / (requests + 1.0)).max(0.0)
    }

    /// Whether to send a request; `luck` is a random number 0 ≤ x < 1. A rejected request is counted here, a
    /// sent one by [`record`](Self::record).
    #[must_use]
    pub fn admit(&self, now: Instant, luck: f64) -> bool {
        let admitted = luck >= self.rejection_chance(now);
        if !admitted {
            self.record(false, now);
        }
        admitted
    }

    /// Records whether the dependency accepted a request.
    #[inline]
    pub fn record(&self, accepted: bool, now: Instant) {
        self.requests.record(!accepted, now);
        self.sums.add(!accepted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    /// Seconds of 100 requests each against a dependency that accepts at most `capacity` of them.
    fn sent_per_second(capacity: u32, seconds: u64) -> u32 {
        let start = Instant::now();
        let throttle = Throttle::new(&ThrottleSettings::default(), start).unwrap();
        let rng = Rng::new(7);
        let mut sent = 0;
        for second in 0..seconds {
            sent = 0;
            for step in 0..100 {
                let now = start + Duration::from_millis(second * 1_000 + step * 10);
                if throttle.admit(now, rng.uniform()) {
                    sent += 1;
                    throttle.record(sent <= capacity, now);
                }
            }
        }
        sent
    }

    #[test]
    fn a_healthy_dependency_gets_everything() {
        assert_eq!(sent_per_second(100, 60), 100);
    }

    #[test]
    fn an_overloaded_one_gets_about_twice_what_it_accepts() {
        let sent = sent_per_second(20, 300);
        assert!((30..=50).contains(&sent), "{sent}");
    }

    #[test]
    fn a_dead_one_still_gets_a_trickle() {
        let sent = sent_per_second(0, 300);
        assert!(sent <= 5, "{sent}");
        let now = Instant::now();
        let throttle = Throttle::new(&ThrottleSettings::default(), now).unwrap();
        for _ in 0..1_000 {
            throttle.record(false, now);
        }
        assert!(throttle.rejection_chance(now) < 1.0);
    }
}
