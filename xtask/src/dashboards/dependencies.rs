//! Dependencies and traces: who calls whom, how well that goes, and one request's way through it all.

use breakerbox_telemetry::names::{self, label};
use serde_json::json;

use super::dashboard::{Dashboard, Section};
use super::panel::{Kind, Panel};
use super::query::{any, is, not, quantile, rate, series, share, sum};
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
            "description": "Where traces are kept.", "hide": 0, "refresh": 1, "multi": false, "includeAll": false,
            "current": { "text": "Jaeger", "value": "jaeger", "selected": true }, "options": [], "skipUrlSync": false,
        })],
        sections: vec![
            Section::top(callers()),
            Section::titled("Measured by callers", seen_by_callers()),
            Section::titled("Measured by services", seen_by_services()),
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

fn callers() -> Vec<([u32; 4], Panel)> {
    let (calls, durations) = (&names::CIRCUIT_BREAKER_CALLS, &names::CIRCUIT_BREAKER_CALL_DURATION);
    let rejected = share(CALL, &rate(calls, &[is(label::OUTCOME, "rejected")]), &rate(calls, &[]));
    let unserved = rate(calls, &[any(label::OUTCOME, &["failure", "timeout", "rejected"])]);
    let by_caller = Table::new(
        "Every dependency now",
        "Calls that were executed, the share that failed or timed out, the share the breaker rejected (amber: protected, and \
         not served live), and durations. Those with most calls failed or rejected come first. \
         Click a dependency to see its breaker alone.",
    )
    .label(label::SERVICE, "Caller")
    .label(label::BREAKER, "Dependency")
    .leads_to("Dependency", "This breaker", ONE_BREAKER)
    .number("Rate", sum(CALL, &rate(calls, &executed())), "cps", 1, 85)
    .errors("Errors", share(CALL, &rate(calls, &broken()), &rate(calls, &executed())), 80)
    .protected("Rejected", rejected, 85)
    .seconds("p50", quantile("0.5", CALL, durations, &[]), 80)
    .seconds("p95", quantile("0.95", CALL, durations, &[]), 80)
    .seconds("p99", quantile("0.99", CALL, durations, &[]), 80)
    .number("Unserved", share(CALL, &unserved, &rate(calls, &[])), "percentunit", 1, 0)
    .hidden("Unserved")
    .sorted("Unserved", true, "No breaker is scraped");
    let (requests, failed) =
        (&names::HTTP_SERVER_REQUEST_DURATION, vec![r#"http_response_status_code=~"5..""#.to_owned()]);
    let by_service = Table::new(
        "Every service now, with and without protection",
        "Requests measured by the services themselves. A dependency with errors here fails itself; one with errors \
         only on the left is not reachable, or too slow for its callers.",
    )
    .label(label::SERVICE, "Service")
    .named("Service")
    .number("Rate", sum(SERVICE, &rate(requests, &[])), "reqps", 1, 90)
    .errors("Errors", share(SERVICE, &rate(requests, &failed), &rate(requests, &[])), 80)
    .seconds("p50", quantile("0.5", SERVICE, requests, &[]), 80)
    .seconds("p99", quantile("0.99", SERVICE, requests, &[]), 80)
    .number("In flight", sum(SERVICE, &series(&names::HTTP_SERVER_ACTIVE_REQUESTS, &[])), "none", 0, 85)
    .sorted("Errors", true, "No service is scraped");
    let mut lines = say::state();
    lines.push(say::small());
    let description = "What is broken, which breakers stand in front of it, and what viewers get; below, every dependency \
        as its callers and as the services see it.";
    vec![([0, 0, 24, 6], say::panel(description, lines)), ([0, 6, 14, 13], by_caller), ([14, 6, 10, 13], by_service)]
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
            [0, 0, 8, 9],
            lines(
                "Calls by dependency, the six busiest",
                "Executed calls a second. A line that drops to 0 while others go on is an open breaker.",
                "cps",
                None,
                CALL,
                &sum(CALL, &rate(calls, &executed())),
            ),
        ),
        (
            [8, 0, 8, 9],
            lines(
                "Errors by dependency, the six highest",
                "Share of executed calls that failed or timed out. It falls to 0 while a breaker is \
                 open, since nothing is executed: read it with the states.",
                "percentunit",
                Some(1.0),
                CALL,
                &share(CALL, &rate(calls, &broken()), &rate(calls, &executed())),
            ),
        ),
        (
            [16, 0, 8, 9],
            lines(
                "p99 by dependency, the six slowest",
                "The slowest one in a hundred executed calls. A dot opens the trace of one real call.",
                "s",
                None,
                CALL,
                &quantile("0.99", CALL, &names::CIRCUIT_BREAKER_CALL_DURATION, &[]),
            ),
        ),
    ];
    panels.into_iter().map(|(place, panel): ([u32; 4], Panel)| (place, panel.identities(theme::BREAKERS))).collect()
}

fn seen_by_services() -> Vec<([u32; 4], Panel)> {
    let requests = &names::HTTP_SERVER_REQUEST_DURATION;
    let failed = [r#"http_response_status_code=~"5..""#.to_owned()];
    let panels = vec![
        (
            [0, 0, 8, 9],
            lines(
                "Requests by service, the six busiest",
                "Requests served per second, including retries and hedges of callers: more than the \
                 original calls.",
                "reqps",
                None,
                SERVICE,
                &sum(SERVICE, &rate(requests, &[])),
            ),
        ),
        (
            [8, 0, 8, 9],
            lines(
                "Errors by service, the six highest",
                "Share of 5xx answers. The service nearest to the cause shows it first and most.",
                "percentunit",
                Some(1.0),
                SERVICE,
                &share(SERVICE, &rate(requests, &failed), &rate(requests, &[])),
            ),
        ),
        (
            [16, 0, 8, 9],
            lines(
                "p99 by service, the six slowest",
                "The slowest one in a hundred answers of each service. A dot opens the trace of one \
                 real request.",
                "s",
                None,
                SERVICE,
                &quantile("0.99", SERVICE, requests, &[]),
            ),
        ),
    ];
    panels.into_iter().map(|(place, panel): ([u32; 4], Panel)| (place, panel.identities(theme::SERVICES))).collect()
}

fn traces() -> Vec<([u32; 4], Panel)> {
    let map = Panel::new(
        Kind::NodeGraph,
        "Service map",
        "Who calls whom, as the traces show it. An edge that is missing was not called since Jaeger started; compare \
         with the topology in the README.",
    )
    .unit("none")
    .ask_jaeger("dependencyGraph", "")
    .when_empty("No trace has arrived: is an OTLP endpoint set?");
    let search = Panel::new(
        Kind::Table,
        "Recent requests",
        "The latest traces of the gateway. Open one to see every attempt, fallback and breaker decision of that request, \
         and where its time went.",
    )
    .unit("none")
    .ask_jaeger("search", "gateway")
    .when_empty("No trace has arrived: is an OTLP endpoint set?");
    vec![([0, 0, 12, 11], map), ([12, 0, 12, 11], search)]
}
