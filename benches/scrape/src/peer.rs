//! The peer: the same families, series and values in a registry of `prometheus-client`.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use prometheus::proto::{Metric, MetricFamily, MetricType};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

type Labels = Vec<(String, String)>;
type Histogram = HistogramWithExemplars<Labels>;

/// Creates histograms with a family's bounds.
#[derive(Clone, Debug)]
struct Bounds(Vec<f64>);

impl MetricConstructor<Histogram> for Bounds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// Families whose buckets have exemplars in our registry.
const TRACED: [&str; 2] = ["circuit_breaker_call_duration_seconds", "http_server_request_duration_seconds"];

/// A registry with the same values as `families`.
pub fn mirror(families: &[MetricFamily]) -> Registry {
    let mut registry = Registry::default();
    for family in families {
        let (name, help) = (family.name().trim_end_matches("_total"), family.help().trim_end_matches('.'));
        match family.get_field_type() {
            MetricType::COUNTER => {
                let mirrored = Family::<Labels, Counter<f64, AtomicU64>>::default();
                for metric in family.get_metric() {
                    mirrored.get_or_create(&labels(metric)).inc_by(metric.get_counter().get_value());
                }
                registry.register(name, help, mirrored);
            }
            MetricType::GAUGE => {
                let mirrored = Family::<Labels, Gauge<f64, AtomicU64>>::default();
                for metric in family.get_metric() {
                    mirrored.get_or_create(&labels(metric)).set(metric.get_gauge().get_value());
                }
                registry.register(name, help, mirrored);
            }
            MetricType::HISTOGRAM => registry.register(name, help, histograms(family)),
            other => panic!("{name} is a {other:?}, which nothing here registers"),
        }
    }
    registry
}

fn histograms(family: &MetricFamily) -> Family<Labels, Histogram, Bounds> {
    let buckets = |metric: &Metric| metric.get_histogram().get_bucket().to_vec();
    let bounds = family.get_metric().first().map(buckets).unwrap_or_default();
    let mirrored = Family::new_with_constructor(Bounds(bounds.iter().map(|b| b.upper_bound()).collect()));
    let traced = TRACED.contains(&family.name());
    for metric in family.get_metric() {
        let own = mirrored.get_or_create(&labels(metric));
        let mut before = 0;
        for bucket in metric.get_histogram().get_bucket() {
            for _ in before..bucket.cumulative_count() {
                // A value with as many digits as a measured duration.
                let value = bucket.upper_bound() * 0.987_654_321;
                let exemplar =
                    traced.then(|| vec![("trace_id".to_owned(), "0af7651916cd43dd8448eb211c80319c".to_owned())]);
                let at = UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
                own.observe(value, exemplar, Some(at));
            }
            before = bucket.cumulative_count();
        }
        for _ in before..metric.get_histogram().get_sample_count() {
            own.observe(f64::MAX.sqrt(), None, None);
        }
    }
    mirrored
}

fn labels(metric: &Metric) -> Labels {
    metric.get_label().iter().map(|pair| (pair.name().to_owned(), pair.value().to_owned())).collect()
}

/// One scrape.
pub fn scrape(registry: &Registry) -> String {
    let mut out = String::with_capacity(96 * 1024);
    encode(&mut out, registry).expect("a String takes it");
    out
}

/// Number of samples in an exposition, to check that both have the same.
pub fn samples(exposition: &str) -> usize {
    exposition.lines().filter(|line| !line.starts_with('#')).count()
}

/// A number with thin spaces between groups of three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(' ');
        }
        let _ = write!(out, "{digit}");
    }
    out
}
