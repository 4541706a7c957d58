//! Exemplars: for each histogram bucket, the trace of the latest request that fell into it.
//!
//! The `prometheus` crate knows none, so they are kept beside it and put together with its buckets
//! when a scraper asks for OpenMetrics. Only requests whose trace is recorded leave one: an exemplar
//! that leads nowhere is useless.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::TraceId;
use prometheus::Histogram;
use tracing::Span;

use super::trace::TraceContext;

/// A request that fell into a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exemplar {
    pub(super) trace_id: TraceId,
    pub(super) value: f64,
    pub(super) unix_seconds: f64,
}

/// Exemplars of one histogram series, one place a bucket, `+Inf` last.
pub(super) type Places = Arc<Mutex<Box<[Option<Exemplar>]>>>;

/// Series of one family, by the [`key`] of their label values.
pub(super) type Series = HashMap<String, Places>;

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
        let mut own = String::new();
        key(&mut own, labels.iter().copied());
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = || Arc::new(Mutex::new(vec![None; bounds.len() + 1].into()));
        let places = Arc::clone(families.entry(family).or_default().entry(own).or_insert_with(empty));
        TracedHistogram { histogram, bounds: Arc::clone(bounds), places }
    }

    /// Does something with the exemplars of a family's series; none where they leave none.
    pub(super) fn with<T>(&self, family: &str, act: impl FnOnce(Option<&Series>) -> T) -> T {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        act(families.get(family))
    }
}

/// Writes what names a series among those of its family: its label values, in the order of the
/// contract, with a character between them that none of them has.
pub(super) fn key<'a>(out: &mut String, values: impl Iterator<Item = &'a str>) {
    out.clear();
    for value in values {
        out.push_str(value);
        out.push('\u{1f}');
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
