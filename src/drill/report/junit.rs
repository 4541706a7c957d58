//! JUnit's XML, which every CI system reads.

use std::fmt::Write as _;

use super::{Drill, Outcome, Report};

/// The report as JUnit XML.
#[must_use]
pub fn xml(report: &Report) -> String {
    let failures = report.count(Outcome::Failed) + report.count(Outcome::Interrupted);
    let (errors, skipped) = (report.count(Outcome::Refused), report.count(Outcome::Skipped));
    let time: f64 = report.drills.iter().map(|drill| drill.took_seconds).sum();
    let tests = report.drills.len();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let counts = format!(
        "tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{time:.1}\""
    );
    write!(text, "<testsuites {counts}>\n  <testsuite name=\"breakerbox drill\" {counts}>\n")
        .expect("a string takes everything");
    for drill in &report.drills {
        case(&mut text, drill);
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

fn case(text: &mut String, drill: &Drill) {
    let Drill { alert, severity, took_seconds, .. } = drill;
    let name = escaped(&format!("{alert}/{severity}"));
    writeln!(text, "    <testcase classname=\"breakerbox.drill\" name=\"{name}\" time=\"{took_seconds:.1}\">")
        .expect("a string takes everything");
    let why = escaped(drill.why.as_deref().unwrap_or_default());
    let verdict = match drill.outcome {
        Outcome::Passed => None,
        Outcome::Failed | Outcome::Interrupted => Some("failure"),
        Outcome::Refused => Some("error"),
        Outcome::Skipped => Some("skipped"),
    };
    if let Some(verdict) = verdict {
        writeln!(text, "      <{verdict} message=\"{why}\"/>").expect("a string takes everything");
    }
    let t = &drill.seconds;
    let times = [
        ("breaker open", t.breaker_open),
        ("pending", t.pending),
        ("firing", t.firing),
        ("notified", t.notified),
        ("resolved", t.resolved),
        ("resolved notified", t.resolved_notified),
    ];
    let mut output: String = format!("raised by: {}\n", drill.raised_by);
    for (what, time) in times {
        if let Some(time) = time {
            writeln!(output, "{what}: {time:.1} s").expect("a string takes everything");
        }
    }
    for note in &drill.notes {
        writeln!(output, "note: {note}").expect("a string takes everything");
    }
    writeln!(text, "      <system-out>{}</system-out>\n    </testcase>", escaped(output.trim_end()))
        .expect("a string takes everything");
}

/// XML's five, and no control characters, which it forbids.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
