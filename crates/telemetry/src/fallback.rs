//! What was served instead of a dependency's live answers.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Histogram, IntCounter};

use super::breaker::count;
use super::metrics::Metrics;
use super::names::value;

/// Handles for the fallbacks around one dependency.
#[derive(Clone)]
pub struct FallbackTelemetry {
    calls: Arc<Vec<(&'static str, &'static str, IntCounter)>>,
    failures: Arc<Vec<(&'static str, IntCounter)>>,
    staleness: Histogram,
}

impl FallbackTelemetry {
    /// Creates the series of these kinds of fallback, for every reason, at zero.
    #[must_use]
    pub fn new(metrics: &Metrics, service: &str, breaker: &str, kinds: &[&'static str]) -> Self {
        let f = metrics.families();
        let mut calls = Vec::new();
        for kind in kinds {
            for reason in value::FALLBACK_REASONS {
                let child = f.fallback_calls.with_label_values(&[service, breaker, *kind, *reason]);
                calls.push((*kind, *reason, child));
            }
        }
        let failures = kinds.iter().map(|k| (*k, f.fallback_failures.with_label_values(&[service, breaker, *k])));
        Self {
            calls: Arc::new(calls),
            failures: Arc::new(failures.collect()),
            staleness: f.fallback_staleness.with_label_values(&[service, breaker]),
        }
    }

    /// An answer of this kind was served instead of the live one; `age` is how old it was.
    pub fn served(&self, kind: &str, reason: &str, age: Option<Duration>) {
        if let Some((.., calls)) = self.calls.iter().find(|(k, r, _)| *k == kind && *r == reason) {
            calls.inc();
        }
        if let Some(age) = age {
            self.staleness.observe(age.as_secs_f64());
        }
    }

    /// A fallback of this kind had nothing to give.
    pub fn failed(&self, kind: &str) {
        count(&self.failures, kind);
    }
}
