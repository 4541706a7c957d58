//! Exemplars: for each histogram bucket, the trace of the latest request that fell into it.
//!
//! The `prometheus` crate knows none, so they are kept beside it and put together with its buckets
//! when a scraper asks for OpenMetrics. Only requests whose trace is recorded leave one: an exemplar
//! that leads nowhere helps nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::Histogram;
use tracing::Span;

use super::trace::TraceContext;

/// A request that fell into a bucket.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exemplar {
    pub(super) trace_id: String,
    pub(super) value: f64,
    pub(super) unix_seconds: f64,
}

/// Exemplars of one histogram series, one place a bucket, `+Inf` last.
pub(super) type Places = Arc<Mutex<Box<[Option<Exemplar>]>>>;

/// Series of one family, by label values in the family's label order.
type Series = HashMap<Vec<String>, Places>;

/// All series with exemplars, by family.
#[derive(Clone, Default)]
pub(super) struct Exemplars {
    families: Arc<Mutex<HashMap<&'static str, Series>>>,
}

impl Exemplars {
    /// A histogram that leaves exemplars.
    pub(super) fn attach(
        &self,
        family: &'static str,
        labels: &[&str],
        histogram: Histogram,
        bounds: &Arc<[f64]>,
    ) -> TracedHistogram {
        let key = labels.iter().map(|&label| label.to_owned()).collect();
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = || Arc::new(Mutex::new(vec![None; bounds.len() + 1].into()));
        let places = Arc::clone(families.entry(family).or_default().entry(key).or_insert_with(empty));
        TracedHistogram { histogram, bounds: Arc::clone(bounds), places }
    }

    /// The exemplars of one series, bucket by bucket.
    pub(super) fn of(&self, family: &str, labels: &[String]) -> Option<Box<[Option<Exemplar>]>> {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let places = families.get(family)?.get(labels)?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(places.clone())
    }
}

/// A histogram that remembers who fell into its buckets.
#[derive(Clone)]
pub(super) struct TracedHistogram {
    histogram: Histogram,
    bounds: Arc<[f64]>,
    places: Places,
}

impl TracedHistogram {
    /// Observes a value, and leaves the present span's trace where it is recorded.
    pub(super) fn observe(&self, value: f64) {
        self.histogram.observe(value);
        let Some(trace_id) = TraceContext::of(&Span::current()).and_then(|trace| trace.exemplar()) else { return };
        let unix_seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get_mut(bucket) {
            *place = Some(Exemplar { trace_id, value, unix_seconds });
        }
    }
}
