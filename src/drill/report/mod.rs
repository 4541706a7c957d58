//! Results of drills.

pub mod junit;
pub mod progress;
pub mod table;

use serde::Serialize;

/// Results of all drills.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// In the order they were run.
    pub drills: Vec<Drill>,
    /// Changes that could not be undone, and how to undo them by hand.
    pub not_restored: Vec<String>,
    /// Whether the run was interrupted.
    pub interrupted: bool,
}

/// Result of one drill.
#[derive(Clone, Debug, Serialize)]
pub struct Drill {
    /// `alertname`.
    pub alert: String,
    /// Its severity.
    pub severity: String,
    /// Its outcome.
    pub outcome: Outcome,
    /// Why it did not pass.
    pub why: Option<String>,
    /// How the alert was raised.
    pub raised_by: String,
    /// The breaker that was expected to open, as `service/name`.
    pub breaker: Option<String>,
    /// Times of the events.
    pub seconds: Times,
    /// Time budget until firing, in seconds.
    pub firing_budget_seconds: f64,
    /// Time budget until resolved, in seconds.
    pub resolve_budget_seconds: f64,
    /// Further remarks.
    pub notes: Vec<String>,
    /// Total duration, in seconds.
    pub took_seconds: f64,
}

/// Outcome of a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The alert fired, was delivered and resolved, each within its budget.
    Passed,
    /// One of these did not happen in time.
    Failed,
    /// It can't be run in the present state of the stack.
    Refused,
    /// It can't be drilled here, or was excluded.
    Skipped,
    /// It was interrupted.
    Interrupted,
}

/// Times in seconds since the fault; the last two since its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Times {
    /// Until the breaker opened.
    pub breaker_open: Option<f64>,
    /// Until the rule's expression held.
    pub pending: Option<f64>,
    /// Until the alert fired.
    pub firing: Option<f64>,
    /// Until its notification arrived.
    pub notified: Option<f64>,
    /// Until the alert resolved.
    pub resolved: Option<f64>,
    /// Until the notification of its resolution arrived.
    pub resolved_notified: Option<f64>,
}

impl Outcome {
    /// The outcome as one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Refused => "refused",
            Self::Skipped => "skipped",
            Self::Interrupted => "interrupted",
        }
    }
}

impl Report {
    /// Number of drills with this outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.drills.iter().filter(|drill| drill.outcome == outcome).count()
    }

    /// 0 if all attempted drills passed; 1 if one failed, was stopped, or left a change behind; 2 if none failed and
    /// one could not be run as requested.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.interrupted || !self.not_restored.is_empty() || self.count(Outcome::Failed) > 0 {
            1
        } else if self.count(Outcome::Refused) > 0 {
            2
        } else {
            0
        }
    }
}
