//! Trace identity and its propagation (W3C Trace Context).
//!
//! Every request has a trace id, whether spans are exported or not, so that the log lines of one page can be
//! correlated. With an OTLP endpoint it is the OpenTelemetry span's; without one there is no OpenTelemetry layer
//! and a plain `traceparent` is passed on.

use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const HEADER: &str = "traceparent";

/// The trace of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: TraceId,
    sampled: bool,
}

impl TraceContext {
    /// Joins `span` to the trace in `headers`, or starts a new one with `random`.
    ///
    /// Must be called before the span is entered.
    #[must_use]
    pub fn adopt(span: &Span, headers: &HeaderMap, random: u128) -> Self {
        let parent = headers.get(HEADER).and_then(|value| value.to_str().ok()).and_then(parse);
        if let Some(parent) = &parent {
            let remote = opentelemetry::Context::new().with_remote_span_context(parent.clone());
            // Fails only without an OpenTelemetry layer, and then there is nothing to join.
            let _ = span.set_parent(remote);
        }
        let context = Self::of(span).unwrap_or_else(|| match parent {
            Some(parent) => Self { trace_id: parent.trace_id(), sampled: parent.is_sampled() },
            None => Self { trace_id: TraceId::from(random.max(1)), sampled: false },
        });
        span.record("trace_id", tracing::field::display(context.trace_id));
        context
    }

    /// The trace of an OpenTelemetry span; `None` if spans are not exported.
    #[must_use]
    pub fn of(span: &Span) -> Option<Self> {
        let context = span.context();
        let span_context = context.span().span_context().clone();
        span_context.is_valid().then(|| Self { trace_id: span_context.trace_id(), sampled: span_context.is_sampled() })
    }

    /// Writes `traceparent` for a request made under `span`; `random` is the span id if there is no OpenTelemetry
    /// span.
    pub fn inject(&self, span: &Span, random: u64, headers: &mut HeaderMap) {
        let context = span.context();
        let current = context.span().span_context().clone();
        let (span_id, sampled) = if current.is_valid() {
            (current.span_id(), current.is_sampled())
        } else {
            (SpanId::from(random.max(1)), self.sampled)
        };
        let value = format!("00-{}-{span_id}-{:02x}", self.trace_id, u8::from(sampled));
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HEADER, value);
        }
    }

    /// The trace id for an exemplar, if the trace is sampled.
    pub(super) fn exemplar(&self) -> Option<TraceId> {
        self.sampled.then_some(self.trace_id)
    }
}

impl std::fmt::Display for TraceContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.trace_id)
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>`; anything else starts a new trace, as the standard requires.
fn parse(header: &str) -> Option<SpanContext> {
    let mut parts = header.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version == "ff" || [version, trace, span, flags].map(str::len) != [2, 32, 16, 2] {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_handed_on_without_an_exporter() {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap());
        let context = TraceContext::adopt(&Span::none(), &headers, 7);
        assert_eq!(context.to_string(), "0af7651916cd43dd8448eb211c80319c");
        let mut next = HeaderMap::new();
        context.inject(&Span::none(), 42, &mut next);
        assert_eq!(next[HEADER], "00-0af7651916cd43dd8448eb211c80319c-000000000000002a-01");
    }

    #[test]
    fn a_malformed_parent_begins_a_new_trace() {
        for bad in [
            "",
            "00-xyz",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, bad.parse().unwrap());
            let context = TraceContext::adopt(&Span::none(), &headers, 0x1234);
            assert_eq!(context.trace_id, TraceId::from(0x1234_u128), "{bad}");
        }
    }
}
