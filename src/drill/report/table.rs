//! Tables: the results of drills, and the list of plans.

use std::fmt::Write as _;

use super::{Drill, Outcome, Report};
use crate::drill::plan::{How, Plan};

const HEADINGS: [&str; 9] =
    ["alert", "severity", "outcome", "breaker", "pending", "firing", "notified", "resolved", "delivered"];

/// The summary. Times count from the fault; the last two from its end.
#[must_use]
pub fn summary(report: &Report) -> String {
    let seconds = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.1}"));
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    for drill in &report.drills {
        let t = &drill.seconds;
        let times = [t.breaker_open, t.pending, t.firing, t.notified, t.resolved, t.resolved_notified].map(seconds);
        let [breaker, pending, firing, notified, resolved, delivered] = times;
        let (alert, severity) = (drill.alert.clone(), drill.severity.clone());
        let outcome = drill.outcome.word().to_owned();
        rows.push([alert, severity, outcome, breaker, pending, firing, notified, resolved, delivered]);
    }
    let mut text = aligned(&rows);
    text.push_str("seconds from the fault; resolved and delivered from its end\n");
    for drill in &report.drills {
        for line in drill.why.iter().chain(&drill.notes) {
            writeln!(text, "{}/{}: {line}", drill.alert, drill.severity).expect("writing to a String never fails");
        }
    }
    for line in &report.not_restored {
        writeln!(text, "NOT RESTORED: {line}").expect("writing to a String never fails");
    }
    let outcomes =
        [Outcome::Passed, Outcome::Failed, Outcome::Refused, Outcome::Skipped, Outcome::Interrupted].into_iter();
    let counts = outcomes.filter(|outcome| *outcome == Outcome::Passed || report.count(*outcome) > 0);
    let counts: Vec<_> = counts.map(|outcome| format!("{} {}", report.count(outcome), outcome.word())).collect();
    writeln!(text, "{}", counts.join(", ")).expect("writing to a String never fails");
    text
}

/// The times of passed drills as a Markdown table sorted by name: whole seconds since the fault, the last one since its
/// end.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let seconds = |time: Option<f64>| time.map_or_else(|| "–".to_owned(), |time| format!("{time:.0}"));
    let timed = |drill: &&Drill| drill.outcome == Outcome::Passed && drill.seconds.firing.is_some();
    let mut rows: Vec<_> = report
        .drills
        .iter()
        .filter(timed)
        .map(|drill| {
            let t = &drill.seconds;
            let times = [t.breaker_open, t.pending, t.firing, t.notified, t.resolved].map(seconds);
            format!("| {} | {} | {} |\n", drill.alert, drill.severity, times.join(" | "))
        })
        .collect();
    rows.sort_unstable();
    let head = "| alert | severity | breaker open | pending | firing | notified | resolved after |\n\
                |---|---|---:|---:|---:|---:|---:|\n";
    head.to_owned() + &rows.concat()
}

/// The plans of all alerts, then the alerts that can't be drilled.
#[must_use]
pub fn list(plans: &[Plan]) -> String {
    let mut rows = vec![["alert", "severity", "breaker", "fires within", "raised by"].map(str::to_owned)];
    let mut cannot = String::new();
    for plan in plans {
        let (alert, severity) = (plan.alert.to_owned(), plan.severity.to_owned());
        match &plan.how {
            How::Raise(raise) => {
                let breaker = raise.opens.map_or_else(|| "-".to_owned(), |(service, name)| format!("{service}/{name}"));
                let within = format!("{} s + for", raise.ramp.as_secs());
                rows.push([alert, severity, breaker, within, raise.what.to_owned()]);
            }
            How::Always => {
                rows.push([alert, severity, "-".to_owned(), "-".to_owned(), "nothing: it always fires".to_owned()]);
            }
            How::Cannot { reason, by_hand, .. } => {
                write!(cannot, "\n{}\n  {reason}\n  by hand: {by_hand}\n", plan.name())
                    .expect("writing to a String never fails");
            }
        }
    }
    format!("{}\nNot drilled by --all:\n{cannot}", aligned(&rows))
}

/// Pads columns to their widest cell, except the last.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(|row| line(row) + "\n").collect()
}
