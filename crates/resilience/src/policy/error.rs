//! Why a call has no answer.

use std::time::Duration;

use crate::{
    breaker::Rejected,
    bulkhead::BulkheadFull,
    retry::{Classify, ErrorKind, Verdict},
};

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E> {
    /// The breaker did not let it through.
    #[error(transparent)]
    Open(Rejected),
    /// The bulkhead was full.
    #[error(transparent)]
    BulkheadFull(BulkheadFull),
    /// The throttle turned it away.
    #[error("turned away, because the dependency accepts too little of what it is sent")]
    Throttled,
    /// Its deadline passed.
    #[error("the deadline has passed")]
    DeadlineExceeded,
    /// The last attempt took longer than it may.
    #[error("no answer after {after:?}")]
    TimedOut {
        /// The attempt's timeout.
        after: Duration,
    },
    /// The last attempt failed.
    #[error("{0}")]
    Failed(E),
}

impl<E> CallError<E> {
    /// The reason for a fallback, as series spell it.
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
    /// The same, with another error of the operation.
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
    /// A failure that was an answer is that answer.
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
    /// When to try again, if known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Open(rejected) => Some(rejected.retry_after),
            Self::Failed(error) => error.verdict().retry_after,
            _ => None,
        }
    }

    /// What it means for a retry. What this side refused is not retried: a retry would only be
    /// refused again, or come too late.
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Failed(error) => error.verdict(),
            Self::TimedOut { .. } => Verdict::of(ErrorKind::Timeout),
            _ => Verdict { retryable: false, ..Verdict::of(ErrorKind::Client) },
        }
    }
}
