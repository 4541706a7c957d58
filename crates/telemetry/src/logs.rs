//! Logging, and the initialisation of all telemetry.

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::{Deserialize, Serialize};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use super::{records, spans};

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Human-readable.
    #[default]
    Pretty,
    /// One JSON object per line.
    Json,
}

/// Allowed range of the push interval.
const PUSHES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// Settings of logs, traces and pushed metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TelemetrySettings {
    /// Format of log lines.
    pub log_format: LogFormat,
    /// Filter of log lines, as `tracing` directives: `info`, `breakerbox=debug`.
    pub log_filter: String,
    /// OTLP/HTTP endpoint for spans, such as `http://jaeger:4318`; empty: spans are not exported.
    pub otlp_endpoint: String,
    /// Whether log lines are exported there too, with their trace.
    pub otlp_logs: bool,
    /// OTLP/HTTP endpoint for metrics, such as `http://prometheus:9090/api/v1/otlp`; empty: metrics are not pushed.
    pub otlp_metrics_endpoint: String,
    /// Interval between two pushes.
    #[serde(with = "humantime_serde")]
    pub otlp_metrics_interval: Duration,
    /// Sampled share of new traces, 0–1. A caller's sampling decision takes precedence.
    pub trace_sample_ratio: f64,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Pretty,
            log_filter: "info".to_owned(),
            otlp_endpoint: String::new(),
            otlp_logs: false,
            otlp_metrics_endpoint: String::new(),
            otlp_metrics_interval: Duration::from_secs(15),
            trace_sample_ratio: 1.0,
        }
    }
}

impl TelemetrySettings {
    /// Validates the settings.
    pub fn validate(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.trace_sample_ratio) {
            return Err(format!("telemetry.trace-sample-ratio: {} is not within 0–1", self.trace_sample_ratio));
        }
        let endpoints = [
            ("otlp-endpoint", &self.otlp_endpoint, "http://localhost:4318"),
            ("otlp-metrics-endpoint", &self.otlp_metrics_endpoint, "http://localhost:9090/api/v1/otlp"),
        ];
        for (field, endpoint, example) in endpoints {
            if !endpoint.is_empty() && !endpoint.starts_with("http://") {
                return Err(format!("telemetry.{field}: {endpoint:?} must be an http:// address such as {example}"));
            }
        }
        if !PUSHES.contains(&self.otlp_metrics_interval) {
            let interval = self.otlp_metrics_interval;
            return Err(format!("telemetry.otlp-metrics-interval: {interval:?} is not within 1s–1h"));
        }
        if self.otlp_logs && self.otlp_endpoint.is_empty() {
            return Err("telemetry.otlp-logs: true needs telemetry.otlp-endpoint, the address to export to".to_owned());
        }
        EnvFilter::try_new(&self.log_filter)
            .map(|_| ())
            .map_err(|error| format!("telemetry.log-filter: {:?} is not a filter: {error}", self.log_filter))
    }
}

/// Guard of the export: dropping it flushes pending spans and records.
pub struct TelemetryGuard {
    spans: Option<SdkTracerProvider>,
    records: Option<SdkLoggerProvider>,
}

/// Time limit for exporting the last spans and records, each.
const FAREWELL: Duration = Duration::from_secs(2);

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        // The receiver may be down; the exit must not wait long for it.
        if let Some(spans) = &self.spans {
            let _ = spans.shutdown_with_timeout(FAREWELL);
        }
        if let Some(records) = &self.records {
            let _ = records.shutdown_with_timeout(FAREWELL);
        }
    }
}

/// Starts logging, and the export of spans if an endpoint is set. Call it once, before a runtime starts.
///
/// `shown` replaces [`TelemetrySettings::log_filter`] on stderr. The export always uses `log_filter`.
pub fn init(settings: &TelemetrySettings, service_name: &str, shown: Option<&str>) -> Result<TelemetryGuard, String> {
    settings.validate()?;
    let filter = EnvFilter::new(shown.unwrap_or(&settings.log_filter));
    let lines = match settings.log_format {
        LogFormat::Pretty => {
            // Colour codes are a nuisance in files and pipes, which programs read.
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            fmt::layer().with_target(false).with_ansi(colours).with_writer(std::io::stderr).boxed()
        }
        LogFormat::Json => {
            fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(std::io::stderr).boxed()
        }
    };
    let endpoint = &settings.otlp_endpoint;
    let exported = (!endpoint.is_empty())
        .then(|| spans::exporting(endpoint, settings.trace_sample_ratio, service_name))
        .transpose()?;
    let records = settings.otlp_logs.then(|| records::exporting(endpoint, service_name)).transpose()?;
    tracing_subscriber::registry()
        .with(exported.as_ref().map(spans::span_layer))
        .with(records.as_ref().map(|provider| records::layer(provider, &settings.log_filter)))
        .with(lines.with_filter(filter))
        .try_init()
        .map_err(|error| format!("logging was already started: {error}"))?;
    Ok(TelemetryGuard { spans: exported, records })
}
