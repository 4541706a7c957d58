//! Dashboards and program agree: every metric, label and value in a query is one that
//! `telemetry::names` exports, and is used according to its kind.

use breakerbox_telemetry::names::{self, Family, Kind, label, value};
use serde_json::Value;

use super::lint::{annotations, panels, queries, text};
use super::pages;
use super::promql::{self, Selector};

/// Series of Prometheus, Alertmanager and every client library: name, and the labels used here.
const SURROUNDINGS: &[(&str, &[&str])] = &[
    ("up", &[]),
    // Alerts have the labels of their series.
    ("ALERTS", &["alertname", "alertstate", "severity", label::SERVICE, label::BREAKER]),
    ("ALERTS_FOR_STATE", &["alertname", "severity", label::SERVICE, label::BREAKER]),
    ("scrape_duration_seconds", &[]),
    ("scrape_samples_scraped", &[]),
    ("process_start_time_seconds", &[]),
    ("process_resident_memory_bytes", &[]),
    ("process_cpu_seconds_total", &[]),
    ("process_open_fds", &[]),
    ("process_max_fds", &[]),
    ("prometheus_rule_group_last_duration_seconds", &["rule_group"]),
    ("prometheus_rule_group_interval_seconds", &["rule_group"]),
    ("prometheus_rule_evaluation_failures_total", &["rule_group"]),
    ("prometheus_target_interval_length_seconds", &["interval", "quantile"]),
    ("prometheus_tsdb_head_series", &[]),
    ("prometheus_tsdb_head_samples_appended_total", &[]),
    ("prometheus_notifications_sent_total", &["alertmanager"]),
    ("prometheus_notifications_errors_total", &["alertmanager"]),
    ("prometheus_notifications_dropped_total", &[]),
    ("alertmanager_alerts", &["state"]),
    ("alertmanager_alerts_received_total", &["status"]),
    ("alertmanager_notifications_total", &["integration"]),
    ("alertmanager_notifications_failed_total", &["integration"]),
];

/// Labels that a target gets from the scrape.
const TARGET: &[&str] = &["job", "instance"];

/// The family of a series; names of a histogram's series have one of three suffixes.
fn family_of(metric: &str) -> Option<&'static Family> {
    names::ALL.iter().find(|family| match family.kind {
        Kind::Histogram => {
            ["_bucket", "_sum", "_count"].iter().any(|end| metric.strip_suffix(end) == Some(family.name))
        }
        Kind::Counter | Kind::Gauge => metric == family.name,
    })
}

fn labels_of(metric: &str) -> Option<Vec<&'static str>> {
    let own = match family_of(metric) {
        Some(family) => family.labels,
        None => SURROUNDINGS.iter().find(|(name, _)| *name == metric)?.1,
    };
    let bucket = metric.ends_with("_bucket").then_some("le");
    Some(own.iter().chain(TARGET).copied().chain(bucket).collect())
}

/// The values of a label, if they are a closed set.
fn values_of(metric: &str, name: &str) -> Option<&'static [&'static str]> {
    let family = family_of(metric)?;
    let known = match (family.name, name) {
        (_, label::STATE | label::FROM | label::TO) => value::STATES,
        ("circuit_breaker_transitions_total", label::REASON) => value::TRANSITION_REASONS,
        ("circuit_breaker_calls_total", label::OUTCOME) => value::CALL_OUTCOMES,
        ("circuit_breaker_call_duration_seconds", label::OUTCOME) => value::EXECUTED_OUTCOMES,
        ("fallback_calls_total" | "fallback_failures_total", label::KIND) => value::FALLBACK_KINDS,
        ("fallback_calls_total", label::REASON) => value::FALLBACK_REASONS,
        ("retry_calls_total", label::OUTCOME) => value::RETRY_OUTCOMES,
        ("retry_attempts_total", label::REASON) => value::RETRY_REASONS,
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
        ("fault_active" | "fault_configured_ratio" | "fault_injected_total", label::KIND) => value::FAULT_KINDS,
        ("traffic_journeys_total" | "traffic_request_duration_seconds", label::OUTCOME) => value::TRAFFIC_OUTCOMES,
        ("slo_objective_ratio", label::SLO) => value::SLOS,
        ("alert_webhook_notifications_total", label::STATUS) => value::ALERT_STATUSES,
        ("admin_actions_total", label::ACTION) => value::ADMIN_ACTIONS,
        ("admin_actions_total", label::OUTCOME) => value::ADMIN_OUTCOMES,
        _ => return None,
    };
    Some(known)
}

fn check_selector(selector: &Selector, at: &str) {
    let metric = &selector.metric;
    let labels = labels_of(metric).unwrap_or_else(|| panic!("{at}: nothing exports {metric}"));
    for (name, op, wanted) in &selector.matchers {
        assert!(labels.contains(&name.as_str()), "{at}: {metric} has no label {name}");
        let Some(known) = values_of(metric, name).filter(|_| !wanted.contains('$')) else { continue };
        let wanted: Vec<_> = if op.ends_with('~') { wanted.split('|').collect() } else { vec![wanted.as_str()] };
        for one in wanted {
            assert!(known.contains(&one), "{at}: {metric} never has {name}={one:?}, only {known:?}");
        }
    }
}

/// A counter is only used as a difference; a gauge has no rate.
fn check_kind(selector: &Selector, at: &str) {
    let metric = selector.metric.as_str();
    let differs = matches!(selector.function.as_deref(), Some("rate" | "increase"));
    let counts = match family_of(metric) {
        Some(family) => family.kind != Kind::Gauge,
        None => metric.ends_with("_total") || metric.ends_with("_sum") || metric.ends_with("_count"),
    };
    if counts {
        assert!(differs && selector.range.is_some(), "{at}: {metric} is a counter outside rate() and increase()");
    } else {
        assert!(!differs, "{at}: {metric} is a gauge inside rate() or increase()");
        // Each instance of checkout reports the whole queue.
        let added_up =
            metric.starts_with("retry_queue_") && matches!(selector.function.as_deref(), Some("sum" | "avg"));
        assert!(!added_up, "{at}: {metric} of several instances is one queue: take the largest");
    }
    if selector.function.as_deref() == Some("rate") {
        assert_eq!(selector.range.as_deref(), Some("$__rate_interval"), "{at}: {metric}");
    }
}

#[test]
fn every_query_names_what_is_exported_and_fits_its_kind() {
    for page in pages() {
        let json = page.json();
        for panel in panels(&json) {
            let at = format!("{} / {}", page.uid, text(panel, "title"));
            for query in queries(panel) {
                let read = promql::read(text(query, "expr"));
                // A counter may be compared with its own value a moment ago, to detect an event.
                let compared = text(query, "expr").contains("} offset 5s");
                for selector in &read.selectors {
                    check_selector(selector, &at);
                    if !(compared && selector.metric.ends_with("_transitions_total")) {
                        check_kind(selector, &at);
                    }
                }
                check_labels(&read, query, &at);
            }
        }
        for event in annotations(&json) {
            let at = format!("{} / annotation {}", page.uid, text(event, "name"));
            let read = promql::read(text(event, "expr"));
            assert!(!read.selectors.is_empty(), "{at}: asks nothing");
            read.selectors.iter().for_each(|selector| check_selector(selector, &at));
        }
    }
}

/// Labels in groupings exist; labels in a legend were not aggregated away.
fn check_labels(read: &promql::Query, query: &Value, at: &str) {
    let mut known: Vec<String> = read.made.clone();
    for selector in &read.selectors {
        known.extend(labels_of(&selector.metric).into_iter().flatten().map(str::to_owned));
    }
    for name in &read.grouped {
        assert!(known.contains(name), "{at}: nothing in the query has a label {name}");
    }
    for piece in text(query, "legendFormat").split("{{").skip(1) {
        let name = piece.split("}}").next().unwrap_or_default().to_owned();
        let kept = read.grouped.contains(&name) || read.made.contains(&name);
        assert!(kept, "{at}: the legend shows {name}, which the query does not keep");
    }
}

#[test]
fn every_variable_asks_for_what_is_exported() {
    for page in pages() {
        let json = page.json();
        for variable in json["templating"]["list"].as_array().unwrap() {
            let Some(query) = variable["definition"].as_str() else { continue };
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
            let (series, wanted) = inner.rsplit_once(", ").unwrap();
            let read = promql::read(series);
            check_selector(&read.selectors[0], query);
            assert!(labels_of(&read.selectors[0].metric).unwrap().contains(&wanted), "{query}");
        }
    }
}
