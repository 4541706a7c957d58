//! Messages about breakers: their states, commands, transitions and overall health.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Unreachable;
use super::keys::with_underscores;
use crate::client::Client;
use breakerbox_resilience::breaker::{Command, State};
use breakerbox_telemetry::{CallTotals, TransitionRecord};

/// Overall state of the breakers on a page.
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
    /// Calls pass, and their outcomes are recorded.
    Closed,
    /// Calls are rejected until the wait is over.
    Open,
    /// A few probes decide the next state.
    HalfOpen,
    /// Rejects all calls, by command.
    ForcedOpen,
    /// Lets all calls pass and records nothing, by command.
    Disabled,
    /// Lets all calls pass, records them, and never trips, by command.
    MetricsOnly,
}

impl BreakerState {
    /// Whether calls are rejected.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::ForcedOpen)
    }

    /// Spelling in metrics and JSON.
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
    /// Overall state.
    pub status: Health,
    /// The breakers.
    pub breakers: Vec<Breaker>,
    /// Processes that did not answer; only with `everywhere=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<Vec<Unreachable>>,
}

impl Breakers {
    /// Sorts the breakers, worst health first, and determines the overall state.
    pub(in crate::admin) fn sort(&mut self) {
        self.breakers.sort_by(|a, b| a.health_score.total_cmp(&b.health_score));
        let open = self.breakers.iter().filter(|breaker| breaker.state.is_open()).count();
        self.status = match open {
            0 => Health::Healthy,
            open if open * 2 < self.breakers.len() => Health::Degraded,
            _ => Health::Unhealthy,
        };
    }
}

/// Current state of a breaker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Breaker {
    /// The calling service.
    pub service: String,
    /// The called dependency.
    pub name: String,
    /// Its state.
    pub state: BreakerState,
    /// Generation of the state; incremented by each transition.
    pub generation: u64,
    /// 0–1: success rate × (1 − slow rate × 0.5).
    pub health_score: f64,
    /// 0–100: 70 × success rate of the calls recorded last, and 30 for a mean response time of one second or less,
    /// falling to 0 at five seconds.
    pub health_points: f64,
    /// Its calls since the start of the process.
    pub calls: BreakerCalls,
    /// Failure ratio of the window, 0–1; null below the minimum number of calls.
    pub failure_ratio: Option<f64>,
    /// Slow-call ratio of the window, 0–1; null below the minimum number of calls.
    pub slow_ratio: Option<f64>,
    /// Calls in the window.
    pub window_calls: u64,
    /// Failed calls in the window.
    pub failures: u64,
    /// Slow calls in the window.
    pub slow_calls: u64,
    /// Outcomes that arrived after their state had ended.
    pub late_results: u64,
    /// Probes of half-open in flight or finished.
    pub half_open_permits_in_use: u32,
    /// Remaining open wait, in seconds.
    pub open_remaining_seconds: f64,
    /// Current settings, spelled with underscores.
    #[schema(value_type = Object)]
    pub settings: Value,
    /// Admin address of its process; only with `everywhere=true`, and not for this process.
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

/// Calls through a breaker since the start of its process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BreakerCalls {
    /// Successful.
    pub success: u64,
    /// Failed, or timed out.
    pub failure: u64,
    /// Not evaluated: ignored errors, and cancelled calls.
    pub ignored: u64,
    /// Rejected by the breaker.
    pub rejected: u64,
    /// Share of successful calls among those that succeeded or failed, 0–1; null before the first.
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

/// States that a command can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerCommand {
    /// Reject all calls until the next command.
    ForcedOpen,
    /// Close, and resume normal operation.
    Closed,
    /// Let all calls pass and record nothing.
    Disabled,
    /// Let all calls pass and record them, but never trip.
    MetricsOnly,
    /// Close, and clear everything recorded.
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
    /// The new state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<BreakerCommand>,
    /// Settings to change, such as `{"failure_rate_threshold": 40}`. The hyphenated spelling of the settings file
    /// is accepted as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub settings: Option<Value>,
}

/// `GET /health`: summary of the breakers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthSummary {
    /// Overall state of the breakers.
    pub status: Health,
    /// Number of breakers.
    pub breakers: usize,
    /// The open ones, as `service/name`.
    pub open: Vec<String>,
}

/// `GET /transitions`: the latest transitions, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Transitions {
    /// The transitions.
    pub transitions: Vec<Transition>,
    /// Processes that did not answer; only with `everywhere=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<Vec<Unreachable>>,
}

/// A transition of a breaker, with its statistics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Transition {
    /// The calling service.
    pub service: String,
    /// The called dependency.
    pub breaker: String,
    /// Previous state.
    pub from: String,
    /// New state.
    pub to: String,
    /// Reason.
    pub reason: String,
    /// Generation of the new state; incremented by each transition.
    pub generation: u64,
    /// Time, in seconds since 1970.
    pub unix_seconds: f64,
    /// Calls in the window at that time.
    pub calls: u64,
    /// Failed calls among them.
    pub failures: u64,
    /// Slow calls among them.
    pub slow_calls: u64,
    /// Failure ratio, 0–1; null below the minimum number of calls.
    pub failure_ratio: Option<f64>,
    /// Slow-call ratio, 0–1; null below the minimum number of calls.
    pub slow_ratio: Option<f64>,
    /// How long an opened breaker waits before a probe, in seconds.
    pub open_wait_seconds: Option<f64>,
    /// Admin address of its process; only with `everywhere=true`, and not for this one.
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
