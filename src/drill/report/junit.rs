//! Reports as JUnit XML, which every CI system reads.

use std::fmt::Write as _;
use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::{Drill, Outcome, Report};

/// The report as JUnit XML.
#[must_use]
pub fn xml(report: &Report) -> String {
    let time = report.drills.iter().map(took).sum();
    let mut suite = TestSuite::new("breakerbox drill");
    suite.set_time(time).add_test_cases(report.drills.iter().map(case));
    let mut document = quick_junit::Report::new("breakerbox drill");
    document.set_time(time).add_test_suite(suite);
    document.to_string().expect("writing to a String never fails")
}

fn took(drill: &Drill) -> Duration {
    Duration::try_from_secs_f64(drill.took_seconds).unwrap_or_default()
}

fn case(drill: &Drill) -> TestCase {
    let mut status = match drill.outcome {
        Outcome::Passed => TestCaseStatus::success(),
        Outcome::Failed | Outcome::Interrupted => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Outcome::Refused => TestCaseStatus::non_success(NonSuccessKind::Error),
        Outcome::Skipped => TestCaseStatus::skipped(),
    };
    if drill.outcome != Outcome::Passed {
        status.set_message(drill.why.as_deref().unwrap_or_default());
    }
    let mut case = TestCase::new(format!("{}/{}", drill.alert, drill.severity), status);
    case.set_classname("breakerbox.drill").set_time(took(drill)).set_system_out(output(drill).trim_end());
    case
}

fn output(drill: &Drill) -> String {
    let t = &drill.seconds;
    let times = [
        ("breaker open", t.breaker_open),
        ("pending", t.pending),
        ("firing", t.firing),
        ("notified", t.notified),
        ("resolved", t.resolved),
        ("resolved notified", t.resolved_notified),
    ];
    let mut output = format!("raised by: {}\n", drill.raised_by);
    for (what, time) in times {
        if let Some(time) = time {
            writeln!(output, "{what}: {time:.1} s").expect("writing to a String never fails");
        }
    }
    for note in &drill.notes {
        writeln!(output, "note: {note}").expect("writing to a String never fails");
    }
    output
}
