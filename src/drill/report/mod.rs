//! What came of the drills.

pub mod junit;
pub mod progress;
pub mod table;

use serde::Serialize;

/// What came of all drills.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// In the order they were run.
    pub drills: Vec<Drill>,
    /// What could not be put back, and how to do it by hand.
    pub not_restored: Vec<String>,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

/// What came of one drill.
#[derive(Clone, Debug, Serialize)]
pub struct Drill {
    /// `alertname`.
    pub alert: String,
    /// Its severity.
    pub severity: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it did not pass.
    pub why: Option<String>,
    /// How the alert was raised, in words.
    pub raised_by: String,
    /// The breaker that was to open, as `service/name`.
    pub breaker: Option<String>,
    /// When things happened.
    pub seconds: Times,
    /// How long the alert was given to fire, seconds.
    pub firing_budget_seconds: f64,
    /// How long it was given to resolve, seconds.
    pub resolve_budget_seconds: f64,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// How long all of it took, seconds.
    pub took_seconds: f64,
}

/// How a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The alert fired, was delivered and resolved, each in time.
    Passed,
    /// It did not.
    Failed,
    /// It can't be tried as things are.
    Refused,
    /// It can't be drilled here, or was left out.
    Skipped,
    /// It was interrupted.
    Interrupted,
}

/// Seconds from the fault, and for the last two from its end.
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
    /// Until the alert was over.
    pub resolved: Option<f64>,
    /// Until the notification of its end arrived.
    pub resolved_notified: Option<f64>,
}

impl Outcome {
    /// In one word.
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
    /// How many drills ended so.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.drills.iter().filter(|drill| drill.outcome == outcome).count()
    }

    /// 0 when all that were tried passed, 1 when one failed, was stopped, or left something
    /// changed, 2 when nothing failed and one could not be tried as asked.
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
