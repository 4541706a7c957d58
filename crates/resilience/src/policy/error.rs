//! Error of a call through a policy.

use std::time::Duration;

use crate::{
    breaker::Rejected,
    bulkhead::BulkheadFull,
    retry::{Classify, ErrorKind, Verdict},
};

/// Error of a call through a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E> {
    /// The breaker rejected the call.
    #[error(transparent)]
    Open(Rejected),
    /// The bulkhead was full.
    #[error(transparent)]
    BulkheadFull(BulkheadFull),
    /// The throttle rejected the call.
    #[error("throttled: the dependency rejects too many calls")]
    Throttled,
    /// The deadline of the call passed.
    #[error("the deadline has passed")]
    DeadlineExceeded,
    /// The last attempt exceeded its timeout.
    #[error("no answer after {after:?}")]
    TimedOut {
        /// The attempt timeout.
        after: Duration,
    },
    /// The last attempt failed.
    #[error("{0}")]
    Failed(E),
}

impl<E> CallError<E> {
    /// Reason for a fallback, as a label value.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::BulkheadFull(_) => "bulkhead_full",
            Self::Throttled => "rejected",
            Self::DeadlineExceeded | Self::TimedOut { .. } => "timeout",
            Self::Failed(_) => "failure",
        }
    }
}

impl<E> CallError<E> {
    /// Maps the operation's error.
    pub fn map<F>(self, map: impl FnOnce(E) -> F) -> CallError<F> {
        match self {
            Self::Open(rejected) => CallError::Open(rejected),
            Self::BulkheadFull(full) => CallError::BulkheadFull(full),
            Self::Throttled => CallError::Throttled,
            Self::DeadlineExceeded => CallError::DeadlineExceeded,
            Self::TimedOut { after } => CallError::TimedOut { after },
            Self::Failed(error) => CallError::Failed(map(error)),
        }
    }
}

impl<T, E> CallError<Result<T, E>> {
    /// Returns the response if it was classified as a failure.
    pub(super) fn transposed(self) -> Result<T, CallError<E>> {
        match self {
            Self::Failed(Ok(answer)) => Ok(answer),
            Self::Failed(Err(error)) => Err(CallError::Failed(error)),
            Self::Open(rejected) => Err(CallError::Open(rejected)),
            Self::BulkheadFull(full) => Err(CallError::BulkheadFull(full)),
            Self::Throttled => Err(CallError::Throttled),
            Self::DeadlineExceeded => Err(CallError::DeadlineExceeded),
            Self::TimedOut { after } => Err(CallError::TimedOut { after }),
        }
    }
}

impl<E: Classify> CallError<E> {
    /// Earliest time at which a retry may succeed, if known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Open(rejected) => Some(rejected.retry_after),
            Self::Failed(error) => error.verdict().retry_after,
            _ => None,
        }
    }

    /// Classification for an outer retry. Rejections by the policy itself are not retried: a retry would be
    /// rejected again, or come too late.
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Failed(error) => error.verdict(),
            Self::TimedOut { .. } => Verdict::of(ErrorKind::Timeout),
            _ => Verdict { retryable: false, ..Verdict::of(ErrorKind::Client) },
        }
    }
}
