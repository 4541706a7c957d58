//! Health of a dependency in points.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use breakerbox_resilience::breaker::{Snapshot, State};

/// Points, 0-100: 70 × the share of successful calls, and 30 for a mean response time of one second or less,
/// falling to 0 at five seconds.
pub(super) fn health_points(success_share: f64, response_seconds: f64) -> f64 {
    let speed = ((5.0 - response_seconds) / 4.0).clamp(0.0, 1.0);
    70.0 * success_share.clamp(0.0, 1.0) + 30.0 * speed
}

/// Share of successful calls, 0-1, among those that the breaker recorded last: its window, or the probes of
/// half-open. A state without recorded calls uses those that opened the breaker. Unlike the ratios that trip
/// the breaker, it needs no minimum number of calls.
///
/// Without any calls it is 1 if calls are admitted, and 0 if none are.
pub(super) fn success_share(now: &Snapshot) -> f64 {
    let share = |failures: u64, calls: u64| (calls > 0).then(|| 1.0 - failures as f64 / calls as f64);
    if let Some(own) = share(now.failures, now.window_calls) {
        return own;
    }
    let tripped_by = now.last_trip.as_ref().map(|trip| trip.window);
    match now.state {
        State::Open | State::HalfOpen => {
            tripped_by.and_then(|window| share(window.failures, window.calls)).unwrap_or(0.0)
        }
        State::ForcedOpen => 0.0,
        _ => 1.0,
    }
}

/// Mean response time, in which each call has a weight of one twentieth: about the last forty calls.
pub(super) struct RecentMean {
    /// In seconds; `NaN` before the first call.
    seconds: AtomicU64,
}

impl Default for RecentMean {
    fn default() -> Self {
        Self { seconds: AtomicU64::new(f64::NAN.to_bits()) }
    }
}

impl RecentMean {
    const WEIGHT: f64 = 0.05;

    pub(super) fn add(&self, elapsed: Duration) {
        let (mean, new) = (self.seconds(), elapsed.as_secs_f64());
        // One of two concurrent calls may be lost, which hardly affects the mean.
        let next = mean.map_or(new, |mean| mean + (new - mean) * Self::WEIGHT);
        self.seconds.store(next.to_bits(), Ordering::Relaxed);
    }

    /// The mean; `None` before the first call.
    pub(super) fn seconds(&self) -> Option<f64> {
        let mean = f64::from_bits(self.seconds.load(Ordering::Relaxed));
        (!mean.is_nan()).then_some(mean)
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "shares of whole numbers are exact")]
mod tests {
    use std::time::Instant;

    use breakerbox_resilience::breaker::{Breaker, BreakerSettings, Command, Outcome};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn points_are_seventy_for_success_and_thirty_for_speed() {
        for (success, seconds, points) in [
            (1.0, 0.0, 100.0),
            (1.0, 1.0, 100.0),
            (0.5, 1.0, 65.0),
            (1.0, 3.0, 85.0),
            (1.0, 5.0, 70.0),
            (0.0, 9.0, 0.0),
        ] {
            assert!((health_points(success, seconds) - points).abs() < 1e-9, "{success} {seconds}");
        }
    }

    #[test]
    fn the_recent_mean_follows_a_change() {
        let mean = RecentMean::default();
        assert_eq!(mean.seconds(), None);
        mean.add(Duration::from_secs(6));
        assert_eq!(mean.seconds(), Some(6.0), "there was only one call");
        for _ in 0..100 {
            mean.add(Duration::from_secs(2));
        }
        assert!((mean.seconds().unwrap() - 2.0).abs() < 0.1);
    }

    fn breaker(start: Instant) -> Breaker {
        let settings = BreakerSettings {
            consecutive_failure_threshold: Some(3),
            wait_duration_in_open_state: Duration::from_secs(60),
            ..BreakerSettings::default()
        };
        Breaker::new(settings, start, 7).unwrap()
    }

    fn call(breaker: &Breaker, now: Instant, succeeds: bool) {
        if let Ok(permit) = breaker.try_acquire(now).permit {
            let outcome = if succeeds { Outcome::Success } else { Outcome::Failure };
            permit.record(outcome, now);
        }
    }

    /// Regression: with too few calls for a ratio, the health was 100.
    #[test]
    fn a_breaker_that_failures_opened_is_not_in_full_health() {
        let start = Instant::now();
        let breaker = breaker(start);
        call(&breaker, start, false);
        assert_eq!(success_share(&breaker.snapshot(start)), 0.0, "one call, and it failed");
        call(&breaker, start, false);
        call(&breaker, start, false);
        let open = breaker.snapshot(start);
        assert_eq!(open.state, State::Open);
        assert_eq!(success_share(&open), 0.0);
        let later = start + Duration::from_secs(61);
        let probe = breaker.try_acquire(later).permit.unwrap();
        let half_open = breaker.snapshot(later);
        assert_eq!((half_open.state, success_share(&half_open)), (State::HalfOpen, 0.0), "no probe has ended");
        probe.record(Outcome::Success, later);
        assert_eq!(success_share(&breaker.snapshot(later)), 1.0);
        breaker.command(Command::ForceOpen, later);
        assert_eq!(success_share(&breaker.snapshot(later)), 0.0);
    }

    proptest! {
        /// The formula agrees with the recorded outcomes in every state that records.
        #[test]
        fn shares_are_those_of_what_was_counted(succeeded in prop::collection::vec(any::<bool>(), 1..60)) {
            let start = Instant::now();
            let breaker = Breaker::new(BreakerSettings::default(), start, 7).unwrap();
            let mut all = 0.0;
            for succeeds in &succeeded {
                call(&breaker, start, *succeeds);
                all += f64::from(u8::from(*succeeds));
                let now = breaker.snapshot(start);
                if now.state != State::Closed {
                    break;
                }
                let share = success_share(&now);
                prop_assert!((share - all / now.window_calls as f64).abs() < 1e-9);
                prop_assert!((0.0..=100.0).contains(&health_points(share, 0.3)));
            }
            let now = breaker.snapshot(start);
            if let (State::Open, Some(trip)) = (now.state, now.last_trip) {
                let failed = trip.window.failures as f64 / trip.window.calls as f64;
                prop_assert!((success_share(&now) - (1.0 - failed)).abs() < 1e-9);
            }
        }
    }
}
