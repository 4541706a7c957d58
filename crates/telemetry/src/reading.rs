//! Current values of single families, read in place.
//!
//! A gathering copies every label and bucket of every series. Readers inside the process, such as the console, which
//! reads once a second whether somebody looks or not, need few families and seldom their buckets.

use prometheus::core::Metric;
use prometheus::{Gauge, Histogram, IntCounter};

use super::metrics::Metrics;
use super::names::Family;

/// A series at this moment.
pub struct Reading<'a> {
    pub(super) family: &'static Family,
    /// Index of the label in the family for each value.
    pub(super) order: &'a [usize],
    pub(super) values: &'a [String],
    pub(super) metric: Reader<'a>,
}

/// The metric that is read.
#[derive(Clone, Copy)]
pub(super) enum Reader<'a> {
    Counter(&'a IntCounter),
    Gauge(&'a Gauge),
    Histogram(&'a Histogram),
}

impl Reading<'_> {
    /// Whether the series belongs to `family`.
    #[must_use]
    pub fn is(&self, family: &Family) -> bool {
        self.family.name == family.name
    }

    /// Value of a label; empty if the family does not have it.
    #[must_use]
    pub fn label(&self, wanted: &str) -> &str {
        let place = self.order.iter().position(|label| self.family.labels[*label] == wanted);
        place.map_or("", |place| &self.values[place])
    }

    /// Value of a counter or gauge; the sum of a histogram's observations.
    #[must_use]
    pub fn value(&self) -> f64 {
        match self.metric {
            Reader::Counter(counter) => counter.get() as f64,
            Reader::Gauge(gauge) => gauge.get(),
            Reader::Histogram(histogram) => histogram.get_sample_sum(),
        }
    }

    /// Number of a histogram's observations; 0 for other metrics.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self.metric {
            Reader::Histogram(histogram) => histogram.get_sample_count(),
            Reader::Counter(_) | Reader::Gauge(_) => 0,
        }
    }

    /// Upper bounds of a histogram's buckets without `+Inf`, each with the number of observations up to it.
    #[must_use]
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let Reader::Histogram(histogram) = self.metric else { return Vec::new() };
        let metric = histogram.metric();
        let buckets = metric.get_histogram().get_bucket().iter();
        buckets.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count())).collect()
    }
}

impl Metrics {
    /// Reads every series of `families`, family by family in the order of their names.
    pub fn read(&self, families: &[&Family], mut each: impl FnMut(&Reading<'_>)) {
        for exposed in self.refreshed() {
            if families.iter().any(|family| family.name == exposed.name()) {
                exposed.read(&mut each);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{HTTP_SERVER_ACTIVE_REQUESTS, HTTP_SERVER_REQUEST_DURATION, PLAYBACK_REQUESTS};
    use crate::{EdgeTelemetry, Playback};
    use std::time::Duration;

    #[test]
    fn a_reading_agrees_with_a_gathering() {
        let metrics = Metrics::new(&[]);
        let edge = EdgeTelemetry::new(&metrics, "gateway", true, &[("GET", "/api/home")]);
        let _active = edge.begin();
        edge.playback(Playback::Degraded);
        for millis in [2, 20, 2000] {
            edge.served("GET", "/api/home", 200, Duration::from_millis(millis));
        }
        let known = [&HTTP_SERVER_REQUEST_DURATION, &HTTP_SERVER_ACTIVE_REQUESTS, &PLAYBACK_REQUESTS];
        let mut read = Vec::new();
        metrics.read(&known, |series| {
            let labels: Vec<_> = series.family.labels.iter().map(|name| series.label(name).to_owned()).collect();
            read.push((series.family.name, labels, series.value(), series.count(), series.buckets()));
        });
        let mut gathered = Vec::new();
        for family in metrics.gather() {
            let Some(known) = known.iter().find(|known| known.name == family.name()) else { continue };
            for metric in family.get_metric() {
                let value = |name: &&str| metric.get_label().iter().find(|pair| pair.name() == *name).unwrap().value();
                let labels: Vec<_> = known.labels.iter().map(|name| value(name).to_owned()).collect();
                let histogram = metric.get_histogram();
                let buckets = histogram.get_bucket().iter();
                gathered.push((
                    known.name,
                    labels,
                    metric.get_counter().get_value() + metric.get_gauge().get_value() + histogram.get_sample_sum(),
                    histogram.get_sample_count(),
                    buckets.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count())).collect(),
                ));
            }
        }
        assert_eq!(read, gathered);
        assert_eq!(read.len(), 5, "{read:?}");
    }

    #[test]
    fn gauges_are_refreshed_before_a_reading() {
        let metrics = Metrics::new(&[]);
        let gauge = metrics.families().http_active.with_label_values(&["gateway"]);
        metrics.on_scrape(move || gauge.set(7.0));
        let mut seen = Vec::new();
        metrics.read(&[&HTTP_SERVER_ACTIVE_REQUESTS], |series| seen.push(series.value()));
        assert_eq!(seen, [7.0]);
    }
}
