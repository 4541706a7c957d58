//! Metrics, log lines and transitions of the calls to one dependency: breaker, retries, hedges and
//! bulkhead.
//!
//! ## Theory of operation
//!
//! [`PolicyTelemetry`] observes a [`Policy`]. Each [`Event`] becomes one typed fact, a struct of this module, and
//! [`emit`](PolicyTelemetry::emit) writes it to its counters, its log line and, for a transition, the
//! [`TransitionLog`]. All children are created with the client, so that each series exists at zero from the first
//! scrape, and a fact is an atomic addition without a look-up. Gauges are read from the breaker at each scrape: the state, and
//! those listed in [`GAUGES`].

mod facts;
mod handles;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use breakerbox_resilience::breaker::{Outcome, Snapshot};
use breakerbox_resilience::policy::{Event, Observer, Policy};

use super::health::{health_points, success_share};
use super::label::CallOutcome;
use super::metrics::Metrics;
use super::transitions::TransitionLog;

pub use facts::{
    BulkheadRejected, CallFinished, CallRejected, CallThrottled, HedgeEnded, RetryEnded, RetryPredicted,
    RetryScheduled, StateChanged,
};
pub(super) use handles::GAUGES;
pub use handles::Handles;

/// A fact about the calls to a dependency: one of the structs of this module. [`Handles`] has no public fields, so that
/// other crates emit facts but define none.
pub trait Fact {
    /// Writes the fact to metrics, log and trace.
    fn record(self, handles: &Handles);
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

fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
