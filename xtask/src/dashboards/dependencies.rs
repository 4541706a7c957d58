//! Dependencies and traces: rate, errors and duration of calls between services, and traces of single requests.

use breakerbox_telemetry::names::{self, Family, label};
use serde_json::json;

use super::dashboard::{Dashboard, Section};
use super::panel::{Kind, Panel};
use super::query::{any, increase, is, not, quantile_or_gap, quantile_seen, rate, series, share, sum};
use super::say;
use super::table::Table;
use super::theme;

const CALL: &[&str] = &[label::SERVICE, label::BREAKER];
/// The breaker of the row that was clicked.
const ONE_BREAKER: &str = "/d/breakerbox-breakers?var-service=${__data.fields.Caller}&\
    var-breaker=${__data.fields.Dependency}&${__url_time_range}";
const SERVICE: &[&str] = &[label::SERVICE];

pub fn page() -> Dashboard {
    Dashboard {
        uid: "breakerbox-dependencies",
        title: "Dependencies and traces",
        description: "Rate, errors and duration of every dependency, measured by its callers and by itself. \
            A dot on a graph opens a trace.",
        lists_targets_by: names::BUILD_INFO.name,
        variables: vec![json!({
            "name": "jaeger_datasource", "label": "Jaeger data source", "type": "datasource", "query": "jaeger", "regex": "",
            "description": "The Jaeger that stores the traces.", "hide": 0, "refresh": 1, "multi": false, "includeAll": false,
            "current": { "text": "Jaeger", "value": "jaeger", "selected": true }, "options": [], "skipUrlSync": false,
        })],
        sections: vec![
            Section::top(callers()),
            Section::titled(
                "Left: measured by protected callers. Right: measured by the services, which serve both gateways.",
                [seen_by_callers(), seen_by_services()].concat(),
            ),
            Section::folded("Traces", traces()),
        ],
    }
}

fn executed() -> Vec<String> {
    vec![not(label::OUTCOME, "rejected")]
}

fn broken() -> Vec<String> {
    vec![any(label::OUTCOME, &["failure", "timeout"])]
}

/// Seconds from which an answer of a dependency is slow; in normal operation answers take less than a tenth of that.
const SLOW: f64 = 0.25;

/// Routes of orders at the gateways and at checkout: an error there is a refused order.
const ORDERS: &str = "/api/checkout|/orders";

fn callers() -> Vec<([u32; 4], Panel)> {
    let (calls, durations) = (&names::CIRCUIT_BREAKER_CALLS, &names::CIRCUIT_BREAKER_CALL_DURATION);
    let rejected = share(CALL, &rate(calls, &[is(label::OUTCOME, "rejected")]), &rate(calls, &[]));
    let unserved = rate(calls, &[any(label::OUTCOME, &["failure", "timeout", "rejected"])]);
    // Without executed calls the share is not defined: a dash, not 0 %.
    let errors = format!("{} >= 0", executed_share(calls));
    let took = |q: &str| quantile_seen(q, CALL, durations, &[]);
    let by_caller = Table::new(
        "Every dependency now, measured by its protected caller",
        "Calls that were executed, the share that failed or timed out, the share the breaker rejected (amber: \
         protected, and \
         not served live), and durations (amber: slow). Dependencies with most failed or rejected calls come first; a \
         dash means that there were no calls. Click a dependency to see its breaker.",
    )
    .label_wide(label::SERVICE, "Caller", 125)
    .label_wide(label::BREAKER, "Dependency", 135)
    .leads_to("Dependency", "This breaker", ONE_BREAKER)
    .number("Rate", sum(CALL, &rate(calls, &executed())), "suffix: /s", 1, 75)
    .protected("Errors", errors, 75)
    .protected("Rejected", rejected, 85)
    .slow_from(SLOW, "p50", took("0.5"), 80)
    .slow_from(SLOW, "p95", took("0.95"), 80)
    .slow_from(SLOW, "p99", took("0.99"), 80)
    .number("Unserved", share(CALL, &unserved, &rate(calls, &[])), "percentunit", 1, 0)
    .hidden("Unserved")
    .sorted("Unserved", true, "No breaker is scraped");
    let requests = &names::HTTP_SERVER_REQUEST_DURATION;
    let failed = || r#"http_response_status_code=~"5..""#.to_owned();
    let other = no_order;
    let errors = format!(
        "{} / ({} > 0)",
        or_nothing(&sum(SERVICE, &rate(requests, &[failed(), other()])), &sum(SERVICE, &rate(requests, &[other()]))),
        sum(SERVICE, &rate(requests, &[other()]))
    );
    // Checkout serves the orders of both gateways: only the gateways distinguish protected from unprotected orders.
    let at_orders = is(label::HTTP_ROUTE, "/api/checkout");
    let refused = format!(
        "{} / ({} > 0)",
        or_nothing(
            &sum(SERVICE, &increase(requests, &[failed(), at_orders.clone()], "1m")),
            &sum(SERVICE, &increase(requests, std::slice::from_ref(&at_orders), "1m"))
        ),
        sum(SERVICE, &increase(requests, &[at_orders], "1m"))
    );
    let by_service = Table::new(
        "Every service now, from the traffic of both gateways",
        "Requests measured by the services themselves, from both gateways. A dependency with errors here fails \
         itself; one with errors only on the left is not reachable, or too slow for its callers. Orders refused in \
         the last minute do not count as failed pages and have a separate column.",
    )
    .label_wide(label::SERVICE, "Service", 170)
    .named("Service")
    .number("Rate", sum(SERVICE, &rate(requests, &[])), "suffix: /s", 1, 70)
    .errors("Errors", errors, 70)
    .errors("Orders refused", refused, 115)
    .slow_from(SLOW, "p50", quantile_seen("0.5", SERVICE, requests, &[]), 75)
    .slow_from(SLOW, "p99", quantile_seen("0.99", SERVICE, requests, &[]), 75)
    .number("In flight", sum(SERVICE, &series(&names::HTTP_SERVER_ACTIVE_REQUESTS, &[])), "none", 0, 70)
    .sorted("Errors", true, "No service is scraped");
    let mut lines = say::state();
    lines.push(say::small());
    let description = "What is broken, which breakers are in front of it, and what viewers get; below, every \
        dependency as measured by its callers and by the service itself.";
    vec![([0, 0, 24, 6], say::panel(description, lines)), ([0, 6, 13, 13], by_caller), ([13, 6, 11, 13], by_service)]
}

/// Share of the executed calls that failed; NaN, which is a gap in a graph, while none is executed.
fn executed_share(calls: &Family) -> String {
    format!("{} / {}", sum(CALL, &rate(calls, &broken())), sum(CALL, &rate(calls, &executed())))
}

/// Matches requests that do not place an order.
fn no_order() -> String {
    format!("http_route!~\"{ORDERS}\"")
}

/// `part`, or 0 where only `whole` has a series.
fn or_nothing(part: &str, whole: &str) -> String {
    format!("(({part}) or ({whole} * 0))")
}

fn lines(title: &str, description: &str, unit: &str, max: Option<f64>, by: &[&str], expr: &str) -> Panel {
    let legend = by.iter().map(|label| format!("{{{{{label}}}}}")).collect::<Vec<_>>().join(" → ");
    Panel::new(Kind::TimeSeries, title, description)
        .unit(unit)
        .between(0.0, max)
        .custom("fillOpacity", json!(0))
        .ask_eventful(by, expr, &legend, "none")
        .when_empty("Nothing is scraped")
}

fn seen_by_callers() -> Vec<([u32; 4], Panel)> {
    let calls = &names::CIRCUIT_BREAKER_CALLS;
    let panels = vec![
        (
            [0, 0, 12, 8],
            lines(
                "Calls by dependency, the six busiest",
                "Executed calls per second. A line that drops to 0 while others continue indicates an open breaker.",
                "suffix: /s",
                None,
                CALL,
                &sum(CALL, &rate(calls, &executed())),
            ),
        ),
        (
            [0, 8, 12, 8],
            lines(
                "Errors by dependency, the six highest",
                "Share of executed calls that failed or timed out. A line has a gap while its breaker is open and no \
                 calls are executed; a dot in the gap is a failed probe.",
                "percentunit",
                Some(1.0),
                CALL,
                &executed_share(calls),
            ),
        ),
        (
            [0, 16, 12, 8],
            lines(
                "p99 by dependency, the six slowest",
                "The slowest one in a hundred executed calls; a line has a gap while no calls are executed. A dot \
                 opens the \
                 trace of one real call.",
                "s",
                None,
                CALL,
                &quantile_or_gap("0.99", CALL, &names::CIRCUIT_BREAKER_CALL_DURATION),
            ),
        ),
    ];
    panels.into_iter().map(|(place, panel): ([u32; 4], Panel)| (place, panel.identities(theme::BREAKERS))).collect()
}

fn seen_by_services() -> Vec<([u32; 4], Panel)> {
    let requests = &names::HTTP_SERVER_REQUEST_DURATION;
    let failed = [r#"http_response_status_code=~"5..""#.to_owned(), no_order()];
    let panels = vec![
        (
            [12, 0, 12, 8],
            lines(
                "Requests by service from both gateways, the six busiest",
                "Requests served per second, including retries and hedges of callers, and those of the unprotected \
                 gateway: more than the original calls.",
                "reqps",
                None,
                SERVICE,
                &sum(SERVICE, &rate(requests, &[])),
            ),
        ),
        (
            [12, 8, 12, 8],
            lines(
                "Errors by service without refused orders, the six highest",
                "Share of 5xx answers. The service nearest to the cause shows it first and most. Refused orders are \
                 in the \
                 table above and on the page Checkout.",
                "percentunit",
                Some(1.0),
                SERVICE,
                &share(SERVICE, &rate(requests, &failed), &rate(requests, &[no_order()])),
            ),
        ),
        (
            [12, 16, 12, 8],
            lines(
                "p99 by service, the six slowest",
                "The slowest one in a hundred answers of each service. A dot opens the trace of one \
                 real request.",
                "s",
                None,
                SERVICE,
                &quantile_or_gap("0.99", SERVICE, requests),
            ),
        ),
    ];
    panels.into_iter().map(|(place, panel): ([u32; 4], Panel)| (place, panel.identities(theme::SERVICES))).collect()
}

fn traces() -> Vec<([u32; 4], Panel)> {
    let map = Panel::new(
        Kind::NodeGraph,
        "Service map",
        "Calls between services, from traces. If an edge is missing, there was no such call since Jaeger started; \
         compare with the topology in ARCHITECTURE.md.",
    )
    .unit("none")
    .ask_jaeger("dependencyGraph", "")
    .when_empty("No traces: check that an OTLP endpoint is set");
    let search = Panel::new(
        Kind::Table,
        "Recent requests",
        "The latest traces of the gateway. A trace shows every attempt, fallback and breaker decision of a request, \
         and their durations.",
    )
    .unit("none")
    .ask_jaeger("search", "gateway")
    .when_empty("No traces: check that an OTLP endpoint is set");
    vec![([0, 0, 12, 11], map), ([12, 0, 12, 11], search)]
}
