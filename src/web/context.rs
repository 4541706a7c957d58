//! The context of a request, passed from hop to hop: deadline, trace and protection.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use breakerbox_resilience::deadline;
pub use breakerbox_resilience::deadline::DEADLINE_HEADER;
use breakerbox_telemetry::TraceContext;

/// `off` makes every hop handle the request without protection; the twin gateway sends it.
pub const PROTECTION_HEADER: &str = "x-protection";

/// Longest deadline accepted from a caller.
const LONGEST_DEADLINE: Duration = Duration::from_secs(60);

/// A request's context, created at a service's edge and passed on by every client.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Deadline of the caller.
    pub deadline: Option<Instant>,
    /// Whether retries, breakers, bulkheads, timeouts and fallbacks apply.
    pub protection: bool,
    /// The request's trace.
    pub trace: Option<TraceContext>,
}

impl Context {
    /// A protected request without a deadline.
    #[must_use]
    pub fn new() -> Self {
        Self { deadline: None, protection: true, trace: None }
    }

    /// The context with a deadline of at most `budget` from now.
    #[must_use]
    pub fn within(mut self, budget: Duration) -> Self {
        let own = Instant::now() + budget;
        self.deadline = Some(self.deadline.map_or(own, |theirs| theirs.min(own)));
        self
    }

    /// The context without any protection or deadline.
    #[must_use]
    pub fn unprotected(mut self) -> Self {
        self.protection = false;
        self.deadline = None;
        self
    }

    /// The context in a request's headers. An invalid deadline is ignored.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let now = Instant::now();
        let theirs = text(DEADLINE_HEADER).and_then(|value| deadline::from_header(value, now.into_std()));
        let deadline = theirs.map(|theirs| Instant::from_std(theirs).min(now + LONGEST_DEADLINE));
        Self { deadline, protection: text(PROTECTION_HEADER) != Some("off"), trace: None }
    }

    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        if let Some(deadline) = self.deadline {
            let left = deadline::to_header(deadline.saturating_duration_since(Instant::now()));
            headers.insert(DEADLINE_HEADER, HeaderValue::try_from(left).expect("digits are a valid header value"));
        }
        if !self.protection {
            headers.insert(PROTECTION_HEADER, HeaderValue::from_static("off"));
        }
        if let Some(trace) = &self.trace {
            trace.inject(&tracing::Span::current(), rand::random(), headers);
        }
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Sync> FromRequestParts<S> for Context {
    type Rejection = Infallible;

    /// The edge's context, or that of the headers if there is no edge.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or_else(|| Self::from_headers(&parts.headers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_shrinks_on_its_way() {
        let context = Context::new().within(Duration::from_secs(2));
        tokio::time::advance(Duration::from_millis(500)).await;
        let mut headers = HeaderMap::new();
        context.write(&mut headers);
        assert_eq!(headers[DEADLINE_HEADER], "1500");
        let next = Context::from_headers(&headers);
        assert_eq!(next.deadline, context.deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hop_can_shorten_a_deadline_but_not_extend_it() {
        let context = Context::new().within(Duration::from_secs(1));
        assert_eq!(context.within(Duration::from_secs(5)).deadline, context.deadline);
        assert!(context.within(Duration::from_millis(10)).deadline < context.deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreadable_or_absurd_deadline_does_no_harm() {
        let mut headers = HeaderMap::new();
        headers.insert(DEADLINE_HEADER, "soon".parse().unwrap());
        assert_eq!(Context::from_headers(&headers).deadline, None);
        headers.insert(DEADLINE_HEADER, u64::MAX.to_string().parse().unwrap());
        assert_eq!(Context::from_headers(&headers).deadline, None);
        headers.insert(DEADLINE_HEADER, "3600000".parse().unwrap());
        assert_eq!(Context::from_headers(&headers).deadline, Some(Instant::now() + LONGEST_DEADLINE));
    }

    #[tokio::test]
    async fn protection_off_is_passed_on() {
        let mut headers = HeaderMap::new();
        Context::new().unprotected().write(&mut headers);
        assert!(!Context::from_headers(&headers).protection);
    }
}
