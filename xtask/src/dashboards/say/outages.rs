//! Lines about faults, and about the breakers in front of their targets.

use breakerbox_telemetry::names::{self, label};

use super::{BREAKER, Gravity, counted, joined_by, line, percent, spoken};
use crate::dashboards::panel::Query;
use crate::dashboards::query::{alerts, foreign, is, max, not, series, sum};

const FAULT: &[&str] = &[label::TARGET, label::KIND];

/// Faults that break their target: all but errors for a few callers.
pub fn harmful() -> String {
    max(
        FAULT,
        &format!(
            "({} == 1) or ({} >= 0.5)",
            series(&names::FAULT_ACTIVE, &[not(label::KIND, "error")]),
            series(&names::FAULT_CONFIGURED, &[is(label::KIND, "error")])
        ),
    )
}

fn harmless() -> String {
    format!(
        "({} == 0) or ({} < 0.5)",
        series(&names::FAULT_ACTIVE, &[not(label::KIND, "error")]),
        series(&names::FAULT_CONFIGURED, &[is(label::KIND, "error")])
    )
}

/// Seconds since `otherwise` was last true, for the series of `now`. If it was not true in the last half hour: half an
/// hour, or the age of the oldest process if that is less.
fn since(by: &[&str], now: &str, otherwise: &str) -> String {
    let ago = format!("time() - {}", max(by, &format!("max_over_time(timestamp({otherwise})[30m:5s])")));
    let age = format!("max(time() - {})", foreign("process_start_time_seconds", &[]));
    let at_most = format!("scalar(clamp_max({age}, 1800) or vector(1800))");
    format!("(({now}) * 0 + on ({}) ({ago})) or (({now}) * 0 + {at_most})", by.join(", "))
}

/// Effect of each kind of fault on its target.
const DOES: &[(&str, &str)] = &[
    ("error", "answers with errors"),
    ("latency", "answers slowly"),
    ("hang", "accepts calls and never answers"),
    ("reset", "breaks its connections"),
    ("slow_body", "sends its answers slowly"),
    ("malformed_body", "sends malformed answers"),
    ("crash", "is down"),
    ("lost_answer", "processes requests and loses the answers"),
    ("late_answer", "answers too late"),
    ("handled_twice", "handles requests twice"),
];

/// One line per target with an error rate below one half, which policies absorb.
pub fn small() -> Query {
    let few = max(&[label::TARGET], &series(&names::FAULT_CONFIGURED, &[is(label::KIND, "error")]));
    let some = percent(&[label::TARGET], &format!("(({few} > 0) < 0.5)"), "failed");
    line(
        &format!("topk(2, {some})"),
        Gravity::Note,
        "Background fault: {{target}} answers {{failed}} of its calls with errors, which retries and fallbacks should \
         absorb.",
    )
}

/// Instances of the program that answered in the last half hour and do not answer now, with the time since then.
fn unheard() -> String {
    let target = &["job", "instance"];
    let (up, known) = (foreign("up", &[]), series(&names::BUILD_INFO, &[]));
    let silent = max(target, &format!("({up} == 0) and on (job, instance) max_over_time({known}[30m])"));
    format!("topk(3, {})", spoken(target, &since(target, &silent, &format!("{up} == 1")), "span"))
}

/// Every harmful fault with its effect (`does`) and its duration (`span`).
fn faults() -> String {
    let timed = spoken(FAULT, &since(FAULT, &harmful(), &harmless()), "span");
    DOES.iter()
        .fold(timed, |expr, (kind, text)| format!("label_replace({expr}, \"does\", \"{text}\", \"kind\", \"{kind}\")"))
}

/// Breakers in the open state, the one that rejects all calls.
pub(super) fn is_open() -> String {
    max(BREAKER, &format!("{} == 1", series(&names::CIRCUIT_BREAKER_STATE, &[is(label::STATE, "open")])))
}

/// One line per fault: its target, effect and duration, and the breaker in front of the target while it is open.
pub fn broken() -> Vec<Query> {
    let guarded = at_target(&is_open());
    let fault = format!("topk by (breaker) (1, {})", copied(&faults(), label::TARGET, label::BREAKER));
    let fault = copied(&fault, "span", "fault");
    let both = format!("({}) * on (breaker) group_left (does, fault) ({fault})", away("open"));
    vec![
        line(
            &unheard(),
            Gravity::Harm,
            "{{job}} {{instance}} has not answered Prometheus for {{span}}: its state is unknown.",
        ),
        line(
            &format!("topk(3, {both})"),
            Gravity::Broken,
            "{{breaker}} {{does}}, for {{fault}}; the breaker {{service}} → {{breaker}} opened {{span}} ago, so \
             callers do not wait for it. Next probe in {{wait}}.",
        ),
        line(
            &format!("topk(3, ({}) unless on (target) ({guarded}))", faults()),
            Gravity::Broken,
            "{{target}} {{does}}, for {{span}}; no breaker in front of it is open.",
        ),
    ]
}

/// Seconds since each breaker last left its closed state, however many probes failed since then: the one
/// measure of "open for" on all pages.
pub fn tripped() -> String {
    let moves = series(&names::CIRCUIT_BREAKER_TRANSITIONS, &[is(label::FROM, "closed"), is(label::TO, "open")]);
    let (now, before) = (sum(BREAKER, &moves), sum(BREAKER, &format!("{moves} offset 5s")));
    format!("(time() - max_over_time(timestamp({now} > {before})[30m:5s]))")
}

/// Breakers in a state, with the time since they were last closed and the time until their next probe.
fn away(state: &str) -> String {
    let now = max(BREAKER, &format!("{} == 1", series(&names::CIRCUIT_BREAKER_STATE, &[is(label::STATE, state)])));
    let closed = format!("{} == 1", series(&names::CIRCUIT_BREAKER_STATE, &[is(label::STATE, "closed")]));
    let left = max(BREAKER, &series(&names::CIRCUIT_BREAKER_OPEN_REMAINING, &[]));
    let tripped = tripped();
    let open_for = format!("({tripped} and {now}) or ({})", since(BREAKER, &now, &closed));
    let span = spoken(BREAKER, &open_for, "span");
    let wait = spoken(BREAKER, &format!("{left} and ({now})"), "wait");
    joined_by(BREAKER, &span, "wait", &wait)
}

/// The targets of faults as `breaker`, the label of the breakers in front of them.
fn at_breaker(faults: &str) -> String {
    max(&[label::BREAKER], &copied(faults, label::TARGET, label::BREAKER))
}

/// Breakers as `target`, the label of the faults behind them.
fn at_target(breakers: &str) -> String {
    max(&[label::TARGET], &copied(breakers, label::BREAKER, label::TARGET))
}

/// `expr` with the value of the label `from` in the label `to` as well.
fn copied(expr: &str, from: &str, to: &str) -> String {
    format!("label_replace({expr}, \"{to}\", \"$1\", \"{from}\", \"(.+)\")")
}

/// One line per fault that has just ended behind a closed breaker: rates still include its effect.
fn ended() -> Query {
    let target = &[label::TARGET];
    let before = format!("max_over_time(timestamp({})[$__rate_interval:5s])", max(target, &harmful()));
    let away = series(&names::CIRCUIT_BREAKER_STATE, &[not(label::STATE, "closed")]);
    let away = at_target(&format!("{away} == 1"));
    let ago = format!("(time() - {before}) unless on (target) ({}) unless on (target) ({away})", harmful());
    line(
        &format!("topk(2, {})", spoken(target, &ago, "span")),
        Gravity::Note,
        "{{target}} recovered {{span}} ago: rates and shares of the last seconds still include its fault.",
    )
}

/// One line per breaker that is not closed: its state, and when it probes.
pub fn protects() -> Vec<Query> {
    let (open, half_open) = (away("open"), away("half_open"));
    let hit = at_breaker(&harmful());
    let was_hit = at_breaker(&format!("max_over_time(({})[15m:15s])", harmful()));
    let on = "on (breaker)";
    vec![
        line(
            &format!("topk(3, ({open} unless {on} ({hit})) and {on} ({was_hit}))"),
            Gravity::Protected,
            "The fault of {{breaker}} is over; the breaker {{service}} → {{breaker}}, opened {{span}} ago, is still \
             open: \
             next probe in {{wait}}.",
        ),
        line(
            // Both, because the subquery does not see a fault of its last, unfinished step.
            &format!("topk(3, {open} unless {on} ({hit}) unless {on} ({was_hit}))"),
            Gravity::Protected,
            "The breaker {{service}} → {{breaker}} opened {{span}} ago, and no outage is injected there: look for the \
             cause in the dependency. Next probe in {{wait}}.",
        ),
        line(
            &format!("topk(3, {half_open})"),
            Gravity::Note,
            "The breaker {{service}} → {{breaker}} is half-open: a few calls probe whether {{breaker}} is back.",
        ),
        ended(),
    ]
}

/// The number of breakers, while no dependency is broken and all of them are closed.
pub(super) fn quiet() -> String {
    let closed = sum(&[], &series(&names::CIRCUIT_BREAKER_STATE, &[is(label::STATE, "closed")]));
    let other = sum(&[], &series(&names::CIRCUIT_BREAKER_STATE, &[not(label::STATE, "closed")]));
    format!("({closed} and ({other} == 0)) unless on () ({})", harmful())
}

/// One line while no dependency is broken and every breaker is closed. The alert on open breakers covers a window
/// and resolves later than they close.
pub fn calm() -> Vec<Query> {
    let quiet = quiet();
    let late = max(&[], &alerts("firing", &[is("alertname", "CircuitBreakerOpen")]));
    vec![
        counted(
            &format!("({quiet}) unless on () {late}"),
            Gravity::Good,
            "No dependency is broken, and all {{count}} breakers are closed.",
        ),
        counted(
            &format!("({quiet}) and on () {late}"),
            Gravity::Good,
            "No dependency is broken, and all {{count}} breakers are closed again; the alert CircuitBreakerOpen \
             resolves \
             by itself soon.",
        ),
    ]
}
