//! What an error means: for the breaker, and for whether to try again.

use std::time::Duration;

use crate::breaker::{Outcome, spelled};

spelled! {
    /// What kind of error an attempt ended with.
    ErrorKind {
        /// No answer in time.
        Timeout = "timeout",
        /// No connection.
        Connect = "connect",
        /// The connection broke.
        Reset = "reset",
        /// The dependency said that it failed (5xx).
        ServerError = "server_error",
        /// The dependency asked for less (429, 503 with `Retry-After`).
        RateLimited = "rate_limited",
        /// An answer that makes no sense.
        Malformed = "malformed",
        /// The request itself was wrong (4xx); it will be as wrong the next time.
        Client = "client",
    }
}

/// What an error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How the breaker counts it: failure, timeout or ignored.
    pub counts: Outcome,
    /// Its kind.
    pub kind: ErrorKind,
    /// Whether another attempt could end differently, as far as the error goes. Whether the call
    /// may be repeated at all is [`Call::idempotent`](crate::policy::Call)'s to say.
    pub retryable: bool,
    /// How long the dependency asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl Verdict {
    /// The usual verdict on a kind: everything but the caller's own mistakes counts and is worth
    /// another attempt.
    #[must_use]
    pub fn of(kind: ErrorKind) -> Self {
        let (counts, retryable) = match kind {
            ErrorKind::Client => (Outcome::Ignored, false),
            ErrorKind::Timeout => (Outcome::Timeout, true),
            _ => (Outcome::Failure, true),
        };
        Self { counts, kind, retryable, retry_after: None }
    }

    /// The usual verdict on an HTTP status, `None` for one that is no error. 408, 429 and 5xx are
    /// the dependency's trouble; other 4xx, 400, 401, 403 and 404 above all, the caller's. 501 and
    /// 505 will be said again however often one asks.
    #[must_use]
    pub fn of_status(status: u16) -> Option<Self> {
        match status {
            0..400 => None,
            408 => Some(Self::of(ErrorKind::Timeout)),
            429 => Some(Self::of(ErrorKind::RateLimited)),
            400..=499 => Some(Self::of(ErrorKind::Client)),
            501 | 505 => Some(Self { retryable: false, ..Self::of(ErrorKind::ServerError) }),
            _ => Some(Self::of(ErrorKind::ServerError)),
        }
    }

    /// The same, with what the dependency's `Retry-After` said.
    #[must_use]
    pub fn after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }
}

/// An error that can say what it means.
pub trait Classify {
    /// What it means.
    fn verdict(&self) -> Verdict;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_of_the_callers_is_neither_counted_nor_tried_again() {
        for status in [400, 401, 403, 404, 409, 422] {
            let verdict = Verdict::of_status(status).unwrap();
            assert_eq!((verdict.counts, verdict.retryable), (Outcome::Ignored, false));
        }
    }

    #[test]
    fn trouble_of_the_dependency_is_counted_and_tried_again() {
        for (status, kind) in [
            (408, ErrorKind::Timeout),
            (429, ErrorKind::RateLimited),
            (500, ErrorKind::ServerError),
            (503, ErrorKind::ServerError),
        ] {
            let verdict = Verdict::of_status(status).unwrap();
            assert_eq!((verdict.kind, verdict.retryable), (kind, true));
            assert_ne!(verdict.counts, Outcome::Ignored);
        }
        assert_eq!(Verdict::of_status(204), None);
    }
}
