//! What a scenario reports of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::faults::FaultPlan;
use crate::scenario::library::Choice;
use crate::scenario::timeline::{Action, Step};

/// What a scenario is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Its position moves.
    Running,
    /// It stays where it is, faults included.
    Paused,
    /// Its faults are gone; the next start is at the beginning.
    Stopped,
}

/// A scenario as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ScenarioStatus)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub mode: Mode,
    /// Rounds that were finished.
    pub rounds: u64,
    /// Seconds into the present round.
    pub position_seconds: f64,
    /// Seconds that a round takes.
    pub length_seconds: f64,
    /// Names of the steps that are active.
    pub active: Vec<String>,
    /// Whether it begins anew at its end.
    pub looped: bool,
    /// Its steps, in the order they begin.
    pub steps: Vec<StepStatus>,
    /// Faults of a target between its steps, in place of those of the settings.
    pub calm: BTreeMap<String, FaultPlan>,
    /// What it was drawn from, if it was drawn.
    pub seed: Option<u64>,
    /// Scenarios that can take its place.
    pub choices: Vec<Choice>,
}

/// A step, as the time line shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ScenarioStep)]
pub struct StepStatus {
    /// Its name.
    pub name: String,
    /// What a learner should look at.
    pub note: String,
    /// What it breaks, if it breaks something.
    pub target: Option<String>,
    /// How.
    pub fault: Option<FaultPlan>,
    /// The load it sets instead, journeys per second.
    pub rate: Option<f64>,
    /// When it begins within a round.
    pub from_seconds: f64,
    /// When it ends.
    pub to_seconds: f64,
}

impl From<&Step> for StepStatus {
    fn from(step: &Step) -> Self {
        let (target, fault, rate) = match &step.action {
            Action::Fault(target, plan) => (Some(target.as_str().to_owned()), Some(plan.clone()), None),
            Action::Rate(rate) => (None, None, Some(*rate)),
        };
        let (from_seconds, to_seconds) = (step.from.as_secs_f64(), step.to.as_secs_f64());
        Self { name: step.name.clone(), note: step.note.clone(), target, fault, rate, from_seconds, to_seconds }
    }
}
