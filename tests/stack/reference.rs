//! The tables of `docs/metrics.md` are generated from `telemetry::names`.
//!
//! ```text
//! BLESS=1 cargo test --test stack reference    rewrite them
//! ```

use std::fmt::Write as _;
use std::fs;

use breakerbox_telemetry::names::{ALL, Family, Kind, value};

use crate::tools::root;

/// Label values that are closed sets: label, where it applies, values.
const VALUES: &[(&str, &str, &[&str])] = &[
    ("state", "breakers; also `from` and `to`", value::STATES),
    ("reason", "transitions", value::TRANSITION_REASONS),
    ("outcome", "`circuit_breaker_calls_total`", value::CALL_OUTCOMES),
    ("outcome", "`circuit_breaker_call_duration_seconds`", value::EXECUTED_OUTCOMES),
    ("kind", "fallbacks", value::FALLBACK_KINDS),
    ("reason", "fallbacks", value::FALLBACK_REASONS),
    ("outcome", "`retry_calls_total`", value::RETRY_OUTCOMES),
    ("reason", "`retry_attempts_total`", value::RETRY_REASONS),
    ("outcome", "hedges", value::HEDGE_OUTCOMES),
    ("outcome", "the rate limiter", value::RATE_LIMIT_OUTCOMES),
    ("reason", "`http_server_dropped_connections_total`", &value::DROPPED_REASONS),
    ("outcome", "pages", value::PLAYBACK_OUTCOMES),
    ("slo", "objectives", value::SLOS),
    ("outcome", "orders", value::ORDER_OUTCOMES),
    ("outcome", "revenue", value::REVENUE_OUTCOMES),
    ("step", "orders", value::SAGA_STEPS),
    ("outcome", "steps of orders", value::SAGA_OUTCOMES),
    ("outcome", "idempotency keys", value::IDEMPOTENCY_OUTCOMES),
    ("outcome", "breakers that ask Prometheus", value::STATELESS_OUTCOMES),
    ("outcome", "the retry queue", value::QUEUE_OUTCOMES),
    ("outcome", "the payment ledger", value::LEDGER_OUTCOMES),
    ("kind", "faults", value::FAULT_KINDS),
    ("outcome", "traffic", value::TRAFFIC_OUTCOMES),
    ("status", "delivered alerts", value::ALERT_STATUSES),
];

/// The unit of a sample, derived from its name.
fn unit(family: &Family) -> &'static str {
    let name = family.name.trim_end_matches("_total");
    let endings = [
        ("_timestamp_seconds", "s since 1970"),
        ("_seconds", "s"),
        ("_ratio", "0–1"),
        ("_ratio_threshold", "0–1"),
        ("_score", "0–1"),
        ("_points", "0–100"),
        ("_per_second", "1/s"),
        ("_tokens", "retries"),
        ("_items", "items"),
        ("checkout_revenue", "won"),
        ("store_up", "0 or 1"),
        ("circuit_breaker_state", "0 or 1"),
        ("_active", "0 or 1"),
        ("_build_info", "1"),
        ("_failures_threshold", "failures"),
        ("_permits_in_use", "calls"),
        ("_calls", "calls"),
        ("_queue_length", "calls"),
        ("_requests", "requests"),
        ("_transitions", "transitions"),
        ("_results", "calls"),
        ("_failures", "calls"),
        ("_attempts", "attempts"),
        ("_orders", "orders"),
        ("_connections", "connections"),
        ("_steps", "steps"),
        ("_entries", "requests"),
        ("_injected", "requests"),
        ("_journeys", "journeys"),
        ("_notifications", "alerts"),
        ("_actions", "commands"),
        ("_decisions", "calls"),
    ];
    let found = endings.iter().find(|(ending, _)| name.ends_with(ending));
    found.unwrap_or_else(|| panic!("{} has no known unit", family.name)).1
}

fn families() -> String {
    let mut table = "| family | type | unit | labels | meaning |\n|---|---|---|---|---|\n".to_owned();
    for family in ALL {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels = family.labels.join(", ");
        let (name, unit, help) = (family.name, unit(family), family.help);
        writeln!(table, "| `{name}` | {kind} | {unit} | {labels} | {help} |").expect("writing to a String never fails");
    }
    table
}

fn values() -> String {
    let mut table = "| label | of | values |\n|---|---|---|\n".to_owned();
    for (label, of, values) in VALUES {
        let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
        writeln!(table, "| {label} | {of} | {} |", values.join(", ")).expect("writing to a String never fails");
    }
    table
}

/// The page with the text between `<!-- name -->` and `<!-- /name -->` replaced.
fn with(page: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("docs/metrics.md has no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("docs/metrics.md has no {end}"));
    format!("{before}{begin}{table}{end}{after}")
}

#[test]
fn the_page_of_metrics_lists_what_is_exported() {
    let file = root().join("docs/metrics.md");
    let found = fs::read_to_string(&file).expect("docs/metrics.md is there");
    let wanted = with(&with(&found, "families", &families()), "values", &values());
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, &wanted).expect("docs/metrics.md can be written");
        return;
    }
    assert!(found == wanted, "docs/metrics.md is out of date: run with BLESS=1");
}

/// A histogram's name ends in its unit, a counter's name ends in `_total`, and no other name does.
#[test]
fn names_follow_the_convention() {
    for Family { name, kind, help, .. } in ALL {
        assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
        let measured = *kind != Kind::Histogram || name.ends_with("_seconds") || name.ends_with("_ratio");
        assert!(measured, "{name}: a histogram's unit is seconds or a ratio");
        assert!(help.ends_with('.') && help.is_ascii(), "{name}: {help:?}");
    }
}
