//! The JSON of the admin port: what it answers and what it accepts, one type per message.
//!
//! The server writes these types and every reader reads them: other processes, the command line, the
//! drill. The `OpenAPI` document at `/openapi.json` is generated from them. Fields are `snake_case`;
//! where a field comes from the settings file, its hyphenated spelling is accepted as well.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::client::Client;
use crate::faults::{FaultPlan, TargetStatus};
use breakerbox_resilience::breaker::{Command, State};
use breakerbox_telemetry::{CallTotals, TransitionRecord};

pub use super::inbox::{Alert, AlertStatus, Delivered, Delivery, Overview};
pub use crate::services::checkout::{DeadLetters, QueueStatus, Replay, Replayed};
pub use crate::store::DeadLetter;
pub use crate::web::problem::ProblemBody;

/// How the breakers of a page are, taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// No breaker is open.
    #[default]
    Healthy,
    /// Fewer than half of the breakers are open.
    Degraded,
    /// At least half of the breakers are open.
    Unhealthy,
}

/// State of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls pass and are judged.
    Closed,
    /// Calls are rejected until the wait is over.
    Open,
    /// A few probes decide what comes next.
    HalfOpen,
    /// Rejects every call, by command.
    ForcedOpen,
    /// Lets every call pass and records nothing, by command.
    Disabled,
    /// Lets every call pass, records, and never trips, by command.
    MetricsOnly,
}

impl BreakerState {
    /// Whether calls are rejected.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::ForcedOpen)
    }

    /// As in series and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        State::from(self).as_str()
    }
}

impl From<State> for BreakerState {
    fn from(state: State) -> Self {
        match state {
            State::Closed => Self::Closed,
            State::Open => Self::Open,
            State::HalfOpen => Self::HalfOpen,
            State::ForcedOpen => Self::ForcedOpen,
            State::Disabled => Self::Disabled,
            State::MetricsOnly => Self::MetricsOnly,
        }
    }
}

impl From<BreakerState> for State {
    fn from(state: BreakerState) -> Self {
        match state {
            BreakerState::Closed => Self::Closed,
            BreakerState::Open => Self::Open,
            BreakerState::HalfOpen => Self::HalfOpen,
            BreakerState::ForcedOpen => Self::ForcedOpen,
            BreakerState::Disabled => Self::Disabled,
            BreakerState::MetricsOnly => Self::MetricsOnly,
        }
    }
}

/// `GET /breakers`: every breaker, worst health first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Breakers {
    /// How they are, taken together.
    pub status: Health,
    /// The breakers.
    pub breakers: Vec<Breaker>,
    /// Processes without an answer; only with `everywhere=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<Vec<Unreachable>>,
}

impl Breakers {
    /// Sorts them, worst health first, and says how they are.
    pub(super) fn sort(&mut self) {
        self.breakers.sort_by(|a, b| a.health_score.total_cmp(&b.health_score));
        let open = self.breakers.iter().filter(|breaker| breaker.state.is_open()).count();
        self.status = match open {
            0 => Health::Healthy,
            open if open * 2 < self.breakers.len() => Health::Degraded,
            _ => Health::Unhealthy,
        };
    }
}

/// A breaker as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Breaker {
    /// Service that calls.
    pub service: String,
    /// Dependency that is called.
    pub name: String,
    /// Its state.
    pub state: BreakerState,
    /// Number of that state; grows by one with each change.
    pub generation: u64,
    /// 0–1: success rate × (1 − slow rate × 0.5).
    pub health_score: f64,
    /// 0–100: 70 × success rate of what was recorded last, and 30 for a mean response time of a second or
    /// less, none from five seconds on.
    pub health_points: f64,
    /// Its calls since the process began.
    pub calls: BreakerCalls,
    /// Failed share of the window, 0–1; null below the minimum number of calls.
    pub failure_ratio: Option<f64>,
    /// Slow share of the window, 0–1; null below the minimum number of calls.
    pub slow_ratio: Option<f64>,
    /// Calls in the window.
    pub window_calls: u64,
    /// Failed ones among them.
    pub failures: u64,
    /// Slow ones among them.
    pub slow_calls: u64,
    /// Outcomes that came after their state had ended.
    pub late_results: u64,
    /// Probes of half-open in flight or finished.
    pub half_open_permits_in_use: u32,
    /// Rest of the open wait, in seconds.
    pub open_remaining_seconds: f64,
    /// The settings it works by, spelled with underscores.
    #[schema(value_type = Object)]
    pub settings: Value,
    /// Admin address of the process it is in; only with `everywhere=true`, and not for this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
}

impl Breaker {
    /// The breaker of a client, if it has one.
    #[must_use]
    pub fn of(client: &Client) -> Option<Self> {
        let (now, telemetry) = (client.snapshot()?, client.telemetry()?);
        let ratio = |ratio: f64| (!ratio.is_nan()).then_some(ratio);
        Some(Self {
            service: client.service().to_owned(),
            name: client.dependency().to_owned(),
            state: now.state.into(),
            generation: now.generation,
            health_score: now.health_score,
            health_points: telemetry.health_points(&now),
            calls: telemetry.totals().into(),
            failure_ratio: ratio(now.failure_ratio),
            slow_ratio: ratio(now.slow_ratio),
            window_calls: now.window_calls,
            failures: now.failures,
            slow_calls: now.slow,
            late_results: now.late_results,
            half_open_permits_in_use: now.half_open_in_use,
            open_remaining_seconds: now.open_remaining.as_secs_f64(),
            settings: with_underscores(serde_json::to_value(client.breaker_settings()).unwrap_or_default()),
            process: None,
        })
    }
}

/// The calls through a breaker since its process began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BreakerCalls {
    /// Answered well.
    pub success: u64,
    /// Failed, or timed out.
    pub failure: u64,
    /// Say nothing about the dependency: ignored errors, and callers that left.
    pub ignored: u64,
    /// Not let through.
    pub rejected: u64,
    /// Succeeded share of those that succeeded or failed, 0–1; null before the first.
    pub success_rate: Option<f64>,
    /// Mean response time of about the last forty, in seconds; null before the first.
    pub mean_response_seconds: Option<f64>,
}

impl From<CallTotals> for BreakerCalls {
    fn from(totals: CallTotals) -> Self {
        let CallTotals { success, failure, ignored, rejected, mean_response_seconds } = totals;
        Self { success, failure, ignored, rejected, success_rate: totals.success_rate(), mean_response_seconds }
    }
}

/// What a breaker can be commanded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerCommand {
    /// Reject every call until the next command.
    ForcedOpen,
    /// Close, and work as usual from there.
    Closed,
    /// Let every call pass and record nothing.
    Disabled,
    /// Let every call pass and record, but never trip.
    MetricsOnly,
    /// Close, and forget all that was recorded.
    Reset,
}

impl From<BreakerCommand> for Command {
    fn from(command: BreakerCommand) -> Self {
        match command {
            BreakerCommand::ForcedOpen => Self::ForceOpen,
            BreakerCommand::Closed => Self::Close,
            BreakerCommand::Disabled => Self::Disable,
            BreakerCommand::MetricsOnly => Self::MetricsOnly,
            BreakerCommand::Reset => Self::Reset,
        }
    }
}

/// `PATCH /breakers/{service}/{name}`: a state, settings, or both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakerChange {
    /// The state it is put into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<BreakerCommand>,
    /// Settings that differ from now on, such as `{"failure_rate_threshold": 40}`. The hyphenated
    /// spelling of the settings file is accepted as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub settings: Option<Value>,
}

/// `GET /health`: the breakers in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthSummary {
    /// How the breakers are, taken together.
    pub status: Health,
    /// How many there are.
    pub breakers: usize,
    /// The open ones, as `service/name`.
    pub open: Vec<String>,
}

/// `GET /healthz` and `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Liveness {
    /// `alive` or `ready`.
    pub status: String,
}

/// `GET /transitions`: the latest changes of state, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Transitions {
    /// The changes.
    pub transitions: Vec<Transition>,
    /// Processes without an answer; only with `everywhere=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<Vec<Unreachable>>,
}

/// A change of a breaker's state, with the numbers behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Transition {
    /// Service that calls.
    pub service: String,
    /// Dependency that is called.
    pub breaker: String,
    /// State before.
    pub from: String,
    /// State after.
    pub to: String,
    /// Why.
    pub reason: String,
    /// Number of the state that began; grows by one with each change.
    pub generation: u64,
    /// When, seconds since 1970.
    pub unix_seconds: f64,
    /// Calls in the window at that moment.
    pub calls: u64,
    /// Failed ones among them.
    pub failures: u64,
    /// Slow ones among them.
    pub slow_calls: u64,
    /// Failed share, 0–1; null below the minimum number of calls.
    pub failure_ratio: Option<f64>,
    /// Slow share, 0–1; null below the minimum number of calls.
    pub slow_ratio: Option<f64>,
    /// How long an opened breaker waits before a probe, in seconds.
    pub open_wait_seconds: Option<f64>,
    /// Admin address of the process it happened in; only with `everywhere=true`, and not for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
}

impl From<TransitionRecord> for Transition {
    fn from(record: TransitionRecord) -> Self {
        Self {
            service: record.service,
            breaker: record.breaker,
            from: record.from.as_str().to_owned(),
            to: record.to.as_str().to_owned(),
            reason: record.reason.as_str().to_owned(),
            generation: record.generation,
            unix_seconds: record.unix_seconds,
            calls: record.calls,
            failures: record.failures,
            slow_calls: record.slow_calls,
            failure_ratio: record.failure_ratio,
            slow_ratio: record.slow_ratio,
            open_wait_seconds: record.open_wait.map(|wait| wait.as_secs_f64()),
            process: None,
        }
    }
}

/// `GET /faults`: every target and what is wrong there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Faults {
    /// The targets.
    pub targets: Vec<FaultTarget>,
    /// Processes without an answer; only with `everywhere=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<Vec<Unreachable>>,
}

/// A target of faults as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FaultTarget {
    /// Its name.
    pub target: String,
    /// Faults that are injected there.
    pub plan: FaultPlan,
    /// Kinds of them that are switched on.
    pub active: Vec<String>,
    /// Whether the plan is the one of the settings, so that no command changed it.
    pub at_baseline: bool,
    /// Until that one is back, in seconds; null when the plan has no end.
    pub remaining_seconds: Option<f64>,
    /// Admin address of the process it is in; only with `everywhere=true`, and not for this process.
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

/// `GET /actions`: the latest commands, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Actions {
    /// The commands.
    pub actions: Vec<Action>,
}

/// A command that the admin port was given, and how it was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Action {
    /// When, seconds since 1970.
    pub unix_seconds: f64,
    /// What it changes: `breaker`, `fault`, `scenario`, `queue` or `drill`.
    pub action: String,
    /// `done`, `refused`, `unauthorized` or `failed`.
    pub outcome: String,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Body, unless there was none or it was large.
    pub body: Option<String>,
    /// HTTP status of the answer.
    pub status: u16,
    /// Address it came from.
    pub from: Option<String>,
}

/// `POST /scenario`: the scenario that runs from now on, from its beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScenarioChoice {
    /// One of the `choices` of `GET /scenario`.
    pub name: String,
    /// What a drawn scenario is drawn from; each seed gives another, always the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// A process without an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unreachable {
    /// Its name in the settings.
    pub name: String,
    /// What went wrong.
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

/// `GET /`: what there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Index {
    /// Name and version.
    pub program: String,
    /// Services of this process.
    pub services: Vec<String>,
    /// Where every page and command is described.
    pub openapi: String,
    /// Pages.
    pub read: Vec<String>,
    /// Pages of all processes that the settings name.
    pub everywhere: Vec<String>,
    /// Commands.
    pub change: Vec<String>,
}

/// A page that can be joined with the same page of other processes.
pub trait Page: DeserializeOwned {
    /// One item of its list.
    type Item;

    /// Where it is.
    const PATH: &'static str;

    /// Its list.
    fn items(&mut self) -> &mut Vec<Self::Item>;

    /// Says which process an item is from.
    fn name_process(item: &mut Self::Item, address: &str);

    /// Says which processes gave no answer.
    fn name_unreachable(&mut self, unreachable: Vec<Unreachable>);
}

macro_rules! page {
    ($page:ty, $item:ty, $path:literal, $list:ident) => {
        impl Page for $page {
            type Item = $item;

            const PATH: &'static str = $path;

            fn items(&mut self) -> &mut Vec<$item> {
                &mut self.$list
            }

            fn name_process(item: &mut $item, address: &str) {
                item.process = Some(address.to_owned());
            }

            fn name_unreachable(&mut self, unreachable: Vec<Unreachable>) {
                self.unreachable = Some(unreachable);
            }
        }
    };
}

page!(Breakers, Breaker, "/breakers", breakers);
page!(Transitions, Transition, "/transitions", transitions);
page!(Faults, FaultTarget, "/faults", targets);

/// Keys of settings as JSON spells them.
pub(super) fn with_underscores(settings: Value) -> Value {
    renamed(settings, '-', '_').unwrap_or_default()
}

/// Keys of settings as the settings file spells them; an error names a key that is given in both.
pub(super) fn with_hyphens(settings: Value) -> Result<Value, String> {
    renamed(settings, '_', '-')
}

fn renamed(settings: Value, from: char, to: char) -> Result<Value, String> {
    let Value::Object(table) = settings else { return Ok(settings) };
    let mut own = Map::new();
    for (key, value) in table {
        if own.insert(key.replace(from, &to.to_string()), value).is_some() {
            return Err(format!("{key} is given in two spellings"));
        }
    }
    Ok(Value::Object(own))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_read_in_either_spelling() {
        let file = json!({"failure-rate-threshold": 40, "sliding-window-size": 10});
        let snake = json!({"failure_rate_threshold": 40, "sliding_window_size": 10});
        assert_eq!(with_underscores(file.clone()), snake);
        assert_eq!(with_hyphens(snake).as_ref(), Ok(&file));
        assert_eq!(with_hyphens(file.clone()), Ok(file));
        let twice = json!({"failure-rate-threshold": 40, "failure_rate_threshold": 50});
        assert!(with_hyphens(twice).unwrap_err().contains("two spellings"));
    }

    #[test]
    fn states_are_spelled_as_in_series() {
        for state in State::ALL {
            let json = serde_json::to_value(BreakerState::from(*state)).unwrap();
            assert_eq!(json, state.as_str());
            assert_eq!(State::from(BreakerState::from(*state)), *state);
        }
    }

    #[test]
    fn health_is_judged_by_the_share_of_open_breakers() {
        let client = |state, health_score| Breaker {
            service: "s".to_owned(),
            name: "n".to_owned(),
            state,
            generation: 0,
            health_score,
            health_points: 100.0 * health_score,
            calls: BreakerCalls {
                success: 0,
                failure: 0,
                ignored: 0,
                rejected: 0,
                success_rate: None,
                mean_response_seconds: None,
            },
            failure_ratio: None,
            slow_ratio: None,
            window_calls: 0,
            failures: 0,
            slow_calls: 0,
            late_results: 0,
            half_open_permits_in_use: 0,
            open_remaining_seconds: 0.0,
            settings: Value::Null,
            process: None,
        };
        let judged = |states: &[BreakerState]| {
            let breakers = states.iter().map(|state| client(*state, 1.0)).collect();
            let mut page = Breakers { breakers, ..Breakers::default() };
            page.sort();
            page.status
        };
        let (closed, open) = (BreakerState::Closed, BreakerState::Open);
        assert_eq!(judged(&[closed, BreakerState::HalfOpen]), Health::Healthy);
        assert_eq!(judged(&[closed, open, closed]), Health::Degraded);
        assert_eq!(judged(&[closed, BreakerState::ForcedOpen]), Health::Unhealthy);
    }
}
