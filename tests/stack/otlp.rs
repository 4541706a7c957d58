//! Metrics pushed over OTLP equal those of a scrape: as decoded by a receiver, and in a real Prometheus if it was built
//! with the OTLP receiver.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use breakerbox_telemetry::names::{ALL, Kind};
use http::HeaderMap;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, metric};
use prost::Message as _;
use serde_json::Value;

use crate::process::{Process, within};
use crate::prometheus::Prometheus;

/// A series: its name and our labels.
type Series = BTreeSet<(String, String)>;

fn query(prometheus: &Prometheus, query: &str) -> Vec<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url = reqwest::Url::parse_with_params(&format!("{}/api/v1/query", prometheus.url), [("query", query)]).unwrap();
    let answer: Value = runtime.block_on(async { reqwest::get(url).await.unwrap().json().await.unwrap() });
    answer["data"]["result"].as_array().cloned().unwrap_or_default()
}

fn series(prometheus: &Prometheus, job: &str) -> Series {
    let names: Vec<_> = ALL.iter().map(|family| family.name).collect();
    let found =
        query(prometheus, &format!("{{__name__=~\"({})(_bucket|_count|_sum)?\",job=\"{job}\"}}", names.join("|")));
    let own = found.iter().map(|series| {
        let mut labels = series["metric"].as_object().unwrap().clone();
        for target in ["job", "instance"] {
            labels.remove(target);
        }
        // Bounds are compared as numbers: `1` and `1.0` are equal.
        if let Some(bound) = labels.get_mut("le")
            && let Ok(number) = bound.as_str().unwrap().parse::<f64>()
        {
            *bound = number.to_string().into();
        }
        let name = labels.remove("__name__").unwrap();
        (name.as_str().unwrap().to_owned(), Value::Object(labels).to_string())
    });
    own.collect()
}

/// The latest request that was pushed.
type Pushed = Arc<Mutex<Option<ExportMetricsServiceRequest>>>;

/// Starts an OTLP receiver and returns its address.
async fn receiver(pushed: Pushed) -> SocketAddr {
    let take = move |State(pushed): State<Pushed>, headers: HeaderMap, body: Bytes| async move {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        *pushed.lock().unwrap() = Some(ExportMetricsServiceRequest::decode(body).unwrap());
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/v1/metrics", post(take)).with_state(pushed);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

fn text(value: &KeyValue) -> String {
    let Some(any_value::Value::StringValue(text)) = value.value.clone().and_then(|value| value.value) else {
        panic!("{value:?} is no text")
    };
    text
}

/// The series that Prometheus creates from a request.
fn received(request: &ExportMetricsServiceRequest) -> Series {
    let mut all = Series::new();
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    for metric in scopes.flat_map(|scope| &scope.metrics) {
        assert_eq!(metric.unit, "", "a unit would be appended to {}", metric.name);
        let mut add = |suffix: &str, labels: &[KeyValue], bound: Option<f64>| {
            let own = labels.iter().map(|label| (label.key.clone(), Value::from(text(label))));
            let bound = bound.map(|bound| ("le".to_owned(), Value::from(bound.to_string())));
            let labels: serde_json::Map<_, _> = own.chain(bound).collect();
            all.insert((format!("{}{suffix}", metric.name), Value::Object(labels).to_string()));
        };
        match metric.data.as_ref().unwrap() {
            metric::Data::Gauge(gauge) => gauge.data_points.iter().for_each(|point| add("", &point.attributes, None)),
            metric::Data::Sum(sum) => {
                assert!(sum.is_monotonic && sum.aggregation_temporality == AggregationTemporality::Cumulative as i32);
                sum.data_points.iter().for_each(|point| add("", &point.attributes, None));
            }
            metric::Data::Histogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality, AggregationTemporality::Cumulative as i32);
                for point in &histogram.data_points {
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                    assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count, "counts are those of each bucket");
                    for bound in point.explicit_bounds.iter().copied().chain([f64::INFINITY]) {
                        add("_bucket", &point.attributes, Some(bound));
                    }
                    add("_count", &point.attributes, None);
                    add("_sum", &point.attributes, None);
                }
            }
            other => panic!("{}: {other:?}", metric.name),
        }
    }
    all
}

/// The series of a page in text format.
fn scraped(page: &str) -> Series {
    let lines = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let series = lines.map(|line| {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let mut own = serde_json::Map::new();
        for label in labels.trim_end_matches('}').split_terminator("\",").filter(|label| !label.is_empty()) {
            let (key, value) = label.split_once("=\"").unwrap();
            let value = value.trim_end_matches('"');
            let value = if key == "le" { value.parse::<f64>().unwrap().to_string() } else { value.to_owned() };
            own.insert(key.to_owned(), value.into());
        }
        (name.to_owned(), Value::Object(own).to_string())
    });
    series.collect()
}

/// Independent of the receiving program.
#[test]
fn a_push_holds_the_series_of_a_scrape() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let pushed = Pushed::default();
    let endpoint = format!("http://{}", runtime.block_on(receiver(pushed.clone())));
    let process = Process::start(
        &["--no-scenario", "--no-traffic"],
        &[
            ("BREAKERBOX_TELEMETRY__OTLP_METRICS_ENDPOINT", &endpoint),
            ("BREAKERBOX_TELEMETRY__OTLP_METRICS_INTERVAL", "1s"),
        ],
    );
    let url = format!("http://{}/metrics", process.admin_address());
    // Events create series; once the process has been idle for a moment both ways have the same.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let page = runtime.block_on(async { reqwest::get(&url).await.unwrap().text().await.unwrap() });
        let (page, push) = (scraped(&page), pushed.lock().unwrap().as_ref().map(received).unwrap_or_default());
        if page.len() > 1000 && page == push {
            break;
        }
        let differing: Vec<_> = page.symmetric_difference(&push).take(20).collect();
        assert!(Instant::now() < deadline, "{} scraped, {} pushed: {differing:?}", page.len(), push.len());
        std::thread::park_timeout(Duration::from_millis(200));
    }
    let request = pushed.lock().unwrap().clone().unwrap();
    let resource = request.resource_metrics[0].resource.as_ref().unwrap();
    let own: Vec<_> = resource.attributes.iter().map(|own| (own.key.as_str(), text(own))).collect();
    let instance = process.admin_address().to_owned();
    assert_eq!(own, [("service.name", "breakerbox".to_owned()), ("service.instance.id", instance)]);
}

#[test]
fn pushed_series_are_the_scraped_ones() {
    let Some(prometheus) = Prometheus::with_otlp_receiver("otlp", &["breakerbox-scraped"]) else { return };
    let endpoint = format!("{}/api/v1/otlp", prometheus.url);
    let process = Process::start(
        &["--no-scenario", "--no-traffic"],
        &[
            ("BREAKERBOX_TELEMETRY__OTLP_METRICS_ENDPOINT", &endpoint),
            ("BREAKERBOX_TELEMETRY__OTLP_METRICS_INTERVAL", "1s"),
        ],
    );
    prometheus.scrape("breakerbox-scraped", process.admin_address());
    // Events create series; once the process has been idle for a moment both ways have the same.
    let mut last = (Series::new(), Series::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    while last.0.len() < 1000 || last.0 != last.1 {
        let differing: Vec<_> = last.0.symmetric_difference(&last.1).take(20).collect();
        assert!(Instant::now() < deadline, "{} scraped, {} pushed: {differing:?}", last.0.len(), last.1.len());
        std::thread::sleep(Duration::from_millis(500));
        last = (series(&prometheus, "breakerbox-scraped"), series(&prometheus, "breakerbox"));
    }
    let names: BTreeSet<_> = last.1.iter().map(|(name, _)| name.clone()).collect();
    let missing: Vec<_> = ALL
        .iter()
        .map(
            |family| {
                if family.kind == Kind::Histogram { format!("{}_count", family.name) } else { family.name.to_owned() }
            },
        )
        .filter(|name| !names.contains(name) && last.0.iter().any(|(scraped, _)| scraped == name))
        .collect();
    assert_eq!(missing, [""; 0]);
    // The identity of the process comes from the OTLP resource.
    let info = query(&prometheus, "breakerbox_build_info{job=\"breakerbox\"}");
    assert_eq!(info[0]["metric"]["instance"], process.admin_address(), "{info:?}");
    // Counters are cumulative: a request is included in the next push.
    let before = count(&prometheus);
    process.get_site("/api/home");
    within(Duration::from_secs(30), || count(&prometheus) > before);
}

fn count(prometheus: &Prometheus) -> f64 {
    let found = query(prometheus, "sum(circuit_breaker_calls_total{job=\"breakerbox\"})");
    found[0]["value"][1].as_str().unwrap().parse().unwrap()
}
