//! Metrics that are pushed over OTLP arrive in a real Prometheus as they would have been scraped.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use breakerbox_telemetry::names::{ALL, Kind};
use serde_json::Value;

use crate::process::{Process, within};
use crate::prometheus::Prometheus;

/// A series by its name and the labels that are ours.
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
        // A bound is a number: `1` and `1.0` are the same.
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

#[test]
#[ignore = "not seen to pass yet: the pushed series did not arrive within a minute"]
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
    // Series come with what happens first; after a few moments of nothing both ways have the same.
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
    // The identity of the process comes from the resource.
    let info = query(&prometheus, "breakerbox_build_info{job=\"breakerbox\"}");
    assert_eq!(info[0]["metric"]["instance"], process.admin_address(), "{info:?}");
    // A counter counts on: what a request adds is there with the next push.
    let before = count(&prometheus);
    process.get_site("/api/home");
    within(Duration::from_secs(30), || count(&prometheus) > before);
}

fn count(prometheus: &Prometheus) -> f64 {
    let found = query(prometheus, "sum(circuit_breaker_calls_total{job=\"breakerbox\"})");
    found[0]["value"][1].as_str().unwrap().parse().unwrap()
}
