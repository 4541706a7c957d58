//! Messages about injected faults.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Unreachable;
use crate::faults::{FaultPlan, TargetStatus};

/// `GET /faults`: every target and its faults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Faults {
    /// The targets.
    pub targets: Vec<FaultTarget>,
    /// Processes that did not answer; only with `everywhere=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<Vec<Unreachable>>,
}

/// Current faults of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FaultTarget {
    /// Name of the target.
    pub target: String,
    /// The injected faults.
    pub plan: FaultPlan,
    /// Kinds of active faults.
    pub active: Vec<String>,
    /// Whether these are the default faults of the settings.
    pub at_baseline: bool,
    /// Seconds until the default faults are restored; null if there is no end.
    pub remaining_seconds: Option<f64>,
    /// Admin address of its process; only with `everywhere=true`, and not for this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
}

impl From<TargetStatus> for FaultTarget {
    fn from(status: TargetStatus) -> Self {
        Self {
            target: status.target,
            plan: status.plan,
            active: status.active.into_iter().map(str::to_owned).collect(),
            at_baseline: status.at_baseline,
            remaining_seconds: status.remaining_seconds,
            process: None,
        }
    }
}
