//! Events that a policy reports to its observer.

use std::time::Duration;

use crate::{
    breaker::{Outcome, Rejected, Transition, spelled},
    bulkhead::BulkheadFull,
    retry::{ErrorKind, RetryOutcome},
};

spelled! {
    /// What became of a hedge.
    HedgeOutcome {
        /// It answered first.
        Won = "won",
        /// The first request did.
        Lost = "lost",
        /// It failed.
        Failed = "failed",
        /// The budget, the bulkhead or the breaker did not allow one.
        NoBudget = "no_budget",
    }
}

/// One fact about a call. Attempts are numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The breaker changed its state.
    Transition(&'a Transition),
    /// An attempt starts.
    Admitted {
        /// Its number.
        attempt: u32,
        /// Whether it is a hedge.
        hedge: bool,
    },
    /// The breaker turned an attempt away.
    Rejected(Rejected),
    /// The bulkhead turned the call away.
    BulkheadRejected(BulkheadFull),
    /// The throttle turned the call away.
    Throttled,
    /// An attempt ended.
    Finished {
        /// How.
        outcome: Outcome,
        /// Whether it took at least the breaker's slow-call threshold.
        slow: bool,
        /// Whether the breaker's state had changed since it started.
        late: bool,
        /// How long it took.
        elapsed: Duration,
        /// Its number.
        attempt: u32,
        /// Whether it was a hedge.
        hedge: bool,
    },
    /// The call will be tried again.
    RetryScheduled {
        /// Number of the attempt to come.
        attempt: u32,
        /// How long it waits.
        delay: Duration,
        /// The error that caused it.
        kind: ErrorKind,
        /// The chance the adaptive model gives it.
        predicted: Option<f64>,
    },
    /// The call is over, as far as retrying goes. Only with retries configured.
    RetryEnded {
        /// How it ended.
        outcome: RetryOutcome,
        /// Attempts made, hedges aside.
        attempts: u32,
    },
    /// A retry that the adaptive model had an opinion about is over.
    Predicted {
        /// The chance it gave.
        chance: f64,
        /// What came of it.
        succeeded: bool,
    },
    /// A hedge is over, or was not made.
    Hedge {
        /// What became of it.
        outcome: HedgeOutcome,
    },
}

/// Watches a policy. It is called between steps, never under a lock; it must not panic, since it is
/// also told of calls that are being unwound. `()` watches nothing.
pub trait Observer {
    /// Takes note of a fact.
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
