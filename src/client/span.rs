//! The span of one attempt, by OpenTelemetry's conventions for HTTP clients.

use std::time::Duration;

use tokio::time::Instant;
use tracing::Span;

use super::error::AttemptError;
use super::request::Request;
use super::transport::Peer;
use breakerbox_resilience::policy::Attempt;

/// Tolerance for counting a dropped attempt as timed out: its span starts slightly later than its timer.
const SLACK: Duration = Duration::from_millis(2);

/// The span of an attempt. If dropped before its end, the attempt timed out or was cancelled.
pub(super) struct AttemptSpan {
    span: Span,
    since: Instant,
    timeout: Duration,
    ended: bool,
}

impl AttemptSpan {
    pub(super) fn begin(peer: &Peer, request: &Request, attempt: &Attempt) -> Self {
        let span = tracing::info_span!(
            "call",
            otel.kind = "client",
            otel.name = %format_args!("{} {}", request.method, peer.name),
            otel.status_code = tracing::field::Empty,
            http.request.method = %request.method,
            http.response.status_code = tracing::field::Empty,
            http.request.resend_count = attempt.number.checked_sub(1).filter(|resent| *resent > 0),
            url.full = %format_args!("{}{}", peer.base, request.path),
            server.address = peer.address,
            server.port = peer.port,
            peer.service = peer.name,
            error.r#type = tracing::field::Empty,
            breakerbox.hedge = attempt.hedge,
        );
        Self { span, since: Instant::now(), timeout: attempt.timeout, ended: false }
    }

    /// The span in which the attempt runs.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(super) fn end<T>(mut self, result: &Result<T, AttemptError>) {
        self.ended = true;
        if let Err(error) = result {
            self.fail(error.kind());
        }
    }

    fn fail(&self, kind: &str) {
        self.span.record("error.type", kind);
        self.span.record("otel.status_code", "ERROR");
    }
}

impl Drop for AttemptSpan {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if self.since.elapsed() + SLACK >= self.timeout {
            self.fail("timeout");
        } else {
            // The other request of a hedged pair was faster, or the caller gave up: no fault of the dependency.
            self.span.record("error.type", "cancelled");
        }
    }
}
