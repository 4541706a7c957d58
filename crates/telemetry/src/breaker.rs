//! Metrics, log lines and transitions of the calls to one dependency: breaker, retries, hedges and
//! bulkhead.
//!
//! ## Theory of operation
//!
//! [`PolicyTelemetry`] observes a [`Policy`]. Each [`Event`] becomes one typed fact, a struct of this module, and
//! [`emit`](PolicyTelemetry::emit) writes it to its counters, its log line and, for a transition, the
//! [`TransitionLog`]. All children are created with the client, so that each series exists at zero from the first
//! scrape, and a fact is an atomic addition without a look-up. Gauges are read from the breaker at each scrape, as
//! listed in [`GAUGES`].

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use breakerbox_resilience::breaker::{Outcome, Reason, Rejected, Snapshot, State, Transition};
use breakerbox_resilience::policy::{Event, HedgeOutcome, Observer, Policy};
use breakerbox_resilience::retry::{ErrorKind, RetryOutcome};
use prometheus::{Gauge, Histogram, IntCounter};

use super::bulkhead::BulkheadTelemetry;
use super::exemplars::TracedHistogram;
use super::health::{RecentMean, health_points, success_share};
use super::label::{CallOutcome, Children, ExecutedOutcome, Prediction, RetryReason};
use super::metrics::Metrics;
use super::names::{self, Family};
use super::transitions::{TransitionLog, TransitionRecord};

/// Reads a gauge from a breaker.
type Reading = fn(&Snapshot) -> f64;

/// Gauges of a breaker, and how each is read.
pub(super) const GAUGES: &[(Family, Reading)] = &[
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
const AUTOMATIC: &[(State, State, Reason)] = &[
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

/// A fact about the calls to a dependency.
pub trait Fact {
    /// Writes the fact to metrics, log and trace.
    fn record(self, handles: &Handles);
}

/// All series of the calls to one dependency.
pub struct Handles {
    service: String,
    dependency: String,
    log: TransitionLog,
    metrics: Metrics,
    /// The part that only a breaker has. Without a breaker none is exported: all of its states at zero would be a
    /// contradiction.
    breaker: Option<BreakerHandles>,
    calls: Children<CallOutcome, IntCounter>,
    durations: Children<ExecutedOutcome, TracedHistogram>,
    response_time: RecentMean,
    slow: IntCounter,
    retry_calls: Children<RetryOutcome, IntCounter>,
    retry_attempts: Children<RetryReason, IntCounter>,
    predicted: Children<Prediction, Histogram>,
    budget: (Gauge, Gauge),
    hedges: Children<HedgeOutcome, IntCounter>,
    bulkhead: BulkheadTelemetry,
}

struct BreakerHandles {
    states: Children<State, Gauge>,
    late: IntCounter,
    last_transition: Gauge,
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

    fn read(&self, now: &Snapshot, health_points: f64) {
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
    fn new(
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

/// Numbers of calls to one dependency since the start of the process, by outcome.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CallTotals {
    /// Successful.
    pub success: u64,
    /// Failed, or timed out.
    pub failure: u64,
    /// Not evaluated: ignored errors, and cancelled calls.
    pub ignored: u64,
    /// Rejected by the breaker.
    pub rejected: u64,
    /// Mean response time of about the last forty, in seconds; `None` before the first.
    pub mean_response_seconds: Option<f64>,
}

impl CallTotals {
    /// Share of successful calls among those that succeeded or failed, 0-1; `None` before the first.
    #[must_use]
    pub fn success_rate(&self) -> Option<f64> {
        let judged = self.success + self.failure;
        (judged > 0).then(|| self.success as f64 / judged as f64)
    }
}

/// Observer of the policy of one dependency. Cheap to clone.
#[derive(Clone)]
pub struct PolicyTelemetry {
    policy: Weak<Policy>,
    handles: Arc<Handles>,
}

impl PolicyTelemetry {
    /// Creates all series of the calls from `service` to `dependency` at zero, and updates their gauges at each
    /// scrape while the policy exists.
    #[must_use]
    pub fn new(metrics: &Metrics, log: &TransitionLog, [service, dependency]: [&str; 2], policy: &Arc<Policy>) -> Self {
        let timeout = policy.time_limiter().timeout_duration;
        let handles = Handles::new(metrics, log, [service, dependency], timeout, policy.breaker().is_some());
        let own = Self { policy: Arc::downgrade(policy), handles: Arc::new(handles) };
        let read = own.clone();
        metrics.on_scrape(move || {
            if let Some(policy) = read.policy.upgrade() {
                read.read(&policy);
            }
        });
        own
    }

    /// Writes a fact to metrics, log and trace.
    pub fn emit(&self, fact: impl Fact) {
        fact.record(&self.handles);
    }

    fn read(&self, policy: &Policy) {
        let (handles, now) = (&*self.handles, tokio::time::Instant::now().into_std());
        if let (Some(own), Some(breaker)) = (&handles.breaker, policy.breaker()) {
            let shown = breaker.snapshot(now);
            own.read(&shown, self.health_points(&shown));
        }
        let budget = policy.retry_budget().snapshot(now);
        handles.budget.0.set(budget.tokens);
        handles.budget.1.set(budget.capacity);
        if let Some(bulkhead) = policy.bulkhead_snapshot() {
            handles.bulkhead.read(bulkhead.in_flight, bulkhead.capacity, bulkhead.queued);
        }
    }

    /// Calls since the start of the process.
    #[must_use]
    pub fn totals(&self) -> CallTotals {
        let calls = |outcome| self.handles.calls.of(outcome).get();
        CallTotals {
            success: calls(CallOutcome::Success),
            failure: calls(CallOutcome::Failure) + calls(CallOutcome::Timeout),
            ignored: calls(CallOutcome::Ignored) + calls(CallOutcome::Cancelled),
            rejected: calls(CallOutcome::Rejected),
            mean_response_seconds: self.handles.response_time.seconds(),
        }
    }

    /// Value of the health gauge, 0-100, for the current state of a breaker.
    #[must_use]
    pub fn health_points(&self, now: &Snapshot) -> f64 {
        health_points(success_share(now), self.handles.response_time.seconds().unwrap_or(0.0))
    }

    /// Timeout of the first attempt: later ones may have longer ones.
    fn timeout(&self, attempt: u32) -> Duration {
        self.policy.upgrade().map_or(Duration::MAX, |policy| policy.time_limiter().attempt_timeout(attempt))
    }
}

impl Observer for PolicyTelemetry {
    fn observe(&self, event: Event<'_>) {
        match event {
            Event::Transition(transition) => self.emit(StateChanged(*transition)),
            Event::Rejected(rejected) => self.emit(CallRejected(rejected)),
            Event::Finished { outcome, slow, late, elapsed, attempt, .. } => {
                // A timeout is observed slightly late: recorded unchanged, all of them would fall into the bucket above
                // the timeout, and a p99 close to it would be wrong.
                let elapsed = if outcome == Outcome::Timeout { elapsed.min(self.timeout(attempt)) } else { elapsed };
                self.emit(CallFinished { outcome: outcome.into(), slow, late, elapsed });
            }
            Event::RetryScheduled { attempt, delay, kind, .. } => {
                self.emit(RetryScheduled { attempt, delay, kind });
            }
            Event::RetryEnded { outcome, attempts } => self.emit(RetryEnded { outcome, attempts }),
            Event::Predicted { chance, succeeded } => self.emit(RetryPredicted { chance, succeeded }),
            Event::Hedge { outcome } => self.emit(HedgeEnded(outcome)),
            Event::BulkheadRejected(_) => self.emit(BulkheadRejected),
            Event::Throttled => self.emit(CallThrottled),
            // Covered by the events that follow them; events that the core adds later are ignored.
            _ => {}
        }
    }
}

/// A breaker changed its state.
#[derive(Clone, Copy, Debug)]
pub struct StateChanged(pub Transition);

impl Fact for StateChanged {
    fn record(self, handles: &Handles) {
        let Handles { service, dependency: breaker, metrics, log, .. } = handles;
        let record = TransitionRecord::new(service, breaker, &self.0, unix_seconds(SystemTime::now()));
        let [from, to] = [record.from, record.to].map(State::as_str);
        let reason = record.reason.as_str();
        let labels = [service.as_str(), breaker.as_str(), from, to, reason];
        metrics.families().breaker_transitions.with_label_values(&labels).inc();
        if let Some(own) = &handles.breaker {
            own.last_transition.set(record.unix_seconds);
        }
        let TransitionRecord { generation, calls, failures, slow_calls, failure_ratio, slow_ratio, .. } = record;
        let open_wait_seconds = record.open_wait.map(|wait| wait.as_secs_f64());
        // The level is fixed at the call site of a `tracing` macro, so the line exists twice.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    service,
                    breaker,
                    from,
                    to,
                    reason,
                    generation,
                    calls,
                    failures,
                    slow_calls,
                    failure_ratio,
                    slow_ratio,
                    open_wait_seconds,
                    "circuit breaker state changed"
                )
            };
        }
        if record.to == State::Open {
            line!(warn);
        } else {
            line!(info);
        }
        log.push(record);
    }
}

/// An attempt was rejected by the breaker.
#[derive(Clone, Copy, Debug)]
pub struct CallRejected(pub Rejected);

impl Fact for CallRejected {
    fn record(self, handles: &Handles) {
        handles.calls.of(CallOutcome::Rejected).inc();
        tracing::debug!(breaker = handles.dependency, retry_after = ?self.0.retry_after, "call rejected");
    }
}

/// An attempt was executed.
#[derive(Clone, Copy, Debug)]
pub struct CallFinished {
    /// Outcome of the attempt.
    pub outcome: ExecutedOutcome,
    /// Whether it took at least the slow-call threshold.
    pub slow: bool,
    /// Whether the breaker's state had changed since it began.
    pub late: bool,
    /// Duration of the attempt.
    pub elapsed: Duration,
}

impl Fact for CallFinished {
    fn record(self, handles: &Handles) {
        handles.calls.of(self.outcome.into()).inc();
        handles.durations.of(self.outcome).observe(self.elapsed.as_secs_f64());
        handles.response_time.add(self.elapsed);
        if self.slow {
            handles.slow.inc();
        }
        if let Some(own) = handles.breaker.as_ref().filter(|_| self.late) {
            own.late.inc();
        }
    }
}

/// A retry is scheduled.
#[derive(Clone, Copy, Debug)]
pub struct RetryScheduled {
    /// Number of the next attempt.
    pub attempt: u32,
    /// Wait before it.
    pub delay: Duration,
    /// The error that is retried.
    pub kind: ErrorKind,
}

impl Fact for RetryScheduled {
    fn record(self, handles: &Handles) {
        if let Some(reason) = RetryReason::of(self.kind) {
            handles.retry_attempts.of(reason).inc();
        }
        tracing::debug!(attempt = self.attempt, delay = ?self.delay, kind = self.kind.as_str(), "retry scheduled");
    }
}

/// All attempts of a logical call ended.
#[derive(Clone, Copy, Debug)]
pub struct RetryEnded {
    /// Outcome of the retries.
    pub outcome: RetryOutcome,
    /// Number of attempts.
    pub attempts: u32,
}

impl Fact for RetryEnded {
    fn record(self, handles: &Handles) {
        handles.retry_calls.of(self.outcome).inc();
        if matches!(self.outcome, RetryOutcome::BudgetExhausted | RetryOutcome::Stopped) {
            tracing::debug!(attempts = self.attempts, outcome = self.outcome.as_str(), "not retried");
        }
    }
}

/// A retry with a prediction of the adaptive model ended.
#[derive(Clone, Copy, Debug)]
pub struct RetryPredicted {
    /// Predicted probability of success, 0–1.
    pub chance: f64,
    /// Whether it succeeded.
    pub succeeded: bool,
}

impl Fact for RetryPredicted {
    fn record(self, handles: &Handles) {
        let outcome = if self.succeeded { Prediction::Success } else { Prediction::Failure };
        handles.predicted.of(outcome).observe(self.chance);
    }
}

/// A hedge ended, or was not allowed.
#[derive(Clone, Copy, Debug)]
pub struct HedgeEnded(pub HedgeOutcome);

impl Fact for HedgeEnded {
    fn record(self, handles: &Handles) {
        handles.hedges.of(self.0).inc();
        tracing::debug!(outcome = self.0.as_str(), "hedge ended");
    }
}

/// A call was rejected by the bulkhead.
#[derive(Clone, Copy, Debug)]
pub struct BulkheadRejected;

impl Fact for BulkheadRejected {
    fn record(self, handles: &Handles) {
        handles.bulkhead.rejected();
        tracing::debug!("bulkhead full");
    }
}

/// A call was rejected by the adaptive throttle.
#[derive(Clone, Copy, Debug)]
pub struct CallThrottled;

impl Fact for CallThrottled {
    fn record(self, _: &Handles) {
        tracing::debug!("call throttled");
    }
}

fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(metrics: &Metrics, name: &str) -> usize {
        metrics.gather().iter().find(|family| family.name() == name).map_or(0, |family| family.get_metric().len())
    }

    #[test]
    fn every_transition_of_a_breaker_exists_at_zero() {
        let (metrics, log) = (Metrics::new(&[]), TransitionLog::new());
        let _handles = Handles::new(&metrics, &log, ["gateway", "user"], Duration::from_secs(1), true);
        let families = metrics.gather();
        let transitions = families.iter().find(|f| f.name() == "circuit_breaker_transitions_total").unwrap();
        assert_eq!(transitions.get_metric().len(), AUTOMATIC.len() + 6 * 4 - 4);
        assert!(transitions.get_metric().iter().all(|m| m.get_counter().get_value().abs() < f64::EPSILON));
        for (family, _) in GAUGES {
            assert_eq!(samples(&metrics, family.name), 1, "{}", family.name);
        }
    }

    /// Contradictory states are an alert; a missing breaker must not cause one.
    #[test]
    fn calls_without_a_breaker_have_no_state() {
        let (metrics, log) = (Metrics::new(&[]), TransitionLog::new());
        let calls = Handles::new(&metrics, &log, ["gateway", "user"], Duration::from_secs(1), false);
        let elapsed = Duration::from_millis(1);
        CallFinished { outcome: ExecutedOutcome::Success, slow: false, late: false, elapsed }.record(&calls);
        let counts = ["circuit_breaker_state", "circuit_breaker_transitions_total"].map(|name| samples(&metrics, name));
        assert_eq!(counts, [0, 0]);
        assert!(samples(&metrics, "circuit_breaker_calls_total") > 0);
    }

    #[test]
    fn a_transition_carries_its_open_wait_everywhere() {
        let (metrics, log) = (Metrics::new(&[]), TransitionLog::new());
        let handles = Handles::new(&metrics, &log, ["gateway", "user"], Duration::from_secs(1), true);
        let transition = Transition {
            from: State::Closed,
            to: State::Open,
            generation: 1,
            reason: Reason::FailureRate,
            at: std::time::Instant::now(),
            window: breakerbox_resilience::breaker::WindowSnapshot { calls: 10, failures: 5, slow: 1 },
            open_for: Some(Duration::from_secs(30)),
        };
        StateChanged(transition).record(&handles);
        let record = log.latest().pop().unwrap();
        assert_eq!((record.from, record.to, record.reason), (State::Closed, State::Open, Reason::FailureRate));
        assert_eq!(record.open_wait, Some(Duration::from_secs(30)));
        assert_eq!((record.calls, record.failures, record.slow_calls), (10, 5, 1));
    }
}
