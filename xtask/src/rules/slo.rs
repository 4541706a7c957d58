//! Burn rates: recording rules for each window, and the alerts on them.

use std::fmt::Write as _;

use breakerbox_telemetry::names::OBJECTIVES;

/// Definition of bad pages for one objective.
struct Indicator {
    /// The objective's name in [`OBJECTIVES`].
    slo: &'static str,
    /// Its part of the alert's name.
    title: &'static str,
    /// Its part of the recorded series' name.
    bad: &'static str,
    /// Matcher that selects bad pages.
    outcome: &'static str,
    /// Description of bad pages.
    words: &'static str,
}

const INDICATORS: &[Indicator] = &[
    Indicator {
        slo: "availability",
        title: "PlaybackAvailabilityBurn",
        bad: "failed",
        outcome: r#"outcome="error""#,
        words: "an error",
    },
    Indicator {
        slo: "quality",
        title: "PlaybackQualityBurn",
        bad: "not_live",
        outcome: r#"outcome=~"degraded|error""#,
        words: "degraded or an error",
    },
];

/// A pair of windows from the SRE workbook.
struct Burn {
    long: &'static str,
    long_words: &'static str,
    short: &'static str,
    short_words: &'static str,
    factor: &'static str,
    holds: &'static str,
    severity: &'static str,
    /// Required history: a quarter of the long window.
    history: &'static str,
}

const BURNS: &[Burn] = &[
    Burn {
        long: "1h",
        long_words: "hour",
        short: "5m",
        short_words: "5 minutes",
        factor: "14.4",
        holds: "@{patience}",
        severity: "critical",
        history: "15m",
    },
    Burn {
        long: "6h",
        long_words: "6 hours",
        short: "30m",
        short_words: "30 minutes",
        factor: "6",
        holds: "5m",
        severity: "critical",
        history: "90m",
    },
    Burn {
        long: "1d",
        long_words: "day",
        short: "2h",
        short_words: "2 hours",
        factor: "3",
        holds: "15m",
        severity: "warning",
        history: "6h",
    },
    Burn {
        long: "3d",
        long_words: "3 days",
        short: "6h",
        short_words: "6 hours",
        factor: "1",
        holds: "1h",
        severity: "warning",
        history: "18h",
    },
];

/// Recording rules for windows of minutes.
pub(super) fn short_records() -> String {
    let own = ["@{rate}", "@{again}", "5m", "30m", "1h"];
    own.iter().map(|window| requests(window) + &ratios(window)).collect()
}

/// Recording rules for windows of hours and days.
pub(super) fn long_records() -> String {
    ["2h", "6h", "1d", "3d"].iter().map(|window| ratios(window)).collect()
}

fn requests(window: &str) -> String {
    if !matches!(window, "@{rate}" | "5m") {
        return String::new();
    }
    format!(
        r#"      - record: service:playback_requests:rate{window}
        expr: |2
          max by (@{{by all jobs}}, service) (
              sum by (@{{by}}, service) (rate(playback_requests_total[{window}]))
            or
              label_replace(
                sum by (@{{by}}, target) (rate(traffic_request_duration_seconds_count[{window}])),
                "service", "$1", "target", "(.+)"
              )
          )
"#
    )
}

fn ratios(window: &str) -> String {
    let mut text = String::new();
    for Indicator { bad, outcome, .. } in INDICATORS {
        write!(
            text,
            r#"      - record: service:playback_requests_{bad}_per_requests:ratio_rate{window}
        expr: |2
          max by (@{{by all jobs}}, service) (
              (
                  sum by (@{{by}}, service) (rate(playback_requests_total{{{outcome}}}[{window}]))
                /
                  (sum by (@{{by}}, service) (rate(playback_requests_total[{window}])) > 0)
              )
            or
              label_replace(
                  sum by (@{{by}}, target) (rate(traffic_request_duration_seconds_count{{{outcome}}}[{window}]))
                /
                  (sum by (@{{by}}, target) (rate(traffic_request_duration_seconds_count[{window}])) > 0),
                "service", "$1", "target", "(.+)"
              )
          )
"#
        )
        .expect("writing to a String never fails");
    }
    text
}

/// Alerts for both objectives and all pairs of windows.
pub(super) fn alerts() -> String {
    let mut text = String::new();
    for indicator in INDICATORS {
        for burn in BURNS {
            text.push_str(&alert(indicator, burn));
        }
    }
    text
}

fn alert(indicator: &Indicator, burn: &Burn) -> String {
    let Indicator { slo, title, bad, words, .. } = indicator;
    let Burn { long, long_words, short, short_words, factor, holds, severity, history } = burn;
    let objective = OBJECTIVES.iter().find(|(name, _)| name == slo).expect("the objective is exported").1;
    let percent = format!("{:.0}", (1.0 - objective) * 100.0);
    let budget = format!("0.0{percent}");
    let anchor = format!("{title}{long}").to_lowercase();
    let times =
        if *factor == "1" { "as fast as it may, or faster".to_owned() } else { format!("{factor} times too fast") };
    format!(
        r#"
      - alert: {title}{long}
        expr: |2
            service:playback_requests_{bad}_per_requests:ratio_rate{long}{{@{{protected}}}} > {factor} * {budget}
          and
            service:playback_requests_{bad}_per_requests:ratio_rate{short} > {factor} * {budget}
          and
            service:playback_requests:rate5m > 0.05
          and on (@{{by all jobs}}, service)
            count by (@{{by all jobs}}, service) (present_over_time(playback_requests_total[10m] offset {history}))
        for: {holds}
        labels:
          severity: {severity}
          slo: {slo}
          component: "{{{{ $labels.service }}}}"
        annotations:
          summary: The {slo} budget of {{{{ $labels.service }}}} burns {times}.
          description: >-
            {{{{ $value | humanizePercentage }}}} of the pages of service {{{{ $labels.service }}}} in the last {long_words} were {words},
            more than {factor} times the budget of {percent} %, and the last {short_words} were no better.
          runbook_url: @{{runbook}}#{anchor}
          dashboard_url: @{{grafana}}/d/breakerbox-overview?var-service={{{{ $labels.service }}}}
"#
    )
}
