//! Events that a policy reports to its observer.

use std::time::Duration;

use crate::{
    breaker::{Outcome, Rejected, Transition, spelled},
    bulkhead::BulkheadFull,
    retry::{ErrorKind, RetryOutcome},
};

spelled! {
    /// Outcome of a hedge.
    HedgeOutcome {
        /// The hedge answered first.
        Won = "won",
        /// The original request answered first.
        Lost = "lost",
        /// The hedge failed.
        Failed = "failed",
        /// The budget, the bulkhead or the breaker did not allow a hedge.
        NoBudget = "no_budget",
    }
}

/// An event of a call. Attempts are numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The breaker changed its state.
    Transition(&'a Transition),
    /// An attempt starts.
    Admitted {
        /// Number of the attempt.
        attempt: u32,
        /// Whether it is a hedge.
        hedge: bool,
    },
    /// The breaker rejected an attempt.
    Rejected(Rejected),
    /// The bulkhead rejected the call.
    BulkheadRejected(BulkheadFull),
    /// The throttle rejected the call.
    Throttled,
    /// An attempt ended.
    Finished {
        /// Outcome of the attempt.
        outcome: Outcome,
        /// Whether it took at least the breaker's slow-call threshold.
        slow: bool,
        /// Whether the breaker's state had changed since the attempt started.
        late: bool,
        /// Duration of the attempt.
        elapsed: Duration,
        /// Number of the attempt.
        attempt: u32,
        /// Whether it was a hedge.
        hedge: bool,
    },
    /// A retry is scheduled.
    RetryScheduled {
        /// Number of the next attempt.
        attempt: u32,
        /// Wait before it.
        delay: Duration,
        /// The error that is retried.
        kind: ErrorKind,
        /// Probability of success predicted by the adaptive model.
        predicted: Option<f64>,
    },
    /// All attempts of the call are over. Only reported if retries are configured.
    RetryEnded {
        /// Outcome of the retries.
        outcome: RetryOutcome,
        /// Number of attempts, hedges excluded.
        attempts: u32,
    },
    /// A retry with a prediction of the adaptive model is over.
    Predicted {
        /// The predicted probability of success.
        chance: f64,
        /// The actual outcome.
        succeeded: bool,
    },
    /// A hedge is over, or was not allowed.
    Hedge {
        /// Outcome of the hedge.
        outcome: HedgeOutcome,
    },
}

/// Observer of a policy. It is called between steps, never under a lock. It must not panic, since it is
/// also called while a panic unwinds. `()` ignores all events.
pub trait Observer {
    /// Called for each event.
    fn observe(&self, event: Event<'_>);
}

impl Observer for () {
    #[inline]
    fn observe(&self, _: Event<'_>) {}
}

impl<O: Observer + ?Sized> Observer for &O {
    #[inline]
    fn observe(&self, event: Event<'_>) {
        (**self).observe(event);
    }
}

impl<O: Observer + ?Sized> Observer for std::sync::Arc<O> {
    #[inline]
    fn observe(&self, event: Event<'_>) {
        (**self).observe(event);
    }
}
