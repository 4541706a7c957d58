//! Circuit breakers: state changes, their reasons, and the answers that callers got instead.

use breakerbox_telemetry::names::{self, Family, label, value};
use serde_json::json;

use super::dashboard::{Dashboard, Section};
use super::one_breaker;
use super::panel::{Kind, Panel, Query};
use super::query::{
    any, buckets, call_label, happened, increase, is, max, or_zero, quantile, rate, series, state_code, sum,
};
use super::say::{self, Gravity};
use super::table::Table;
use super::theme;

/// What identifies a breaker.
pub use super::say::BREAKER;
const CALL: &str = "{{service}} → {{breaker}}";

pub fn page() -> Dashboard {
    Dashboard {
        uid: "breakerbox-breakers",
        title: "Circuit breakers",
        description: "Open breakers, why they tripped, when they probe, and what callers get in the meantime. Select \
            a breaker above to show only that one.",
        lists_targets_by: names::BUILD_INFO.name,
        variables: Vec::new(),
        sections: vec![
            Section::top(now()),
            Section::titled("Why they opened", reasons()),
            Section::folded("Durations of calls", durations()),
            Section::repeated("In detail: $breaker", "breaker", one_breaker::panels()),
        ],
    }
}

fn now() -> Vec<([u32; 4], Panel)> {
    let mut lines = say::broken();
    lines.extend(say::protects());
    lines.extend(counted());
    lines.extend(say::viewers(say::Orders::InIt));
    lines.push(say::small());
    let description = "Which breakers are not closed, since when, why they stay open and when they probe; what \
        viewers get in the meantime. Repair the dependency, not the breaker.";
    vec![
        ([0, 0, 24, 7], say::panel(description, lines)),
        ([0, 7, 24, 8], states()),
        ([0, 15, 24, 6], answered()),
        ([0, 21, 24, 14], table()),
    ]
}

/// Line: number of closed breakers, and rate of calls that the others reject.
fn counted() -> Vec<Query> {
    let closed = say::numbered(&[], &how_many(&["closed"]), "closed", "$1");
    let all = say::numbered(&[], &format!("(({}) > 0)", how_many(value::STATES)), "all", "$1");
    let same = format!("((({}) == ({})) > 0)", how_many(&["closed"]), how_many(value::STATES));
    let rejected = rate(&names::CIRCUIT_BREAKER_CALLS, &[is(label::OUTCOME, "rejected")]);
    let rejected = say::numbered(&[], &format!("round({}, 0.1)", or_zero(&sum(&[], &rejected))), "rejected", "$1");
    vec![
        say::line(
            &format!("({all}) and on () {same}"),
            Gravity::Good,
            "All {{all}} breakers are closed (normal): every call is sent.",
        ),
        say::line(
            &format!(
                "({}) unless on () {same}",
                say::joined(&say::joined(&closed, "all", &all), "rejected", &rejected)
            ),
            Gravity::Note,
            "{{closed}} of {{all}} breakers are closed (normal); the others reject {{rejected}} calls per second.",
        ),
    ]
}

/// Number of breakers in one of these states; each counts once, whatever the number of replicas.
fn how_many(states: &[&str]) -> String {
    let one_hot = series(&names::CIRCUIT_BREAKER_STATE, &[any(label::STATE, states)]);
    or_zero(&sum(&[], &max(BREAKER, &one_hot)))
}

fn states() -> Panel {
    Panel::new(
        Kind::StateTimeline,
        "State of every breaker",
        "One lane per breaker, named caller → dependency. Red: open, amber: half-open, green: \
         closed. Red and amber alternating: every probe fails, and the dependency is still broken.",
    )
    .unit("none")
    .words(theme::state_words())
    .ask(Query::over_time(state_code(BREAKER), CALL))
    .when_empty("No breaker is scraped")
}

fn gauge(family: &Family) -> String {
    max(BREAKER, &series(family, &[]))
}

fn table() -> Panel {
    let closed =
        max(BREAKER, &format!("{} == 1", series(&names::CIRCUIT_BREAKER_STATE, &[is(label::STATE, "closed")])));
    // A failed probe is a transition, too: for a breaker that is not closed, the time counts from when it last was.
    let moved = format!("(time() - {})", gauge(&names::CIRCUIT_BREAKER_LAST_TRANSITION));
    let since = format!("(({} unless {closed}) or {moved})", say::tripped());
    let left = format!("({} > 0)", gauge(&names::CIRCUIT_BREAKER_OPEN_REMAINING));
    let now = |family: &Family| call_label(&gauge(family));
    // While a breaker is open, its window does not describe the calls that it rejects.
    let ratio = |family: &Family| {
        let open = series(&names::CIRCUIT_BREAKER_STATE, &[is(label::STATE, "open")]);
        call_label(&format!("(({} >= 0) unless on (service, breaker) ({open} == 1))", gauge(family)))
    };
    let rejected = rate(&names::CIRCUIT_BREAKER_CALLS, &[is(label::OUTCOME, "rejected")]);
    let some = |expr: &str| call_label(&format!("({expr} > 0.005)"));
    Table::new(
        "Every breaker now, the open ones first",
        "State, time since it opened (failed probes do not restart it) or closed, time until an open breaker probes, \
         and the ratios of its window beside the limits at which it trips. A dash is a limit that is not configured, \
         or a ratio that is not defined: too few calls, or an open breaker, which lets no calls pass.",
    )
    .label("call", "Breaker")
    .words("State", call_label(&state_code(BREAKER)), &theme::state_words(), 100)
    .span("For", BREAKER, &since, 90)
    .span("Next probe in", BREAKER, &left, 120)
    .number("Failed calls", ratio(&names::CIRCUIT_BREAKER_FAILURE_RATIO), "percentunit", 0, 110)
    .number("opens at (failed)", now(&names::CIRCUIT_BREAKER_FAILURE_RATIO_THRESHOLD), "percentunit", 0, 140)
    .nan_means("opens at (failed)", "–")
    .number("or failures in a row", now(&names::CIRCUIT_BREAKER_CONSECUTIVE_FAILURES_THRESHOLD), "none", 0, 155)
    .nan_means("or failures in a row", "–")
    .number("Slow calls", ratio(&names::CIRCUIT_BREAKER_SLOW_CALL_RATIO), "percentunit", 0, 105)
    .number("opens at (slow)", now(&names::CIRCUIT_BREAKER_SLOW_CALL_RATIO_THRESHOLD), "percentunit", 0, 130)
    .nan_means("opens at (slow)", "–")
    .number("Rejected", some(&sum(BREAKER, &rejected)), "suffix: /s", 1, 100)
    .number(
        "Fallback answers",
        some(&format!("({})", of_breakers(&sum(BREAKER, &rate(&names::FALLBACK_CALLS, &[]))))),
        "suffix: /s",
        1,
        140,
    )
    .sorted("State", true, "No breaker is scraped")
}

/// Restricts rows to breakers: the unprotected gateway has fallback series and no breaker.
fn of_breakers(expr: &str) -> String {
    format!("{expr} and {}", gauge(&names::CIRCUIT_BREAKER_WINDOW_CALLS))
}

/// Each reason for opening, with its text, the measured value and the limit.
fn trips() -> String {
    let transitions = [is(label::FROM, "closed"), is(label::TO, "open")];
    let by = &[label::SERVICE, label::BREAKER, label::REASON];
    let counter = sum(by, &series(&names::CIRCUIT_BREAKER_TRANSITIONS, &transitions));
    let before = sum(by, &format!("{} offset 5s", series(&names::CIRCUIT_BREAKER_TRANSITIONS, &transitions)));
    let last = format!("(time() - max_over_time(timestamp({counter} > {before})[$__range:5s]))");
    let times = sum(by, &increase(&names::CIRCUIT_BREAKER_TRANSITIONS, &transitions, "$__range"));
    let times = say::numbered(by, &format!("(round({times}) > 0)"), "trips", "$1");
    let ago = say::spoken(by, &last, "ago");
    let seen = format!(
        "({last} * 0 + on (service, breaker, reason) group_left (trips) ({times})) * 0 + on (service, breaker, \
         reason) group_left () ({last})"
    );
    let seen = format!("({seen}) * on (service, breaker, reason) group_left (ago) ({ago})");
    let of = |reason: &str, measured: &str, limit: &str, window: &str, why: &str| {
        let on = "on (service, breaker) group_left";
        let one = seen.replace("from=\"closed\"", &format!("reason=\"{reason}\", from=\"closed\""));
        let told =
            format!("({one}) * {on} (measured) ({measured}) * {on} (limit) ({limit}) * {on} (window) ({window})");
        say::with(&told, "why", why)
    };
    let calls = say::numbered(
        BREAKER,
        &format!("({} > 0)", gauge(&names::CIRCUIT_BREAKER_WINDOW_SIZE_CALLS)),
        "window",
        "of the last $1 calls",
    );
    let any_breaker = format!("{} * 0 + 1", gauge(&names::CIRCUIT_BREAKER_WINDOW_CALLS));
    let needs = say::numbered(
        BREAKER,
        &format!(
            "({} unless ({} > 0))",
            gauge(&names::CIRCUIT_BREAKER_WINDOW_MINIMUM_CALLS),
            gauge(&names::CIRCUIT_BREAKER_WINDOW_SIZE_CALLS)
        ),
        "window",
        "of the calls of its time window, at least $1",
    );
    let window = max(&[label::SERVICE, label::BREAKER, "window"], &format!("{calls} or {needs}"));
    let ratio = |measure: &Family, limit: &Family, what: &str| {
        let limit_of = gauge(limit);
        let peak = max(BREAKER, &format!("max_over_time({}[$__range])", series(measure, &[])));
        // The value reached its limit, possibly between two scrapes.
        let reached = format!("(({peak} >= {limit_of}) or {limit_of})");
        (percent_of(&reached, "measured", what), percent_of(&limit_of, "limit", what))
    };
    let failed =
        ratio(&names::CIRCUIT_BREAKER_FAILURE_RATIO, &names::CIRCUIT_BREAKER_FAILURE_RATIO_THRESHOLD, "failed");
    let slow =
        ratio(&names::CIRCUIT_BREAKER_SLOW_CALL_RATIO, &names::CIRCUIT_BREAKER_SLOW_CALL_RATIO_THRESHOLD, "slow");
    let row = gauge(&names::CIRCUIT_BREAKER_CONSECUTIVE_FAILURES_THRESHOLD);
    let in_a_row = |label: &str| say::numbered(BREAKER, &format!("({row} > 0)"), label, "$1 in a row");
    let nothing = |label: &str| say::with(&any_breaker, label, "–");
    let rows = [
        of(
            "consecutive_failures",
            &in_a_row("measured"),
            &in_a_row("limit"),
            &say::with(&any_breaker, "window", "one after another"),
            "calls failed",
        ),
        of("failure_rate", &failed.0, &failed.1, &window, "too many calls failed"),
        of("slow_call_rate", &slow.0, &slow.1, &window, "too many calls were slow"),
        of("command", &nothing("measured"), &nothing("limit"), &nothing("window"), "an operator opened it"),
        of("shared", &nothing("measured"), &nothing("limit"), &nothing("window"), "another replica opened it"),
    ];
    let happened = rows.join(" or ");
    let none = say::with("vector(0)", "call", "No breaker opened in the selected time range");
    format!("sort({}) or on () {none}", call_label(&format!("({happened})")))
}

fn percent_of(expr: &str, label: &str, what: &str) -> String {
    say::numbered(BREAKER, &format!("round(100 * ({expr} >= 0))"), label, &format!("$1 % {what}"))
}

fn why() -> Panel {
    Table::new(
        "Why each breaker opened, the latest first",
        "Every reason for which a breaker went from closed to open in the selected time range: the measured value, \
         the limit that it reached, and the calls that it was computed over. The value is the largest one scraped, \
         and at least the limit.",
    )
    .label("call", "Breaker")
    .sparse_label("ago", "Last opened (ago)", 150)
    .sparse_label("trips", "Times", 80)
    .sparse_label("why", "Because", 230)
    .sparse_label("measured", "Measured", 150)
    .sparse_label("limit", "Limit", 150)
    .sparse_label("window", "Counted over", 330)
    .rows(trips())
    .in_order("No breaker is scraped")
}

/// A ratio as a share of the limit at which the breaker trips.
fn pressure(ratio: &Family, threshold: &Family, reason: &str) -> String {
    let against = format!("({} / {} >= 0)", gauge(ratio), gauge(threshold));
    // The window is cleared when the breaker opens, often before it was scraped at the limit: a trip implies the limit.
    let tripped = [is(label::FROM, "closed"), is(label::TO, "open"), is(label::REASON, reason)];
    let tripped = sum(BREAKER, &increase(&names::CIRCUIT_BREAKER_TRANSITIONS, &tripped, "$__rate_interval"));
    format!("clamp_max({tripped} > 0, 0) + 1 or {against} or ({} * 0)", gauge(&names::CIRCUIT_BREAKER_WINDOW_CALLS))
}

fn failing() -> String {
    pressure(&names::CIRCUIT_BREAKER_FAILURE_RATIO, &names::CIRCUIT_BREAKER_FAILURE_RATIO_THRESHOLD, "failure_rate")
}

fn slowing() -> String {
    pressure(
        &names::CIRCUIT_BREAKER_SLOW_CALL_RATIO,
        &names::CIRCUIT_BREAKER_SLOW_CALL_RATIO_THRESHOLD,
        "slow_call_rate",
    )
}

fn against_limit(title: &str, what: &str, expr: &str) -> Panel {
    Panel::new(
        Kind::TimeSeries,
        title,
        &format!(
            "{what} as a share of each breaker's configured limit: at the dashed line the breaker trips. A trip is \
             drawn at 100 % even if the limit was reached between two scrapes; afterwards the window is empty and the \
             line is at 0."
        ),
    )
    .unit("percentunit")
    .between(0.0, None)
    .limit("opens here")
    .custom("fillOpacity", json!(0))
    .identities(theme::BREAKERS)
    .ask_eventful(BREAKER, expr, CALL, "no call")
    .ask(Query::over_time("vector(1)", "opens here"))
    .when_empty("No breaker is scraped")
}

fn reasons() -> Vec<([u32; 4], Panel)> {
    let mut transitions = Panel::new(
        Kind::TimeSeries,
        "Transitions by reason",
        "Number of state changes, by cause. Causes that begin with tripped open a breaker; the others belong to its \
         recovery.",
    )
    .unit("none")
    .between(0.0, None)
    .stacked()
    .custom("drawStyle", json!("bars"))
    .decimals(0)
    .when_empty("No breaker is scraped");
    for reason in value::TRANSITION_REASONS {
        let (name, of) = (theme::plain(reason), [is(label::REASON, reason)]);
        let moves = sum(&[], &increase(&names::CIRCUIT_BREAKER_TRANSITIONS, &of, "$__rate_interval"));
        let moves = format!("round({moves}) and on () ({})", happened(&moves));
        transitions = transitions
            .configure(theme::paint(name, theme::colour(reason)))
            .ask(Query::over_time(moves, name).counting());
    }
    vec![
        ([0, 0, 24, 8], why()),
        ([0, 8, 12, 8], against_limit("Failed calls, of the limit", "Failed calls of the window", &failing())),
        ([12, 8, 12, 8], against_limit("Slow calls, of the limit", "Slow calls of the window", &slowing())),
        ([0, 16, 12, 8], transitions),
        ([12, 16, 12, 8], outcomes()),
    ]
}

fn outcomes() -> Panel {
    let mut outcomes = Panel::new(
        Kind::TimeSeries,
        "Calls by outcome",
        "All calls by outcome. Blue calls were rejected by an open breaker and put no load on the dependency. Red and \
         brown calls reached the dependency and failed or timed out.",
    )
    .unit("suffix: /s")
    .between(0.0, None)
    .stacked()
    .when_empty("No breaker is scraped");
    for outcome in ["failure", "timeout", "rejected", "cancelled", "ignored", "success"] {
        let calls = sum(&[], &rate(&names::CIRCUIT_BREAKER_CALLS, &[is(label::OUTCOME, outcome)]));
        let name = theme::plain(outcome);
        outcomes = outcomes.configure(theme::paint(name, theme::colour(outcome))).ask(Query::over_time(calls, name));
    }
    outcomes
}

fn answered() -> Panel {
    Panel::new(
        Kind::TimeSeries,
        "Rejected calls against fallbacks",
        "Every rejected call should get a fallback answer: as many fallbacks as rejections, or more, is good \
         (fallbacks also answer failed calls). If a fallback has no answer, as a cache without an entry, the next one \
         in the chain is tried: the viewer sees an error only if the last one has no answer either.",
    )
    .unit("suffix: /s")
    .between(0.0, None)
    .aligned()
    .configure(theme::paint("rejected", theme::colour("rejected")))
    .configure(theme::paint("fallback served", theme::GOOD))
    .configure(theme::paint("fallback without an answer, next one tried", theme::WARN))
    .ask(Query::over_time(
        or_zero(&sum(&[], &rate(&names::CIRCUIT_BREAKER_CALLS, &[is(label::OUTCOME, "rejected")]))),
        "rejected",
    ))
    .ask(Query::over_time(or_zero(&sum(&[], &rate(&names::FALLBACK_CALLS, &[]))), "fallback served"))
    .ask(Query::over_time(
        or_zero(&sum(&[], &rate(&names::FALLBACK_FAILURES, &[]))),
        "fallback without an answer, next one tried",
    ))
    .when_empty("No breaker is scraped")
}

fn odd() -> Panel {
    Panel::new(
        Kind::TimeSeries,
        "Slow and late calls",
        "Slow calls took at least the breaker's slow-call threshold. Late results belong to \
         an earlier state and do not affect the current one; many of them mean that calls take longer than \
         the breaker stays in a state: shorten the timeout.",
    )
    .unit("suffix: /s")
    .between(0.0, None)
    .configure(theme::paint("slow", theme::colour("timeout")))
    .configure(theme::paint("late", theme::colour("cancelled")))
    .ask(Query::over_time(or_zero(&sum(&[], &rate(&names::CIRCUIT_BREAKER_SLOW_CALLS, &[]))), "slow"))
    .ask(Query::over_time(or_zero(&sum(&[], &rate(&names::CIRCUIT_BREAKER_LATE_RESULTS, &[]))), "late"))
    .when_empty("No breaker is scraped")
}

/// The timeout, which limits all durations.
pub fn timeouts() -> Query {
    Query::over_time(max(&[], &series(&names::CIRCUIT_BREAKER_TIMEOUT, &[])), "timeout of one attempt")
}

fn durations() -> Vec<([u32; 4], Panel)> {
    let heat = Panel::new(
        Kind::Heatmap,
        "Durations of executed calls",
        "Each column is a moment, each row a range of durations, brighter is more calls. A bright band at the timeout \
         is calls that were cut off; two bands are two kinds of answers. The timeout is the exact boundary of a row.",
    )
    .unit("s")
    .ask(Query::heat(buckets(&names::CIRCUIT_BREAKER_CALL_DURATION, &[])).with_exemplars())
    .when_empty("No call was executed");
    let mut lines = Panel::new(
        Kind::TimeSeries,
        "Durations against the timeout",
        "p50, p95 and p99 of executed calls below the longest timeout of the chosen breakers. \
         p99 near the dashed line: the next slowdown becomes timeouts. A dot opens the trace \
         of a call.",
    )
    .unit("s")
    .between(0.0, None)
    .meanings(&["p50", "p95", "p99"])
    .limit("timeout of one attempt")
    .custom("fillOpacity", json!(0))
    .when_empty("No call was executed");
    for (q, name) in [("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99")] {
        let query = Query::over_time(quantile(q, &[], &names::CIRCUIT_BREAKER_CALL_DURATION, &[]), name);
        lines = lines.ask(if name == "p99" { query.with_exemplars() } else { query });
    }
    vec![([0, 0, 12, 9], heat), ([12, 0, 12, 9], lines.ask(timeouts())), ([0, 9, 12, 8], odd())]
}
