//! What the program says about itself: metric families, typed handles that turn facts into series
//! and log lines, the exposition, traces and their propagation.
//!
//! The layers above report facts (`a breaker moved`, `a call finished`); only this module knows how
//! a fact is called in Prometheus or in a log. Counters are written when a fact happens; gauges that
//! mirror live state are read from it at each scrape, so they can't drift from what they describe.

mod breaker;
mod bulkhead;
mod checkout;
mod connections;
mod edge;
mod exemplars;
mod exposition;
mod fallback;
mod health;
mod logs;
mod metrics;
pub mod names;
mod openmetrics;
mod otlp;
mod records;
mod spans;
mod trace;
mod transitions;

pub use breaker::{BreakerReading, BreakerTelemetry};
pub use bulkhead::BulkheadTelemetry;
pub use checkout::{CheckoutTelemetry, LedgerTelemetry, QueueReading, QueueTelemetry};
pub use connections::{ConnectionTelemetry, Dropped};
pub use edge::{EdgeTelemetry, Playback, RequestGuard};
pub use exposition::{Exposition, Format, encode};
pub use fallback::FallbackTelemetry;
pub use logs::{LogFormat, TelemetryGuard, TelemetrySettings, init};
pub use metrics::{FaultTelemetry, InboxTelemetry, Metrics, ScenarioTelemetry, TrafficTelemetry};
pub use otlp::{Push, push};
pub use spans::{sampler, span_layer};
pub use trace::TraceContext;
pub use transitions::{TransitionLog, TransitionRecord};
