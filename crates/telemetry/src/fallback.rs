//! Metrics of fallbacks.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Histogram, IntCounter};

use super::label::{Children, FallbackKind, FallbackReason};
use super::metrics::Metrics;

/// Handles for the fallbacks around one dependency. Cheap to clone.
#[derive(Clone)]
pub struct FallbackTelemetry {
    /// The kinds of fallback that this dependency has.
    kinds: Arc<[(FallbackKind, OfKind)]>,
    staleness: Histogram,
}

struct OfKind {
    calls: Children<FallbackReason, IntCounter>,
    failures: IntCounter,
}

impl FallbackTelemetry {
    /// Creates the series of these kinds of fallback at zero, for every reason.
    #[must_use]
    pub fn new(metrics: &Metrics, service: &str, breaker: &str, kinds: &[FallbackKind]) -> Self {
        let f = metrics.families();
        let of = |kind: &FallbackKind| {
            let name = kind.as_str();
            let calls = Children::new(|reason| f.fallback_calls.with_label_values(&[service, breaker, name, reason]));
            (*kind, OfKind { calls, failures: f.fallback_failures.with_label_values(&[service, breaker, name]) })
        };
        Self {
            kinds: kinds.iter().map(of).collect(),
            staleness: f.fallback_staleness.with_label_values(&[service, breaker]),
        }
    }

    /// Counts an answer of this kind that was served instead of the live one; `age` is its age.
    pub fn served(&self, kind: FallbackKind, reason: FallbackReason, age: Option<Duration>) {
        if let Some(of) = self.of(kind) {
            of.calls.of(reason).inc();
        }
        if let Some(age) = age {
            self.staleness.observe(age.as_secs_f64());
        }
        tracing::debug!(kind = kind.as_str(), reason = reason.as_str(), ?age, "fallback served");
    }

    /// Counts a fallback of this kind that had no answer.
    pub fn failed(&self, kind: FallbackKind) {
        if let Some(of) = self.of(kind) {
            of.failures.inc();
        }
    }

    fn of(&self, kind: FallbackKind) -> Option<&OfKind> {
        self.kinds.iter().find(|(own, _)| *own == kind).map(|(_, of)| of)
    }
}
