//! Every series, label and label value in a rule is one that the program exports.

use std::collections::{BTreeMap, BTreeSet};

use breakerbox_telemetry::names::{self, Kind, label, value};

use crate::files::{Rule, TestFile, read, rules, yaml_in};
use crate::promql::{self, Selector};

/// Labels and label values of a known series.
struct Series {
    labels: BTreeSet<String>,
    values: BTreeMap<String, BTreeSet<String>>,
}

/// Labels that Prometheus adds to every scraped series.
const TARGET_LABELS: &[&str] = &["job", "instance", "cluster", "environment", "namespace", "exported_service"];

const SERVICES: &[&str] = &[
    "gateway",
    "user",
    "catalog",
    "recommendation",
    "ml-api",
    "gateway-bare",
    "traffic",
    "checkout",
    "inventory",
    "payment-gateway",
    "notification",
];

/// Metrics of Prometheus and Alertmanager themselves, the same in all supported versions.
const FOREIGN: &[(&str, &[&str])] = &[
    ("up", &[]),
    ("prometheus_rule_evaluation_failures_total", &["rule_group"]),
    ("prometheus_notifications_errors_total", &["alertmanager"]),
    ("prometheus_notifications_dropped_total", &[]),
    ("prometheus_config_last_reload_successful", &[]),
    ("alertmanager_config_last_reload_successful", &[]),
    ("process_start_time_seconds", &[]),
    // `reason` and `receiver_name` came after 0.25; aggregating away a label that does not exist is harmless.
    ("alertmanager_notifications_failed_total", &["integration", "reason", "receiver_name"]),
];

/// The closed set of a label's values in a family, if it has one.
fn closed_set(family: &str, label: &str) -> Option<&'static [&'static str]> {
    Some(match (family, label) {
        (_, label::SERVICE) => SERVICES,
        (_, label::STATE | label::FROM | label::TO) => value::STATES,
        ("circuit_breaker_transitions_total", label::REASON) => value::TRANSITION_REASONS,
        ("fallback_calls_total", label::REASON) => value::FALLBACK_REASONS,
        ("retry_attempts_total", label::REASON) => value::RETRY_REASONS,
        ("circuit_breaker_calls_total", label::OUTCOME) => value::CALL_OUTCOMES,
        ("circuit_breaker_call_duration_seconds", label::OUTCOME) => value::EXECUTED_OUTCOMES,
        ("retry_calls_total", label::OUTCOME) => value::RETRY_OUTCOMES,
        ("hedge_requests_total", label::OUTCOME) => value::HEDGE_OUTCOMES,
        ("rate_limiter_requests_total", label::OUTCOME) => value::RATE_LIMIT_OUTCOMES,
        ("playback_requests_total", label::OUTCOME) => value::PLAYBACK_OUTCOMES,
        ("checkout_orders_total", label::OUTCOME) => value::ORDER_OUTCOMES,
        ("checkout_revenue_total", label::OUTCOME) => value::REVENUE_OUTCOMES,
        ("checkout_saga_steps_total", label::STEP) => value::SAGA_STEPS,
        ("checkout_saga_steps_total", label::OUTCOME) => value::SAGA_OUTCOMES,
        ("checkout_idempotency_requests_total", label::OUTCOME) => value::IDEMPOTENCY_OUTCOMES,
        ("retry_queue_attempts_total", label::OUTCOME) => value::QUEUE_OUTCOMES,
        ("payment_ledger_entries_total", label::OUTCOME) => value::LEDGER_OUTCOMES,
        (_, label::SLO) => value::SLOS,
        (family, label::KIND) if family.starts_with("fallback_") => value::FALLBACK_KINDS,
        (family, label::KIND) if family.starts_with("fault_") => value::FAULT_KINDS,
        _ => return None,
    })
}

fn series(family: &str, labels: &[&str], extra: &[&str]) -> Series {
    let all = labels.iter().chain(TARGET_LABELS).chain(extra).map(|label| (*label).to_owned()).collect();
    let set = |label: &&str| {
        let values = closed_set(family, label)?.iter().map(|value| (*value).to_owned()).collect();
        Some(((*label).to_owned(), values))
    };
    Series { labels: all, values: labels.iter().filter_map(set).collect() }
}

/// Scraped series.
fn exported() -> BTreeMap<String, Series> {
    let mut known = BTreeMap::new();
    for family in names::ALL {
        if family.kind == Kind::Histogram {
            for (suffix, extra) in [("_bucket", &["le"][..]), ("_sum", &[]), ("_count", &[])] {
                known.insert(format!("{}{suffix}", family.name), series(family.name, family.labels, extra));
            }
        } else {
            known.insert(family.name.to_owned(), series(family.name, family.labels, &[]));
        }
    }
    for (name, labels) in FOREIGN {
        let doubled = known.insert((*name).to_owned(), series(name, labels, &[]));
        assert!(doubled.is_none(), "{name} is declared in names now: remove it from this list");
    }
    known
}

/// Scraped and recorded series. A recorded series may have the labels and values of its inputs.
fn known(rules: &[(String, Rule)]) -> BTreeMap<String, Series> {
    let mut known = exported();
    for (_, rule) in rules {
        let Some(record) = &rule.record else { continue };
        let mut made = Series { labels: rule.labels.keys().cloned().collect(), values: BTreeMap::new() };
        for input in promql::read(&rule.expr).selectors.iter().filter_map(|found| known.get(&found.metric)) {
            made.labels.extend(input.labels.iter().cloned());
            made.values.extend(input.values.iter().map(|(label, set)| (label.clone(), set.clone())));
        }
        known.insert(record.clone(), made);
    }
    known
}

/// The errors in an expression; empty if there are none.
fn complaints(expr: &str, known: &BTreeMap<String, Series>) -> Vec<String> {
    let promql::Query { selectors: uses, grouped, .. } = promql::read(expr);
    let mut wrong: Vec<String> = uses.iter().flat_map(|found| complaints_about(found, known)).collect();
    let labels: BTreeSet<&String> =
        uses.iter().filter_map(|found| known.get(&found.metric)).flat_map(|s| &s.labels).collect();
    let strange = grouped.into_iter().filter(|label| !labels.contains(label));
    wrong.extend(strange.map(|label| format!("groups by {label}, which no series here has")));
    wrong
}

fn complaints_about(found: &Selector, known: &BTreeMap<String, Series>) -> Vec<String> {
    let Some(series) = known.get(&found.metric) else {
        return vec![format!("{} is neither exported nor recorded", found.metric)];
    };
    let mut wrong = Vec::new();
    for (label, op, value) in &found.matchers {
        if !series.labels.contains(label) {
            wrong.push(format!("{} has no label {label}", found.metric));
        }
        let values: Vec<&str> = if op.ends_with('~') { value.split('|').collect() } else { vec![value] };
        let Some(set) = series.values.get(label) else { continue };
        let strange = values.iter().filter(|value| !set.contains(**value) && !value.is_empty() && **value != "x");
        wrong.extend(strange.map(|value| format!("{}: {label} is never {value:?}", found.metric)));
    }
    wrong
}

/// The queries inside an annotation's templates: `printf "…" $labels.a | query`, with `x` for each value.
fn queries_in(annotation: &str) -> Vec<String> {
    let starts = annotation.split("printf \"").skip(1);
    let quoted = starts.map(|rest| {
        let mut end = 0;
        let bytes = rest.as_bytes();
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        rest[..end].replace("\\\"", "\"").replace("%q", "\"x\"")
    });
    quoted.filter(|query| query.contains('{')).collect()
}

#[test]
fn every_rule_names_only_what_is_exported_or_recorded() {
    let rules = rules();
    let known = known(&rules);
    let mut wrong = Vec::new();
    for (file, rule) in &rules {
        let name = rule.alert.as_ref().or(rule.record.as_ref()).expect("a rule has a name");
        let queries = rule.annotations.values().flat_map(|annotation| queries_in(annotation));
        for expr in queries.chain([rule.expr.clone()]) {
            wrong.extend(complaints(&expr, &known).into_iter().map(|words| format!("{file}: {name}: {words}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_annotation_names_only_labels_of_its_expression() {
    let rules = rules();
    let known = known(&rules);
    for (file, rule) in rules.iter().filter(|(_, rule)| rule.alert.is_some()) {
        let uses = promql::read(&rule.expr).selectors;
        let mut labels: BTreeSet<&str> = uses
            .iter()
            .filter_map(|found| known.get(&found.metric))
            .flat_map(|s| &s.labels)
            .map(String::as_str)
            .collect();
        labels.extend(rule.labels.keys().map(String::as_str));
        for annotation in rule.annotations.values() {
            for rest in annotation.split("$labels.").skip(1) {
                let name: &str = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                assert!(labels.contains(name), "{file}: {:?} has no label {name}", rule.alert);
            }
        }
    }
}

#[test]
fn recorded_names_are_level_metric_operation() {
    let names: Vec<String> = rules().into_iter().filter_map(|(_, rule)| rule.record).collect();
    for name in names.iter().filter(|name| !name.starts_with("resilience4j_") && *name != "jvm_info") {
        let parts: Vec<&str> = name.split(':').collect();
        assert!(parts.len() == 3 && parts.iter().all(|part| !part.is_empty()), "{name}");
    }
}

#[test]
fn every_recorded_series_is_used_or_meant_for_dashboards() {
    let rules = rules();
    let mut used: BTreeSet<String> =
        rules.iter().flat_map(|(_, rule)| promql::read(&rule.expr).selectors).map(|found| found.metric).collect();
    // A series that no alert uses is for dashboards, and has its own unit test.
    let tests = yaml_in("alerts/tests").into_iter().flat_map(|path| read::<TestFile>(&path).tests);
    let proven = tests.flat_map(|test| test.expressions).flat_map(|test| promql::read(&test.expr).selectors);
    used.extend(proven.map(|found| found.metric));
    let for_dashboards = ["p50_rate2m", "p95_rate2m", "ratio_rate20s", "ratio_rate1m"];
    for name in rules.iter().filter_map(|(_, rule)| rule.record.as_ref()) {
        let exempt = name.starts_with("resilience4j_")
            || name == "jvm_info"
            || for_dashboards.iter().any(|end| name.ends_with(end));
        assert!(exempt || used.contains(name), "no rule or dashboard uses the recorded {name}");
    }
}

/// Each instance of checkout reports the whole queue, which is in one shared database: a sum over instances would be
/// too high by their number.
#[test]
fn the_queue_of_several_instances_is_never_added_up() {
    let added_up = |expr: &str| {
        let words: String = expr.split_whitespace().collect::<Vec<_>>().join(" ");
        let gauges = names::ALL.iter().filter(|family| family.kind == Kind::Gauge);
        let queues: Vec<_> = gauges.map(|family| family.name).filter(|name| name.starts_with("retry_queue_")).collect();
        assert_eq!(queues.len(), 4);
        let aggregates = ["by (cluster, environment, namespace, job, exported_service, service, queue) ("];
        queues
            .iter()
            .flat_map(|name| words.match_indices(name).map(|(at, _)| words[..at].to_owned()))
            // Recorded names contain the gauge's name: they already have one series per queue.
            .filter(|before| !before.ends_with(':'))
            .find(|before| {
                let inside = before.trim_end_matches("deriv(");
                !aggregates.iter().any(|grouping| inside.ends_with(&format!("max {grouping}")))
            })
    };
    for (file, rule) in rules() {
        let name = rule.alert.as_ref().or(rule.record.as_ref());
        assert_eq!(added_up(&rule.expr), None, "{file}: {name:?}");
    }
    assert!(added_up("sum by (service, queue) (retry_queue_depth_items)").is_some());
    assert!(added_up("retry_queue_depth_items > 0").is_some());
}

#[test]
fn renamed_series_unknown_labels_and_values_are_caught() {
    let known = known(&rules());
    for (expr, word) in [
        ("circuit_breaker_status == 1", "neither exported"),
        ("job_service_breaker:circuit_breaker_calls:rate9m", "neither exported"),
        (r#"circuit_breaker_state{name="a"}"#, "no label name"),
        (r#"circuit_breaker_state{state="halfopen"}"#, "never \"halfopen\""),
        (r#"circuit_breaker_calls_total{outcome=~"failure|timeouts"}"#, "never \"timeouts\""),
        ("sum by (dependency) (circuit_breaker_calls_total)", "groups by dependency"),
        ("circuit_breaker_call_duration_seconds", "neither exported"),
        (r#"job_service_breaker_outcome:circuit_breaker_calls:rate1m{outcome="fail"}"#, "never \"fail\""),
    ] {
        let words = complaints(expr, &known).join("; ");
        assert!(words.contains(word), "{expr}: {words:?}");
    }
}
