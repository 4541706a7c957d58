//! What a scenario reports of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::faults::FaultPlan;
use crate::scenario::library::Choice;
use crate::scenario::timeline::{Action, Step};

/// Whether a scenario runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The position advances.
    Running,
    /// The position stays, and active faults remain.
    Paused,
    /// No faults; starts again from the beginning.
    Stopped,
}

/// Current state of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ScenarioStatus)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub mode: Mode,
    /// Number of completed rounds.
    pub rounds: u64,
    /// Position in the current round, in seconds.
    pub position_seconds: f64,
    /// Length of a round, in seconds.
    pub length_seconds: f64,
    /// Names of the steps that are active.
    pub active: Vec<String>,
    /// Whether it repeats.
    pub looped: bool,
    /// Its steps, by start time.
    pub steps: Vec<StepStatus>,
    /// Faults of each target between steps, which replace the default faults of the settings.
    pub calm: BTreeMap<String, FaultPlan>,
    /// Seed of a random scenario.
    pub seed: Option<u64>,
    /// Scenarios that can be selected instead.
    pub choices: Vec<Choice>,
}

/// A step of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ScenarioStep)]
pub struct StepStatus {
    /// Its name.
    pub name: String,
    /// Hint: what to observe during this step.
    pub note: String,
    /// Target of the fault, unless the step sets the load.
    pub target: Option<String>,
    /// The fault.
    pub fault: Option<FaultPlan>,
    /// The load that the step sets, in journeys per second.
    pub rate: Option<f64>,
    /// Start within a round, in seconds.
    pub from_seconds: f64,
    /// End within a round, in seconds.
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
