//! Stack health: state of the monitoring, and resource usage of all processes.

use breakerbox_telemetry::names::{self};
use serde_json::json;

use super::dashboard::{Dashboard, Section};
use super::panel::{Kind, Panel, Query};
use super::query::{foreign, max, or_zero, series, sum};
use super::say::{self, Gravity};
use super::table::Table;
use super::theme;

const TARGET: &[&str] = &["job", "instance"];
const AT: &str = "{{job}} {{instance}}";

pub fn page() -> Dashboard {
    Dashboard {
        uid: "breakerbox-stack",
        title: "Stack health",
        description: "Is everything scraped, are rules and notifications on time, and what do the \
            processes use?",
        lists_targets_by: "up",
        variables: Vec::new(),
        sections: vec![
            Section::top(now()),
            Section::titled("Processes", processes()),
            Section::folded("Prometheus and Alertmanager", watchers()),
        ],
    }
}

fn per_second(name: &str) -> String {
    format!("rate({}[$__rate_interval])", foreign(name, &[]))
}

fn per_target(name: &str) -> String {
    max(TARGET, &foreign(name, &[]))
}

fn now() -> Vec<([u32; 4], Panel)> {
    let description = "Whether every process answers, whether rules and notifications work, and whether a process was \
        restarted. A process that Prometheus was not configured to scrape is not shown: compare with the number of \
        processes you started.";
    vec![([0, 0, 24, 5], say::panel(description, health())), ([0, 5, 24, 6], lanes()), ([0, 11, 24, 6], table())]
}

/// State of processes, rules and notifications, one line each.
fn health() -> Vec<Query> {
    let (up, down) = (foreign("up", &[]), format!("{} == 0", max(TARGET, &foreign("up", &[]))));
    let silent = |span: &str| say::spoken(TARGET, span, "span");
    let heard = format!("(time() - {})", max(TARGET, &format!("max_over_time(timestamp({up} == 1)[30m:5s])")));
    let failed = format!("({})", or_zero(&sum(&[], &recent("prometheus_rule_evaluation_failures_total"))));
    let dropped = format!(
        "(({}) + ({}))",
        or_zero(&sum(&[], &recent("prometheus_notifications_errors_total"))),
        or_zero(&sum(&[], &recent("prometheus_notifications_dropped_total")))
    );
    let undelivered = format!("({})", or_zero(&sum(&[], &say::undelivered())));
    let lost = sum(&[], &format!("increase({}[$__range])", foreign("alertmanager_notifications_failed_total", &[])));
    // One sample each five seconds.
    let away = format!("(5 * {})", max(TARGET, &format!("sum_over_time(({up} == bool 0)[$__range:5s])")));
    let young = format!("(time() - {})", max(TARGET, &foreign("process_start_time_seconds", &[])));
    let versions = format!("count({})", max(&["version"], &series(&names::BUILD_INFO, &[])));
    vec![
        say::line(
            &format!("topk(3, {})", silent(&format!("{heard} and ({down})"))),
            Gravity::Harm,
            "{{job}} {{instance}} has not answered for {{span}}: its panels show old data.",
        ),
        say::counted(
            &format!("(count({up}) unless on () ({down}))"),
            Gravity::Good,
            "All {{count}} processes that Prometheus scrapes answer.",
        ),
        say::counted(
            &format!("(round({failed}) > 0)"),
            Gravity::Harm,
            "{{count}} rule evaluations failed in the last seconds: alerts may be missing.",
        ),
        say::counted(
            &format!("(round({dropped}) > 0)"),
            Gravity::Harm,
            "{{count}} alerts did not reach Alertmanager in the last seconds: no notification is sent for them.",
        ),
        say::counted(
            &format!("(ceil({undelivered}) > 0)"),
            Gravity::Harm,
            "Alertmanager could not deliver {{count}} messages in the last seconds: their receivers do not get these \
             notifications.",
        ),
        say::counted(
            &format!("(round({lost}) > 0) unless on () ({undelivered} > 0)"),
            Gravity::Note,
            "Alertmanager delivers again; attempts that failed in the selected time range: {{count}}.",
        ),
        say::line(
            &format!("({failed} == 0) and on () ({dropped} == 0) and on () ({undelivered} == 0)"),
            Gravity::Good,
            "Rules are evaluated without errors, every alert reaches Alertmanager, and no message failed in the last \
             seconds.",
        ),
        say::line(
            &format!("topk(3, {})", say::spoken(TARGET, &format!("({away} > 0) unless ({down})"), "span")),
            Gravity::Protected,
            "{{job}} {{instance}} did not answer for {{span}} of the selected time range: no data was collected then, \
             so alerts and graphs have a gap.",
        ),
        say::line(
            &format!("topk(3, {})", say::spoken(TARGET, &format!("({young} < 600)"), "span")),
            Gravity::Note,
            "{{job}} {{instance}} was started {{span}} ago.",
        ),
        say::counted(
            &format!("({versions} > 1)"),
            Gravity::Protected,
            "{{count}} versions of the program run side by side: an update is in progress or was not completed.",
        ),
    ]
}

fn recent(name: &str) -> String {
    format!("increase({}[$__rate_interval])", foreign(name, &[]))
}

fn up_or_down() -> serde_json::Value {
    theme::words(&[(0, "down", theme::BAD), (1, "up", theme::GOOD)])
}

fn lanes() -> Panel {
    Panel::new(
        Kind::StateTimeline,
        "Targets",
        "One lane per scraped process. Red: it did not answer the scrape, so there is no data for that time.",
    )
    .unit("none")
    .words(up_or_down())
    .option("showValue", json!("never"))
    .ask(Query::over_time(per_target("up"), AT))
    .when_empty("Prometheus scrapes nothing")
}

fn table() -> Panel {
    Table::new(
        "Every target now",
        "Process metrics, and the duration of scrapes. Memory that only grows is a leak; a short uptime \
         is a restart.",
    )
    .label("job", "Job")
    .label("instance", "Instance")
    .words("State", per_target("up"), &up_or_down(), 70)
    .span_by("Up for", TARGET, &format!("(time() - {})", per_target("process_start_time_seconds")), 85)
    .number("Memory", per_target("process_resident_memory_bytes"), "bytes", 1, 90)
    .number("CPU", sum(TARGET, &per_second("process_cpu_seconds_total")), "percentunit", 1, 75)
    .seconds("Scrape", per_target("scrape_duration_seconds"), 85)
    .number("Series", per_target("scrape_samples_scraped"), "none", 0, 75)
    .sorted("State", false, "Prometheus scrapes nothing")
}

fn lines(title: &str, description: &str, unit: &str, query: Query) -> Panel {
    Panel::new(Kind::TimeSeries, title, description)
        .unit(unit)
        .between(0.0, None)
        .custom("fillOpacity", json!(0))
        .ask(query)
        .when_empty("Nothing is scraped")
}

fn processes() -> Vec<([u32; 4], Panel)> {
    let p99 = foreign("prometheus_target_interval_length_seconds", &[super::query::is("quantile", "0.99")]);
    let intervals = max(&["interval"], &p99);
    let used = format!("{} / {}", per_target("process_open_fds"), per_target("process_max_fds"));
    vec![
        (
            [0, 0, 12, 9],
            lines(
                "Memory",
                "Resident memory of each process. The memory of a breaker is bounded: under steady load these lines \
                 are flat.",
                "bytes",
                Query::over_time(per_target("process_resident_memory_bytes"), AT),
            ),
        ),
        (
            [12, 0, 12, 9],
            lines(
                "CPU",
                "Share of one core that each process uses. A service that waits for a hanging \
                 dependency uses none: low is not healthy by itself.",
                "percentunit",
                Query::over_time(sum(TARGET, &per_second("process_cpu_seconds_total")), AT),
            ),
        ),
        (
            [0, 9, 8, 9],
            lines(
                "File descriptors in use",
                "Open files and sockets as a share of the process's limit. Rising during an outage: calls accumulate \
                 that should have been rejected.",
                "percentunit",
                Query::over_time(used, AT),
            ),
        ),
        (
            [8, 9, 8, 9],
            lines(
                "Scrape time",
                "Duration of each scrape. Close to the scrape interval, scrapes are missed.",
                "s",
                Query::over_time(per_target("scrape_duration_seconds"), AT),
            ),
        ),
        (
            [16, 9, 8, 9],
            lines(
                "Scrape interval",
                "Time between two scrapes of a target (p99), by the interval that Prometheus is configured with. Load \
                 the \
                 rules made for that interval, and set it as the scrape interval of Grafana's data source: rates here \
                 cover four of them.",
                "s",
                Query::over_time(intervals, "configured: {{interval}}"),
            ),
        ),
    ]
}

fn watchers() -> Vec<([u32; 4], Panel)> {
    let group = &["rule_group"];
    // Prometheus names a group by its file and its name; the name is enough.
    let on_time = format!(
        "label_replace({} / {}, \"group\", \"$1\", \"rule_group\", \".*;(?:breakerbox\\\\.)?(.+)\")",
        max(group, &foreign("prometheus_rule_group_last_duration_seconds", &[])),
        max(group, &foreign("prometheus_rule_group_interval_seconds", &[]))
    );
    let total = |name: &str| or_zero(&sum(&[], &per_second(name)));
    let notify = lines(
        "Notifications from Prometheus",
        "Alerts sent to Alertmanager, and those that could not be sent. Errors or drops above 0: \
         alerts fire and are not delivered.",
        "suffix: /s",
        Query::over_time(total("prometheus_notifications_sent_total"), "sent"),
    )
    .configure(theme::paint("sent", theme::GOOD))
    .configure(theme::paint("errors", theme::BAD))
    .configure(theme::paint("dropped", theme::FAULT))
    .ask(Query::over_time(total("prometheus_notifications_errors_total"), "errors"))
    .ask(Query::over_time(total("prometheus_notifications_dropped_total"), "dropped"));
    let held = |state: &str| or_zero(&sum(&[], &foreign("alertmanager_alerts", &[super::query::is("state", state)])));
    let manager = lines(
        "Alerts in Alertmanager",
        "Alerts that Alertmanager keeps: active ones are sent, suppressed ones are inhibited \
         or silenced.",
        "none",
        Query::over_time(held("active"), "active"),
    )
    .configure(theme::paint("active", theme::WARN))
    .configure(theme::paint("suppressed", theme::NEUTRAL))
    .ask(Query::over_time(held("suppressed"), "suppressed"));
    vec![
        (
            [0, 0, 12, 8],
            lines(
                "Rule groups: evaluation time, share of the interval",
                "Evaluation time of each rule group as a share of its interval. At 100 % evaluations are skipped and \
                 alerts fire late.",
                "percentunit",
                Query::over_time(on_time, "{{group}}"),
            ),
        ),
        (
            [12, 0, 12, 8],
            lines(
                "Samples stored",
                "Samples that Prometheus stores per second: the cost of all data on these dashboards.",
                "suffix: /s",
                Query::over_time(total("prometheus_tsdb_head_samples_appended_total"), "samples"),
            ),
        ),
        ([0, 8, 12, 8], notify),
        ([12, 8, 12, 8], manager),
    ]
}
