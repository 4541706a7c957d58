//! Streaming overview, the home page: what is broken, what viewers feel, what the breakers did.
//!
//! The first screen answers in that order, twice: as five tiles that say *now*, and as three strips on
//! one time axis that say *since when*. Everything below is for whoever asks why.

use breakerbox_telemetry::names::{self, label, value};
use serde_json::json;

use super::checkout;
use super::dashboard::{Dashboard, Section};
use super::lanes::{alert_timeline, fault_code, fault_words, faults, no_fault, quiet};
use super::panel::{Kind, Panel, Query};
use super::query::{
    alerts, any, call_label, increase, is, judged, max, not, or_zero, quantile, rate, series, share, state_code, sum,
};
use super::table::Table;
use super::theme;

const GATEWAY: &str = "gateway";
const BARE: &str = "gateway-bare";
/// A label matcher of answers that failed on the server's side.
const FAILED: &str = r#"http_response_status_code=~"5..""#;

pub fn page() -> Dashboard {
    Dashboard {
        uid: "breakerbox-overview",
        title: "Streaming overview",
        description: "Is the service good for viewers now? What is broken, what they feel, and what the \
            breakers did about it.",
        lists_targets_by: names::BUILD_INFO.name,
        variables: Vec::new(),
        sections: vec![
            Section::top(now()),
            Section::titled("Service level", service_level()),
            Section::titled("Routes", routes()),
            Section::titled("Breakers and alerts", details()),
        ],
    }
}

fn now() -> Vec<([u32; 4], Panel)> {
    vec![
        ([0, 0, 4, 5], broken_now()),
        ([4, 0, 5, 5], viewers_now()),
        ([9, 0, 4, 5], risk_now()),
        ([13, 0, 5, 5], breakers_now()),
        ([18, 0, 6, 5], alerts_now()),
        ([0, 5, 16, 5], faults()),
        ([0, 10, 16, 8], states()),
        ([0, 18, 16, 6], pages()),
        (
            [16, 5, 8, 7],
            beside(
                "Errors: protected beside bare",
                "Share of pages that were errors, behind the protected gateway and behind the same \
                 gateway without any protection, under the same traffic. The gap is what the patterns \
                 are worth.",
                "percentunit",
                Some(1.0),
                |service| {
                    share(
                        &[],
                        &rate(&names::PLAYBACK_REQUESTS, &[is(label::SERVICE, service), is(label::OUTCOME, "error")]),
                        &rate(&names::PLAYBACK_REQUESTS, &[is(label::SERVICE, service)]),
                    )
                },
            ),
        ),
        (
            [16, 12, 8, 6],
            beside(
                "p99: protected beside bare",
                "The slowest one in a hundred answers of each gateway. The bare one waits for what is \
                 broken; the protected one stops waiting.",
                "s",
                None,
                |service| quantile("0.99", &[], &names::HTTP_SERVER_REQUEST_DURATION, &[is(label::SERVICE, service)]),
            ),
        ),
        (
            [16, 18, 8, 6],
            beside(
                "In flight: protected beside bare",
                "Requests inside each gateway now, waiting ones included. The bare one serves 20 at a time from one shared \
                 pool: when something hangs, every page waits behind it, also those that need nothing broken.",
                "short",
                None,
                |service| {
                    or_zero(&sum(&[], &series(&names::HTTP_SERVER_ACTIVE_REQUESTS, &[is(label::SERVICE, service)])))
                },
            ),
        ),
    ]
}

/// Tiles that are read from across the room.
fn tile(title: &str, description: &str) -> Panel {
    Panel::new(Kind::Stat, title, description)
        .unit("none")
        .option("orientation", json!("horizontal"))
        .option("text", json!({ "titleSize": 15, "valueSize": 17 }))
}

fn broken_now() -> Panel {
    tile(
        "1 · What is broken",
        "Faults that are switched on now, by the service they hit. Purple is broken on purpose; nothing here while \
         viewers suffer means a real failure: look at the breakers and alerts.",
    )
    .option("textMode", json!("value_and_name"))
    .words(fault_words())
    .ask(Query::now(format!("{} > 0", fault_code()), "{{target}}"))
    .ask(Query::now(no_fault(), "no service"))
    .when_empty("No fault series: is anything scraped?")
}

fn viewers_now() -> Panel {
    let played = |outcome: &str| {
        or_zero(&share(
            &[],
            &rate(&names::PLAYBACK_REQUESTS, &[is(label::SERVICE, GATEWAY), is(label::OUTCOME, outcome)]),
            &rate(&names::PLAYBACK_REQUESTS, &[is(label::SERVICE, GATEWAY)]),
        ))
    };
    let mut panel = tile(
        "2 · What viewers get",
        "Shares of the pages served in the last seconds. Degraded pages come with older or \
         popular titles and still load; errors do not. All 0 % means that nobody asked.",
    )
    .unit("percentunit")
    .decimals(0)
    .between(0.0, Some(1.0))
    .option("textMode", json!("value_and_name"))
    .option("orientation", json!("vertical"))
    .when_empty("No viewer traffic is measured");
    for outcome in value::PLAYBACK_OUTCOMES {
        panel = panel.ask(Query::now(played(outcome), outcome));
        // Grey while there is none of it: a red zero would say the opposite of what it means.
        let steps = json!({ "mode": "absolute", "steps": [
            { "value": null, "color": theme::NEUTRAL }, { "value": 0.005, "color": theme::colour(outcome) } ] });
        panel = panel.configure(theme::by_name(outcome, &[("thresholds", steps)]));
    }
    panel
}

fn risk_now() -> Panel {
    tile(
        "3 · Revenue at risk",
        "Won of orders taken in the shown time whose payment failed and that wait to be charged again. It falls to 0 \
         when the queue gets them paid. Follow the link to what is kept and lost.",
    )
    .unit(checkout::WON)
    .steps(&[(None, theme::NEUTRAL), (Some(1000.0), theme::WARN)])
    .option("text", json!({ "titleSize": 15, "valueSize": 26 }))
    .ask(Query::now(checkout::at_risk(), "at risk"))
    .link("Checkout", "/d/breakerbox-checkout?${__url_time_range}&${__all_variables}")
    .when_empty("No checkout is scraped")
}

fn breakers_now() -> Panel {
    let away = series(&names::CIRCUIT_BREAKER_STATE, &[not(label::STATE, "closed")]);
    tile(
        "4 · What the breakers did",
        "Breakers that are not closed now: open ones answer at once from the fallback, \
         half-open ones let a few probes through. Follow the link for the reason.",
    )
    .option("textMode", json!("value_and_name"))
    .option("text", json!({ "titleSize": 13, "valueSize": 14 }))
    .words(theme::state_words())
    .ask(Query::now(format!("{} > 0", state_code(&["service", "breaker"])), "{{service}} → {{breaker}}"))
    .ask(Query::now(format!("{} == 0", sum(&[], &away)), "all breakers"))
    .link("Circuit breakers", "/d/breakerbox-breakers?${__url_time_range}&${__all_variables}")
    .when_empty("No breaker is scraped")
}

fn alerts_now() -> Panel {
    let graded = [
        format!("{} * 3", alerts("firing", &[is("severity", "critical")])),
        format!("{} * 2", alerts("firing", &[r#"severity!~"critical|info|none""#.to_owned()])),
    ];
    let calling = alerts("firing", &[not("severity", "none"), not("severity", "info")]);
    tile(
        "5 · Which alerts fire",
        "The four gravest alerts that ask somebody to act, critical ones in red; those of severity info are left \
         to the timeline. Each has a runbook: Drill and alerts lists them with their start.",
    )
    .option("textMode", json!("value_and_name"))
    // The longest name and its severity on one line.
    .option("text", json!({ "titleSize": 13, "valueSize": 14 }))
    .words(theme::words(&[
        (0, "quiet", theme::GOOD),
        (2, "warning", theme::colour("warning")),
        (3, "critical", theme::colour("critical")),
    ]))
    .ask(Query::now(format!("topk(4, {})", max(&["alertname"], &graded.join(" or "))), "{{alertname}}"))
    .ask(Query::now(quiet(&calling), "no alert"))
    .link("Drill and alerts", "/d/breakerbox-alerts?${__url_time_range}&${__all_variables}")
    .when_empty("No alert fires")
}

fn states() -> Panel {
    Panel::new(
        Kind::StateTimeline,
        "Answer: breaker states",
        "One lane a breaker, named caller → dependency. Red is open (calls answered at once \
         from the fallback), amber half-open (probing), green closed. Of several replicas, \
         the gravest state.",
    )
    .unit("none")
    .words(theme::state_words())
    .option("showValue", json!("never"))
    .ask(Query::over_time(state_code(&["service", "breaker"]), "{{service}} → {{breaker}}"))
    .when_empty("No breaker is scraped")
}

fn pages() -> Panel {
    let mut panel = Panel::new(
        Kind::TimeSeries,
        "Effect: pages by what viewers got",
        "Pages a second from the protected gateway. Amber is degraded (an older or popular \
         answer in place of the live one), red is an error. Amber without red: the patterns \
         hold.",
    )
    .unit("reqps")
    .between(0.0, None)
    .stacked()
    .aligned()
    .meanings(value::PLAYBACK_OUTCOMES)
    .when_empty("No viewer traffic is measured");
    // The worst at the bottom, where its height can be read.
    for outcome in value::PLAYBACK_OUTCOMES.iter().rev() {
        let matchers = [is(label::SERVICE, GATEWAY), is(label::OUTCOME, outcome)];
        panel = panel.ask(Query::over_time(sum(&[], &rate(&names::PLAYBACK_REQUESTS, &matchers)), outcome));
    }
    panel
}

fn beside(title: &str, description: &str, unit: &str, max: Option<f64>, measure: impl Fn(&str) -> String) -> Panel {
    Panel::new(Kind::TimeSeries, title, description)
        .unit(unit)
        .between(0.0, max)
        .meanings(&["protected", "bare"])
        .configure(theme::by_name("bare", &[("custom.lineStyle", json!({ "fill": "dash", "dash": [8, 4] }))]))
        .ask(Query::over_time(measure(GATEWAY), "protected"))
        .ask(Query::over_time(measure(BARE), "bare"))
        .when_empty("Neither gateway is scraped")
}

/// What each objective counts as bad, and what it is called here.
const OBJECTIVES: &[(&str, &str, &[&str])] =
    &[("availability", "no error", &["error"]), ("quality", "live", &["error", "degraded"])];

/// Share of the pages within a window that are bad for an objective, as a share of what it allows.
fn spent(slo: &str, bad: &[&str], range: &str) -> String {
    let at = is(label::SERVICE, GATEWAY);
    let bad = sum(&[], &increase(&names::PLAYBACK_REQUESTS, &[at.clone(), any(label::OUTCOME, bad)], range));
    let pages = sum(&[], &increase(&names::PLAYBACK_REQUESTS, std::slice::from_ref(&at), range));
    let allowed = format!("(1 - {})", max(&[], &series(&names::SLO_OBJECTIVE, &[at, is(label::SLO, slo)])));
    or_zero(&format!("({bad} / ({pages} > 0) / {allowed}) or ({pages} * 0)"))
}

fn service_level() -> Vec<([u32; 4], Panel)> {
    let mut left = Panel::new(
        Kind::Gauge,
        "Budgets left",
        "What is left, over the shown time, of the pages that may be errors (no error) and of those that may be \
         degraded (live). At 0 the objective is missed: stop taking risks until it recovers.",
    )
    .unit("percentunit")
    .decimals(0)
    .between(0.0, Some(1.0))
    .steps(&[(None, theme::BAD), (Some(0.0001), theme::WARN), (Some(0.5), theme::GOOD)])
    .when_empty("No viewer traffic is measured");
    let mut burn = Panel::new(
        Kind::TimeSeries,
        "Budget burn",
        "How many times faster than allowed the budgets are spent, over 5 minutes and over 1 \
         hour. At 1 one lasts exactly its period; above 14.4 in both, page somebody.",
    )
    .unit("suffix: ×")
    .between(0.0, None)
    .custom("fillOpacity", json!(0))
    .limit("spent exactly")
    .when_empty("No viewer traffic is measured");
    for (slo, name, bad) in OBJECTIVES {
        left = left.ask(Query::now(format!("clamp_min(1 - ({}), 0)", spent(slo, bad, "$__range")), name));
        for (range, spoken, dash) in [("5m", "5 minutes", [0, 0]), ("1h", "1 hour", [8, 4])] {
            let legend = format!("{name}, {spoken}");
            let colour = json!({ "mode": "fixed", "fixedColor": theme::colour(bad.last().expect("something is bad")) });
            let style =
                if dash == [0, 0] { json!({ "fill": "solid" }) } else { json!({ "fill": "dash", "dash": dash }) };
            burn = burn
                .configure(theme::by_name(&legend, &[("color", colour), ("custom.lineStyle", style)]))
                .ask(Query::over_time(spent(slo, bad, range), &legend));
        }
    }
    burn = burn.ask(Query::over_time("vector(1)", "spent exactly"));
    let mut latency = Panel::new(
        Kind::TimeSeries,
        "Answer time with traces",
        "p50, p95 and p99 of the protected gateway. A dot is one real request: it opens that \
         request's trace. p99 that rises alone points at one slow dependency.",
    )
    .unit("s")
    .between(0.0, None)
    .meanings(&["p50", "p95", "p99"])
    .when_empty("The gateway is not scraped");
    for (q, name) in [("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99")] {
        let query = Query::over_time(
            quantile(q, &[], &names::HTTP_SERVER_REQUEST_DURATION, &[is(label::SERVICE, GATEWAY)]),
            name,
        );
        latency = latency.ask(if name == "p99" { query.with_exemplars() } else { query });
    }
    vec![([0, 0, 5, 8], left), ([5, 0, 9, 8], burn), ([14, 0, 10, 8], latency)]
}

fn routes() -> Vec<([u32; 4], Panel)> {
    let at_gateway = || vec![is(label::SERVICE, GATEWAY)];
    let failed = || vec![is(label::SERVICE, GATEWAY), FAILED.to_owned()];
    let family = &names::HTTP_SERVER_REQUEST_DURATION;
    let by = &[label::HTTP_ROUTE];
    let table = Table::new(
        "Rate, errors, duration by route",
        "The protected gateway's routes now. A route with errors while others have none fails for its own \
         dependency: see which breaker is open.",
    )
    .label(label::HTTP_ROUTE, "Route")
    .number("Rate", sum(by, &rate(family, &at_gateway())), "reqps", 1, 85)
    .errors("Errors", share(by, &rate(family, &failed()), &rate(family, &at_gateway())), 70)
    .seconds("p50", quantile("0.5", by, family, &at_gateway()), 76)
    .seconds("p95", quantile("0.95", by, family, &at_gateway()), 76)
    .seconds("p99", quantile("0.99", by, family, &at_gateway()), 76)
    .sorted("Rate", true, "No route was asked yet");
    let rates = Panel::new(
        Kind::TimeSeries,
        "Requests by route",
        "Answers a second by route. All routes down together: no traffic. One alone: its page \
         is not asked for any more.",
    )
    .unit("reqps")
    .between(0.0, None)
    .custom("fillOpacity", json!(0))
    .identities(theme::ROUTES)
    .ask(Query::over_time(sum(by, &rate(family, &at_gateway())), "{{http_route}}"))
    .when_empty("No route was asked yet");
    let errors = Panel::new(
        Kind::TimeSeries,
        "Errors by route",
        "Share of 5xx answers by route. The protected gateway should stay at 0 whatever fails \
         behind it.",
    )
    .unit("percentunit")
    .between(0.0, Some(1.0))
    .custom("fillOpacity", json!(0))
    .identities(theme::ROUTES)
    .ask(Query::over_time(share(by, &rate(family, &failed()), &rate(family, &at_gateway())), "{{http_route}}"))
    .when_empty("No route was asked yet");
    vec![([0, 0, 10, 9], table), ([10, 0, 7, 9], rates), ([17, 0, 7, 9], errors)]
}

fn details() -> Vec<([u32; 4], Panel)> {
    let by = &["service", "breaker"];
    let rejected = rate(&names::CIRCUIT_BREAKER_CALLS, &[is(label::OUTCOME, "rejected")]);
    let idle = max(by, &series(&names::CIRCUIT_BREAKER_WINDOW_CALLS, &[]));
    // The bare gateway has fallbacks to its name and no breaker: only breakers are rows.
    let fallbacks = format!("({} and {idle}) or ({idle} * 0)", sum(by, &rate(&names::FALLBACK_CALLS, &[])));
    let failing = format!("({})", judged(by, &series(&names::CIRCUIT_BREAKER_FAILURE_RATIO, &[])));
    let table = Table::new(
        "Breakers, the gravest first",
        "State of every breaker with what it costs: calls rejected and answers served from fallbacks each second. \
         Rejected without fallbacks means that callers get errors.",
    )
    .label("call", "Breaker")
    .words("State", call_label(&state_code(by)), &theme::state_words(), 85)
    .number("Probe in", call_label(&max(by, &series(&names::CIRCUIT_BREAKER_OPEN_REMAINING, &[]))), "s", 0, 80)
    .number("Failing", call_label(&failing), "percentunit", 0, 72)
    .number("Rejected", call_label(&sum(by, &rejected)), "cps", 1, 82)
    .number("Fallbacks", call_label(&format!("({fallbacks})")), "cps", 1, 86)
    .sorted("State", true, "No breaker is scraped");
    vec![([0, 0, 12, 11], table), ([12, 0, 12, 11], alert_timeline())]
}
