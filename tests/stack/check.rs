//! `breakerbox check` against a real Prometheus: with a correct setup, and with each mistake that Prometheus does not
//! report.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Process, breakerbox, within};
use crate::prometheus::{Prometheus, free_port};
use crate::tools::root;

/// Starts a Prometheus with these scrape jobs and rule files, and waits until every target was scraped.
fn prometheus(name: &str, jobs: &str, rules: &[(&str, String)], targets: usize) -> Option<Prometheus> {
    let mut config =
        "global: {scrape_interval: 5s, scrape_timeout: 4s, evaluation_interval: 1s}\nrule_files:\n".to_owned();
    for (file, _) in rules {
        writeln!(config, "  - {file}").unwrap();
    }
    config += "scrape_configs:\n";
    config += jobs;
    let started = Prometheus::start(name, &config, rules, &["--enable-feature=exemplar-storage"])?;
    within(Duration::from_secs(60), || {
        let page = started.get("targets?state=active").unwrap_or_default();
        let all = page["activeTargets"].as_array().cloned().unwrap_or_default();
        all.len() == targets && all.iter().all(|target| target["health"] != "unknown")
    });
    Some(started)
}

/// Runs the command and returns its exit code and the findings: level and message.
fn check(prometheus: &str, arguments: &[&str]) -> (i32, Vec<(String, String)>) {
    let arguments: Vec<_> =
        ["check", "--json", "--prometheus", prometheus].into_iter().chain(arguments.iter().copied()).collect();
    let done = breakerbox(&arguments, &[]);
    let json: Value =
        serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", done.stdout, done.stderr));
    let finding = |finding: &Value| {
        let text = |key: &str| finding[key].as_str().unwrap().to_owned();
        (text("level"), format!("{} → {}", text("what"), text("to_do")))
    };
    (done.code, json["findings"].as_array().unwrap().iter().map(finding).collect())
}

fn shipped_rules() -> Vec<(&'static str, String)> {
    let files = [
        ("records-breakers.yml", "prometheus/rules/breakers.yml"),
        ("records-checkout.yml", "prometheus/rules/checkout.yml"),
        ("records-slo.yml", "prometheus/rules/slo.yml"),
        ("breakers.yml", "alerts/breakers.yml"),
        ("resilience.yml", "alerts/resilience.yml"),
        ("slo.yml", "alerts/slo.yml"),
        ("checkout.yml", "alerts/checkout.yml"),
        ("targets.yml", "alerts/targets.yml"),
        ("pipeline.yml", "alerts/pipeline.yml"),
        ("expected.yml", "alerts/expected/local.yml"),
    ];
    files.map(|(name, file)| (name, std::fs::read_to_string(root().join(file)).unwrap())).to_vec()
}

#[test]
fn a_stack_as_shipped_has_no_problem() {
    let process = Process::start(&["--no-scenario"], &[]);
    let jobs =
        format!("  - job_name: breakerbox\n    static_configs: [{{targets: ['{}']}}]\n", process.admin_address());
    let Some(prometheus) = prometheus("check-well", &jobs, &shipped_rules(), 1) else { return };
    // Once it succeeds, the last of the recording rules has been evaluated.
    let mut last = (1, Vec::new());
    within(Duration::from_secs(90), || {
        last = check(&prometheus.url, &[]);
        last.0 == 0
    });
    let (_, findings) = last;
    let has = |level: &str, words: &str| findings.iter().any(|(own, what)| own == level && what.contains(words));
    assert!(has("ok", "1 target exports these metrics: breakerbox"), "{findings:#?}");
    assert!(has("ok", "shipped alerts are loaded"), "{findings:#?}");
    assert!(has("hint", "no Alertmanager is connected"), "{findings:#?}");
    assert!(!has("hint", "exemplars"), "{findings:#?}");
    // `--strict` turns the same hints into a failure.
    assert_eq!(check(&prometheus.url, &["--strict"]).0, 1);
    let words = breakerbox(&["check", "--prometheus", &prometheus.url], &[]);
    assert!(
        words.stdout.starts_with("Prometheus 3.") && words.stdout.contains("ok       1 target"),
        "{}",
        words.stdout
    );
}

#[test]
fn each_silent_mistake_is_found_with_its_fix() {
    let process = Process::start(&["--no-scenario"], &[]);
    let (address, nothing) = (process.admin_address().to_owned(), free_port());
    let jobs = format!(
        "  - job_name: breakerbox\n    scrape_interval: 4s\n    scrape_timeout: 3s\n    static_configs:\n      \
         - targets: ['{address}']\n        labels: {{service: films}}\n    metric_relabel_configs:\n      \
         - {{source_labels: [__name__], regex: circuit_breaker_call_duration_seconds_bucket, action: drop}}\n  \
         - job_name: breakerbox-gone\n    static_configs: [{{targets: ['127.0.0.1:{nothing}']}}]\n  \
         - job_name: breakerbox-other\n    static_configs: [{{targets: ['{address}']}}]\n    metrics_path: /metrics\n    \
         metric_relabel_configs: [{{source_labels: [__name__], regex: '.+', action: drop}}]\n"
    );
    let mine = "groups: [{name: mine, rules: [{alert: Mine, expr: 'rate(circuit_breaker_calls_total[5s]) > 9 or service:unknown:rate1m > 1'}]}]";
    let minimal = std::fs::read_to_string(root().join("alerts/minimal.yml")).unwrap();
    let mut rules = shipped_rules();
    rules.push(("minimal.yml", minimal));
    rules.push(("mine.yml", mine.to_owned()));
    let Some(prometheus) = prometheus("check-ill", &jobs, &rules, 3) else { return };
    let wanted = [
        "service of these metrics is stored as exported_service",
        "honor_labels: true",
        "breakerbox-gone",
        "breakerbox-other (http",
        "has no buckets",
        "a window of 5s has fewer than 2 samples at a scrape every 4s: Mine see nothing",
        "Mine reads service:unknown:rate1m, which no rule records",
        "loaded from two files",
    ];
    let missing = |findings: &[(String, String)]| {
        let said = |words: &&&str| findings.iter().any(|(level, what)| level == "problem" && what.contains(**words));
        wanted.iter().filter(|words| !said(words)).copied().collect::<Vec<_>>()
    };
    let mut last = Vec::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(90) {
        let (code, found) = check(&prometheus.url, &[]);
        if missing(&found).is_empty() {
            assert_eq!(code, 1);
            return;
        }
        last = found;
    }
    panic!("{:?} is missing in {last:#?}", missing(&last));
}

#[test]
fn without_our_targets_the_scrape_job_is_suggested() {
    let Some(prometheus) = prometheus("check-empty", "  []\n", &[], 0) else { return };
    within(Duration::from_secs(30), || breakerbox(&["check", "--prometheus", &prometheus.url], &[]).code == 1);
    let (code, findings) = check(&prometheus.url, &[]);
    assert_eq!((code, findings.len()), (1, 1), "{findings:#?}");
    assert!(findings[0].1.contains("prometheus/snippets/scrape.yml"), "{findings:#?}");
}

#[test]
fn an_unreachable_prometheus_has_its_own_exit_code() {
    let done = breakerbox(&["check", "--prometheus", &format!("http://127.0.0.1:{}", free_port())], &[]);
    assert_eq!((done.code, done.stderr.contains("does not answer: no connection")), (2, true), "{}", done.stderr);
    assert_eq!(breakerbox(&["check", "--prometheus", "nowhere"], &[]).code, 2);
    // A server answers at that address, but it is no Prometheus.
    let process = Process::start(&["--no-scenario", "--no-traffic"], &[]);
    let done = breakerbox(&["check", "--prometheus", &process.admin], &[]);
    assert_eq!((done.code, done.stderr.contains("no answer of Prometheus' API")), (2, true), "{}", done.stderr);
}
