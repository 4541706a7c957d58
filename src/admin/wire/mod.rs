//! Messages of the admin port: its JSON requests and answers, one type per message.
//!
//! The server and all its clients use these types: other processes, the command line, the drill. The `OpenAPI`
//! document at `/openapi.json` is generated from them. Fields are `snake_case`; where a field comes from the
//! settings file, its hyphenated spelling is accepted as well.

mod breakers;
mod faults;
mod keys;
mod page;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use super::inbox::{Alert, AlertStatus, Delivered, Delivery, Overview};
pub use crate::services::checkout::{DeadLetters, QueueStatus, Replay, Replayed};
pub use crate::store::DeadLetter;
pub use crate::web::problem::ProblemBody;
pub use breakers::{
    Breaker, BreakerCalls, BreakerChange, BreakerCommand, BreakerState, Breakers, Health, HealthSummary, Transition,
    Transitions,
};
pub use faults::{FaultTarget, Faults};
pub(super) use keys::with_hyphens;
pub use page::Page;

/// `GET /healthz` and `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Liveness {
    /// `alive` or `ready`.
    pub status: String,
}

/// `GET /actions`: the latest commands, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Actions {
    /// The commands.
    pub actions: Vec<Action>,
}

/// A command to the admin port, and its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Action {
    /// Time, in seconds since 1970.
    pub unix_seconds: f64,
    /// Subject of the change: `breaker`, `fault`, `scenario`, `queue` or `drill`.
    pub action: String,
    /// Result: `done`, `refused`, `unauthorized` or `failed`.
    pub outcome: String,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Body, unless it was empty or large.
    pub body: Option<String>,
    /// HTTP status of the answer.
    pub status: u16,
    /// Address of the client.
    pub from: Option<String>,
}

/// `POST /scenario`: selects a scenario and starts it from its beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScenarioChoice {
    /// One of the `choices` of `GET /scenario`.
    pub name: String,
    /// Seed of a drawn scenario; the same seed always gives the same scenario.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// A process that did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unreachable {
    /// Its name in the settings.
    pub name: String,
    /// The error.
    pub why: String,
}

/// `GET /sd`: a group of Prometheus' HTTP service discovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetGroup {
    /// Admin addresses, as `host:port`.
    pub targets: Vec<String>,
    /// `__meta_breakerbox_process`: the process's name.
    pub labels: BTreeMap<String, String>,
}

/// `GET /`: overview.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Index {
    /// Name and version.
    pub program: String,
    /// Services of this process.
    pub services: Vec<String>,
    /// Address of the description of all pages and commands.
    pub openapi: String,
    /// Pages.
    pub read: Vec<String>,
    /// Pages of all processes that the settings name.
    pub everywhere: Vec<String>,
    /// Commands.
    pub change: Vec<String>,
}
