//! The unit tests notice when a rule changes: each mutation here must make them fail.

use std::fs;
use std::path::Path;
use std::thread;

use crate::scratch::Scratch;
use crate::tools::{run, tool};

/// A file under test, what is changed in it, and the unit tests that must object.
struct Mutation {
    file: &'static str,
    from: &'static str,
    to: &'static str,
    tests: &'static str,
}

const fn change(file: &'static str, from: &'static str, to: &'static str, tests: &'static str) -> Mutation {
    Mutation { file, from, to, tests }
}

const BREAKERS: &str = "alerts/breakers.yml";
const RESILIENCE: &str = "alerts/resilience.yml";
const RECORDED: &str = "prometheus/rules/breakers.yml";
const ORDERS: &str = "prometheus/rules/checkout.yml";

const MUTATIONS: &[Mutation] = &[
    // Wrong thresholds.
    change(BREAKERS, "[10m])) >= 3", "[10m])) > 2", "breakers.yml"),
    change(
        BREAKERS,
        "ratio_rate1m{service!=\"gateway-bare\"} > 0.3",
        "ratio_rate1m{service!=\"gateway-bare\"} > 0.29",
        "breakers.yml",
    ),
    change(BREAKERS, "> 0.5\n", "> 0.8\n", "breakers.yml"),
    change(BREAKERS, "0.8 * max", "1.2 * max", "breakers.yml"),
    change(BREAKERS, "_seconds > 120", "_seconds > 1200", "breakers.yml"),
    change(RESILIENCE, "> 1.2 * job_service", "> 0.9 * job_service", "resilience.yml"),
    change(RESILIENCE, "> 3 * (", "> 5 * (", "resilience.yml"),
    change("alerts/checkout.yml", "[5m]) > 0.9", "[5m]) > 0.1", "checkout.yml"),
    // Dropped guards: low traffic, a fresh stack, history, services without protection on purpose.
    change(BREAKERS, "calls_judged:rate1m > 0.2", "calls_judged:rate1m > 0", "breakers.yml"),
    change(BREAKERS, "{service!=\"gateway-bare\"}", "", "breakers.yml"),
    change(
        RESILIENCE,
        "                or\n                  job_service_breaker:fallback_calls:rate1m * 0\n",
        "",
        "resilience.yml",
    ),
    change("alerts/minimal.yml", "offset 15m", "offset 5m", "minimal.yml"),
    change("alerts/targets.yml", "          and on (job, instance)\n            up == 1\n", "", "targets.yml"),
    // The mistake that most people make: only `open`, only the gauge.
    change(
        BREAKERS,
        "max without (state) (circuit_breaker_state{state=~\"closed|disabled|metrics_only\"}) == 0",
        "sum without (state) (circuit_breaker_state{state=\"open\"}) == 1",
        "breakers.yml",
    ),
    change(
        BREAKERS,
        "sum without (from, to) (increase(circuit_breaker_transitions_total{from=\"closed\",to=\"open\"}[1m])) > 0",
        "sum without (state) (changes(circuit_breaker_state{state=\"open\"}[1m])) > 0",
        "breakers.yml",
    ),
    // Dropped labels and severities.
    change(BREAKERS, "sum without (from, to) (", "sum without (from, to, reason) (", "breakers.yml"),
    change(BREAKERS, "severity: critical", "severity: warning", "breakers.yml"),
    change(
        "alerts/targets.yml",
        "label_replace(up{job=~\"breakerbox(-.+)?\"} == 0, \"service\", \"$1\", \"job\", \"breakerbox-(.+)\")",
        "up{job=~\"breakerbox(-.+)?\"} == 0",
        "targets.yml",
    ),
    // Patience.
    change(BREAKERS, "for: 30s", "for: 2m", "breakers.yml"),
    change("alerts/targets.yml", "for: 15s", "for: 0s", "targets.yml"),
    change("alerts/targets.yml", "floor(quantile_over_time(0.5,", "floor(quantile_over_time(1,", "targets.yml"),
    // Renamed series and changed ratios, in what the alerts are computed from.
    change(
        RECORDED,
        "outcome=~\"success|failure|timeout\"",
        "outcome=~\"success|failure|timeout|rejected\"",
        "breakers.yml",
    ),
    change(RECORDED, "circuit_breaker_slow_calls_total", "circuit_breaker_slow_total", "breakers.yml"),
    change(
        RECORDED,
        "record: job_service_breaker:fallback_failures:rate1m",
        "record: job_service_breaker:fallback_failures:rate2m",
        "resilience.yml",
    ),
    change(
        "prometheus/rules/resilience4j.yml",
        "100 * circuit_breaker_failure_ratio",
        "circuit_breaker_failure_ratio",
        "resilience4j.yml",
    ),
    // Orders: what counts as a success, what is in one database for all instances, what is at risk.
    change(ORDERS, "outcome=~\"paid|queued|payment_failed|unavailable\"", "outcome=~\"paid|queued\"", "checkout.yml"),
    change(ORDERS, "outcome=~\"paid|queued\"", "outcome=\"queued\"", "checkout.yml"),
    change(ORDERS, "outcome=~\"kept|lost\"", "outcome=\"kept\"", "checkout.yml"),
    change(ORDERS, "answered:rate1m > 0", "answered:rate1m", "checkout.yml"),
    change(
        ORDERS,
        "max without (instance) (retry_queue_depth",
        "sum without (instance) (retry_queue_depth",
        "checkout.yml",
    ),
    change(ORDERS, "max without (instance) (deriv", "sum without (instance) (deriv", "checkout.yml"),
    change(ORDERS, "deriv2m < -0.001", "deriv2m < 0.001", "checkout.yml"),
    change(
        "alerts/checkout.yml",
        "job_service_queue:retry_queue_dead_items:max > 0",
        "retry_queue_dead_items > 0",
        "checkout.yml",
    ),
    // Words.
    change(
        "alerts/pipeline.yml",
        "rule evaluations of {{ $labels.instance }}",
        "rule evaluations of {{ $labels.pod }}",
        "pipeline.yml",
    ),
];

/// Whether the unit tests, run on a changed copy, fail.
fn is_caught(promtool: &Path, number: usize, mutation: &Mutation) -> bool {
    let scratch = Scratch::with_rules(&format!("mutation-{number}"));
    let file = scratch.path().join(mutation.file);
    let text = fs::read_to_string(&file).expect("the copy can be read");
    assert!(text.contains(mutation.from), "{} holds no {:?} any more", mutation.file, mutation.from);
    fs::write(&file, text.replacen(mutation.from, mutation.to, 1)).expect("the copy can be written");
    let check = run(promtool, [Path::new("check"), Path::new("rules"), &file]);
    check.unwrap_or_else(|words| panic!("a mutation must stay valid, or it proves nothing: {words}"));
    let tests = scratch.path().join("alerts/tests").join(mutation.tests);
    run(promtool, [Path::new("test"), Path::new("rules"), &tests]).is_err()
}

#[test]
fn every_mutation_of_a_rule_fails_its_unit_tests() {
    let Some(promtool) = tool("PROMTOOL") else { return };
    let numbered: Vec<_> = MUTATIONS.iter().enumerate().collect();
    let survivors: Vec<String> = thread::scope(|scope| {
        let halves = numbered.chunks(numbered.len().div_ceil(2));
        let running: Vec<_> = halves
            .map(|half| {
                let promtool = &promtool;
                scope.spawn(move || {
                    let survived = half.iter().filter(|(number, mutation)| !is_caught(promtool, *number, mutation));
                    survived
                        .map(|(_, mutation)| format!("{}: {:?} to {:?}", mutation.file, mutation.from, mutation.to))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        running.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(survivors.is_empty(), "nobody notices:\n{}", survivors.join("\n"));
}
