//! One struct per fact about the calls to a dependency, and what each writes to metrics and log.

use std::time::{Duration, SystemTime};

use breakerbox_resilience::breaker::{Rejected, State, Transition};
use breakerbox_resilience::policy::HedgeOutcome;
use breakerbox_resilience::retry::{ErrorKind, RetryOutcome};

use super::handles::Handles;
use super::{Fact, unix_seconds};
use crate::label::{CallOutcome, ExecutedOutcome, Prediction, RetryReason};
use crate::transitions::TransitionRecord;

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
