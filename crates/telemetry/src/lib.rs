#![doc = include_str!("../README.md")]
//!
//! ## Theory of operation
//!
//! The layers above report facts; only this crate knows their names in Prometheus and in the log. Counters are
//! updated when a fact happens. Gauges that mirror live state are read from it at each scrape, so that they are
//! always consistent with it.

mod breaker;
mod bulkhead;
mod checkout;
mod connections;
mod edge;
mod exemplars;
mod exposition;
mod fallback;
mod health;
mod label;
mod logs;
mod metrics;
pub mod names;
mod openmetrics;
mod otlp;
#[cfg(target_os = "linux")]
mod process;
mod reading;
mod records;
mod spans;
mod trace;
mod transitions;
mod vector;

pub use breaker::{
    BulkheadRejected, CallFinished, CallRejected, CallThrottled, CallTotals, Fact, Handles, HedgeEnded,
    PolicyTelemetry, RetryEnded, RetryPredicted, RetryScheduled, StateChanged,
};
pub use bulkhead::BulkheadTelemetry;
pub use checkout::{
    CheckoutTelemetry, LedgerTelemetry, QueueReading, QueueTelemetry, StatelessReading, StatelessTelemetry,
    StoreReading, watch_store,
};
pub use connections::{ConnectionTelemetry, Dropped};
pub use edge::{EdgeTelemetry, RequestGuard};
pub use exposition::{Exposition, Format, encode};
pub use fallback::FallbackTelemetry;
pub use label::{
    AdminAction, AdminOutcome, AlertStatus, CallOutcome, ExecutedOutcome, FallbackKind, FallbackReason, FaultKind,
    KeyOutcome, Label, LedgerEntry, OrderStatus, Playback, Prediction, QueueOutcome, RetryReason, RevenueStatus,
    SagaStep, StatelessOutcome, StepOutcome,
};
pub use logs::{LogFormat, TelemetryGuard, TelemetrySettings, init};
pub use metrics::{
    AdminTelemetry, FaultTelemetry, InboxTelemetry, Metrics, RateLimiterTelemetry, ScenarioTelemetry, TrafficTelemetry,
};
pub use otlp::{Push, push};
pub use reading::Reading;
pub use spans::{sampler, span_layer};
pub use trace::TraceContext;
pub use transitions::{TransitionLog, TransitionRecord};
