//! Which spans and events of them are recorded, and where they go.
//!
//! A request's facts (an attempt, a rejection, a retry, a hedge, a fallback, an injected fault) are
//! `tracing` events at the place where they happen. In the log they are of level debug and silent; in
//! a trace they are events of the span they happened in, which is what makes the trace tell its story.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

/// How long an export may take.
pub(super) const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// Follows the caller's decision; of new traces, records this share (0–1).
#[must_use]
pub fn sampler(share: f64) -> Sampler {
    Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share)))
}

/// The layer that turns our spans and their events into those of `provider`.
#[must_use]
pub fn span_layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("breakerbox"))
        .with_location(false)
        .with_threads(false)
        .with_filter(EnvFilter::new("off,breakerbox=debug"))
}

/// What everything that is exported says of its origin.
pub(super) fn resource(service_name: &str) -> Resource {
    Resource::builder().with_service_name(service_name.to_owned()).build()
}

/// The address of a signal at an endpoint, which may name the signal itself.
pub(super) fn address(endpoint: &str, signal: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    let base = base.strip_suffix("/v1/traces").unwrap_or(base);
    format!("{base}/v1/{signal}")
}

/// Exports from a thread of its own and a bounded queue: an endpoint that is slow or gone costs
/// dropped spans, never a request's time.
pub(super) fn exporting(endpoint: &str, share: f64, service_name: &str) -> Result<SdkTracerProvider, String> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(address(endpoint, "traces"))
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| format!("telemetry.otlp-endpoint: {error}"))?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler(share))
        .with_resource(resource(service_name))
        .build();
    Ok(provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_may_name_a_signal_or_not() {
        for endpoint in ["http://jaeger:4318", "http://jaeger:4318/", "http://jaeger:4318/v1/traces"] {
            assert_eq!(address(endpoint, "logs"), "http://jaeger:4318/v1/logs", "{endpoint}");
        }
    }
}
