//! What viewers and buyers get.

use breakerbox_telemetry::names::{self, label};

use super::outages::is_open;
use super::{BARE, GATEWAY, Gravity, joined, line, numbered, percent, with};
use crate::dashboards::panel::Query;
use crate::dashboards::query::{any, increase, is, max, or_zero, quantile, rate, series, share, sum};

/// Where a page says what orders become: in the line on viewers, or in one of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Orders {
    InIt,
    BelowIt,
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
