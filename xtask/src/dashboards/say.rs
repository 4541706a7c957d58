//! The sentence on top of a page: what is broken and since when, what viewers get, what protects them, and
//! whether it gets better.
//!
//! A stat panel shows the names of series, and PromQL makes names out of numbers: `count_values` turns a
//! value into a label. So each line is a query that has a series only while its line is true, whose value
//! is its gravity, and whose legend is the line.

use breakerbox_telemetry::names::{self, label};
use serde_json::json;

use super::panel::{Kind, Panel, Query};
use super::query::{alerts, any, foreign, increase, is, max, not, or_zero, quantile, rate, series, share, sum};
use super::theme;

pub const GATEWAY: &str = "gateway";
pub const BARE: &str = "gateway-bare";
pub const BREAKER: &[&str] = &[label::SERVICE, label::BREAKER];
const FAULT: &[&str] = &[label::TARGET, label::KIND];

/// How a line is coloured: its series has this value.
#[derive(Clone, Copy)]
pub enum Gravity {
    Good = 0,
    Note = 1,
    Protected = 2,
    Harm = 3,
    Broken = 4,
}

/// The panel itself. Its first line is the worst that can be said.
pub fn panel(description: &str, lines: Vec<Query>) -> Panel {
    let panel = Panel::new(Kind::Stat, "In one sentence", description)
        .unit("none")
        .option("textMode", json!("name"))
        .option("orientation", json!("horizontal"))
        .option("justifyMode", json!("auto"))
        .option("text", json!({ "titleSize": 17, "valueSize": 17 }))
        .steps(&[
            (None, theme::GOOD),
            (Some(1.0), theme::NEUTRAL),
            (Some(2.0), theme::WARN),
            (Some(3.0), theme::BAD),
            (Some(4.0), theme::FAULT),
        ])
        .when_empty("Nothing is scraped");
    lines.into_iter().fold(panel, Panel::ask)
}

/// One line while `expr` has a series: `legend` is the text, with the labels of `expr` in it.
pub fn line(expr: &str, gravity: Gravity, legend: &str) -> Query {
    Query::now(format!("({expr}) * 0 + {}", gravity as u8), legend)
}

/// `expr` with a label of a fixed text.
pub fn with(expr: &str, label: &str, text: &str) -> String {
    format!("label_replace({expr}, \"{label}\", \"{text}\", \"\", \"\")")
}

/// The number of each series as a text, rounded, in a label: `$1` is the number.
pub fn numbered(by: &[&str], expr: &str, label: &str, text: &str) -> String {
    let by = if by.is_empty() { String::new() } else { format!(" by ({})", by.join(", ")) };
    format!("label_replace(count_values{by} (\"n\", {expr}), \"{label}\", \"{text}\", \"n\", \"(.*)\")")
}

/// One line with the number of `expr`, which has no labels, as `{{count}}`.
pub fn counted(expr: &str, gravity: Gravity, legend: &str) -> Query {
    line(&numbered(&[], expr, "count", "$1"), gravity, legend)
}

/// Seconds as people say them: 100 s, 13 min.
pub fn spoken(by: &[&str], expr: &str, label: &str) -> String {
    let mut kept = by.to_vec();
    kept.push(label);
    let short = numbered(by, &format!("round(({expr}) < 120)"), label, "$1 s");
    let long = numbered(by, &format!("floor((({expr}) >= 120) / 60)"), label, "$1 min");
    max(&kept, &format!("{short} or {long}"))
}

/// A share (0-1) as a text.
pub fn percent(by: &[&str], expr: &str, label: &str) -> String {
    let mut kept = by.to_vec();
    kept.push(label);
    max(&kept, &numbered(by, &format!("round(100 * ({expr}))"), label, "$1 %"))
}

/// `left` with the labels `more` of the one series of `right`.
pub fn joined(left: &str, more: &str, right: &str) -> String {
    format!("({left}) * on () group_left ({more}) ({right})")
}

/// `left` with the labels `more` of that series of `right` with the same `by`.
fn joined_by(by: &[&str], left: &str, more: &str, right: &str) -> String {
    format!("({left}) * on ({}) group_left ({more}) ({right})", by.join(", "))
}

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

/// Seconds since `otherwise` was last true, for the series of `now`. When it was not in the last half hour, that,
/// or the age of the oldest process if that is less.
fn since(by: &[&str], now: &str, otherwise: &str) -> String {
    let ago = format!("time() - {}", max(by, &format!("max_over_time(timestamp({otherwise})[30m:5s])")));
    let age = format!("max(time() - {})", foreign("process_start_time_seconds", &[]));
    let at_most = format!("scalar(clamp_max({age}, 1800) or vector(1800))");
    format!("(({now}) * 0 + on ({}) ({ago})) or (({now}) * 0 + {at_most})", by.join(", "))
}

/// What each kind of fault makes its target do.
const DOES: &[(&str, &str)] = &[
    ("error", "answers with errors"),
    ("latency", "answers slowly"),
    ("hang", "takes calls and never answers"),
    ("reset", "breaks its connections"),
    ("slow_body", "sends its answers slowly"),
    ("malformed_body", "sends answers that nobody can read"),
    ("crash", "is down"),
    ("lost_answer", "does its work and loses the answer"),
    ("late_answer", "answers too late"),
    ("handled_twice", "handles requests twice"),
];

/// One line a target that fails for a few callers only: noise that policies absorb.
pub fn small() -> Query {
    let few = max(&[label::TARGET], &series(&names::FAULT_CONFIGURED, &[is(label::KIND, "error")]));
    let some = percent(&[label::TARGET], &format!("(({few} > 0) < 0.5)"), "failed");
    line(
        &format!("topk(2, {some})"),
        Gravity::Note,
        "A small fault stays on: {{target}} answers {{failed}} of its calls with errors; retries and fallbacks are there to absorb them.",
    )
}

/// Instances of the program that answered in the last half hour and do not now, with the time since.
fn unheard() -> String {
    let target = &["job", "instance"];
    let (up, known) = (foreign("up", &[]), series(&names::BUILD_INFO, &[]));
    let silent = max(target, &format!("({up} == 0) and on (job, instance) max_over_time({known}[30m])"));
    format!("topk(3, {})", spoken(target, &since(target, &silent, &format!("{up} == 1")), "span"))
}

/// Every harmful fault with what it does (`does`) and for how long (`span`).
fn faults() -> String {
    let timed = spoken(FAULT, &since(FAULT, &harmful(), &harmless()), "span");
    DOES.iter()
        .fold(timed, |expr, (kind, text)| format!("label_replace({expr}, \"does\", \"{text}\", \"kind\", \"{kind}\")"))
}

/// The one state of a breaker that keeps all calls away.
fn is_open() -> String {
    max(BREAKER, &format!("{} == 1", series(&names::CIRCUIT_BREAKER_STATE, &[is(label::STATE, "open")])))
}

/// One line a fault: what is broken and for how long, and the breaker in front of it while that is open.
pub fn broken() -> Vec<Query> {
    let at = "label_replace";
    let guarded = format!("max by (target) ({at}({}, \"target\", \"$1\", \"breaker\", \"(.+)\"))", is_open());
    let fault = format!("topk by (breaker) (1, {at}({}, \"breaker\", \"$1\", \"target\", \"(.+)\"))", faults());
    let fault = format!("{at}({fault}, \"fault\", \"$1\", \"span\", \"(.+)\")");
    let both = format!("({}) * on (breaker) group_left (does, fault) ({fault})", away("open"));
    vec![
        line(
            &unheard(),
            Gravity::Harm,
            "{{job}} {{instance}} does not answer Prometheus, for {{span}}: nothing is known of it.",
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

/// Breakers in a state, with the time since they were last closed and the time until they probe.
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

/// The targets of faults, as the breakers in front of them are called.
fn at_breaker(faults: &str) -> String {
    max(&[label::BREAKER], &format!("label_replace({faults}, \"breaker\", \"$1\", \"target\", \"(.+)\")"))
}

/// One line a fault that has just ended behind a closed breaker: rates still hold what it did.
fn ended() -> Query {
    let target = &[label::TARGET];
    let before = format!("max_over_time(timestamp({})[$__rate_interval:5s])", max(target, &harmful()));
    let away = series(&names::CIRCUIT_BREAKER_STATE, &[not(label::STATE, "closed")]);
    let away = format!("max by (target) (label_replace({away} == 1, \"target\", \"$1\", \"breaker\", \"(.+)\"))");
    let ago = format!("(time() - {before}) unless on (target) ({}) unless on (target) ({away})", harmful());
    line(
        &format!("topk(2, {})", spoken(target, &ago, "span")),
        Gravity::Note,
        "{{target}} works again since {{span}} ago: the rates and shares of the last seconds still hold its fault.",
    )
}

/// One line a breaker that is not closed: what it does, and what comes.
pub fn protects() -> Vec<Query> {
    let (open, half_open) = (away("open"), away("half_open"));
    let hit = at_breaker(&harmful());
    let was_hit = at_breaker(&format!("max_over_time(({})[15m:15s])", harmful()));
    let on = "on (breaker)";
    vec![
        line(
            &format!("topk(3, ({open} unless {on} ({hit})) and {on} ({was_hit}))"),
            Gravity::Protected,
            "The fault of {{breaker}} is over; the breaker {{service}} → {{breaker}}, opened {{span}} ago, is still open: \
             next probe in {{wait}}.",
        ),
        line(
            &format!("topk(3, {open} unless {on} ({was_hit}))"),
            Gravity::Protected,
            "The breaker {{service}} → {{breaker}} opened {{span}} ago, and no outage was switched on there: look for the cause \
             behind it. Next probe in {{wait}}.",
        ),
        line(
            &format!("topk(3, {half_open})"),
            Gravity::Note,
            "The breaker {{service}} → {{breaker}} is half-open: a few calls probe whether {{breaker}} is back.",
        ),
        ended(),
    ]
}

/// What is broken, what protects, and what viewers and buyers get.
pub fn state() -> Vec<Query> {
    [broken(), protects(), calm(), viewers(Orders::BelowIt), orders()].concat()
}

/// Where a page says what orders become: in the line on viewers, or in one of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Orders {
    InIt,
    BelowIt,
}

/// The number of breakers, while nothing is broken and all of them are closed.
fn quiet() -> String {
    let closed = sum(&[], &series(&names::CIRCUIT_BREAKER_STATE, &[is(label::STATE, "closed")]));
    let other = sum(&[], &series(&names::CIRCUIT_BREAKER_STATE, &[not(label::STATE, "closed")]));
    format!("({closed} and ({other} == 0)) unless on () ({})", harmful())
}

/// One line while nothing is broken and every breaker is closed. The alert on open breakers looks back at a window
/// and outlives them.
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
            "No dependency is broken, and all {{count}} breakers are closed again; the alert CircuitBreakerOpen resolves \
             by itself soon.",
        ),
    ]
}

fn played(service: &str, outcomes: &[&str], offset: &str) -> String {
    let at = is(label::SERVICE, service);
    let some = share(
        &[],
        &rate(&names::PLAYBACK_REQUESTS, &[at.clone(), any(label::OUTCOME, outcomes)]),
        &rate(&names::PLAYBACK_REQUESTS, &[at]),
    );
    format!("({})", some.replace("[$__rate_interval]", &format!("[$__rate_interval]{offset}")))
}

/// A share from which on it is spoken of.
const SEEN: f64 = 0.005;

/// What the same viewers get without protection: failed pages, or late ones, or the same.
fn twin() -> String {
    let failed = played(BARE, &["error"], "");
    let slowest = |service: &str| {
        format!("({})", quantile("0.99", &[], &names::HTTP_SERVER_REQUEST_DURATION, &[is(label::SERVICE, service)]))
    };
    let late = format!("{} > 1 and {} > 2 * {}", slowest(BARE), slowest(BARE), slowest(GATEWAY));
    let fails =
        numbered(&[], &format!("round(100 * ({failed} >= {SEEN}))"), "twin", " Without protection $1 % of pages fail.");
    let waits =
        numbered(&[], &format!("round({late})"), "twin", " Without protection 1 page in 100 takes $1 s or more.");
    let same = with(&format!("({failed} < {SEEN})"), "twin", " Without protection no page fails either.");
    format!("{fails} or on () {waits} or on () {same} or on () vector(1)")
}

/// How `expr` compares with half a minute ago; a few points of a hundred are no change.
fn trend(now: &str, before: &str) -> String {
    let change = format!("({now} - {before})");
    format!(
        "{} or {} or {} or on () vector(1)",
        with(&format!("({change} > 0.03)"), "trend", " (rising)"),
        with(&format!("({change} < -0.03)"), "trend", " (falling)"),
        with(&format!("(abs({change}) <= 0.03)"), "trend", " (steady)"),
    )
}

/// What happens to orders, for the sentence on pages: a refused order is no failed page.
fn beside_pages() -> String {
    let refused = numbered(&[], &format!("round(100 * ({} >= {SEEN}))", refused()), "orders", " Orders: $1 % refused.");
    format!("{refused} or on () vector(1)")
}

/// One line: what viewers get, what they would get without protection, better or worse.
pub fn viewers(said: Orders) -> Vec<Query> {
    let in_it = if said == Orders::InIt { "{{orders}}" } else { "" };
    let beside = |expr: String| if in_it.is_empty() { expr } else { joined(&expr, "orders", &beside_pages()) };
    let (errors, fallbacks) = (played(GATEWAY, &["error"], ""), played(GATEWAY, &["degraded"], ""));
    let (failed, degraded) = (percent(&[], &errors, "failed"), percent(&[], &fallbacks, "degraded"));
    let twin = twin();
    let trend_of = |outcome: &str| trend(&played(GATEWAY, &[outcome], ""), &played(GATEWAY, &[outcome], " offset 30s"));
    let traffic = sum(&[], &rate(&names::PLAYBACK_REQUESTS, &[is(label::SERVICE, GATEWAY)]));
    // The trend is of what the line names first: errors may fall while fallbacks take their place.
    let told = |first: &str, outcome: &str| beside(joined(&joined(first, "trend", &trend_of(outcome)), "twin", &twin));
    let well = format!(
        "({}) and on () ({traffic} > 0) and on () ({fallbacks} < {SEEN}) and on () ({errors} < {SEEN})",
        beside(joined("vector(1)", "twin", &twin))
    );
    // Pages alone are well: nothing is green while a breaker is open or orders are refused.
    let uneasy = format!("(({} == 1) or ({} >= {SEEN}))", max(&[], &is_open()), refused());
    vec![
        line(
            &format!("({}) and on () ({errors} >= {SEEN})", joined(&told(&failed, "error"), "degraded", &degraded)),
            Gravity::Harm,
            &format!(
                "In the last seconds {{{{failed}}}} of pages failed{{{{trend}}}} and {{{{degraded}}}} came from a fallback.{in_it}{{{{twin}}}}"
            ),
        ),
        line(
            &format!(
                "({}) and on () ({fallbacks} >= {SEEN}) and on () ({errors} < {SEEN})",
                told(&degraded, "degraded")
            ),
            Gravity::Protected,
            &format!(
                "In the last seconds {{{{degraded}}}} of pages came from a fallback{{{{trend}}}}, none failed.{in_it}{{{{twin}}}}"
            ),
        ),
        line(
            &format!("({well}) unless on () {uneasy}"),
            Gravity::Good,
            "Viewers get every page up to date, none fails.{{twin}}",
        ),
        line(
            &format!("({well}) and on () {uneasy}"),
            Gravity::Note,
            &format!("Viewers get their pages up to date for now, none fails.{in_it}{{{{twin}}}}"),
        ),
        line(&format!("{traffic} == 0"), Gravity::Note, "No viewer is on the site."),
    ]
}

/// Share of the orders of the last minute at the protected gateway that were answered with an error: they are too few
/// for a share of seconds.
pub fn refused() -> String {
    let at = |more: &[&str]| {
        let mut all = vec![is(label::SERVICE, GATEWAY), is(label::HTTP_ROUTE, "/api/checkout")];
        all.extend(more.iter().map(|one| (*one).to_owned()));
        increase(&names::HTTP_SERVER_REQUEST_DURATION, &all, "1m")
    };
    format!("({})", or_zero(&share(&[], &at(&[r#"http_response_status_code=~"5..""#]), &at(&[]))))
}

/// Orders in the retry queue.
pub fn depth() -> String {
    sum(&[], &max(&[label::SERVICE, label::QUEUE], &series(&names::RETRY_QUEUE_DEPTH, &[])))
}

/// One line: what orders become.
pub fn orders() -> Vec<Query> {
    let (depth, share) = (depth(), refused());
    let (waiting, failed) = (numbered(&[], &format!("({depth} > 0)"), "waiting", "$1"), percent(&[], &share, "failed"));
    vec![
        line(
            &format!("({}) and on () ({share} < {SEEN})", joined(&waiting, "failed", &failed)),
            Gravity::Protected,
            "Orders that wait in the queue to be charged when payments work again: {{waiting}}; none is refused now.",
        ),
        line(
            &format!("({}) and on () ({share} >= {SEEN})", joined(&waiting, "failed", &failed)),
            Gravity::Harm,
            "In the last minute {{failed}} of orders were refused, their buyers did not ask to wait; {{waiting}} others wait in \
             the queue to be charged.",
        ),
        line(
            &format!("{failed} and on () ({share} >= {SEEN}) and on () ({depth} == 0)"),
            Gravity::Harm,
            "In the last minute {{failed}} of orders were refused; none waits in the queue.",
        ),
        line(
            &format!("({share} < {SEEN}) and on () ({depth} == 0)"),
            Gravity::Good,
            "Orders go through: none is refused, none waits in the queue.",
        ),
    ]
}

/// Messages that Alertmanager could not deliver in the last seconds.
pub fn undelivered() -> String {
    format!("increase({}[$__rate_interval])", foreign("alertmanager_notifications_failed_total", &[]))
}

/// How many alerts fire that ask somebody to act.
pub fn firing() -> String {
    let calling = alerts("firing", &[not("severity", "none"), not("severity", "info")]);
    or_zero(&format!("count(count by (alertname, service, breaker) ({calling}))"))
}

/// What tells alerts apart.
pub const ALERT: &[&str] = &["alertname", "severity", label::SERVICE, label::BREAKER];

/// Seconds for which alerts have been in a state. A firing one was pending before, and `ALERTS_FOR_STATE` counts
/// from there: it serves only what has fired for half an hour or longer.
pub fn in_state(state: &str, severity: &str) -> String {
    let held = max(ALERT, &format!("time() - ALERTS_FOR_STATE{{{severity}}}"));
    let all = |offset: &str| max(ALERT, &format!("{}{offset}", alerts(state, &[severity.to_owned()])));
    let began = max(ALERT, &format!("max_over_time(timestamp({} unless {})[30m:5s])", all(""), all(" offset 5s")));
    format!("((time() - {began}) and ({now})) or ({held} and ({now}))", now = all(""))
}

/// The gravest alert that asks for action, of those the oldest, with its age; the others are only counted.
fn gravest(severity: &str) -> String {
    let firing = format!("({}) unless on (alertname, service, breaker) ({})", in_state("firing", severity), lagging());
    named(&spoken(ALERT, &format!("topk(1, {firing})"), "span"))
}

/// Alerts on open breakers whose breaker is closed by now: their window still holds the time before.
fn lagging() -> String {
    let open = max(ALERT, &alerts("firing", &[is("alertname", "CircuitBreakerOpen")]));
    let closed =
        max(BREAKER, &format!("{} == 1", series(&names::CIRCUIT_BREAKER_STATE, &[is(label::STATE, "closed")])));
    format!("({open}) and on (service, breaker) ({closed})")
}

/// Alerts as the sentence names them, with how many others fire.
fn named(span: &str) -> String {
    let at = format!("label_join({span}, \"at\", \" → \", \"service\", \"breaker\")");
    let at = format!("label_replace({at}, \"at\", \"$1\", \"at\", \"(.*) → \")");
    // Prometheus leaves a rule's template in ALERTS where it expands to nothing.
    let at = format!("label_replace({at}, \"at\", \"\", \"at\", \"[{{][{{].*\")");
    let at = format!("label_replace({at}, \"at\", \" at $1\", \"at\", \"(.+)\")");
    let what = format!("label_replace({at}, \"what\", \"$1\", \"alertname\", \"(.+)\")");
    let what =
        format!("label_replace({what}, \"what\", \"{CANNOT_DELIVER}\", \"alertname\", \"{CANNOT_DELIVER_ALERT}\")");
    let lagging = or_zero(&format!("count({})", lagging()));
    let others = format!("({}) - ({lagging}) - 1", firing());
    let others = format!("label_replace(count_values(\"n\", {others}), \"others\", \"$1\", \"n\", \"(.*)\")");
    joined(&what, "others", &others)
}

/// An alert whose name does not say what it means.
const CANNOT_DELIVER_ALERT: &str = "NotificationFailing";
const CANNOT_DELIVER: &str = "Alertmanager cannot deliver notifications";

/// One line: the gravest alert that asks for action, in the colour of its severity; `next` is where to go on.
pub fn acting(next: &str) -> Vec<Query> {
    let critical = gravest(r#"severity="critical""#);
    let milder = format!(
        "({}) unless on () count({})",
        gravest(r#"severity!~"critical|info|none""#),
        alerts("firing", &[is("severity", "critical")])
    );
    let legend = format!(
        "Act on {{{{what}}}} ({{{{severity}}}}){{{{at}}}}, firing for {{{{span}}}}. {next} Other alerts that ask \
         for action: {{{{others}}}}."
    );
    vec![
        line(&critical, Gravity::Harm, &legend),
        line(&milder, Gravity::Protected, &legend),
        line(&format!("({}) == 0", firing()), Gravity::Good, "No alert fires that asks for action."),
        line(
            // Otherwise the line on calm says it.
            &format!("topk(2, {}) unless on () ({})", max(BREAKER, &lagging()), quiet()),
            Gravity::Note,
            "CircuitBreakerOpen at {{service}} → {{breaker}} still fires although that breaker is closed again: it \
             resolves by itself soon.",
        ),
    ]
}
