//! Interfaces to the outside world of a drill: a Prometheus, the admin port, a shell.

#[cfg(test)]
pub(super) mod fake;
mod http;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use serde_json::Value;

pub use http::{Access, Live};

/// A server that did not answer, or not as expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Trouble(pub String);

/// Everything that a drill observes or changes.
pub trait World: Monitor + Site + Shell {}

impl<W: Monitor + Site + Shell> World for W {}

/// A Prometheus, and an Alertmanager if one is configured.
pub trait Monitor {
    /// All alerting rules that are loaded.
    fn rules(&self) -> impl Future<Output = Result<Vec<RuleSeen>, Trouble>>;
    /// Breakerbox's targets.
    fn targets(&self) -> impl Future<Output = Result<Vec<TargetSeen>, Trouble>>;
    /// Whether a `PromQL` expression returns a result.
    fn gives(&self, query: &str) -> impl Future<Output = Result<bool, Trouble>>;
    /// Whether Alertmanager suppresses the notification of this alert; `None` if that is unknown.
    fn suppressed(&self, alert: &Instance) -> impl Future<Output = Option<bool>>;
}

/// The admin port.
pub trait Site {
    /// All fault targets.
    fn faults(&self) -> impl Future<Output = Result<Vec<FaultSeen>, Trouble>>;
    /// Sets a fault on a target.
    fn set_fault(&self, target: &str, plan: &Value) -> impl Future<Output = Result<(), Trouble>>;
    /// Restores a target's default faults.
    fn restore_fault(&self, target: &str) -> impl Future<Output = Result<(), Trouble>>;
    /// All breakers.
    fn breakers(&self) -> impl Future<Output = Result<Vec<BreakerSeen>, Trouble>>;
    /// Changes a breaker's state, settings or both.
    fn change_breaker(&self, service: &str, name: &str, change: &Value) -> impl Future<Output = Result<(), Trouble>>;
    /// Replays all dead letters of the retry queue.
    fn replay_dead_letters(&self) -> impl Future<Output = Result<(), Trouble>>;
    /// The latest transitions.
    fn transitions(&self) -> impl Future<Output = Result<Vec<TransitionSeen>, Trouble>>;
    /// The alerts that were delivered.
    fn inbox(&self) -> impl Future<Output = Result<InboxSeen, Trouble>>;
    /// The timeline of faults, if there is one.
    fn scenario(&self) -> impl Future<Output = Result<Option<ScenarioSeen>, Trouble>>;
    /// Sends `start`, `pause` or `stop` to the scenario.
    fn command_scenario(&self, command: &str) -> impl Future<Output = Result<(), Trouble>>;
}

/// A shell.
pub trait Shell {
    /// Runs a command line to its end.
    fn run(&self, command: &str) -> impl Future<Output = Result<(), Trouble>>;
}

/// Labels.
pub type Labels = BTreeMap<String, String>;

/// An alerting rule and its alerts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSeen {
    /// `alertname`.
    pub alert: String,
    /// The labels the rule itself adds.
    pub labels: Labels,
    /// Its `for`.
    pub holds: Duration,
    /// Its `keep_firing_for`.
    pub keeps: Duration,
    /// How often it is evaluated.
    pub interval: Duration,
    /// Why its last evaluation failed.
    pub error: Option<String>,
    /// Alerts that are pending or firing.
    pub instances: Vec<Instance>,
}

/// One alert that is pending or firing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// All its labels.
    pub labels: Labels,
    /// Its phase.
    pub phase: Phase,
}

/// Phase of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its expression holds, but not yet for long enough.
    Pending,
    /// It fires.
    Firing,
}

/// A target of Prometheus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetSeen {
    /// `job` and `instance`.
    pub name: String,
    /// Whether the last scrape worked.
    pub up: bool,
}

/// A target of faults.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultSeen {
    /// Its name.
    pub target: String,
    /// Its faults, in the admin port's JSON.
    pub plan: Value,
    /// Active kinds of faults.
    pub active: Vec<String>,
    /// Whether its faults are those of the settings.
    pub at_baseline: bool,
}

/// A breaker.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerSeen {
    /// Calling service.
    pub service: String,
    /// Called dependency.
    pub name: String,
    /// Its state.
    pub state: String,
    /// Its settings, in the admin port's JSON.
    pub settings: Value,
}

/// A transition of a breaker.
#[derive(Clone, Debug, PartialEq)]
pub struct TransitionSeen {
    /// Calling service.
    pub service: String,
    /// Called dependency.
    pub breaker: String,
    /// New state.
    pub to: String,
    /// Distinguishes transitions of one breaker.
    pub generation: u64,
    /// Time by the clock of its process, in seconds since 1970.
    pub unix_seconds: f64,
}

/// Alerts delivered by Alertmanager.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InboxSeen {
    /// Whether the watchdog arrives here, so that other alerts should, too.
    pub connected: bool,
    /// All stored alerts.
    pub notices: Vec<NoticeSeen>,
}

/// One delivered alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeSeen {
    /// All its labels.
    pub labels: Labels,
    /// When it started to fire according to Prometheus.
    pub starts_at: String,
    /// Whether its resolution was delivered.
    pub resolved: bool,
}

/// The timeline of faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioSeen {
    /// Whether its position moves.
    pub running: bool,
    /// Whether one of its faults is active now.
    pub active: bool,
}

/// Whether `labels` contains all of these.
pub(in crate::drill) fn has<'a>(labels: &Labels, wanted: impl IntoIterator<Item = (&'a str, &'a str)>) -> bool {
    wanted.into_iter().all(|(name, value)| labels.get(name).is_some_and(|own| own == value))
}
