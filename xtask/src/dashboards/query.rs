//! Building blocks of the PromQL queries.
//!
//! Every selector carries the dashboard's `job` and `instance`, and `service` and `breaker` where the
//! family has them, so that a variable at the top of the page restricts every panel.
//! Ratios and quantiles are 0 in a system at rest: a panel that shows 0 is better than one without data.

use breakerbox_telemetry::names::{self, Family, Kind, label};

use super::theme::STATE_CODES;

/// `label="value"`.
pub fn is(label: &str, value: &str) -> String {
    format!("{label}=\"{value}\"")
}

/// `label!="value"`.
pub fn not(label: &str, value: &str) -> String {
    format!("{label}!=\"{value}\"")
}

/// `label=~"a|b"`.
pub fn any(label: &str, values: &[&str]) -> String {
    format!("{label}=~\"{}\"", values.join("|"))
}

/// A family's series within the dashboard's variables, narrowed by `matchers`.
/// A matcher that names a label itself replaces the variable for it.
pub fn series(family: &Family, matchers: &[String]) -> String {
    suffixed(family, "", matchers)
}

fn suffixed(family: &Family, suffix: &str, matchers: &[String]) -> String {
    let named =
        |label: &str| matchers.iter().any(|m| m.strip_prefix(label).is_some_and(|rest| rest.starts_with(['=', '!'])));
    let mut all = vec![r#"job=~"$job""#.to_owned(), r#"instance=~"$instance""#.to_owned()];
    for variable in [label::SERVICE, label::BREAKER] {
        if family.labels.contains(&variable) && !named(variable) {
            all.push(format!("{variable}=~\"${variable}\""));
        }
    }
    all.extend_from_slice(matchers);
    format!("{}{suffix}{{{}}}", family.name, all.join(", "))
}

/// A series that is not the program's own (`up`, `process_*`, `prometheus_*` …) and has only the labels of a target.
pub fn foreign(name: &str, matchers: &[String]) -> String {
    let mut all = vec![r#"job=~"$job""#.to_owned(), r#"instance=~"$instance""#.to_owned()];
    all.extend_from_slice(matchers);
    format!("{name}{{{}}}", all.join(", "))
}

/// Alerts are the rules' series, not a target's: many have neither `job` nor `instance`.
/// An alert of severity `none` only proves that alerting is alive.
pub fn alerts(state: &str, matchers: &[String]) -> String {
    let mut all = vec![is("alertstate", state)];
    if !matchers.iter().any(|m| m.starts_with("severity")) {
        all.push(not("severity", "none"));
    }
    all.extend_from_slice(matchers);
    format!("ALERTS{{{}}}", all.join(", "))
}

/// Per second; histograms count their observations.
pub fn rate(family: &Family, matchers: &[String]) -> String {
    format!("rate({}[$__rate_interval])", counted(family, matchers))
}

/// Increase within `range`, for windows that are part of a definition (`1h` of a burn rate).
pub fn increase(family: &Family, matchers: &[String], range: &str) -> String {
    format!("increase({}[{range}])", counted(family, matchers))
}

fn counted(family: &Family, matchers: &[String]) -> String {
    match family.kind {
        Kind::Counter => series(family, matchers),
        Kind::Histogram => suffixed(family, "_count", matchers),
        Kind::Gauge => panic!("{} is a gauge: it has no rate", family.name),
    }
}

/// `sum by (labels) (expr)`; without labels one plain sum.
pub fn sum(by: &[&str], expr: &str) -> String {
    aggregate("sum", by, expr)
}

/// `max by (labels) (expr)`.
pub fn max(by: &[&str], expr: &str) -> String {
    aggregate("max", by, expr)
}

/// Any aggregation of one argument.
pub fn aggregate(op: &str, by: &[&str], expr: &str) -> String {
    if by.is_empty() { format!("{op}({expr})") } else { format!("{op} by ({}) ({expr})", by.join(", ")) }
}

/// `part` as a share of `whole` (0-1) by labels, 0 where `whole` is 0.
pub fn share(by: &[&str], part: &str, whole: &str) -> String {
    let (part, whole) = (sum(by, part), sum(by, whole));
    format!("({part} / ({whole} > 0)) or ({whole} * 0)")
}

/// A quantile of a histogram by labels, 0 where nothing was observed.
pub fn quantile(q: &str, by: &[&str], family: &Family, matchers: &[String]) -> String {
    let idle = sum(by, &rate(family, matchers));
    format!("({}) or ({idle} * 0)", quantile_seen(q, by, family, matchers))
}

/// A quantile of a histogram by labels, without a row of a table where nothing was observed.
pub fn quantile_seen(q: &str, by: &[&str], family: &Family, matchers: &[String]) -> String {
    let mut with_le = by.to_vec();
    with_le.push("le");
    let buckets = sum(&with_le, &format!("rate({}[$__rate_interval])", suffixed(family, "_bucket", matchers)));
    format!("histogram_quantile({q}, {buckets}) >= 0")
}

/// The same for a graph: NaN, which is a gap, while nothing is observed.
pub fn quantile_or_gap(q: &str, by: &[&str], family: &Family) -> String {
    quantile_seen(q, by, family, &[]).trim_end_matches(" >= 0").to_owned()
}

/// The buckets themselves, for a heatmap.
pub fn buckets(family: &Family, matchers: &[String]) -> String {
    sum(&["le"], &format!("increase({}[$__rate_interval])", suffixed(family, "_bucket", matchers)))
}

/// The mean of a histogram within `range`, 0 where nothing was observed.
pub fn mean(family: &Family, range: &str) -> String {
    let total = sum(&[], &format!("increase({}[{range}])", suffixed(family, "_sum", &[])));
    let count = sum(&[], &increase(family, &[], range));
    or_zero(&format!("{total} / ({count} > 0)"))
}

/// A ratio of a breaker's window by labels, 0 while the window has too few calls to judge (it is NaN then).
pub fn judged(by: &[&str], ratio: &str) -> String {
    let window = max(by, &series(&names::CIRCUIT_BREAKER_WINDOW_CALLS, &[]));
    format!("({} >= 0) or ({window} * 0)", max(by, ratio))
}

/// A breaker's state as a number of `theme::STATE_CODES`; of several replicas, the most severe state.
pub fn state_code(by: &[&str]) -> String {
    let coded: Vec<_> = STATE_CODES
        .iter()
        .map(|(code, state)| format!("{} * {code}", series(&names::CIRCUIT_BREAKER_STATE, &[is(label::STATE, state)])))
        .collect();
    max(by, &coded.join(" or "))
}

/// The series of `expr` that were above 0 within the selected time range, and of those the six highest:
/// a longer legend would not fit.
pub fn eventful(by: &[&str], expr: &str) -> String {
    format!("({expr}) and on ({}) topk(6, {})", by.join(", "), happened(expr))
}

/// The series of `expr` that were above 0 within the selected time range, at each of its moments.
pub fn happened(expr: &str) -> String {
    format!("max_over_time(({expr})[$__range:10s] @ end()) > 0")
}

/// `expr`, or one series of 0 when it has none.
pub fn or_zero(expr: &str) -> String {
    format!("({expr}) or vector(0)")
}

/// Two labels joined to `a → b` in a label named `call`, for tables.
pub fn call_label(expr: &str) -> String {
    format!("label_join({expr}, \"call\", \" → \", \"service\", \"breaker\")")
}
