//! The rate limiter: no more than so many calls in a period.
//!
//! # Motivation
//!
//! A breaker reacts to failures; a limiter prevents them. In front of a service it keeps one
//! eager client from taking what belongs to all, and a burst from becoming an overload.
//!
//! # Theory of operation
//!
//! The generic cell rate algorithm (GCRA, from ATM networks): each call books one interval of
//! `period / limit` on a timeline, and may run ahead of the clock by at most one period. That is a
//! token bucket of `limit` tokens that refills evenly, in a single number: the *theoretical
//! arrival time* of the next call. There is nothing to refill and no timer, and in any time t no
//! more than `limit × (1 + t / period)` calls pass.
//!
//! [`KeyedRateLimiter`] has one timeline per key, for a bounded number of keys. A key whose time
//! has passed is as good as new and can be forgotten; where none can, further keys share one.
//!
//! # How it fails
//!
//! Behind N load-balanced instances the limit is N times as high. Keys that a client can choose
//! freely limit nobody: take what it has to prove.
//!
//! # When not to use it
//!
//! Against a dependency's slowness (a [bulkhead](super::bulkhead) limits what is in flight, which
//! is what slowness uses up), and instead of admission by the dependency itself.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use breakerbox_resilience::limiter::{RateLimiter, RateLimiterSettings};
//!
//! let now = Instant::now();
//! let settings = RateLimiterSettings { limit_for_period: 100, limit_refresh_period: Duration::from_secs(60) };
//! let limiter = RateLimiter::new(&settings, now)?;
//! assert!((0..100).all(|_| limiter.check(now).is_ok()));
//! let early = limiter.check(now).unwrap_err();
//! assert_eq!(early.retry_after, Duration::from_millis(600));
//! # Ok::<(), breakerbox_resilience::SettingsError>(())
//! ```

use std::{
    hash::Hash,
    time::{Duration, Instant},
};

use lru::LruCache;
use serde::{Deserialize, Serialize};

use super::{
    settings::{SettingsError, duration, ensure, within},
    shards::{Shards, make_way},
    sync::{AtomicU64, Ordering, Padded},
};

/// How many calls in which time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RateLimiterSettings {
    /// Calls in a period, and the largest burst.
    pub limit_for_period: u32,
    /// The period.
    #[serde(with = "humantime_serde")]
    pub limit_refresh_period: Duration,
}

impl Default for RateLimiterSettings {
    fn default() -> Self {
        Self { limit_for_period: 100, limit_refresh_period: Duration::from_mins(1) }
    }
}

impl RateLimiterSettings {
    /// Whether a limiter can be built from these.
    pub fn validate(&self) -> Result<(), SettingsError> {
        within("limit-for-period", self.limit_for_period, 1..=1_000_000, "1–1000000")?;
        duration("limit-refresh-period", self.limit_refresh_period, Duration::from_millis(1))?;
        // At 64ths of a nanosecond, an interval that is rounded up by more is no longer what was asked for.
        ensure(
            Rate::new(self).interval >= 50,
            "limit-for-period",
            self.limit_for_period,
            "at most a call in 0.8 nanoseconds of limit-refresh-period",
        )
    }
}

/// A call that came too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many calls; retry after {retry_after:?}")]
pub struct Limited {
    /// When the next call will pass.
    pub retry_after: Duration,
}

/// Times are counted in 64ths of a nanosecond, so that the interval of 600 000 calls in a
/// millisecond is not rounded to something else. They last for nine years.
const PARTS: u64 = 64;

#[derive(Clone, Copy, Debug)]
struct Rate {
    interval: u64,
    /// As many intervals as calls in a period, which is a period, rounded up by less than 2 %.
    burst: u64,
}

impl Rate {
    fn new(settings: &RateLimiterSettings) -> Self {
        // Rounded up: never more than the limit.
        let interval = parts(settings.limit_refresh_period).div_ceil(settings.limit_for_period.into());
        Self { interval, burst: interval.saturating_mul(settings.limit_for_period.into()) }
    }

    /// The theoretical arrival time after one more call at `now`.
    fn book(self, arrival: u64, now: u64) -> Result<u64, Limited> {
        let booked = arrival.max(now).saturating_add(self.interval);
        let latest = now.saturating_add(self.burst);
        if booked <= latest {
            Ok(booked)
        } else {
            Err(Limited { retry_after: Duration::from_nanos((booked - latest).div_ceil(PARTS)) })
        }
    }
}

fn parts(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).saturating_mul(PARTS)
}

/// A rate limiter; see the [module](self).
#[derive(Debug)]
pub struct RateLimiter {
    rate: Rate,
    origin: Instant,
    arrival: Padded<AtomicU64>,
}

impl RateLimiter {
    /// A limiter that has seen nothing.
    pub fn new(settings: &RateLimiterSettings, now: Instant) -> Result<Self, SettingsError> {
        settings.validate()?;
        Ok(Self { rate: Rate::new(settings), origin: now, arrival: Padded(AtomicU64::new(0)) })
    }

    /// Whether a call may be made `now`; if so, it is counted.
    pub fn check(&self, now: Instant) -> Result<(), Limited> {
        let now = parts(now.saturating_duration_since(self.origin));
        let mut arrival = self.arrival.0.load(Ordering::Acquire);
        loop {
            let booked = self.rate.book(arrival, now)?;
            match self.arrival.0.compare_exchange_weak(arrival, booked, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(other) => arrival = other,
            }
        }
    }
}

/// One rate limiter per key, for a bounded number of keys.
///
/// Keys are spread over shards with a lock each, so that callers with different keys seldom meet. In
/// a full shard, of the keys that were not used for longest one that is as good as new makes way;
/// only a few are looked at, so that a call costs the same however many keys there are.
#[derive(Debug)]
pub struct KeyedRateLimiter<K: Eq + Hash> {
    rate: Rate,
    origin: Instant,
    shards: Shards<LruCache<K, u64>>,
    /// For keys that found no place.
    overflow: RateLimiter,
}

impl<K: Eq + Hash> KeyedRateLimiter<K> {
    /// A limiter for at most `max_keys` keys at a time.
    pub fn new(settings: &RateLimiterSettings, max_keys: usize, now: Instant) -> Result<Self, SettingsError> {
        within("max-keys", max_keys, 1..=10_000_000, "1–10000000")?;
        Ok(Self {
            overflow: RateLimiter::new(settings, now)?,
            rate: Rate::new(settings),
            origin: now,
            shards: Shards::new(max_keys, LruCache::unbounded),
        })
    }

    /// Whether a call with this key may be made `now`; if so, it is counted.
    pub fn check(&self, key: K, now: Instant) -> Result<(), Limited> {
        let at = parts(now.saturating_duration_since(self.origin));
        let (mut arrivals, capacity) = self.shards.of(&key);
        if let Some(arrival) = arrivals.get_mut(&key) {
            *arrival = self.rate.book(*arrival, at)?;
            return Ok(());
        }
        if arrivals.len() >= capacity && !make_way(&mut arrivals, |arrival| *arrival <= at) {
            drop(arrivals);
            return self.overflow.check(now);
        }
        arrivals.put(key, self.rate.book(0, at)?);
        Ok(())
    }

    /// Keys it knows now.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.shards.each().map(|arrivals| arrivals.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(limit: u32, seconds: u64) -> RateLimiterSettings {
        RateLimiterSettings { limit_for_period: limit, limit_refresh_period: Duration::from_secs(seconds) }
    }

    #[test]
    fn the_limit_passes_at_once_and_then_one_per_interval() {
        let now = Instant::now();
        let limiter = RateLimiter::new(&settings(4, 2), now).unwrap();
        assert_eq!((0..10).filter(|_| limiter.check(now).is_ok()).count(), 4);
        let early = limiter.check(now).unwrap_err();
        assert_eq!(early.retry_after, Duration::from_millis(500));
        assert!(limiter.check(now + Duration::from_millis(499)).is_err());
        assert!(limiter.check(now + Duration::from_millis(500)).is_ok());
        assert!(limiter.check(now + Duration::from_millis(500)).is_err());
    }

    /// An interval that was rounded down to a nanosecond admitted a million of them.
    #[test]
    fn six_hundred_thousand_in_a_millisecond_are_not_a_million() {
        let now = Instant::now();
        let millisecond = Duration::from_millis(1);
        for limit in [3, 7, 600_000, 999_999] {
            let settings = RateLimiterSettings { limit_for_period: limit, limit_refresh_period: millisecond };
            let limiter = RateLimiter::new(&settings, now).unwrap();
            let passed = (0..1_100_000).filter(|_| limiter.check(now).is_ok()).count();
            assert_eq!(passed, limit as usize);
            let second = now + Duration::from_secs(1);
            let later = (0..1_100_000).filter(|_| limiter.check(second).is_ok()).count();
            assert_eq!(later, limit as usize);
        }
    }

    #[test]
    fn many_keys_stay_within_the_bound_and_busy_ones_remain() {
        let now = Instant::now();
        let limiter = KeyedRateLimiter::new(&settings(1, 1), 10_000, now).unwrap();
        for key in 0..20_000 {
            let _ = limiter.check(key, now);
        }
        assert!((9_000..=10_000).contains(&limiter.keys()), "{}", limiter.keys());
        let later = now + Duration::from_secs(2);
        assert!((20_000..25_000).all(|key| limiter.check(key, later).is_ok()), "each has a place of its own");
        assert!(limiter.keys() <= 10_000);
    }

    #[test]
    fn keys_do_not_share_a_limit_until_there_are_too_many() {
        let now = Instant::now();
        let limiter = KeyedRateLimiter::new(&settings(1, 1), 2, now).unwrap();
        assert!(limiter.check("a", now).is_ok() && limiter.check("b", now).is_ok());
        assert!(limiter.check("a", now).is_err());
        assert!(limiter.check("c", now).is_ok(), "the first that overflows");
        assert!(limiter.check("d", now).is_err(), "shares with the first");
        assert_eq!(limiter.keys(), 2);
        let later = now + Duration::from_secs(1);
        assert!(limiter.check("d", later).is_ok());
        assert!(limiter.check("e", later).is_ok(), "what is as good as new makes way");
        assert_eq!(limiter.keys(), 2);
    }

    /// The latest key may be the first to be evicted.
    #[test]
    fn unused_newcomers_are_evicted_before_older_keys() {
        let now = Instant::now();
        let limiter = KeyedRateLimiter::new(&settings(4, 4), 2, now).unwrap();
        assert!((0..4).all(|_| limiter.check("busy", now).is_ok()));
        assert!(limiter.check("gone", now).is_ok());
        // Looks through the keys: only the one that is gone can be forgotten.
        let second = now + Duration::from_secs(1);
        assert!(limiter.check("newcomer", second).is_ok());
        assert_eq!(limiter.keys(), 2);
        // Now full again, of a key that is busy until 4 s and one that is as good as new at 2 s.
        assert!(limiter.check("next", now + Duration::from_secs(2)).is_ok());
        assert!((0..3).all(|_| limiter.check("next", now + Duration::from_secs(2)).is_ok()), "has a limit of its own");
        assert!(
            (0..4).all(|_| limiter.check("shares", now + Duration::from_secs(2)).is_ok()),
            "nobody used the shared one"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_stretch_of_time_admits_more_than_burst_and_rate(
            limit in 1_u32..50, steps in proptest::collection::vec(0_u64..200, 1..300),
        ) {
            let start = Instant::now();
            let limiter = RateLimiter::new(&settings(limit, 1), start).unwrap();
            let (mut now, mut passed) = (start, Vec::new());
            for step in steps {
                now += Duration::from_millis(step);
                if limiter.check(now).is_ok() {
                    passed.push(now);
                }
            }
            for (first, from) in passed.iter().enumerate() {
                let count = passed[first..].iter().take_while(|at| **at <= *from + Duration::from_secs(1)).count();
                proptest::prop_assert!(count <= 2 * limit as usize);
            }
            let elapsed = (now - start).as_secs_f64();
            proptest::prop_assert!(passed.len() as f64 <= f64::from(limit) * (1.0 + elapsed) + 1e-6);
        }
    }
}
