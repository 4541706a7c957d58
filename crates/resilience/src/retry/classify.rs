//! Classification of errors, for the breaker and for retries.

use std::time::Duration;

use crate::breaker::{Outcome, spelled};

spelled! {
    /// Kind of error that ended an attempt.
    ErrorKind {
        /// No answer in time.
        Timeout = "timeout",
        /// No connection.
        Connect = "connect",
        /// The connection broke.
        Reset = "reset",
        /// The dependency reported an error (5xx).
        ServerError = "server_error",
        /// The dependency asked for fewer requests (429, 503 with `Retry-After`).
        RateLimited = "rate_limited",
        /// The answer could not be parsed.
        Malformed = "malformed",
        /// The request was invalid (4xx); repeating it cannot help.
        Client = "client",
    }
}

/// Classification of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How the breaker counts it: failure, timeout or ignored.
    pub counts: Outcome,
    /// Its kind.
    pub kind: ErrorKind,
    /// Whether another attempt can succeed, as far as the error is concerned. Whether the call may be repeated
    /// is determined by [`Call::idempotent`](crate::policy::Call).
    pub retryable: bool,
    /// Wait that the dependency asked for.
    pub retry_after: Option<Duration>,
}

impl Verdict {
    /// Default verdict on a kind: everything except errors of the caller counts as a failure and can be
    /// retried.
    #[must_use]
    pub fn of(kind: ErrorKind) -> Self {
        let (counts, retryable) = match kind {
            ErrorKind::Client => (Outcome::Ignored, false),
            ErrorKind::Timeout => (Outcome::Timeout, true),
            _ => (Outcome::Failure, true),
        };
        Self { counts, kind, retryable, retry_after: None }
    }

    /// Default verdict on an HTTP status; `None` if it is not an error. 408, 429 and 5xx are failures of the
    /// dependency; other 4xx, such as 400, 401, 403 and 404, are errors of the caller. 501 and 505 are permanent
    /// and not retried.
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

    /// Default verdict on an I/O error. Invalid requests (no such file, no permission, invalid input) are errors
    /// of the caller; all others are failures of the dependency.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{
            AddrNotAvailable, AlreadyExists, BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset,
            HostUnreachable, InvalidData, InvalidInput, NetworkUnreachable, NotConnected, NotFound, PermissionDenied,
            TimedOut, UnexpectedEof, Unsupported, WouldBlock,
        };
        Self::of(match error.kind() {
            NotFound | PermissionDenied | AlreadyExists | InvalidInput | Unsupported => ErrorKind::Client,
            TimedOut | WouldBlock => ErrorKind::Timeout,
            ConnectionRefused | HostUnreachable | NetworkUnreachable | AddrNotAvailable => ErrorKind::Connect,
            ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected | UnexpectedEof => ErrorKind::Reset,
            InvalidData => ErrorKind::Malformed,
            _ => ErrorKind::ServerError,
        })
    }

    /// Default verdict on a gRPC status code, `None` for `OK`. Only `UNAVAILABLE` and `RESOURCE_EXHAUSTED`
    /// imply that another attempt can help, as in gRPC's own retries, and `ABORTED` and `DEADLINE_EXCEEDED` for
    /// calls that may be repeated. `UNKNOWN`, `INTERNAL` and `DATA_LOSS` count as failures and are not retried;
    /// all others are errors of the caller.
    #[must_use]
    pub fn of_grpc(code: u32) -> Option<Self> {
        Some(match code {
            0 => return None,
            4 => Self::of(ErrorKind::Timeout),
            8 => Self::of(ErrorKind::RateLimited),
            10 | 14 => Self::of(ErrorKind::ServerError),
            2 | 13 | 15 => Self { retryable: false, ..Self::of(ErrorKind::ServerError) },
            _ => Self::of(ErrorKind::Client),
        })
    }

    /// The same verdict with the dependency's `Retry-After`.
    #[must_use]
    pub fn after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }
}

/// An error that classifies itself.
pub trait Classify {
    /// Classification of the error.
    fn verdict(&self) -> Verdict;
}

impl Classify for std::io::Error {
    fn verdict(&self) -> Verdict {
        Verdict::of_io(self)
    }
}

/// Classifies results: which of them are failures, and of which kind.
///
/// Implemented by closures. Thus errors of other crates, and responses that are failures, such as an HTTP
/// 500, can be classified at the call site.
///
/// ```
/// use breakerbox_resilience::{Policy, retry::{ErrorKind, Verdict}};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let policy = Policy::builder().attempts(3).build()?;
/// let status = policy
///     .request()
///     .idempotent()
///     .classify(|answer: &Result<u16, std::fmt::Error>| match answer {
///         Ok(status) => Verdict::of_status(*status),
///         Err(_) => Some(Verdict::of(ErrorKind::Malformed)),
///     })
///     .call(|attempt| async move { Ok(if attempt.number < 3 { 503 } else { 200 }) })
///     .await;
/// assert_eq!(status, Ok(200));
/// # Ok::<(), breakerbox_resilience::SettingsError>(())
/// # }).unwrap();
/// ```
pub trait Classifier<T, E> {
    /// Classification of the result; `None`: a success. An `Err` without a verdict is ignored by the breaker
    /// and not retried.
    fn classify(&self, result: &Result<T, E>) -> Option<Verdict>;
}

impl<T, E, F: Fn(&Result<T, E>) -> Option<Verdict>> Classifier<T, E> for F {
    fn classify(&self, result: &Result<T, E>) -> Option<Verdict> {
        self(result)
    }
}

/// Classifier that treats every `Err` as a failure of the dependency that can be retried.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyError;

impl<T, E> Classifier<T, E> for AnyError {
    fn classify(&self, result: &Result<T, E>) -> Option<Verdict> {
        result.is_err().then(|| Verdict::of(ErrorKind::ServerError))
    }
}

/// Uses the error's own [`Classify`] implementation.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnError;

impl<T, E: Classify> Classifier<T, E> for OwnError {
    fn classify(&self, result: &Result<T, E>) -> Option<Verdict> {
        result.as_ref().err().map(Classify::verdict)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_mistake_of_the_callers_is_neither_counted_nor_tried_again() {
        for status in [400, 401, 403, 404, 409, 422] {
            let verdict = Verdict::of_status(status).unwrap();
            assert_eq!((verdict.counts, verdict.retryable), (Outcome::Ignored, false));
        }
    }

    #[test]
    fn errors_of_the_system_are_told_apart() {
        let verdict = |kind: io::ErrorKind| Verdict::of_io(&kind.into());
        assert_eq!(verdict(io::ErrorKind::NotFound).counts, Outcome::Ignored);
        assert_eq!(verdict(io::ErrorKind::TimedOut).counts, Outcome::Timeout);
        assert_eq!(verdict(io::ErrorKind::ConnectionRefused).kind, ErrorKind::Connect);
        assert_eq!(verdict(io::ErrorKind::UnexpectedEof).kind, ErrorKind::Reset);
        assert!(verdict(io::ErrorKind::Other).retryable);
    }

    #[test]
    fn grpc_codes_are_told_apart() {
        let counted = |code| Verdict::of_grpc(code).map(|verdict| (verdict.counts, verdict.retryable));
        assert_eq!(counted(0), None);
        assert_eq!(counted(5), Some((Outcome::Ignored, false)), "not found");
        assert_eq!(counted(14), Some((Outcome::Failure, true)), "unavailable");
        assert_eq!(counted(13), Some((Outcome::Failure, false)), "internal");
        assert_eq!(counted(4), Some((Outcome::Timeout, true)), "deadline exceeded");
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
