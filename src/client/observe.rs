//! Hands what a policy decides to telemetry, and copies its live values at each scrape.

use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

use super::Telemetry;
use breakerbox_resilience::breaker::{Outcome, Snapshot, State, Transition};
use breakerbox_resilience::policy::{Event, Observer, Policy};
use breakerbox_resilience::retry::RetryOutcome;
use breakerbox_telemetry::{BreakerReading, BreakerTelemetry, BulkheadTelemetry};

/// The observer of one dependency's policy.
pub(super) struct Reporter {
    facts: Arc<Facts>,
}

struct Facts {
    policy: Weak<Policy>,
    breaker: BreakerTelemetry,
    bulkhead: BulkheadTelemetry,
}

impl Reporter {
    pub(super) fn new(service: &str, dependency: &str, policy: &Arc<Policy>, telemetry: &Telemetry) -> Self {
        let timeout = policy.time_limiter().timeout_duration;
        let Telemetry { metrics, transitions } = telemetry;
        let facts = Arc::new(Facts {
            policy: Arc::downgrade(policy),
            breaker: BreakerTelemetry::new(
                metrics,
                transitions,
                [service, dependency],
                timeout,
                policy.breaker().is_some(),
            ),
            bulkhead: BulkheadTelemetry::new(metrics, service, dependency),
        });
        let gauges = Arc::clone(&facts);
        metrics.on_scrape(move || {
            if let Some(policy) = gauges.policy.upgrade() {
                gauges.read(&policy);
            }
        });
        Self { facts }
    }

    /// Reports a transition that no call brought about.
    pub(super) fn transition(&self, transition: &Transition) {
        self.facts.transition(transition);
    }
}

impl Observer for Reporter {
    fn observe(&self, event: Event<'_>) {
        let Facts { breaker, bulkhead, .. } = &*self.facts;
        match event {
            Event::Transition(transition) => self.facts.transition(transition),
            Event::Rejected(rejected) => breaker.rejected(rejected.retry_after),
            Event::Finished { outcome, slow, late, elapsed, attempt, .. } => {
                // A timeout is noticed a moment after it: told as it is, every one of them would fall
                // into the bucket above the timeout, and a p99 near it could not be read.
                let elapsed =
                    if outcome == Outcome::Timeout { elapsed.min(self.facts.timeout(attempt)) } else { elapsed };
                breaker.finished(executed(outcome), slow, late, elapsed);
            }
            Event::RetryScheduled { attempt, delay, kind, .. } => {
                breaker.retried(kind.as_str());
                tracing::debug!(attempt, ?delay, kind = kind.as_str(), "retrying");
            }
            Event::RetryEnded { outcome, attempts } => {
                breaker.retry_ended(outcome.as_str());
                if matches!(outcome, RetryOutcome::BudgetExhausted | RetryOutcome::Stopped) {
                    tracing::debug!(attempts, outcome = outcome.as_str(), "not retried");
                }
            }
            Event::Predicted { chance, succeeded } => breaker.predicted(chance, succeeded),
            Event::Hedge { outcome } => {
                breaker.hedged(outcome.as_str());
                tracing::debug!(outcome = outcome.as_str(), "hedge ended");
            }
            Event::BulkheadRejected(_) => {
                bulkhead.rejected();
                tracing::debug!("bulkhead full");
            }
            Event::Throttled => tracing::debug!("call throttled"),
            // Seen in what follows them; and whatever a later core adds, until it is named here.
            _ => {}
        }
    }
}

impl Facts {
    /// The timeout of an attempt: later ones may have longer ones.
    fn timeout(&self, attempt: u32) -> Duration {
        self.policy.upgrade().map_or(Duration::MAX, |policy| policy.time_limiter().attempt_timeout(attempt))
    }

    fn transition(&self, transition: &Transition) {
        let window = &transition.window;
        let mut record =
            self.breaker.record(transition.from.as_str(), transition.to.as_str(), transition.reason.as_str());
        record.generation = transition.generation;
        record.calls = window.calls;
        record.failures = window.failures;
        record.slow_calls = window.slow;
        record.failure_ratio = Some(window.failure_ratio()).filter(|ratio| !ratio.is_nan());
        record.slow_ratio = Some(window.slow_ratio()).filter(|ratio| !ratio.is_nan());
        if transition.to == State::Open
            && let Some(policy) = self.policy.upgrade()
            && let Some(breaker) = policy.breaker()
        {
            record.open_wait_seconds = Some(breaker.snapshot(transition.at).open_remaining.as_secs_f64());
        }
        self.breaker.transitioned(record);
    }

    fn read(&self, policy: &Policy) {
        let now = Instant::now().into_std();
        if let Some(breaker) = policy.breaker() {
            self.breaker.read(&reading(&breaker.snapshot(now)));
        }
        let budget = policy.retry_budget().snapshot(now);
        self.breaker.read_budget(budget.tokens, budget.capacity);
        if let Some(bulkhead) = policy.bulkhead_snapshot() {
            self.bulkhead.read(bulkhead.in_flight, bulkhead.capacity, bulkhead.queued);
        }
    }
}

/// A panic of ours is a failure as the metrics contract counts.
fn executed(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Panicked => Outcome::Failure.as_str(),
        other => other.as_str(),
    }
}

fn reading(now: &Snapshot) -> BreakerReading {
    BreakerReading {
        state: now.state.as_str(),
        failure_ratio: now.failure_ratio,
        slow_ratio: now.slow_ratio,
        window_calls: now.window_calls,
        minimum_calls: now.minimum_calls.into(),
        half_open_in_use: now.half_open_in_use.into(),
        open_remaining: now.open_remaining,
        health_score: now.health_score,
        failure_ratio_threshold: now.failure_ratio_threshold.unwrap_or(f64::NAN),
        slow_ratio_threshold: now.slow_ratio_threshold.unwrap_or(f64::NAN),
        consecutive_failures_threshold: now.consecutive_failure_threshold.map_or(f64::NAN, f64::from),
        open_wait: now.open_wait,
    }
}
