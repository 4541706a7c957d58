//! Streaming overview, the home page: faults, their effect on viewers, and the reaction of the breakers.
//!
//! A summary on top; below it, on one time axis, cause, reaction, effect and alerts, and a comparison with the same
//! gateway without protection. All other panels are collapsed.

use breakerbox_telemetry::names::{self, label, value};
use serde_json::json;

use super::dashboard::{Dashboard, Section};
use super::lanes::{alert_timeline, faults};
use super::panel::{Kind, Panel, Query};
use super::query::{any, increase, is, max, or_zero, quantile, rate, series, share, state_code, sum};
use super::say::{self, BARE, GATEWAY};
use super::table::Table;
use super::theme;

/// A label matcher of answers that failed on the server's side.
const FAILED: &str = r#"http_response_status_code=~"5..""#;

pub fn page() -> Dashboard {
    Dashboard {
        uid: "breakerbox-overview",
        title: "Streaming overview",
        description: "Service quality for viewers: active faults, their effect on pages, and the reaction of \
            the circuit breakers.",
        lists_targets_by: names::BUILD_INFO.name,
        variables: Vec::new(),
        sections: vec![
            Section::top(now()),
            Section::folded("Service level", service_level()),
            Section::folded("Routes", routes()),
        ],
    }
}

fn now() -> Vec<([u32; 4], Panel)> {
    let mut lines = say::state();
    lines.extend(say::acting("Its runbook: page Drill and alerts."));
    lines.push(say::small());
    vec![
        (
            [0, 0, 24, 7],
            say::panel(
                "What is broken and since when, what protects viewers, what they get, and its trend, compared with \
                 the same gateway without protection. Purple is an injected fault, amber is protected, red is harm to \
                 viewers, green is healthy.",
                lines,
            ),
        ),
        ([0, 7, 24, 6], faults()),
        ([0, 13, 24, 8], states().link("Circuit breakers", &there("breakers"))),
        ([0, 21, 24, 6], pages()),
        ([0, 27, 24, 7], alert_timeline().link("Drill and alerts", &there("alerts"))),
        (
            [0, 34, 8, 7],
            beside(
                "Pages that fail",
                "Share of pages that failed, at the protected gateway and at the same gateway without protection, \
                 under \
                 the same traffic. The difference is the benefit of the protection. Orders are not pages: see \
                 Checkout.",
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
            [8, 34, 8, 7],
            beside(
                "Slowest answers (p99)",
                "One answer in a hundred takes longer than this. Without protection callers wait for the broken \
                 dependency; with protection they do not.",
                "s",
                None,
                |service| quantile("0.99", &[], &names::HTTP_SERVER_REQUEST_DURATION, &[is(label::SERVICE, service)]),
            ),
        ),
        (
            [16, 34, 8, 7],
            beside(
                "Requests inside the gateway",
                "Requests in flight or waiting. Without protection one pool of 20 slots serves all requests: when a \
                 dependency hangs, every page waits for it, including pages that do not need it.",
                "suffix: req",
                None,
                |service| {
                    or_zero(&sum(&[], &series(&names::HTTP_SERVER_ACTIVE_REQUESTS, &[is(label::SERVICE, service)])))
                },
            ),
        ),
        ([0, 41, 24, 6], worst_routes().link("Checkout", &there("checkout"))),
    ]
}

/// Link to another dashboard, with the time range and variables of this one.
fn there(page: &str) -> String {
    format!("/d/breakerbox-{page}?${{__url_time_range}}&${{__all_variables}}")
}

fn worst_routes() -> Panel {
    let family = &names::HTTP_SERVER_REQUEST_DURATION;
    let at_gateway = || vec![is(label::SERVICE, GATEWAY)];
    let failed = || vec![is(label::SERVICE, GATEWAY), FAILED.to_owned()];
    let by = &[label::HTTP_ROUTE];
    let errors = share(by, &increase(family, &failed(), "1m"), &increase(family, &at_gateway(), "1m"));
    let worst = format!("topk(4, {errors})");
    Table::new(
        "The four routes with most errors in the last minute",
        "Routes of the protected gateway; the collapsed row Routes has all of them. An order that cannot be charged \
         and whose buyer chose not to wait is refused with an error; it does not count as a failed page.",
    )
    .label(label::HTTP_ROUTE, "Route")
    .orders_named("Route")
    .errors("Errors", worst.clone(), 120)
    .number("Rate", format!("{} and ({worst})", sum(by, &rate(family, &at_gateway()))), "reqps", 1, 120)
    .sorted("Errors", true, "No request yet")
}

fn states() -> Panel {
    Panel::new(
        Kind::StateTimeline,
        "Reaction: breaker states",
        "One lane per breaker, named caller → dependency. Red is open (calls answered at once \
         from the fallback), amber half-open (probing), green closed. Of several replicas, \
         the worst state.",
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
        "Effect: pages (degraded = from a fallback)",
        "Pages per second from the protected gateway. Amber is degraded (an older or popular \
         answer in place of the live one), red is an error. Amber without red: the patterns \
         work.",
    )
    .unit("reqps")
    .between(0.0, None)
    .stacked()
    .aligned()
    .meanings(value::PLAYBACK_OUTCOMES)
    .when_empty("No viewer traffic is measured");
    // Errors at the bottom, where their height can be read.
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
        .meanings(&["with protection", "without protection"])
        .configure(theme::by_name(
            "without protection",
            &[("custom.lineStyle", json!({ "fill": "dash", "dash": [8, 4] }))],
        ))
        .ask(Query::over_time(measure(GATEWAY), "with protection"))
        .ask(Query::over_time(measure(BARE), "without protection"))
        .when_empty("Neither gateway is scraped")
}

/// Bad outcomes of each objective, and its name here.
const OBJECTIVES: &[(&str, &str, &[&str])] =
    &[("availability", "failed pages", &["error"]), ("quality", "failed or fallback pages", &["error", "degraded"])];

/// Bad pages of an objective within a window, as a share of its error budget.
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
        "Error budgets left",
        "Remaining share of the pages that may fail, and of the pages that may fail or come from a fallback, over the \
         selected time range. At 0 the objective is missed: avoid risky changes until it recovers.",
    )
    .unit("percentunit")
    .decimals(0)
    .between(0.0, Some(1.0))
    .steps(&[(None, theme::BAD), (Some(0.0001), theme::WARN), (Some(0.5), theme::GOOD)])
    .when_empty("No viewer traffic is measured");
    let mut burn = Panel::new(
        Kind::TimeSeries,
        "Budget burn",
        "Burn rate of the error budgets over 5 minutes and over 1 hour. At 1 a budget lasts exactly its period; above \
         14.4 over both windows an alert fires.",
    )
    .unit("suffix: ×")
    .between(0.0, None)
    .custom("fillOpacity", json!(0))
    .limit("as fast as allowed")
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
    burn = burn.ask(Query::over_time("vector(1)", "as fast as allowed"));
    let mut latency = Panel::new(
        Kind::TimeSeries,
        "Answer time with traces",
        "p50, p95 and p99 of the protected gateway. A dot is one request and opens its trace. A p99 that rises alone \
         indicates one slow dependency.",
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
    .orders_named("Route")
    .number("Rate", sum(by, &rate(family, &at_gateway())), "reqps", 1, 85)
    .errors("Errors", share(by, &rate(family, &failed()), &rate(family, &at_gateway())), 70)
    .seconds("p50", quantile("0.5", by, family, &at_gateway()), 76)
    .seconds("p95", quantile("0.95", by, family, &at_gateway()), 76)
    .seconds("p99", quantile("0.99", by, family, &at_gateway()), 76)
    .sorted("Rate", true, "No request yet");
    let rates = Panel::new(
        Kind::TimeSeries,
        "Requests by route",
        "Answers per second by route. If all routes drop together, there is no traffic; if one drops, its page \
         is no longer requested.",
    )
    .unit("reqps")
    .between(0.0, None)
    .custom("fillOpacity", json!(0))
    .identities(theme::ROUTES)
    .ask(Query::over_time(sum(by, &rate(family, &at_gateway())), "{{http_route}}"))
    .when_empty("No request yet");
    let errors = Panel::new(
        Kind::TimeSeries,
        "Errors by route",
        "Share of 5xx answers by route. The protected gateway should stay at 0 even if services behind it \
         fail.",
    )
    .unit("percentunit")
    .between(0.0, Some(1.0))
    .custom("fillOpacity", json!(0))
    .identities(theme::ROUTES)
    .ask(Query::over_time(share(by, &rate(family, &failed()), &rate(family, &at_gateway())), "{{http_route}}"))
    .when_empty("No request yet");
    vec![([0, 0, 10, 9], table), ([10, 0, 7, 9], rates), ([17, 0, 7, 9], errors)]
}
