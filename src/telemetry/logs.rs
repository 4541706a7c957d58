//! Log lines, and the start of everything that is told while the program runs.

use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::{Deserialize, Serialize};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use super::spans;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Pretty,
    /// One JSON object a line, for machines.
    Json,
}

/// Logs and traces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TelemetrySettings {
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written, as `tracing` filter directives: `info`, `breakerbox=debug`.
    pub log_filter: String,
    /// Where spans go over OTLP/HTTP, such as `http://jaeger:4318`; empty for nowhere.
    pub otlp_endpoint: String,
    /// Share of new traces that is recorded, 0–1. A caller's decision is followed.
    pub trace_sample_ratio: f64,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Pretty,
            log_filter: "info".to_owned(),
            otlp_endpoint: String::new(),
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
        if !self.otlp_endpoint.is_empty() && !self.otlp_endpoint.starts_with("http://") {
            return Err(format!(
                "telemetry.otlp-endpoint: {:?} must be an http:// address such as http://localhost:4318",
                self.otlp_endpoint
            ));
        }
        EnvFilter::try_new(&self.log_filter)
            .map(|_| ())
            .map_err(|error| format!("telemetry.log-filter: {:?} is not a filter: {error}", self.log_filter))
    }
}

/// Flushes spans when dropped.
pub struct TelemetryGuard {
    provider: Option<SdkTracerProvider>,
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider {
            // Whoever receives spans may be gone; leaving must not wait for it long.
            let _ = provider.shutdown_with_timeout(Duration::from_secs(2));
        }
    }
}

/// Starts logging, and exporting spans when an endpoint is set. Call it once, before a runtime runs.
pub fn init(settings: &TelemetrySettings, service_name: &str) -> Result<TelemetryGuard, String> {
    settings.validate()?;
    let filter = EnvFilter::new(&settings.log_filter);
    let lines = match settings.log_format {
        LogFormat::Pretty => fmt::layer().with_target(false).with_writer(std::io::stderr).boxed(),
        LogFormat::Json => {
            fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(std::io::stderr).boxed()
        }
    };
    let endpoint = &settings.otlp_endpoint;
    let provider = (!endpoint.is_empty())
        .then(|| spans::exporting(endpoint, settings.trace_sample_ratio, service_name))
        .transpose()?;
    tracing_subscriber::registry()
        .with(provider.as_ref().map(spans::span_layer))
        .with(lines.with_filter(filter))
        .try_init()
        .map_err(|error| format!("logging was already started: {error}"))?;
    Ok(TelemetryGuard { provider })
}
