//! Log lines, and the start of all telemetry.

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::{Deserialize, Serialize};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use super::{records, spans};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Pretty,
    /// One JSON object a line, for machines.
    Json,
}

/// How often metrics may be pushed.
const PUSHES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// Logs, traces, and metrics that are pushed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TelemetrySettings {
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written, as `tracing` filter directives: `info`, `breakerbox=debug`.
    pub log_filter: String,
    /// Where spans go over OTLP/HTTP, such as `http://jaeger:4318`; empty for nowhere.
    pub otlp_endpoint: String,
    /// Whether log lines go there too, with the trace they belong to.
    pub otlp_logs: bool,
    /// Where metrics are pushed over OTLP/HTTP, such as `http://prometheus:9090/api/v1/otlp`; empty for nowhere.
    pub otlp_metrics_endpoint: String,
    /// Time between two pushes.
    #[serde(with = "humantime_serde")]
    pub otlp_metrics_interval: Duration,
    /// Share of new traces that is recorded, 0–1. A caller's decision is followed.
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
    /// Says which field is wrong, and what it may be.
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
            return Err("telemetry.otlp-logs: true needs telemetry.otlp-endpoint, which says where to".to_owned());
        }
        EnvFilter::try_new(&self.log_filter)
            .map(|_| ())
            .map_err(|error| format!("telemetry.log-filter: {:?} is not a filter: {error}", self.log_filter))
    }
}

/// Flushes what is exported when dropped.
pub struct TelemetryGuard {
    spans: Option<SdkTracerProvider>,
    records: Option<SdkLoggerProvider>,
}

/// How long the last spans and records may take, each.
const FAREWELL: Duration = Duration::from_secs(2);

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        // The receiver may be gone; the exit must not wait for it long.
        if let Some(spans) = &self.spans {
            let _ = spans.shutdown_with_timeout(FAREWELL);
        }
        if let Some(records) = &self.records {
            let _ = records.shutdown_with_timeout(FAREWELL);
        }
    }
}

/// Starts logging, and exporting spans when an endpoint is set. Call it once, before a runtime runs.
///
/// `shown` is what is written here instead of what [`TelemetrySettings::log_filter`] says, which is
/// still what is exported.
pub fn init(settings: &TelemetrySettings, service_name: &str, shown: Option<&str>) -> Result<TelemetryGuard, String> {
    settings.validate()?;
    let filter = EnvFilter::new(shown.unwrap_or(&settings.log_filter));
    let lines = match settings.log_format {
        LogFormat::Pretty => {
            // A file or a pipe is read by programs, which colours are in the way of.
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
