//! Lines about results for viewers and buyers.

use breakerbox_telemetry::names::{self, label};

use super::outages::is_open;
use super::{BARE, GATEWAY, Gravity, joined, line, numbered, percent, with};
use crate::dashboards::panel::Query;
use crate::dashboards::query::{any, increase, is, max, or_zero, quantile, rate, series, share, sum};

/// Place of the outcome of orders on a page: in the line about viewers, or in a line of its own.
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

/// Minimum share that is mentioned.
const SEEN: f64 = 0.005;

/// Results of the same traffic without protection: failed pages, late pages, or no difference.
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

/// Change since half a minute ago; up to three percentage points count as steady.
fn trend(now: &str, before: &str) -> String {
    let change = format!("({now} - {before})");
    format!(
        "{} or {} or {} or on () vector(1)",
        with(&format!("({change} > 0.03)"), "trend", " (rising)"),
        with(&format!("({change} < -0.03)"), "trend", " (falling)"),
        with(&format!("(abs({change}) <= 0.03)"), "trend", " (steady)"),
    )
}

/// Share of refused orders, for the line about pages: a refused order is not a failed page.
fn beside_pages() -> String {
    let refused = numbered(&[], &format!("round(100 * ({} >= {SEEN}))", refused()), "orders", " Orders: $1 % refused.");
    format!("{refused} or on () vector(1)")
}

/// One line: results for viewers, their trend, and the results without protection.
pub fn viewers(said: Orders) -> Vec<Query> {
    let in_it = if said == Orders::InIt { "{{orders}}" } else { "" };
    let beside = |expr: String| if in_it.is_empty() { expr } else { joined(&expr, "orders", &beside_pages()) };
    let (errors, fallbacks) = (played(GATEWAY, &["error"], ""), played(GATEWAY, &["degraded"], ""));
    let (failed, degraded) = (percent(&[], &errors, "failed"), percent(&[], &fallbacks, "degraded"));
    let twin = twin();
    let trend_of = |outcome: &str| trend(&played(GATEWAY, &[outcome], ""), &played(GATEWAY, &[outcome], " offset 30s"));
    let traffic = sum(&[], &rate(&names::PLAYBACK_REQUESTS, &[is(label::SERVICE, GATEWAY)]));
    // The trend of the share that the line names first: errors may fall while fallbacks take their place.
    let told = |first: &str, outcome: &str| beside(joined(&joined(first, "trend", &trend_of(outcome)), "twin", &twin));
    let well = format!(
        "({}) and on () ({traffic} > 0) and on () ({fallbacks} < {SEEN}) and on () ({errors} < {SEEN})",
        beside(joined("vector(1)", "twin", &twin))
    );
    // Good pages alone are not enough for green: no breaker is open, and no orders are refused.
    let uneasy = format!("(({} == 1) or ({} >= {SEEN}))", max(&[], &is_open()), refused());
    vec![
        line(
            &format!("({}) and on () ({errors} >= {SEEN})", joined(&told(&failed, "error"), "degraded", &degraded)),
            Gravity::Harm,
            &format!(
                "In the last seconds {{{{failed}}}} of pages failed{{{{trend}}}} and {{{{degraded}}}} came from a \
                 fallback.{in_it}{{{{twin}}}}"
            ),
        ),
        line(
            &format!(
                "({}) and on () ({fallbacks} >= {SEEN}) and on () ({errors} < {SEEN})",
                told(&degraded, "degraded")
            ),
            Gravity::Protected,
            &format!(
                "In the last seconds {{{{degraded}}}} of pages came from a fallback{{{{trend}}}}, and none \
                 failed.{in_it}{{{{twin}}}}"
            ),
        ),
        line(
            &format!("({well}) unless on () {uneasy}"),
            Gravity::Good,
            "All pages are up to date, and none fails.{{twin}}",
        ),
        line(
            &format!("({well}) and on () {uneasy}"),
            Gravity::Note,
            &format!("All pages are still up to date, and none fails.{in_it}{{{{twin}}}}"),
        ),
        line(&format!("{traffic} == 0"), Gravity::Note, "There is no viewer traffic."),
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

/// One line about the outcome of orders.
pub fn orders() -> Vec<Query> {
    let (depth, share) = (depth(), refused());
    let (waiting, failed) = (numbered(&[], &format!("({depth} > 0)"), "waiting", "$1"), percent(&[], &share, "failed"));
    vec![
        line(
            &format!("({}) and on () ({share} < {SEEN})", joined(&waiting, "failed", &failed)),
            Gravity::Protected,
            "Orders waiting in the queue to be charged when payments work again: {{waiting}}; none is refused now.",
        ),
        line(
            &format!("({}) and on () ({share} >= {SEEN})", joined(&waiting, "failed", &failed)),
            Gravity::Harm,
            "In the last minute {{failed}} of orders were refused, because their buyers chose not to wait; \
             {{waiting}} others are in the queue and will be charged later.",
        ),
        line(
            &format!("{failed} and on () ({share} >= {SEEN}) and on () ({depth} == 0)"),
            Gravity::Harm,
            "In the last minute {{failed}} of orders were refused, and none waits in the queue.",
        ),
        line(
            &format!("({share} < {SEEN}) and on () ({depth} == 0)"),
            Gravity::Good,
            "Orders are paid: none is refused, and none waits in the queue.",
        ),
    ]
}
