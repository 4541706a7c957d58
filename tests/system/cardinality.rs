//! The maximum number of series of each service, whatever viewers, faults and arbitrary clients do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::body::Body;
use breakerbox::scenario::{self, Scenario, Timeline};
use breakerbox::services::ServiceName;
use http::Request;
use prometheus::proto::{Metric, MetricFamily, MetricType};

use crate::site::TestSite;

/// Owner of the series without a `service` label: targets, viewers, the process itself.
const PROCESS: &str = "the process";
const DOORS: [&str; 2] = ["gateway", "gateway-bare"];
/// Methods that arbitrary clients send: supported by a route, unsupported, and unknown.
const METHODS: &[&str] =
    &["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW", "PROPFIND"];

/// Samples of one scrape by owner.
fn series(families: &[MetricFamily]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for family in families {
        for metric in family.get_metric() {
            let owner = label(metric, "service").unwrap_or(PROCESS);
            *counts.entry(owner.to_owned()).or_default() += samples(family, metric);
        }
    }
    counts
}

/// The samples of a metric: a histogram has one per bucket and one each for `+Inf`, its sum and its count.
fn samples(family: &MetricFamily, metric: &Metric) -> usize {
    match family.get_field_type() {
        MetricType::HISTOGRAM => metric.get_histogram().get_bucket().len() + 3,
        _ => 1,
    }
}

fn label<'a>(metric: &'a Metric, name: &str) -> Option<&'a str> {
    metric.get_label().iter().find(|label| label.name() == name).map(prometheus::proto::LabelPair::value)
}

/// The routes of a service, with arbitrary values for their parameters.
fn routes(families: &[MetricFamily], service: &str) -> BTreeSet<String> {
    let family = families.iter().find(|family| family.name() == "http_server_request_duration_seconds").unwrap();
    let own = family.get_metric().iter().filter(|metric| label(metric, "service") == Some(service));
    own.filter_map(|metric| label(metric, "http_route")).map(|route| filled(route, "%F0%9F%8E%AC")).collect()
}

fn filled(route: &str, with: &str) -> String {
    let fill = |part: &str| if part.starts_with('{') { with.to_owned() } else { part.to_owned() };
    route.split('/').map(fill).collect::<Vec<_>>().join("/")
}

/// Sends every kind of arbitrary request to every service.
async fn strangers(site: &TestSite) {
    let families = site.gather();
    for service in ServiceName::ALL {
        let mut paths = routes(&families, service.as_str());
        paths.extend((0..100).map(|n| format!("/no/such/path/{n}")));
        paths.extend((0..100).map(|n| format!("/api/movies/{n}?user={n}")));
        for path in &paths {
            for method in METHODS {
                let request = Request::builder()
                    .method(*method)
                    .uri(path)
                    .header("authorization", format!("Bearer {path}"))
                    .header("idempotency-key", path)
                    .header("x-deadline-ms", "1")
                    .header("traceparent", path)
                    .body(Body::from(r#"{"username": "someone-new"}"#));
                site.send(*service, request.unwrap()).await;
            }
        }
    }
}

/// The table in `docs/metrics.md`: a service, its series at the start, and its maximum.
fn documented() -> BTreeMap<String, (usize, usize)> {
    let page = include_str!("../../docs/metrics.md");
    let table = page.split("| series of | at the start | at most |").nth(1).expect("docs/metrics.md has the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let number = |cell: &str| cell.trim().replace(' ', "").parse().unwrap();
    let read = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::to_owned).collect();
        (cells[0].trim().trim_matches('`').to_owned(), (number(&cells[1]), number(&cells[2])))
    };
    rows.map(read).collect()
}

#[tokio::test(start_paused = true)]
async fn no_service_has_more_series_than_documented() {
    let site = TestSite::start(&[]);
    // Metrics that a whole process has besides those of its services.
    let _ = site.registry().inbox();
    let _ = DOORS.map(|door| site.registry().traffic(door));
    let _ = Scenario::new(Timeline::parse(scenario::DEFAULT).unwrap(), site.registry());
    let start = series(&site.gather());
    site.run_scenario(5.0, Duration::from_secs(480)).await;
    // Once with all targets healthy and once with all failing, so that each route gives all of its responses.
    for plan in ["{}", r#"{"error_rate": 1}"#] {
        for target in site.targets() {
            site.break_service(&target, plan);
        }
        strangers(&site).await;
    }
    let end = series(&site.gather());
    let documented = documented();
    println!("at the start {start:?}\nat the end {end:?}");
    assert_eq!(documented.keys().collect::<Vec<_>>(), end.keys().collect::<Vec<_>>());
    for (owner, (at_start, at_most)) in &documented {
        assert_eq!(start[owner], *at_start, "{owner}, at the start");
        assert!(end[owner] <= *at_most, "{owner} has {} series, and {at_most} are documented", end[owner]);
        // A bound far above the actual number would be no test.
        assert!(end[owner] * 5 / 4 >= *at_most, "{owner} has {} series, far below {at_most}", end[owner]);
    }
}
