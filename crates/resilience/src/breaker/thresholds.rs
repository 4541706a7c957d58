//! The settings that calls read, as atomics, so that they can change while calls run; and the evaluation of
//! recorded outcomes.

use std::time::Duration;

use super::{
    settings::BreakerSettings,
    types::Reason,
    window::{Sample, WindowSnapshot},
    word::Probes,
};
use crate::{
    breaker::Outcome,
    sync::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

/// Read with relaxed loads: a call may see a mixture while settings change. The change is followed by an
/// evaluation of its own, and fences on both sides ensure that of a concurrent change and outcome at least
/// one sees the other.
#[derive(Debug)]
pub(super) struct Thresholds {
    slow_nanos: AtomicU64,
    /// The wait that a forced-open breaker reports to callers: its end is not known.
    open_wait_nanos: AtomicU64,
    /// Percentages as bits; `NaN`, which no value reaches, if there is no threshold.
    failure_rate: AtomicU64,
    slow_rate: AtomicU64,
    /// 0: no threshold.
    consecutive: AtomicU32,
    minimum: AtomicU32,
    permitted: AtomicU32,
    cancelled_slow_calls_count: AtomicBool,
    panics_count: AtomicBool,
    /// Share (0–1, as bits) of the calls that half-open admits at its current stage.
    share: AtomicU64,
}

impl Thresholds {
    pub(super) fn new(settings: &BreakerSettings) -> Self {
        let thresholds = Self {
            slow_nanos: AtomicU64::new(0),
            open_wait_nanos: AtomicU64::new(0),
            failure_rate: AtomicU64::new(0),
            slow_rate: AtomicU64::new(0),
            consecutive: AtomicU32::new(0),
            minimum: AtomicU32::new(0),
            permitted: AtomicU32::new(0),
            cancelled_slow_calls_count: AtomicBool::new(true),
            panics_count: AtomicBool::new(true),
            share: AtomicU64::new(1.0_f64.to_bits()),
        };
        thresholds.set(settings);
        thresholds
    }

    pub(super) fn set(&self, settings: &BreakerSettings) {
        let percent = |rate: Option<f64>| rate.unwrap_or(f64::NAN).to_bits();
        let slow = settings.slow_call_duration_threshold.as_nanos();
        let relaxed = Ordering::Relaxed;
        self.slow_nanos.store(u64::try_from(slow).unwrap_or(u64::MAX), relaxed);
        let wait = settings.wait_duration_in_open_state.as_nanos();
        self.open_wait_nanos.store(u64::try_from(wait).unwrap_or(u64::MAX), relaxed);
        self.failure_rate.store(percent(settings.failure_rate_threshold), relaxed);
        self.slow_rate.store(percent(settings.slow_call_rate_threshold), relaxed);
        self.consecutive.store(settings.consecutive_failure_threshold.unwrap_or(0), relaxed);
        self.minimum.store(settings.effective_minimum(), relaxed);
        self.permitted.store(settings.permitted_number_of_calls_in_half_open_state, relaxed);
        self.cancelled_slow_calls_count.store(settings.cancelled_slow_calls_count, relaxed);
        self.panics_count.store(settings.panics_count, relaxed);
    }

    /// Whether there is a slow-call threshold.
    #[inline]
    pub(super) fn judge_slowness(&self) -> bool {
        !f64::from_bits(self.slow_rate.load(Ordering::Relaxed)).is_nan()
    }

    #[inline]
    pub(super) fn slow_nanos(&self) -> u64 {
        self.slow_nanos.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn is_slow(&self, nanos: u64) -> bool {
        nanos >= self.slow_nanos()
    }

    pub(super) fn open_wait(&self) -> Duration {
        Duration::from_nanos(self.open_wait_nanos.load(Ordering::Relaxed))
    }

    pub(super) fn permitted(&self) -> u32 {
        self.permitted.load(Ordering::Relaxed)
    }

    pub(super) fn share(&self) -> f64 {
        f64::from_bits(self.share.load(Ordering::Relaxed))
    }

    pub(super) fn set_share(&self, share: f64) {
        self.share.store(share.to_bits(), Ordering::Relaxed);
    }

    /// How an outcome is recorded; `None` if it says nothing about the dependency.
    #[inline]
    pub(super) fn sample(&self, outcome: Outcome, slow: bool) -> Option<Sample> {
        let failed = match outcome {
            Outcome::Success => false,
            Outcome::Failure | Outcome::Timeout => true,
            Outcome::Panicked if self.panics_count.load(Ordering::Relaxed) => true,
            Outcome::Cancelled if slow && self.cancelled_slow_calls_count.load(Ordering::Relaxed) => false,
            Outcome::Ignored | Outcome::Panicked | Outcome::Cancelled => return None,
        };
        Some(Sample { failed, slow })
    }

    /// Whether a closed breaker has to trip, and the reason.
    pub(super) fn judge(&self, window: WindowSnapshot, streak: u32) -> Option<Reason> {
        let relaxed = Ordering::Relaxed;
        let consecutive = self.consecutive.load(relaxed);
        if consecutive != 0 && streak >= consecutive {
            return Some(Reason::ConsecutiveFailures);
        }
        if window.calls < u64::from(self.minimum.load(relaxed)) {
            return None;
        }
        let reaches = |count: u64, percent: &AtomicU64| {
            // No division: 1 of 3 at 33.3 % must not hang on a rounding.
            count as f64 * 100.0 >= f64::from_bits(percent.load(relaxed)) * window.calls as f64
        };
        if reaches(window.failures, &self.failure_rate) {
            Some(Reason::FailureRate)
        } else if reaches(window.slow, &self.slow_rate) {
            Some(Reason::SlowCallRate)
        } else {
            None
        }
    }
}

/// Interim result of half-open's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Undecided,
    Passed,
    Failed,
}

/// Evaluates probes against the permitted number: failed as soon as enough successes are out of reach or
/// too many were slow; passed when enough succeeded and none is in flight. A dependency that answers half of
/// its probes and hangs on the others is thus not taken for recovered.
pub(super) fn judge_probes(settings: &BreakerSettings, probes: Probes) -> Verdict {
    let counted =
        WindowSnapshot { calls: probes.finished().into(), failures: probes.failed.into(), slow: probes.slow.into() };
    // More may have finished than are permitted by now, if the settings have changed.
    let of = counted.calls.max(settings.permitted_number_of_calls_in_half_open_state.into());
    match judge_out_of(settings, counted, of) {
        Verdict::Passed if probes.in_flight > 0 => Verdict::Undecided,
        verdict => verdict,
    }
}

/// Evaluates a stage: failed by the probes' rules, over its calls or the permitted number, whichever is
/// more; passed when its time is over and it has had that number of calls.
pub(super) fn judge_stage(settings: &BreakerSettings, counted: WindowSnapshot, time_is_over: bool) -> Verdict {
    let least = u64::from(settings.permitted_number_of_calls_in_half_open_state);
    match judge_out_of(settings, counted, counted.calls.max(least)) {
        Verdict::Passed if !time_is_over || counted.calls < least => Verdict::Undecided,
        verdict => verdict,
    }
}

/// Evaluates half-open at its time limit: admitted calls that are still in flight have not succeeded.
pub(super) fn judge_overdue(settings: &BreakerSettings, counted: WindowSnapshot, admitted: u64) -> Verdict {
    match judge_out_of(settings, counted, admitted) {
        Verdict::Passed if counted.calls > counted.failures => Verdict::Passed,
        _ => Verdict::Failed,
    }
}

fn judge_out_of(settings: &BreakerSettings, counted: WindowSnapshot, of: u64) -> Verdict {
    let needed = needed(settings.half_open_success_rate_threshold, of);
    let too_slow =
        settings.slow_call_rate_threshold.is_some_and(|rate| of > 0 && counted.slow as f64 * 100.0 >= rate * of as f64);
    if counted.failures > of.saturating_sub(needed) || too_slow {
        Verdict::Failed
    } else if counted.calls - counted.failures >= needed {
        Verdict::Passed
    } else {
        Verdict::Undecided
    }
}

/// Smallest number of successes out of `of` that reaches `percent`, at least one.
fn needed(percent: f64, of: u64) -> u64 {
    let reaches = |count: u64| count as f64 * 100.0 >= percent * of as f64;
    let mut count = rounded_down(percent / 100.0 * of as f64);
    // The float may be off by one in either direction.
    while count > 0 && reaches(count - 1) {
        count -= 1;
    }
    while count < of && !reaches(count) {
        count += 1;
    }
    count.max(1)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a number of calls")]
fn rounded_down(calls: f64) -> u64 {
    calls as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eighty_percent_of_five_is_four() {
        assert_eq!(needed(80.0, 5), 4);
        assert_eq!(needed(80.0, 3), 3);
        assert_eq!(needed(50.0, 10), 5);
        assert_eq!(needed(0.1, 10), 1);
        assert_eq!(needed(100.0, 7), 7);
    }

    #[test]
    fn probes_fail_as_soon_as_the_success_rate_is_out_of_reach() {
        let settings = BreakerSettings {
            permitted_number_of_calls_in_half_open_state: 5,
            half_open_success_rate_threshold: 80.0,
            ..BreakerSettings::default()
        };
        let probes = |succeeded, failed| Probes { succeeded, failed, ..Probes::default() };
        assert_eq!(judge_probes(&settings, probes(3, 1)), Verdict::Undecided);
        assert_eq!(judge_probes(&settings, probes(4, 1)), Verdict::Passed);
        assert_eq!(judge_probes(&settings, probes(0, 2)), Verdict::Failed);
    }
}
