//! Errors of a call.

use std::time::Duration;

use http::StatusCode;

use super::request::Reply;
use super::transport::TransportError;
use breakerbox_resilience::policy::CallError;
use breakerbox_resilience::retry::{Classify, ErrorKind, Verdict};
use breakerbox_telemetry::FallbackReason;

/// Upper limit of a dependency's `Retry-After`.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Error of one attempt.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AttemptError {
    /// The dependency answered with an error status.
    #[error("answered {status}")]
    Status {
        /// The status.
        status: StatusCode,
        /// The wait that it asked for.
        retry_after: Option<Duration>,
        /// Its response.
        reply: Box<Reply>,
    },
    /// There was no response, or none that could be parsed.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl AttemptError {
    /// Returns a successful reply; any other is an error.
    pub(super) fn check(reply: Reply) -> Result<Reply, Self> {
        if reply.status.is_success() || reply.status.is_redirection() {
            return Ok(reply);
        }
        let retry_after = retry_after(&reply.headers);
        Err(Self::Status { status: reply.status, retry_after, reply: Box::new(reply) })
    }

    /// OpenTelemetry's `error.type`: the status if there is one.
    pub(super) fn kind(&self) -> &str {
        match self {
            Self::Status { status, .. } => status.as_str(),
            Self::Transport(TransportError::Connect(_)) => "connect",
            Self::Transport(TransportError::Reset(_)) => "reset",
            Self::Transport(TransportError::Malformed(_)) => "malformed",
        }
    }
}

/// The wait that a dependency asks for: seconds, or a date by its own clock (RFC 9110, 10.2.3).
fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = text(http::header::RETRY_AFTER)?;
    if !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too large to parse exceeds the limit anyway.
        return Some(asked.parse().map_or(LONGEST_RETRY_AFTER, Duration::from_secs).min(LONGEST_RETRY_AFTER));
    }
    let until = httpdate::parse_http_date(asked).ok()?;
    let now = text(http::header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    let now = now.unwrap_or_else(std::time::SystemTime::now);
    Some(until.duration_since(now).unwrap_or_default().min(LONGEST_RETRY_AFTER))
}

impl Classify for AttemptError {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Status { status, retry_after, .. } => {
                // `check` never makes an error of a successful status.
                let usual = Verdict::of_status(status.as_u16()).unwrap_or(Verdict::of(ErrorKind::Malformed));
                // RFC 9110: a 503 with `Retry-After` means overloaded, not broken.
                let asks = *status == StatusCode::SERVICE_UNAVAILABLE && retry_after.is_some();
                let kind = if asks { ErrorKind::RateLimited } else { usual.kind };
                Verdict { kind, ..usual }.after(*retry_after)
            }
            Self::Transport(TransportError::Connect(_)) => Verdict::of(ErrorKind::Connect),
            Self::Transport(TransportError::Reset(_)) => Verdict::of(ErrorKind::Reset),
            Self::Transport(TransportError::Malformed(_)) => Verdict::of(ErrorKind::Malformed),
        }
    }
}

/// Whole seconds, rounded up, as `Retry-After` requires.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// Error of a call after all of its attempts.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The breaker rejected it.
    #[error("the breaker is open; a probe is due in {} s", whole_seconds(*retry_after))]
    Open {
        /// Time until the breaker admits a probe.
        retry_after: Duration,
    },
    /// The bulkhead was full.
    #[error("too many calls at once")]
    BulkheadFull,
    /// The adaptive throttle of the client rejected it, because the dependency refuses many calls.
    #[error("throttled: the dependency rejects too many calls")]
    Throttled,
    /// Time ran out.
    #[error("timed out")]
    TimedOut,
    /// The last attempt failed.
    #[error(transparent)]
    Failed(AttemptError),
}

impl Error {
    /// Why the live answer is missing, as a label value.
    #[must_use]
    pub fn reason(&self) -> FallbackReason {
        match self {
            Self::Open { .. } => FallbackReason::Open,
            Self::BulkheadFull => FallbackReason::BulkheadFull,
            Self::Throttled => FallbackReason::Rejected,
            Self::TimedOut => FallbackReason::Timeout,
            Self::Failed(_) => FallbackReason::Failure,
        }
    }

    /// When a retry makes sense, if that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Open { retry_after } => Some(*retry_after),
            Self::Failed(AttemptError::Status { retry_after, .. }) => *retry_after,
            _ => None,
        }
    }

    /// The status of the dependency's response, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Failed(AttemptError::Status { status, .. }) => Some(*status),
            _ => None,
        }
    }

    /// The dependency's response, if there was one.
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Failed(AttemptError::Status { reply, .. }) => Some(reply),
            _ => None,
        }
    }
}

impl From<CallError<AttemptError>> for Error {
    fn from(error: CallError<AttemptError>) -> Self {
        match error {
            CallError::Open(rejected) => Self::Open { retry_after: rejected.retry_after },
            CallError::BulkheadFull(_) => Self::BulkheadFull,
            CallError::Throttled => Self::Throttled,
            CallError::DeadlineExceeded | CallError::TimedOut { .. } => Self::TimedOut,
            CallError::Failed(error) => Self::Failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use breakerbox_resilience::breaker::Outcome;

    fn failed(status: u16) -> Verdict {
        let reply = Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: http::HeaderMap::from_iter([(http::header::RETRY_AFTER, "7".parse().unwrap())]),
            body: axum::body::Bytes::new(),
        };
        AttemptError::check(reply).unwrap_err().verdict()
    }

    #[test]
    fn a_callers_own_mistake_never_counts_and_is_never_repeated() {
        for status in [400, 401, 403, 404, 409, 422] {
            let verdict = failed(status);
            assert_eq!((verdict.counts, verdict.retryable), (Outcome::Ignored, false), "{status}");
        }
    }

    #[test]
    fn retry_after_accepts_dates_and_huge_numbers() {
        let asked = |value: &str| {
            let date = (http::header::DATE, "Sat, 21 Nov 2026 08:00:00 GMT".parse().unwrap());
            retry_after(&http::HeaderMap::from_iter([(http::header::RETRY_AFTER, value.parse().unwrap()), date]))
        };
        assert_eq!(asked("Sat, 21 Nov 2026 08:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(asked("Sat, 21 Nov 2026 07:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("99999999999999999999999"), Some(LONGEST_RETRY_AFTER));
        assert_eq!(asked("soon"), None);
    }

    #[test]
    fn a_server_error_counts_and_says_when_to_come_back() {
        let verdict = failed(503);
        assert_eq!((verdict.counts, verdict.retryable), (Outcome::Failure, true));
        assert_eq!((verdict.retry_after, verdict.kind), (Some(Duration::from_secs(7)), ErrorKind::RateLimited));
        assert_eq!(failed(500).kind, ErrorKind::ServerError);
    }
}
