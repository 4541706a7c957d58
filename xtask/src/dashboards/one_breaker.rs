//! One breaker in detail, with its limits as dashed lines.

use breakerbox_telemetry::names::{self, Family, label};

use super::breakers::{BREAKER, timeouts};
use super::panel::{Kind, Panel, Query};
use super::query::{is, judged, max, or_zero, quantile, rate, series, share};
use super::theme;

pub fn panels() -> Vec<([u32; 4], Panel)> {
    vec![
        (
            [0, 0, 8, 7],
            against_its_limit(
                "Failure ratio",
                "Failed share of the window below the limit at which this breaker trips; 0 while \
                 there are too few calls to judge.",
                &names::CIRCUIT_BREAKER_FAILURE_RATIO,
                &names::CIRCUIT_BREAKER_FAILURE_RATIO_THRESHOLD,
            ),
        ),
        (
            [8, 0, 8, 7],
            against_its_limit(
                "Slow-call ratio",
                "Slow share of the window below the limit at which this breaker trips; no dashed \
                 line: slowness never trips it.",
                &names::CIRCUIT_BREAKER_SLOW_CALL_RATIO,
                &names::CIRCUIT_BREAKER_SLOW_CALL_RATIO_THRESHOLD,
            ),
        ),
        ([16, 0, 8, 7], waiting()),
        ([0, 7, 8, 7], probes()),
        ([8, 7, 8, 7], timing()),
        ([16, 7, 8, 7], spared()),
    ]
}

fn waiting() -> Panel {
    Panel::new(
        Kind::TimeSeries,
        "Time until the next probe",
        "Remaining wait of an open breaker, from its configured wait down to 0. A higher \
         start each time is the backoff of a breaker that keeps tripping.",
    )
    .unit("suffix: s")
    .between(0.0, None)
    .configure(theme::paint("remaining", theme::PROTECTED))
    .limit("configured wait")
    .ask(Query::over_time(max(&[], &series(&names::CIRCUIT_BREAKER_OPEN_REMAINING, &[])), "remaining"))
    .ask(Query::over_time(max(&[], &series(&names::CIRCUIT_BREAKER_OPEN_WAIT, &[])), "configured wait"))
    .when_empty("This breaker is not scraped")
}

fn probes() -> Panel {
    Panel::new(
        Kind::TimeSeries,
        "Window and probes",
        "Calls in the window beside the minimum, and probes of the current half-open state.",
    )
    .unit("none")
    .between(0.0, None)
    .configure(theme::paint("in the window", theme::PROTECTED))
    .configure(theme::paint("probes", theme::colour("half_open")))
    .limit("needed")
    .ask(Query::over_time(max(&[], &series(&names::CIRCUIT_BREAKER_WINDOW_CALLS, &[])), "in the window"))
    .ask(Query::over_time(max(&[], &series(&names::CIRCUIT_BREAKER_WINDOW_MINIMUM_CALLS, &[])), "needed"))
    .ask(Query::over_time(max(&[], &series(&names::CIRCUIT_BREAKER_HALF_OPEN_PERMITS, &[])), "probes"))
    .when_empty("This breaker is not scraped")
}

fn timing() -> Panel {
    Panel::new(
        Kind::TimeSeries,
        "p99 against the timeout",
        "The slowest one in a hundred calls of this breaker below its own timeout. Touching \
         it means that calls are cut off.",
    )
    .unit("s")
    .between(0.0, None)
    .meanings(&["p99"])
    .limit("timeout of one attempt")
    .ask(Query::over_time(quantile("0.99", &[], &names::CIRCUIT_BREAKER_CALL_DURATION, &[]), "p99").with_exemplars())
    .ask(timeouts())
    .when_empty("This breaker is not scraped")
}

fn spared() -> Panel {
    let rejected = share(
        &[],
        &rate(&names::CIRCUIT_BREAKER_CALLS, &[is(label::OUTCOME, "rejected")]),
        &rate(&names::CIRCUIT_BREAKER_CALLS, &[]),
    );
    Panel::new(
        Kind::TimeSeries,
        "Health and rejected share",
        "Health is the success rate less half the slow rate, and 0 while open; points are 70 % \
         success and 30 % answer time. Rejected is the share of calls that were answered without \
         the dependency.",
    )
    .unit("percentunit")
    .between(0.0, Some(1.0))
    .configure(theme::paint("health", theme::GOOD))
    .configure(theme::paint("points", theme::colour("popular")))
    .configure(theme::paint("rejected", theme::colour("rejected")))
    .ask(Query::over_time(max(&[], &series(&names::CIRCUIT_BREAKER_HEALTH_SCORE, &[])), "health"))
    .ask(Query::over_time(format!("{} / 100", max(&[], &series(&names::CIRCUIT_BREAKER_HEALTH_POINTS, &[]))), "points"))
    .ask(Query::over_time(or_zero(&rejected), "rejected"))
    .when_empty("This breaker is not scraped")
}

fn against_its_limit(title: &str, description: &str, ratio: &Family, threshold: &Family) -> Panel {
    Panel::new(Kind::TimeSeries, title, description)
        .unit("percentunit")
        .between(0.0, Some(1.0))
        .configure(theme::paint("measured", theme::PROTECTED))
        .limit("opens here")
        .ask(Query::over_time(format!("max(({}))", judged(BREAKER, &series(ratio, &[]))), "measured"))
        .ask(Query::over_time(max(&[], &series(threshold, &[])), "opens here"))
        .when_empty("This breaker is not scraped")
}
