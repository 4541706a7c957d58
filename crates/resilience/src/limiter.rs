//! The rate limiter: limits the number of calls in a period.
//!
//! # Motivation
//!
//! A breaker reacts to failures; a limiter prevents them. In front of a service it keeps one client from using
//! everyone's capacity, and a burst from becoming an overload.
//!
//! # Theory of operation
//!
//! The generic cell rate algorithm (GCRA, from ATM networks): each call advances a timeline by one interval
//! of `period / limit`, and the timeline may be ahead of the clock by at most one period. That is a token bucket
//! of `limit` tokens that refills evenly, in a single number: the *theoretical arrival time* of the next call.
//! It needs no refill and no timer, and in any time t no more than `limit × (1 + t / period)` calls pass.
//!
//! A full bucket lets a burst of `limit` pass and then refills, so that a period that begins with the burst
//! contains up to `2 × limit − 1` calls. Where the limit is exact ("100 in a minute"), [`LimitBy::SlidingLog`]
//! keeps the time of each admitted call, and no period of that length, wherever it begins, contains more than
//! `limit`. It costs 8 bytes per call and a lock.
//!
//! [`KeyedRateLimiter`] has one timeline per key, for a bounded number of keys. A key whose time has passed
//! equals a new one and can be evicted; if there is none, further keys share one.
//!
//! # How it fails
//!
//! Behind N load-balanced instances the limit is N times as high. A key that a client can choose freely limits
//! no one: use one that the client has to prove.
//!
//! # When not to use it
//!
//! Against a slow dependency (a [bulkhead](super::bulkhead) limits the calls in flight, which is what slowness
//! exhausts), and in place of a limit in the dependency itself.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use breakerbox_resilience::limiter::{RateLimiter, RateLimiterSettings};
//!
//! let now = Instant::now();
//! let settings = RateLimiterSettings { limit_for_period: 100, ..RateLimiterSettings::default() };
//! assert_eq!(settings.limit_refresh_period, Duration::from_secs(60));
//! let limiter = RateLimiter::new(&settings, now)?;
//! assert!((0..100).all(|_| limiter.check(now).is_ok()));
//! let early = limiter.check(now).unwrap_err();
//! assert_eq!(early.retry_after, Duration::from_millis(600));
//! # Ok::<(), breakerbox_resilience::SettingsError>(())
//! ```

use std::{
    collections::VecDeque,
    hash::Hash,
    time::{Duration, Instant},
};

use lru::LruCache;
use serde::{Deserialize, Serialize};

use super::{
    settings::{SettingsError, duration, ensure, within},
    shards::{Shards, make_way},
    sync::{AtomicU64, Mutex, Ordering, Padded, lock},
};

/// Settings of a rate limiter: a number of calls per period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RateLimiterSettings {
    /// Calls per period, and the largest burst.
    pub limit_for_period: u32,
    /// The period.
    #[serde(with = "humantime_serde")]
    pub limit_refresh_period: Duration,
    /// How calls are counted.
    pub limit_by: LimitBy,
}

/// Algorithm of a rate limiter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitBy {
    /// A bucket of `limit` tokens that refills evenly: one number and no lock.
    #[default]
    TokenBucket,
    /// The times of the last `limit` calls: no period contains more than `limit`, wherever it begins.
    SlidingLog,
}

impl Default for RateLimiterSettings {
    fn default() -> Self {
        Self { limit_for_period: 100, limit_refresh_period: Duration::from_mins(1), limit_by: LimitBy::default() }
    }
}

/// Longest log of one limiter or key: 80 kB.
const LONGEST_LOG: u32 = 10_000;

impl RateLimiterSettings {
    /// Validates the settings.
    pub fn validate(&self) -> Result<(), SettingsError> {
        within("limit-for-period", self.limit_for_period, 1..=1_000_000, "1–1000000")?;
        duration("limit-refresh-period", self.limit_refresh_period, Duration::from_millis(1))?;
        if self.limit_by == LimitBy::SlidingLog {
            return ensure(
                self.limit_for_period <= LONGEST_LOG,
                "limit-for-period",
                self.limit_for_period,
                &format!("1–{LONGEST_LOG} where the limit is by sliding-log, which keeps the time of each call"),
            );
        }
        // At 64ths of a nanosecond, an interval that is rounded up by more is no longer what was asked for.
        ensure(
            Rate::new(self).interval >= 50,
            "limit-for-period",
            self.limit_for_period,
            "at most a call in 0.8 nanoseconds of limit-refresh-period",
        )
    }
}

/// Error: a call came too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many calls; retry after {retry_after:?}")]
pub struct Limited {
    /// Time until the next call is admitted.
    pub retry_after: Duration,
}

/// Times are counted in 64ths of a nanosecond, so that the interval of 600 000 calls in a millisecond is
/// accurate. They last for nine years.
const PARTS: u64 = 64;

#[derive(Clone, Copy, Debug)]
struct Rate {
    by: LimitBy,
    limit: u32,
    period: u64,
    interval: u64,
    /// The period in intervals, rounded up by less than 2 %.
    burst: u64,
}

impl Rate {
    fn new(settings: &RateLimiterSettings) -> Self {
        let (limit, period) = (settings.limit_for_period, parts(settings.limit_refresh_period));
        // Rounded up: never more than the limit.
        let interval = period.div_ceil(limit.into());
        Self { by: settings.limit_by, limit, period, interval, burst: interval.saturating_mul(limit.into()) }
    }

    /// The theoretical arrival time after one more call at `now`.
    fn book(self, arrival: u64, now: u64) -> Result<u64, Limited> {
        let booked = arrival.max(now).saturating_add(self.interval);
        let latest = now.saturating_add(self.burst);
        if booked <= latest { Ok(booked) } else { Err(Limited::for_parts(booked - latest)) }
    }

    /// Adds a call at `now` to the admitted ones, oldest first.
    fn log(self, passed: &mut VecDeque<u64>, now: u64) -> Result<(), Limited> {
        while passed.front().is_some_and(|first| first.saturating_add(self.period) <= now) {
            passed.pop_front();
        }
        match passed.front() {
            Some(first) if passed.len() >= self.limit as usize => {
                Err(Limited::for_parts(first.saturating_add(self.period).saturating_sub(now)))
            }
            _ => {
                // In order, even if the callers' clocks are not.
                passed.push_back(passed.back().map_or(now, |last| now.max(*last)));
                Ok(())
            }
        }
    }
}

impl Limited {
    fn for_parts(parts: u64) -> Self {
        Self { retry_after: Duration::from_nanos(parts.div_ceil(PARTS)) }
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
    passed: Mutex<VecDeque<u64>>,
}

impl RateLimiter {
    /// Creates a limiter without any calls.
    pub fn new(settings: &RateLimiterSettings, now: Instant) -> Result<Self, SettingsError> {
        settings.validate()?;
        let (arrival, passed) = (Padded(AtomicU64::new(0)), Mutex::new(VecDeque::new()));
        Ok(Self { rate: Rate::new(settings), origin: now, arrival, passed })
    }

    /// Whether a call is admitted `now`; if so, it is counted.
    pub fn check(&self, now: Instant) -> Result<(), Limited> {
        let now = parts(now.saturating_duration_since(self.origin));
        if self.rate.by == LimitBy::SlidingLog {
            return self.rate.log(&mut lock(&self.passed), now);
        }
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

/// State of a key.
#[derive(Debug)]
enum Seen {
    /// Its theoretical arrival time.
    Arrival(u64),
    /// Times of its admitted calls.
    Log(VecDeque<u64>),
}

impl Seen {
    fn nothing(by: LimitBy) -> Self {
        match by {
            LimitBy::TokenBucket => Self::Arrival(0),
            LimitBy::SlidingLog => Self::Log(VecDeque::new()),
        }
    }

    fn check(&mut self, rate: Rate, now: u64) -> Result<(), Limited> {
        match self {
            Self::Arrival(arrival) => rate.book(*arrival, now).map(|booked| *arrival = booked),
            Self::Log(passed) => rate.log(passed, now),
        }
    }

    /// Whether it equals the state of a new key.
    fn is_as_good_as_new(&self, rate: Rate, now: u64) -> bool {
        match self {
            Self::Arrival(arrival) => *arrival <= now,
            Self::Log(passed) => passed.back().is_none_or(|last| last.saturating_add(rate.period) <= now),
        }
    }
}

/// One rate limiter per key, for a bounded number of keys.
///
/// Keys are spread over shards with a lock each, so that callers with different keys rarely contend. In a
/// full shard, one of the least recently used keys is evicted if its state equals that of a new one; only a few
/// are examined, so that the cost of a call does not depend on the number of keys.
#[derive(Debug)]
pub struct KeyedRateLimiter<K: Eq + Hash> {
    rate: Rate,
    origin: Instant,
    shards: Shards<LruCache<K, Seen>>,
    /// For keys that did not fit.
    overflow: RateLimiter,
}

impl<K: Eq + Hash> KeyedRateLimiter<K> {
    /// Creates a limiter for at most `max_keys` keys at a time.
    pub fn new(settings: &RateLimiterSettings, max_keys: usize, now: Instant) -> Result<Self, SettingsError> {
        within("max-keys", max_keys, 1..=10_000_000, "1–10000000")?;
        Ok(Self {
            overflow: RateLimiter::new(settings, now)?,
            rate: Rate::new(settings),
            origin: now,
            shards: Shards::new(max_keys, LruCache::unbounded),
        })
    }

    /// Whether a call with this key is admitted `now`; if so, it is counted.
    pub fn check(&self, key: K, now: Instant) -> Result<(), Limited> {
        let at = parts(now.saturating_duration_since(self.origin));
        let (mut keys, capacity) = self.shards.of(&key);
        if let Some(seen) = keys.get_mut(&key) {
            return seen.check(self.rate, at);
        }
        if keys.len() >= capacity && !make_way(&mut keys, |seen| seen.is_as_good_as_new(self.rate, at)) {
            drop(keys);
            return self.overflow.check(now);
        }
        let mut seen = Seen::nothing(self.rate.by);
        seen.check(self.rate, at)?;
        keys.put(key, seen);
        Ok(())
    }

    /// Number of keys it currently holds.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.shards.each().map(|keys| keys.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(limit: u32, seconds: u64) -> RateLimiterSettings {
        let limit_refresh_period = Duration::from_secs(seconds);
        RateLimiterSettings { limit_for_period: limit, limit_refresh_period, ..RateLimiterSettings::default() }
    }

    fn by_log(limit: u32, seconds: u64) -> RateLimiterSettings {
        RateLimiterSettings { limit_by: LimitBy::SlidingLog, ..settings(limit, seconds) }
    }

    /// A full bucket and its refill are 199 in a minute; the log keeps to the promise.
    #[test]
    fn a_log_lets_a_hundred_a_minute_through() {
        let start = Instant::now();
        let every_half_second = |settings: &RateLimiterSettings| {
            let limiter = RateLimiter::new(settings, start).unwrap();
            let burst = (0..100).filter(|_| limiter.check(start).is_ok()).count();
            let later = (1..120).filter(|half| limiter.check(start + Duration::from_millis(half * 500)).is_ok());
            burst + later.count()
        };
        assert_eq!(every_half_second(&settings(100, 60)), 199);
        assert_eq!(every_half_second(&by_log(100, 60)), 100);
    }

    #[test]
    fn a_log_says_when_its_oldest_call_ends() {
        let now = Instant::now();
        let limiter = KeyedRateLimiter::new(&by_log(2, 10), 4, now).unwrap();
        let at = |seconds| now + Duration::from_secs(seconds);
        assert!(limiter.check("a", now).is_ok() && limiter.check("a", at(4)).is_ok());
        assert_eq!(limiter.check("a", at(7)).unwrap_err().retry_after, Duration::from_secs(3));
        assert!(limiter.check("b", at(7)).is_ok(), "another key");
        assert!(limiter.check("a", at(10)).is_ok());
        assert!(limiter.check("a", at(13)).is_err());
        assert!(limiter.check("a", at(14)).is_ok());
    }

    #[test]
    fn a_log_is_bounded() {
        let error = by_log(10_001, 60).validate().unwrap_err().to_string();
        assert!(error.starts_with("limit-for-period = 10001") && error.contains("1–10000 where"), "{error}");
        by_log(10_000, 60).validate().unwrap();
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
    #[cfg_attr(miri, ignore = "takes hours in Miri")]
    fn six_hundred_thousand_in_a_millisecond_are_not_a_million() {
        let now = Instant::now();
        let millisecond = Duration::from_millis(1);
        for limit in [3, 7, 600_000, 999_999] {
            let settings = RateLimiterSettings {
                limit_for_period: limit,
                limit_refresh_period: millisecond,
                ..RateLimiterSettings::default()
            };
            let limiter = RateLimiter::new(&settings, now).unwrap();
            let passed = (0..1_100_000).filter(|_| limiter.check(now).is_ok()).count();
            assert_eq!(passed, limit as usize);
            let second = now + Duration::from_secs(1);
            let later = (0..1_100_000).filter(|_| limiter.check(second).is_ok()).count();
            assert_eq!(later, limit as usize);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes hours in Miri")]
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
        // Examines the keys: only the expired one can be evicted.
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

        /// Against a model that keeps every call for ever.
        #[test]
        fn no_period_of_a_log_sees_more_than_the_limit(
            limit in 1_u32..20, steps in proptest::collection::vec(0_u64..200, 1..300),
        ) {
            let start = Instant::now();
            let limiter = RateLimiter::new(&by_log(limit, 1), start).unwrap();
            let (mut now, mut passed) = (start, Vec::<Instant>::new());
            for step in steps {
                now += Duration::from_millis(step);
                let recent = passed.iter().filter(|at| **at + Duration::from_secs(1) > now).count();
                let admitted = limiter.check(now).is_ok();
                proptest::prop_assert_eq!(admitted, recent < limit as usize);
                if admitted {
                    passed.push(now);
                }
            }
        }
    }
}
