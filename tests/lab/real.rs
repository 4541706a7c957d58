//! The same short scenario in virtual and in real time gives the same transitions and nearly the same success ratio.

use std::time::{Duration, Instant};

use breakerbox::lab::{self, Experiment, Lang, Options};
use serde_json::Value;

use crate::process::{Process, within};

/// Thirty seconds with an outage of six. Nothing else fails, because random failures would differ between runs.
const SCENARIO: &str = r#"
name = "short"
length = "40s"
[[step]]
name = "outage"
at = "8s"
for = "6s"
target = "recommendation"
fault = { error_rate = 1.0 }
"#;
const SECONDS: u64 = 30;
/// A low rate and long timeouts, because the effect of a busy machine on the real run is not under test.
const RATE: f64 = 8.0;
/// Settings of both runs. The probes before and after the end of the outage are each two seconds away from it.
const SETTINGS: [(&str, &str); 8] = [
    ("faults.ml-api.error-rate", "0.0"),
    ("faults.payment-gateway.error-rate", "0.0"),
    ("payment-gateway.decline-rate", "0.0"),
    ("policies.gateway.recommendation.circuit-breaker.wait-duration-in-open-state", "3s"),
    ("policies.gateway.recommendation.circuit-breaker.open-wait-jitter", "0.0"),
    ("policies.gateway.recommendation.retry", "false"),
    ("policies.gateway.recommendation.time-limiter.timeout-duration", "4s"),
    ("policies.gateway.recommendation.time-limiter.total-timeout", "5s"),
];

/// The result of a run: the breaker's transitions, and the share of requests with a complete answer.
#[derive(Debug)]
struct Run {
    transitions: Vec<String>,
    success: f64,
}

fn line(from: &Value, to: &Value, reason: &Value) -> String {
    format!("{} → {}: {}", from.as_str().unwrap(), to.as_str().unwrap(), reason.as_str().unwrap())
}

fn in_virtual_time() -> Run {
    let settings: String = SETTINGS
        .iter()
        .map(|(path, value)| {
            let bare = value.parse::<f64>().is_ok() || *value == "false";
            if bare { format!("{path} = {value}\n") } else { format!("{path} = {value:?}\n") }
        })
        .collect();
    let text = format!(
        "name = \"short\"\ntitle.en = \"Short\"\nquestion.en = \"?\"\ncolumns = [\"success\"]\nseeds = 1\n[[case]]\nname = \"short\"\n\
         duration = \"{SECONDS}s\"\nload = {{ rate = {RATE} }}\n[case.site]\nbreaker = \"gateway/recommendation\"\n\
         scenario = '''{SCENARIO}'''\n[case.site.settings]\n{settings}[[case.variant]]\nname = \"only\"\n"
    );
    let experiment = Experiment::parse(&text).unwrap();
    let options = Options { quick: false, seeds: None, jobs: 1, duration: None };
    let results = lab::run(&experiment, &options, &|_, _| {}).unwrap();
    let files = lab::render(&[results], Lang::En).unwrap();
    let (_, json) = files.iter().find(|(name, _)| name == "results.json").unwrap();
    let cell = &serde_json::from_str::<Value>(json).unwrap()[0]["cases"][0]["cells"][0];
    let moves = cell["transitions"].as_array().unwrap();
    Run {
        transitions: moves.iter().map(|moved| line(&moved["from"], &moved["to"], &moved["reason"])).collect(),
        success: cell["runs"][0]["success"].as_f64().unwrap(),
    }
}

/// The number of requests to the protected gateway with this outcome, from `/metrics`.
fn requests(metrics: &str, outcome: &str) -> f64 {
    let wanted = [r#"target="gateway""#, &format!("outcome=\"{outcome}\"")];
    let line = metrics.lines().find(|line| {
        line.starts_with("traffic_request_duration_seconds_count{") && wanted.iter().all(|label| line.contains(label))
    });
    line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |value| value.parse().unwrap())
}

fn in_real_time() -> Run {
    let file = std::env::temp_dir().join(format!("breakerbox-lab-short-{}.toml", std::process::id()));
    std::fs::write(&file, SCENARIO).unwrap();
    let variables: Vec<(String, &str)> = SETTINGS
        .iter()
        .map(|(path, value)| {
            (format!("BREAKERBOX_{}", path.replace('.', "__").replace('-', "_").to_uppercase()), *value)
        })
        .collect();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let process = Process::start(&["--seed", "1", "--rate", "8", "--scenario", file.to_str().unwrap()], &variables);
    let begun = Instant::now();
    let _ = std::fs::remove_file(file);
    within(Duration::from_secs(SECONDS + 15), || begun.elapsed() >= Duration::from_secs(SECONDS + 1));
    let log = process.get("/transitions");
    let metrics = process.text("/metrics");
    let moves = log["transitions"].as_array().or_else(|| log.as_array()).unwrap();
    let mut moves: Vec<&Value> =
        moves.iter().filter(|moved| moved["service"] == "gateway" && moved["breaker"] == "recommendation").collect();
    moves.sort_by(|one, other| {
        one["unix_seconds"].as_f64().unwrap().total_cmp(&other["unix_seconds"].as_f64().unwrap())
    });
    let [ok, degraded, error] = ["ok", "degraded", "error"].map(|outcome| requests(&metrics, outcome));
    Run {
        transitions: moves.iter().map(|moved| line(&moved["from"], &moved["to"], &moved["reason"])).collect(),
        success: ok / (ok + degraded + error),
    }
}

#[test]
fn virtual_and_real_time_agree() {
    let (fast, real) = (in_virtual_time(), in_real_time());
    assert!(fast.transitions.len() >= 5, "the breaker opens, probes and closes: {fast:?}");
    assert_eq!(fast.transitions, real.transitions);
    assert!(fast.success < 0.98, "the outage lowers the success ratio: {fast:?}");
    assert!((fast.success - real.success).abs() < 0.02, "virtual {fast:?}, real {real:?}");
    eprintln!("success: {:.2} % in virtual time, {:.2} % in real time", fast.success * 100.0, real.success * 100.0);
}
