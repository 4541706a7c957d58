//! The same families over OTLP, for setups that push metrics.
//!
//! # Theory of operation
//!
//! At each interval the families of a scrape are gathered, converted to an OTLP request and posted. There is no
//! second set of instruments: the registry is the only source. Names and labels are those of a scrape, so that
//! the same rules and dashboards work; `job` and `instance` come from the resource.
//!
//! # How it fails
//!
//! If the receiver is slow or down, the samples of that interval are lost and a line is logged; counters are
//! cumulative, so that the next push catches up. There is no `up` series, so that alerts on targets that are
//! down do not work, and exemplars are not sent.

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus::proto::{LabelPair, MetricFamily, MetricType};
use prost::Message;

use super::metrics::Metrics;
use super::spans::{EXPORT_TIMEOUT, address};

/// Identity of the process and address of the receiver.
#[derive(Clone, Debug)]
pub struct Push {
    /// Base URL of the receiver, such as `http://localhost:9090/api/v1/otlp` of a Prometheus.
    pub endpoint: String,
    /// Interval between two pushes.
    pub interval: Duration,
    /// Value of `job`.
    pub service_name: String,
    /// Value of `instance`.
    pub instance: String,
}

/// Pushes until it is dropped. Of consecutive failures only the first is logged.
pub async fn push(metrics: Metrics, push: Push) -> Infallible {
    let started = SystemTime::now();
    let url = address(&push.endpoint, "metrics");
    let client = match reqwest::Client::builder().no_proxy().timeout(EXPORT_TIMEOUT).build() {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "metrics cannot be pushed");
            return std::future::pending().await;
        }
    };
    let mut ticks = tokio::time::interval(push.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut failing = false;
    loop {
        ticks.tick().await;
        let body = request(&metrics.gather(), &push, started, SystemTime::now()).encode_to_vec();
        let sent = client.post(&url).header(http::header::CONTENT_TYPE, "application/x-protobuf").body(body).send();
        let outcome = sent.await.and_then(reqwest::Response::error_for_status);
        match outcome {
            Ok(_) if failing => {
                tracing::info!(url, "metrics are pushed again");
                failing = false;
            }
            Err(error) if !failing => {
                tracing::warn!(url, %error, "metrics could not be pushed; retrying at each interval");
                failing = true;
            }
            _ => {}
        }
    }
}

/// Converts all families to one request.
fn request(
    families: &[MetricFamily],
    push: &Push,
    started: SystemTime,
    now: SystemTime,
) -> ExportMetricsServiceRequest {
    let span = Span { started: nanos(started), now: nanos(now) };
    let metrics = families.iter().filter_map(|family| metric_of(family, span)).collect();
    let own = [("service.name", push.service_name.as_str()), ("service.instance.id", &push.instance)];
    let resource =
        Resource { attributes: own.map(|(key, value)| attribute(key, value)).to_vec(), ..Resource::default() };
    let scope = InstrumentationScope { name: "breakerbox".to_owned(), ..InstrumentationScope::default() };
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
    let all = ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![all] }
}

/// Time range of a sample.
#[derive(Clone, Copy)]
struct Span {
    started: u64,
    now: u64,
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn attributes(labels: &[LabelPair]) -> Vec<KeyValue> {
    labels.iter().map(|label| attribute(label.name(), label.value())).collect()
}

fn metric_of(family: &MetricFamily, span: Span) -> Option<Metric> {
    let cumulative = AggregationTemporality::Cumulative.into();
    let samples = family.get_metric();
    let data = match family.get_field_type() {
        MetricType::COUNTER => {
            let points =
                samples.iter().map(|sample| number(sample.get_label(), sample.get_counter().get_value(), span));
            metric::Data::Sum(Sum {
                data_points: points.collect(),
                aggregation_temporality: cumulative,
                is_monotonic: true,
            })
        }
        MetricType::GAUGE => {
            let points = samples.iter().map(|sample| number(sample.get_label(), sample.get_gauge().get_value(), span));
            metric::Data::Gauge(Gauge { data_points: points.collect() })
        }
        MetricType::HISTOGRAM => metric::Data::Histogram(Histogram {
            data_points: samples.iter().map(|sample| histogram(sample, span)).collect(),
            aggregation_temporality: cumulative,
        }),
        // There are no families of other types.
        _ => return None,
    };
    // The unit is left empty, because a receiver would append it to the name, which already contains it.
    let (name, description) = (family.name().to_owned(), family.help().to_owned());
    Some(Metric { name, description, data: Some(data), ..Metric::default() })
}

fn number(labels: &[LabelPair], value: f64, span: Span) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: span.started,
        time_unix_nano: span.now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn histogram(sample: &prometheus::proto::Metric, span: Span) -> HistogramDataPoint {
    let histogram = sample.get_histogram();
    let (mut bounds, mut counts, mut below) = (Vec::new(), Vec::new(), 0);
    for bucket in histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite()) {
        bounds.push(bucket.upper_bound());
        // OTLP counts the samples of each bucket; Prometheus counts all samples up to its bound.
        counts.push(bucket.cumulative_count() - below);
        below = bucket.cumulative_count();
    }
    counts.push(histogram.get_sample_count().saturating_sub(below));
    HistogramDataPoint {
        attributes: attributes(sample.get_label()),
        start_time_unix_nano: span.started,
        time_unix_nano: span.now,
        count: histogram.get_sample_count(),
        sum: Some(histogram.get_sample_sum()),
        bucket_counts: counts,
        explicit_bounds: bounds,
        ..HistogramDataPoint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_series_is_sent_under_its_own_name() {
        let metrics = Metrics::new(&[Duration::from_secs(1)]);
        let _ = metrics.faults("catalog");
        let families = metrics.gather();
        let push = Push {
            endpoint: String::new(),
            interval: Duration::from_secs(1),
            service_name: "breakerbox".to_owned(),
            instance: "here:8090".to_owned(),
        };
        let later = UNIX_EPOCH + Duration::from_secs(9);
        let sent = request(&families, &push, UNIX_EPOCH, later);
        let metrics = &sent.resource_metrics[0].scope_metrics[0].metrics;
        assert_eq!(metrics.len(), families.len(), "no family is left out");
        let injected = metrics.iter().find(|metric| metric.name == "fault_injected_total").expect("it is there");
        let Some(metric::Data::Sum(sum)) = &injected.data else { panic!("a counter is a sum: {injected:?}") };
        assert!(sum.is_monotonic && sum.data_points.len() > 5);
        assert_eq!(sum.data_points[0].time_unix_nano, 9_000_000_000);
        assert!(sum.data_points[0].attributes.iter().any(|label| label.key == "target"));
    }

    #[test]
    fn buckets_count_their_own_samples() {
        let registry = prometheus::Registry::new();
        let options = prometheus::HistogramOpts::new("x_seconds", "X.").buckets(vec![1.0, 2.0]);
        let own = prometheus::Histogram::with_opts(options).expect("it is valid");
        registry.register(Box::new(own.clone())).expect("it is new");
        for seconds in [0.5, 1.5, 1.6, 7.0] {
            own.observe(seconds);
        }
        let families = registry.gather();
        let point = histogram(&families[0].get_metric()[0], Span { started: 0, now: 1 });
        assert_eq!((point.bucket_counts, point.explicit_bounds), (vec![1, 2, 1], vec![1.0, 2.0]));
        assert_eq!((point.count, point.sum), (4, Some(10.6)));
    }
}
