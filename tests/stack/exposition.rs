//! The metrics pages of the running program, read by the reference parser: Python's `prometheus_client`, which refuses
//! an exposition that violates the format in any line.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use breakerbox_telemetry::names::{self, Kind};
use serde::Deserialize;

use crate::process::Process;
use crate::tools::{root, tool};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Result of the parser.
#[derive(Deserialize)]
struct Found {
    zipped: bool,
    families: BTreeMap<String, String>,
    samples: Vec<(String, Vec<(String, String)>)>,
    exemplars: Vec<Exemplar>,
    not_a_number: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Exemplar {
    sample: String,
    le: String,
    value: f64,
    labels: BTreeMap<String, String>,
    at: f64,
}

/// Parses a body, or returns the parser's error.
fn parsed(python: &Path, form: &str, body: &[u8]) -> Result<Found, String> {
    let script = root().join("tests/stack/reference_parser.py");
    let mut command = Command::new(python);
    command.arg(script).arg(form).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("python starts");
    child.stdin.take().expect("stdin is a pipe").write_all(body).expect("python reads to the end");
    let output = child.wait_with_output().expect("python ends");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(serde_json::from_slice(&output.stdout).expect("the script prints JSON"))
}

/// The body of a page, unchanged.
fn fetch(url: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client is built");
        let asked = headers.iter().fold(client.get(url), |asked, (name, value)| asked.header(*name, *value));
        asked.send().await.expect("it answers").bytes().await.expect("the body is complete").to_vec()
    })
}

/// A running program whose buckets have exemplars. Its spans are sent to a closed port.
fn running() -> Process {
    let nowhere = [("BREAKERBOX_TELEMETRY__OTLP_ENDPOINT", "http://127.0.0.1:9")];
    let process = Process::start(&["--no-traffic", "--no-scenario"], &nowhere);
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    fetch(&format!("{}/api/home", process.site), &[("traceparent", &parent)]);
    process
}

/// Families of the contract that a process of the default topology exports, with the parser's names and types.
fn expected(without: &[&str]) -> BTreeMap<String, String> {
    let here = names::ALL.iter().filter(|family| !without.iter().any(|prefix| family.name.starts_with(prefix)));
    let spoken = here.map(|family| match family.kind {
        Kind::Counter => (family.name.trim_end_matches("_total").to_owned(), "counter".to_owned()),
        Kind::Gauge => (family.name.to_owned(), "gauge".to_owned()),
        Kind::Histogram => (family.name.to_owned(), "histogram".to_owned()),
    });
    spoken.collect()
}

fn check_families(found: &Found, form: &str) {
    // Viewers, the scenario and the breaker that queries Prometheus are not running.
    let expected = expected(&["traffic_", "scenario_", "stateless_"]);
    let ours = found.families.iter().filter(|(name, _)| !name.starts_with("process_"));
    let ours: BTreeMap<_, _> = ours.map(|(name, kind)| (name.clone(), kind.clone())).collect();
    assert_eq!(ours, expected, "{form}");
    let gaps = ["_ratio", "_ratio_threshold", "_failures_threshold", "_size_calls"];
    let strange: Vec<_> =
        found.not_a_number.iter().filter(|name| !gaps.iter().any(|gap| name.ends_with(gap))).collect();
    assert!(strange.is_empty(), "{form}: {strange:?} are NaN");
}

fn check_exemplars(found: &Found) {
    let families: BTreeSet<_> = found.exemplars.iter().map(|exemplar| exemplar.sample.as_str()).collect();
    let traced = ["circuit_breaker_call_duration_seconds_bucket", "http_server_request_duration_seconds_bucket"];
    assert_eq!(families.into_iter().collect::<Vec<_>>(), traced);
    for Exemplar { sample, le, value, labels, at } in &found.exemplars {
        let bound: f64 = le.replace("+Inf", "inf").parse().expect("a bound is a number");
        assert!(*value <= bound && *value > 0.0 && *at > 1.7e9, "{sample}: {value} in {le} at {at}");
        let ids: Vec<_> = labels.iter().map(|(name, id)| (name.as_str(), id.as_str())).collect();
        assert_eq!(ids, [("trace_id", TRACE)], "{sample}");
    }
}

#[test]
fn the_reference_parser_finds_the_same_series_in_both_forms() {
    let Some(python) = tool("PYTHON_PROMETHEUS") else { return };
    let process = running();
    let metrics = format!("{}/metrics", process.admin);
    let read = |form, headers: &[_]| {
        let found = parsed(&python, form, &fetch(&metrics, headers)).unwrap_or_else(|words| panic!("{form}: {words}"));
        check_families(&found, form);
        found
    };
    let text = read("text", &[]);
    let open = read("openmetrics", &[("accept", OPENMETRICS)]);
    let zipped = read("openmetrics", &[("accept", OPENMETRICS), ("accept-encoding", "gzip")]);
    let zipped_text = read("text", &[("accept-encoding", "gzip")]);
    assert_eq!([&text, &open, &zipped, &zipped_text].map(|found| found.zipped), [false, false, true, true]);
    assert!(open.samples.len() > 3_000, "{} samples", open.samples.len());
    assert_eq!(open.samples, zipped.samples);
    assert_eq!(normal(&text), normal(&open));
    check_exemplars(&open);
    assert!(text.exemplars.is_empty());
}

/// Samples with normalized bucket bounds: OpenMetrics writes `1.0` where the text format has `1`.
fn normal(found: &Found) -> Vec<(String, Vec<(String, String)>)> {
    let bound = |(label, value): &(String, String)| match value.parse::<f64>() {
        Ok(number) if label == "le" => (label.clone(), format!("{number:?}")),
        _ => (label.clone(), value.clone()),
    };
    let sample = |(name, labels): &(String, Vec<_>)| (name.clone(), labels.iter().map(bound).collect());
    let mut samples: Vec<_> = found.samples.iter().map(sample).collect();
    samples.sort();
    samples
}

#[test]
fn the_reference_parser_refuses_what_the_standard_forbids() {
    let Some(python) = tool("PYTHON_PROMETHEUS") else { return };
    let process = running();
    let body = fetch(&format!("{}/metrics", process.admin), &[("accept", OPENMETRICS)]);
    let body = String::from_utf8(body).expect("an exposition is UTF-8");
    for (from, to) in [
        ("# EOF\n", ""),
        ("# TYPE hedge_requests counter", "# TYPE hedge_requests_total counter"),
        ("hedge_requests_total{", "hedge_requests{"),
        (r#"le="0.001""#, r#"le="5000.0""#),
        (r#"le="+Inf""#, r#"le="nine""#),
        ("le=\"+Inf\"} 0\n", "le=\"+Inf\"} 0 # {trace_id=\"ab\"}\n"),
        ("hedge_requests_total{", "circuit_breaker_calls_total{"),
        ("breakerbox_build_info{", "breakerbox_build_info{version=\"\n\","),
    ] {
        let broken = body.replacen(from, to, 1);
        assert_ne!(broken, body, "{from:?} is not in the exposition");
        assert!(parsed(&python, "openmetrics", broken.as_bytes()).is_err(), "{from:?} → {to:?} is accepted");
    }
}
