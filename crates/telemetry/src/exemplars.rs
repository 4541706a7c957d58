//! Exemplars: for each histogram bucket, the trace of its latest recorded request.
//!
//! The `prometheus` crate does not support them, so they are kept beside it and merged with its buckets for
//! OpenMetrics. Only requests whose trace is sampled have an exemplar: one without a trace would be useless.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::TraceId;
use prometheus::Histogram;
use tracing::Span;

use super::trace::TraceContext;

/// A request in a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exemplar {
    pub(super) trace_id: TraceId,
    pub(super) value: f64,
    pub(super) unix_seconds: f64,
}

/// The latest exemplar of each bucket of one series, `+Inf` last.
#[derive(Clone)]
pub(super) struct Exemplars(Arc<Mutex<Box<[Option<Exemplar>]>>>);

impl Exemplars {
    /// Empty slots for this many buckets.
    pub(super) fn of_buckets(buckets: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![None; buckets].into())))
    }

    /// A copy of the present exemplars.
    pub(super) fn latest(&self) -> Box<[Option<Exemplar>]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn leave(&self, bucket: usize, exemplar: Exemplar) {
        if let Some(place) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(bucket) {
            *place = Some(exemplar);
        }
    }
}

/// A histogram with exemplars.
#[derive(Clone)]
pub(super) struct TracedHistogram {
    histogram: Histogram,
    bounds: Arc<[f64]>,
    exemplars: Exemplars,
}

impl TracedHistogram {
    pub(super) fn new(histogram: Histogram, bounds: Arc<[f64]>, exemplars: Exemplars) -> Self {
        Self { histogram, bounds, exemplars }
    }

    /// Observes a value, with the present span's trace as its exemplar if that is sampled.
    pub(super) fn observe(&self, value: f64) {
        self.histogram.observe(value);
        let Some(trace_id) = TraceContext::of(&Span::current()).and_then(|trace| trace.exemplar()) else { return };
        let unix_seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.exemplars.leave(bucket, Exemplar { trace_id, value, unix_seconds });
    }
}
