//! Timeouts of attempts and deadlines of whole calls.
//!
//! # Motivation
//!
//! A *timeout* is a duration and belongs to one attempt; a *deadline* is an instant and belongs to the user who
//! waits. Timeouts alone add up: three attempts of a second each in a chain of three services are nine seconds
//! of work for a user who left after two. A deadline is passed from service to service as the remaining
//! milliseconds, so that no service starts work that cannot be finished in time.
//!
//! # Theory of operation
//!
//! Attempt n has a timeout of `timeout-duration` × `timeout-multiplier`ⁿ⁻¹, limited by the deadline, which is
//! the earlier of the caller's and this call's `total-timeout`. The connect timeout is shorter: a server that
//! does not accept connections is dead, not busy. The transport applies it.
//!
//! A good attempt timeout is slightly above the dependency's p99; below it, healthy answers are discarded and
//! retried for nothing.
//!
//! # How it fails
//!
//! A timeout ends the waiting, not the work: the dependency may still execute the request, which is why a
//! payment that timed out needs an idempotency key. A duration is passed on, so that clocks of different machines
//! are never compared; the transmission time is not accounted for.
//!
//! # When not to use it
//!
//! Never: a call without a timeout has an infinite one.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use breakerbox_resilience::deadline::{TimeLimiterSettings, from_header, remaining, to_header};
//!
//! let now = Instant::now();
//! let deadline = from_header("1500", now);
//! assert_eq!(to_header(remaining(deadline, now).expect("one was given")), "1500");
//!
//! let limits = TimeLimiterSettings { timeout_multiplier: 2.0, ..TimeLimiterSettings::default() };
//! assert_eq!(limits.attempt_timeout(2), Duration::from_secs(2));
//! ```

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::settings::{SettingsError, duration, ensure, within};

/// Header with the remaining time of a deadline, in whole milliseconds.
pub const DEADLINE_HEADER: &str = "x-deadline-ms";

/// Timeouts of attempts, connections and whole calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TimeLimiterSettings {
    /// Timeout of the first attempt.
    #[serde(with = "humantime_serde")]
    pub timeout_duration: Duration,
    /// Connect timeout, applied by the transport. Shorter than the attempt's, so that a connection that cannot be
    /// established is distinguished from a late answer: nothing was sent. `None`: half of the attempt's timeout, at
    /// most 1 s.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Option<Duration>,
    /// Timeout of the whole call, including waits and retries. `None`: only the caller's deadline.
    #[serde(with = "humantime_serde")]
    pub total_timeout: Option<Duration>,
    /// Factor by which the timeout of each further attempt grows.
    pub timeout_multiplier: f64,
}

impl Default for TimeLimiterSettings {
    fn default() -> Self {
        Self {
            timeout_duration: Duration::from_secs(1),
            connect_timeout: None,
            total_timeout: None,
            timeout_multiplier: 1.0,
        }
    }
}

impl TimeLimiterSettings {
    /// Validates the settings.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let tick = Duration::from_millis(1);
        duration("timeout-duration", self.timeout_duration, tick)?;
        if let Some(connect) = self.connect_timeout {
            duration("connect-timeout", connect, tick)?;
            ensure(
                connect < self.timeout_duration,
                "connect-timeout",
                humantime::format_duration(connect),
                &format!(
                    "below {}, the timeout-duration, which would always end first",
                    humantime::format_duration(self.timeout_duration)
                ),
            )?;
        }
        if let Some(total) = self.total_timeout {
            duration("total-timeout", total, tick)?;
            // Every attempt would be cut short, and a breaker would see no timeout of the dependency's.
            ensure(
                total >= self.timeout_duration,
                "total-timeout",
                humantime::format_duration(total),
                &format!("at least {}, the timeout-duration", humantime::format_duration(self.timeout_duration)),
            )?;
        }
        within("timeout-multiplier", self.timeout_multiplier, 1.0..=10.0, "1–10")
    }

    /// Connect timeout.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout.unwrap_or_else(|| (self.timeout_duration / 2).min(Duration::from_secs(1)))
    }

    /// Timeout of the attempt with this number, counted from 1, before deadlines.
    #[must_use]
    pub fn attempt_timeout(&self, number: u32) -> Duration {
        if number <= 1 || self.timeout_multiplier <= 1.0 {
            return self.timeout_duration;
        }
        let growth = self.timeout_multiplier.powi(i32::try_from(number - 1).unwrap_or(i32::MAX));
        // A day at most, like every duration in the settings.
        Duration::from_secs_f64((self.timeout_duration.as_secs_f64() * growth).min(86_400.0))
    }

    /// The deadline of a call that starts `now`, limited by the caller's.
    #[must_use]
    pub fn deadline(&self, now: Instant, callers: Option<Instant>) -> Option<Instant> {
        let own = self.total_timeout.and_then(|total| now.checked_add(total));
        match (own, callers) {
            (Some(own), Some(callers)) => Some(own.min(callers)),
            (own, callers) => own.or(callers),
        }
    }
}

/// Remaining time of a deadline: zero once it has passed, `None` without one.
#[must_use]
pub fn remaining(deadline: Option<Instant>, now: Instant) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(now))
}

/// The value of [`DEADLINE_HEADER`] for the remaining time, rounded down.
#[must_use]
pub fn to_header(remaining: Duration) -> String {
    remaining.as_millis().to_string()
}

/// Parses [`DEADLINE_HEADER`] of a request that arrived `now`. `None` unless it is a whole number of
/// milliseconds up to a day.
#[must_use]
pub fn from_header(value: &str, now: Instant) -> Option<Instant> {
    let millis: u64 = value.trim().parse().ok()?;
    (millis <= 86_400_000).then(|| now + Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_grow_with_the_attempt() {
        let settings = TimeLimiterSettings {
            timeout_duration: Duration::from_secs(5),
            timeout_multiplier: 2.0,
            ..TimeLimiterSettings::default()
        };
        let timeouts: Vec<u64> = (1..=3).map(|n| settings.attempt_timeout(n).as_secs()).collect();
        assert_eq!(timeouts, [5, 10, 20]);
        assert!(settings.attempt_timeout(u32::MAX) <= Duration::from_hours(24));
    }

    #[test]
    fn a_connection_is_given_up_before_its_attempt() {
        let with = |timeout, connect| TimeLimiterSettings {
            timeout_duration: Duration::from_millis(timeout),
            connect_timeout: connect,
            ..TimeLimiterSettings::default()
        };
        assert_eq!(with(500, None).connect_timeout(), Duration::from_millis(250));
        assert_eq!(with(10_000, None).connect_timeout(), Duration::from_secs(1));
        let given = with(500, Some(Duration::from_millis(499)));
        given.validate().unwrap();
        assert_eq!(given.connect_timeout(), Duration::from_millis(499));
        let error = with(500, Some(Duration::from_millis(500))).validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "connect-timeout = 500ms: must be below 500ms, the timeout-duration, which would always end first"
        );
    }

    #[test]
    fn the_earlier_deadline_counts() {
        let now = Instant::now();
        let settings =
            TimeLimiterSettings { total_timeout: Some(Duration::from_secs(2)), ..TimeLimiterSettings::default() };
        let in_seconds = |seconds| Some(now + Duration::from_secs(seconds));
        assert_eq!(settings.deadline(now, in_seconds(1)), in_seconds(1));
        assert_eq!(settings.deadline(now, in_seconds(3)), in_seconds(2));
        assert_eq!(settings.deadline(now, None), in_seconds(2));
    }

    #[test]
    fn a_deadline_survives_the_header_and_nonsense_is_ignored() {
        let now = Instant::now();
        let left = Duration::from_micros(1_999);
        let read = from_header(&to_header(left), now).unwrap();
        assert_eq!(remaining(Some(read), now), Some(Duration::from_millis(1)));
        for nonsense in ["", "-1", "1.5", "soon", "99999999999999999999", "86400001"] {
            assert_eq!(from_header(nonsense, now), None, "{nonsense}");
        }
        assert_eq!(remaining(Some(now), now + Duration::from_secs(1)), Some(Duration::ZERO));
    }
}
