//! State of a breaker at one moment, for monitoring.

use std::time::{Duration, Instant};

use super::{Breaker, State, Transition};
use crate::sync::Ordering;

/// State of a breaker at one moment. Ratios are 0–1.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Current state.
    pub state: State,
    /// Generation of the state.
    pub generation: u64,
    /// Failed share of the window; `NaN` below the minimum number of calls.
    pub failure_ratio: f64,
    /// Slow share of the window; `NaN` below the minimum number of calls.
    pub slow_ratio: f64,
    /// Calls in the window; in half-open, finished probes.
    pub window_calls: u64,
    /// Failed calls among them.
    pub failures: u64,
    /// Slow calls among them.
    pub slow: u64,
    /// Consecutive failures.
    pub consecutive_failures: u32,
    /// Probes of half-open in flight or finished, or calls of a stage in flight; 0 in every other state.
    pub half_open_in_use: u32,
    /// The latest transition to open, with its reason and statistics. Kept while nothing is recorded; cleared
    /// by a reset.
    pub last_trip: Option<Transition>,
    /// The rest of the open wait; 0 in every other state.
    pub open_remaining: Duration,
    /// success rate × (1 − slow rate × 0.5) over the calls recorded in this state: 1 without any calls,
    /// 0 while open, forced open, or half-open without a result.
    pub health_score: f64,
    /// Outcomes that arrived after their state had ended.
    pub late_results: u64,
    /// Failure ratio at which the breaker trips.
    pub failure_ratio_threshold: Option<f64>,
    /// Slow-call ratio at which the breaker trips.
    pub slow_ratio_threshold: Option<f64>,
    /// Consecutive failures at which the breaker trips.
    pub consecutive_failure_threshold: Option<u32>,
    /// Minimum number of calls before the ratios are evaluated.
    pub minimum_calls: u32,
    /// Size of a count-based window; `None` for a time-based one.
    pub window_size: Option<u32>,
    /// Duration of the first open state.
    pub open_wait: Duration,
}

impl Breaker {
    /// Snapshot at `now`.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let control = self.lock();
        let word = self.word();
        let state = word.state();
        let settings = &control.settings;
        let counted = self.counted(&control, word, now);
        let minimum_calls = settings.effective_minimum();
        let counts = settings.sliding_window_type == super::WindowType::CountBased;
        let judged = state != State::HalfOpen && counted.calls >= u64::from(minimum_calls);
        let ratio = |ratio: f64| if judged { ratio } else { f64::NAN };
        let remaining = match state {
            State::Open => self.open_until.load(Ordering::Relaxed).saturating_sub(self.nanos(now)),
            _ => 0,
        };
        let healthy = match (state, counted.calls) {
            (State::Open | State::ForcedOpen, _) | (State::HalfOpen, 0) => 0.0,
            (_, 0) => 1.0,
            _ => (1.0 - counted.failure_ratio()) * (1.0 - counted.slow_ratio() * 0.5),
        };
        Snapshot {
            state,
            generation: word.generation(),
            failure_ratio: ratio(counted.failure_ratio()),
            slow_ratio: ratio(counted.slow_ratio()),
            window_calls: counted.calls,
            failures: counted.failures,
            slow: counted.slow,
            consecutive_failures: self.window.streak(word.epoch()),
            half_open_in_use: match (state, &control.stage) {
                (State::HalfOpen, Some(stage)) => stage.in_flight,
                (State::HalfOpen, None) => word.probes().used(),
                _ => 0,
            },
            last_trip: control.last_trip,
            open_remaining: Duration::from_nanos(remaining),
            health_score: healthy,
            late_results: self.late.load(Ordering::Relaxed),
            failure_ratio_threshold: settings.failure_rate_threshold.map(|rate| rate / 100.0),
            slow_ratio_threshold: settings.slow_call_rate_threshold.map(|rate| rate / 100.0),
            consecutive_failure_threshold: settings.consecutive_failure_threshold,
            minimum_calls,
            window_size: counts.then_some(settings.sliding_window_size),
            open_wait: settings.wait_duration_in_open_state,
        }
    }

    /// The current settings.
    #[must_use]
    pub fn settings(&self) -> super::BreakerSettings {
        self.lock().settings.clone()
    }
}
