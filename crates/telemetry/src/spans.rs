//! Sampling of spans and events, and their export.
//!
//! A request and each of its attempts is a span. What happens in one (a rejection, a retry, a hedge, a fallback, an
//! injected fault, a transition of a breaker) is a `tracing` event: an event of that span in a trace, and a line in
//! the log. All of these lines but transitions have the level debug, and are normally hidden.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

/// Time limit of an export.
pub(super) const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// Sampler that follows the caller's decision, and samples this share (0–1) of new traces.
#[must_use]
pub fn sampler(share: f64) -> Sampler {
    Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share)))
}

/// The layer that converts spans and events for `provider`.
#[must_use]
pub fn span_layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("breakerbox"))
        .with_location(false)
        .with_threads(false)
        // A target is matched by its beginning, so that this covers the crates.
        .with_filter(EnvFilter::new("off,breakerbox=debug"))
}

/// The resource: origin of everything exported.
pub(super) fn resource(service_name: &str) -> Resource {
    Resource::builder().with_service_name(service_name.to_owned()).build()
}

/// URL of a signal at an endpoint, which may already include the signal's path.
pub(super) fn address(endpoint: &str, signal: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    let base = base.strip_suffix("/v1/traces").unwrap_or(base);
    format!("{base}/v1/{signal}")
}

/// Exports from a dedicated thread and a bounded queue: if the endpoint is slow or down, spans are dropped, and
/// requests are not delayed.
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
