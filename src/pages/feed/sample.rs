//! A process's numbers at one moment, compact enough to be read every second.
//!
//! Taken from the process's own metrics, so that the console shows nothing that a scrape does not have. Keys are paths
//! such as `edge/gateway/catalog/success`; counters only increase, and readers compute rates from two samples.

use std::collections::BTreeMap;

use breakerbox_telemetry::names::{self, Family};
use breakerbox_telemetry::{Metrics, Reading};

/// Values by path.
pub(super) type Sample = BTreeMap<String, f64>;

/// Families that are read.
const FAMILIES: [&Family; 11] = [
    &names::HTTP_SERVER_REQUEST_DURATION,
    &names::HTTP_SERVER_ACTIVE_REQUESTS,
    &names::PLAYBACK_REQUESTS,
    &names::CIRCUIT_BREAKER_CALLS,
    &names::CIRCUIT_BREAKER_CALL_DURATION,
    &names::FALLBACK_CALLS,
    &names::BULKHEAD_IN_FLIGHT,
    &names::BULKHEAD_CAPACITY,
    &names::BULKHEAD_QUEUE_LENGTH,
    &names::CHECKOUT_ORDERS,
    &names::CHECKOUT_REVENUE,
];

/// Reads this process's metrics.
pub(super) fn take(metrics: &Metrics) -> Sample {
    let mut sample = Sample::new();
    metrics.read(&FAMILIES, |series| read(series, &mut sample));
    sample
}

fn read(series: &Reading<'_>, sample: &mut Sample) {
    let is = |family: &Family| series.is(family);
    let mut add = |path: String, value: f64| *sample.entry(path).or_default() += value;
    let label = |wanted: &str| series.label(wanted);
    let service = label("service");
    let edge = |what: &str| format!("edge/{service}/{}/{what}", label("breaker"));
    let pool = |what: &str| format!("pool/{service}/{}/{what}", label("bulkhead"));
    if is(&names::HTTP_SERVER_REQUEST_DURATION) {
        let requests = series.count() as f64;
        add(format!("node/{service}/requests"), requests);
        add(format!("node/{service}/seconds"), series.value());
        if label("http_response_status_code").starts_with('5') {
            add(format!("node/{service}/errors"), requests);
        }
        if service.starts_with("gateway") && is_page(label("http_route")) {
            for (bound, count) in series.buckets() {
                add(format!("pagetime/{service}/{bound}"), count as f64);
            }
            add(format!("pagetime/{service}/inf"), requests);
        }
    } else if is(&names::HTTP_SERVER_ACTIVE_REQUESTS) {
        add(format!("node/{service}/in_flight"), series.value());
    } else if is(&names::PLAYBACK_REQUESTS) {
        add(format!("page/{service}/{}", label("outcome")), series.value());
    } else if is(&names::CIRCUIT_BREAKER_CALLS) {
        add(edge(label("outcome")), series.value());
    } else if is(&names::CIRCUIT_BREAKER_CALL_DURATION) {
        add(edge("seconds"), series.value());
        add(edge("executed"), series.count() as f64);
    } else if is(&names::FALLBACK_CALLS) {
        add(edge(&format!("fallback-{}", label("kind"))), series.value());
    } else if is(&names::BULKHEAD_IN_FLIGHT) {
        add(pool("in_flight"), series.value());
    } else if is(&names::BULKHEAD_CAPACITY) {
        add(pool("capacity"), series.value());
    } else if is(&names::BULKHEAD_QUEUE_LENGTH) {
        add(pool("queued"), series.value());
    } else if is(&names::CHECKOUT_ORDERS) {
        add(format!("orders/{}", label("outcome")), series.value());
    } else if is(&names::CHECKOUT_REVENUE) {
        add(format!("revenue/{}", label("outcome")), series.value());
    }
}

/// Whether a route is a page that viewers look at.
fn is_page(route: &str) -> bool {
    matches!(route, "/api/home" | "/api/recommendations") || route.starts_with("/api/movies")
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
