//! The series of the calls to one dependency, all created in advance so that each exists at zero.

use std::time::{Duration, SystemTime};

use breakerbox_resilience::breaker::{Reason, Snapshot, State};
use breakerbox_resilience::policy::HedgeOutcome;
use breakerbox_resilience::retry::RetryOutcome;
use prometheus::{Gauge, Histogram, IntCounter};

use super::unix_seconds;
use crate::bulkhead::BulkheadTelemetry;
use crate::exemplars::TracedHistogram;
use crate::health::RecentMean;
use crate::label::{CallOutcome, Children, ExecutedOutcome, Prediction, RetryReason};
use crate::metrics::Metrics;
use crate::names::{self, Family};
use crate::transitions::TransitionLog;

/// Reads a gauge from a breaker.
type Reading = fn(&Snapshot) -> f64;

/// Gauges of a breaker, and how each is read.
pub(crate) const GAUGES: &[(Family, Reading)] = &[
    (names::CIRCUIT_BREAKER_FAILURE_RATIO, |now| now.failure_ratio),
    (names::CIRCUIT_BREAKER_SLOW_CALL_RATIO, |now| now.slow_ratio),
    (names::CIRCUIT_BREAKER_WINDOW_CALLS, |now| now.window_calls as f64),
    (names::CIRCUIT_BREAKER_WINDOW_FAILED_CALLS, |now| now.failures as f64),
    (names::CIRCUIT_BREAKER_WINDOW_SIZE_CALLS, |now| now.window_size.map_or(f64::NAN, f64::from)),
    (names::CIRCUIT_BREAKER_WINDOW_MINIMUM_CALLS, |now| now.minimum_calls.into()),
    (names::CIRCUIT_BREAKER_HALF_OPEN_PERMITS, |now| now.half_open_in_use.into()),
    (names::CIRCUIT_BREAKER_OPEN_REMAINING, |now| now.open_remaining.as_secs_f64()),
    (names::CIRCUIT_BREAKER_HEALTH_SCORE, |now| now.health_score),
    (names::CIRCUIT_BREAKER_FAILURE_RATIO_THRESHOLD, |now| now.failure_ratio_threshold.unwrap_or(f64::NAN)),
    (names::CIRCUIT_BREAKER_SLOW_CALL_RATIO_THRESHOLD, |now| now.slow_ratio_threshold.unwrap_or(f64::NAN)),
    (names::CIRCUIT_BREAKER_CONSECUTIVE_FAILURES, |now| now.consecutive_failures.into()),
    (names::CIRCUIT_BREAKER_CONSECUTIVE_FAILURES_THRESHOLD, |now| {
        now.consecutive_failure_threshold.map_or(f64::NAN, f64::from)
    }),
    (names::CIRCUIT_BREAKER_OPEN_WAIT, |now| now.open_wait.as_secs_f64()),
];

/// Possible transitions, so that their counters exist before they happen.
pub(super) const AUTOMATIC: &[(State, State, Reason)] = &[
    (State::Closed, State::Open, Reason::ConsecutiveFailures),
    (State::Closed, State::Open, Reason::FailureRate),
    (State::Closed, State::Open, Reason::SlowCallRate),
    (State::Open, State::HalfOpen, Reason::WaitElapsed),
    (State::HalfOpen, State::HalfOpen, Reason::StagePassed),
    (State::HalfOpen, State::Closed, Reason::ProbesSucceeded),
    (State::HalfOpen, State::Open, Reason::ProbesFailed),
    (State::HalfOpen, State::Open, Reason::HalfOpenTimeout),
    (State::Closed, State::Open, Reason::Shared),
    (State::HalfOpen, State::Open, Reason::Shared),
    (State::Open, State::Closed, Reason::Shared),
    (State::HalfOpen, State::Closed, Reason::Shared),
];
/// States that a command can set.
const COMMANDED: &[State] = &[State::Closed, State::ForcedOpen, State::Disabled, State::MetricsOnly];

/// All series of the calls to one dependency.
pub struct Handles {
    pub(super) service: String,
    pub(super) dependency: String,
    pub(super) log: TransitionLog,
    pub(super) metrics: Metrics,
    /// The part that only a breaker has. Without a breaker none is exported: all of its states at zero would be a
    /// contradiction.
    pub(super) breaker: Option<BreakerHandles>,
    pub(super) calls: Children<CallOutcome, IntCounter>,
    pub(super) durations: Children<ExecutedOutcome, TracedHistogram>,
    pub(super) response_time: RecentMean,
    pub(super) slow: IntCounter,
    pub(super) retry_calls: Children<RetryOutcome, IntCounter>,
    pub(super) retry_attempts: Children<RetryReason, IntCounter>,
    pub(super) predicted: Children<Prediction, Histogram>,
    pub(super) budget: (Gauge, Gauge),
    pub(super) hedges: Children<HedgeOutcome, IntCounter>,
    pub(super) bulkhead: BulkheadTelemetry,
}

pub(super) struct BreakerHandles {
    states: Children<State, Gauge>,
    pub(super) late: IntCounter,
    pub(super) last_transition: Gauge,
    gauges: Vec<Gauge>,
    points: Gauge,
}

impl BreakerHandles {
    fn new(metrics: &Metrics, service: &str, breaker: &str) -> Self {
        let f = metrics.families();
        let own = [service, breaker];
        let possible = |from: State, to: State, reason: Reason| {
            f.breaker_transitions.with_label_values(&[service, breaker, from.as_str(), to.as_str(), reason.as_str()]);
        };
        for (from, to, reason) in AUTOMATIC {
            possible(*from, *to, *reason);
        }
        for from in State::ALL {
            for to in COMMANDED.iter().filter(|to| *to != from) {
                possible(*from, *to, Reason::Command);
            }
        }
        let last_transition = f.breaker_last_transition.with_label_values(&own);
        last_transition.set(unix_seconds(SystemTime::now()));
        Self {
            states: Children::new(|state| f.breaker_state.with_label_values(&[service, breaker, state])),
            late: f.breaker_late_results.with_label_values(&own),
            last_transition,
            gauges: metrics.breaker_gauges().iter().map(|gauge| gauge.with_label_values(&own)).collect(),
            points: f.breaker_health_points.with_label_values(&own),
        }
    }

    pub(super) fn read(&self, now: &Snapshot, health_points: f64) {
        for (state, gauge) in self.states.each() {
            gauge.set(f64::from(u8::from(state == now.state)));
        }
        for ((_, value), gauge) in GAUGES.iter().zip(&self.gauges) {
            gauge.set(value(now));
        }
        self.points.set(health_points);
    }
}

impl Handles {
    pub(super) fn new(
        metrics: &Metrics,
        log: &TransitionLog,
        [service, dependency]: [&str; 2],
        timeout: Duration,
        guarded: bool,
    ) -> Self {
        let f = metrics.families();
        let own = [service, dependency];
        f.breaker_timeout.with_label_values(&own).set(timeout.as_secs_f64());
        Self {
            service: service.to_owned(),
            dependency: dependency.to_owned(),
            log: log.clone(),
            metrics: metrics.clone(),
            breaker: guarded.then(|| BreakerHandles::new(metrics, service, dependency)),
            calls: Children::new(|outcome| f.breaker_calls.with_label_values(&[service, dependency, outcome])),
            durations: Children::new(|outcome| metrics.call_duration(&[service, dependency, outcome])),
            response_time: RecentMean::default(),
            slow: f.breaker_slow_calls.with_label_values(&own),
            retry_calls: Children::new(|outcome| f.retry_calls.with_label_values(&[service, dependency, outcome])),
            retry_attempts: Children::new(|kind| f.retry_attempts.with_label_values(&[service, dependency, kind])),
            predicted: Children::new(|outcome| {
                f.retry_predicted_success.with_label_values(&[service, dependency, outcome])
            }),
            budget: (f.retry_budget_tokens.with_label_values(&own), f.retry_budget_capacity.with_label_values(&own)),
            hedges: Children::new(|outcome| f.hedge_requests.with_label_values(&[service, dependency, outcome])),
            bulkhead: BulkheadTelemetry::new(metrics, service, dependency),
        }
    }
}
