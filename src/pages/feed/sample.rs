//! A process's numbers at one moment, compact enough to be read every second.
//!
//! Taken from the process's own metrics, so that the console shows nothing that a scrape does not have. Keys are paths
//! such as `edge/gateway/catalog/success`; counters only increase, and readers compute rates from two samples.

use std::collections::BTreeMap;

use breakerbox_telemetry::{Metrics, names};
use prometheus::proto::{Metric, MetricFamily};

/// Values by path.
pub(super) type Sample = BTreeMap<String, f64>;

/// Reads this process's metrics.
pub(super) fn take(metrics: &Metrics) -> Sample {
    let mut sample = Sample::new();
    for family in metrics.gather() {
        read(&family, &mut sample);
    }
    sample
}

fn read(family: &MetricFamily, sample: &mut Sample) {
    let name = family.name();
    let is = |known: &names::Family| known.name == name;
    let mut add = |path: String, value: f64| *sample.entry(path).or_default() += value;
    for metric in family.get_metric() {
        let label = |wanted: &str| label(metric, wanted);
        let service = label("service");
        let counted = metric.get_counter().get_value();
        let gauged = metric.get_gauge().get_value();
        let edge = |what: &str| format!("edge/{service}/{}/{what}", label("breaker"));
        if is(&names::HTTP_SERVER_REQUEST_DURATION) {
            let histogram = metric.get_histogram();
            add(format!("node/{service}/requests"), histogram.get_sample_count() as f64);
            add(format!("node/{service}/seconds"), histogram.get_sample_sum());
            if label("http_response_status_code").starts_with('5') {
                add(format!("node/{service}/errors"), histogram.get_sample_count() as f64);
            }
            if service.starts_with("gateway") && is_page(label("http_route")) {
                for bucket in histogram.get_bucket() {
                    add(format!("pagetime/{service}/{}", bucket.upper_bound()), bucket.cumulative_count() as f64);
                }
                add(format!("pagetime/{service}/inf"), histogram.get_sample_count() as f64);
            }
        } else if is(&names::HTTP_SERVER_ACTIVE_REQUESTS) {
            add(format!("node/{service}/in_flight"), gauged);
        } else if is(&names::PLAYBACK_REQUESTS) {
            add(format!("page/{service}/{}", label("outcome")), counted);
        } else if is(&names::CIRCUIT_BREAKER_CALLS) {
            add(edge(label("outcome")), counted);
        } else if is(&names::CIRCUIT_BREAKER_CALL_DURATION) {
            let histogram = metric.get_histogram();
            add(edge("seconds"), histogram.get_sample_sum());
            add(edge("executed"), histogram.get_sample_count() as f64);
        } else if is(&names::FALLBACK_CALLS) {
            add(edge(&format!("fallback-{}", label("kind"))), counted);
        } else if is(&names::BULKHEAD_IN_FLIGHT) {
            add(format!("pool/{service}/{}/in_flight", label("bulkhead")), gauged);
        } else if is(&names::BULKHEAD_CAPACITY) {
            add(format!("pool/{service}/{}/capacity", label("bulkhead")), gauged);
        } else if is(&names::BULKHEAD_QUEUE_LENGTH) {
            add(format!("pool/{service}/{}/queued", label("bulkhead")), gauged);
        } else if is(&names::CHECKOUT_ORDERS) {
            add(format!("orders/{}", label("outcome")), counted);
        } else if is(&names::CHECKOUT_REVENUE) {
            add(format!("revenue/{}", label("outcome")), counted);
        }
    }
}

/// Whether a route is a page that viewers look at.
fn is_page(route: &str) -> bool {
    matches!(route, "/api/home" | "/api/recommendations") || route.starts_with("/api/movies")
}

fn label<'a>(metric: &'a Metric, wanted: &str) -> &'a str {
    metric.get_label().iter().find(|label| label.name() == wanted).map_or("", |label| label.value())
}

/// Increase of a counter between two samples; zero if its process was restarted.
pub(super) fn grown(from: &Sample, to: &Sample, path: &str) -> f64 {
    let at = |sample: &Sample| sample.get(path).copied().unwrap_or_default();
    (at(to) - at(from)).max(0.0)
}

/// The 99th percentile of a gateway's response times between two samples, in milliseconds.
pub(super) fn p99_millis(from: &Sample, to: &Sample, service: &str) -> Option<f64> {
    let prefix = format!("pagetime/{service}/");
    let total = grown(from, to, &format!("{prefix}inf"));
    if total <= 0.0 {
        return None;
    }
    let mut buckets: Vec<_> = to
        .range(prefix.clone()..)
        .take_while(|(path, _)| path.starts_with(&prefix))
        .filter_map(|(path, _)| Some((path[prefix.len()..].parse::<f64>().ok().filter(|le| le.is_finite())?, path)))
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let wanted = total * 0.99;
    let (mut below, mut before) = (0.0, 0.0);
    for (bound, path) in buckets {
        let count = grown(from, to, path);
        if count >= wanted {
            // Interpolated linearly within the bucket, as Prometheus does.
            let share = if count > before { (wanted - before) / (count - before) } else { 1.0 };
            return Some((below + (bound - below) * share) * 1000.0);
        }
        (below, before) = (bound, count);
    }
    Some(below * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[(&str, f64)]) -> Sample {
        values.iter().map(|(path, value)| ((*path).to_owned(), *value)).collect()
    }

    #[test]
    fn a_percentile_is_that_of_the_calls_between_two_samples() {
        let from =
            sample(&[("pagetime/gateway/0.1", 50.0), ("pagetime/gateway/1", 50.0), ("pagetime/gateway/inf", 50.0)]);
        let to =
            sample(&[("pagetime/gateway/0.1", 50.0), ("pagetime/gateway/1", 150.0), ("pagetime/gateway/inf", 150.0)]);
        let p99 = p99_millis(&from, &to, "gateway").unwrap();
        assert!((p99 - 991.0).abs() < 0.5, "{p99}");
        assert_eq!(p99_millis(&to, &to, "gateway"), None);
        // The gateway's name is a prefix of the twin's name, whose calls must not be included.
        assert_eq!(p99_millis(&from, &to, "gateway-bare"), None);
    }

    #[test]
    fn a_counter_reset_gives_no_negative_rate() {
        let (from, to) = (sample(&[("a", 9.0)]), sample(&[("a", 2.0)]));
        assert!(grown(&from, &to, "a").abs() < f64::EPSILON);
    }
}
