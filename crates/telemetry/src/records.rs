//! Log lines as OpenTelemetry records.
//!
//! A record has the trace and the span of its line, because the span layer makes that span the current one of
//! OpenTelemetry. Log lines of the export itself are left out: each export would cause the next.

use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, WithExportConfig};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use tracing::Subscriber;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use super::spans::{EXPORT_TIMEOUT, address, resource};

/// Prefixes of the targets under which the exporter's own requests are logged.
const WAY_OUT: [&str; 4] = ["h2", "hyper", "opentelemetry", "reqwest"];

/// A layer that exports the lines admitted by `filter`.
pub(super) fn layer<S>(provider: &SdkLoggerProvider, filter: &str) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let silent = WAY_OUT.map(|target| format!("{target}=off")).join(",");
    OpenTelemetryTracingBridge::new(provider).with_filter(EnvFilter::new(format!("{filter},{silent}")))
}

/// Exports from a dedicated thread and a bounded queue, as spans are.
pub(super) fn exporting(endpoint: &str, service_name: &str) -> Result<SdkLoggerProvider, String> {
    let exporter = LogExporter::builder()
        .with_http()
        .with_endpoint(address(endpoint, "logs"))
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| format!("telemetry.otlp-endpoint: {error}"))?;
    Ok(SdkLoggerProvider::builder().with_batch_exporter(exporter).with_resource(resource(service_name)).build())
}
