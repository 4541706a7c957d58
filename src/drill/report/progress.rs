//! Progress output, one line per event.

use std::io::Write;
use std::time::Duration;

use super::Outcome;
use crate::drill::run::Event;

/// Writes lines; on a terminal also a status line that is updated in place.
pub struct Progress<W> {
    out: W,
    terminal: bool,
    /// Whether the status line is currently displayed.
    standing: bool,
}

impl<W: Write> Progress<W> {
    /// `terminal`: whether a line can be overwritten.
    pub fn new(out: W, terminal: bool) -> Self {
        Self { out, terminal, standing: false }
    }

    /// Prints one event. A closed pipe does not stop a drill.
    pub fn tell(&mut self, event: &Event<'_>) {
        match event {
            Event::Healthy { targets, rules, inbox } => {
                let inbox = if *inbox { "notifications arrive" } else { "notifications can't be seen" };
                self.line(&format!("healthy: {targets} targets up, {rules} alerting rules, {inbox}"));
            }
            Event::Note(note) => self.line(note),
            Event::Began { plan, number, of, budget } => {
                let (firing, resolve) = (seconds(budget.firing), seconds(budget.resolve));
                self.line(&format!("[{number}/{of}] {} (budget {firing} to fire, {resolve} to resolve)", plan.name()));
            }
            Event::Reached { milestone, after } => {
                self.line(&format!("  {:>7.1} s  {}", after.as_secs_f64(), milestone.words()));
            }
            Event::Cleared => self.line("           trouble over"),
            Event::Waiting { what, since } => {
                self.standing(&format!("  {:>5} s  … waiting for {what}", since.as_secs()));
            }
            Event::Ended(drill) => {
                let why = drill.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                let name = if drill.outcome == Outcome::Passed {
                    String::new()
                } else {
                    format!("{}/{} ", drill.alert, drill.severity)
                };
                self.line(&format!("  {name}{}{why}", drill.outcome.word()));
            }
            Event::NotRestored(trouble) => self.line(&format!("NOT RESTORED: {trouble}")),
        }
    }

    fn line(&mut self, text: &str) {
        let wipe = if self.standing { "\r\u{1b}[K" } else { "" };
        self.standing = false;
        let _ = writeln!(self.out, "{wipe}{text}");
    }

    fn standing(&mut self, text: &str) {
        if self.terminal {
            let _ = write!(self.out, "\r\u{1b}[K{text}");
            let _ = self.out.flush();
            self.standing = true;
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}
