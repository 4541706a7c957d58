//! Types of a breaker: states, outcomes of calls, transitions, rejections.

use std::time::{Duration, Instant};

use super::WindowSnapshot;

macro_rules! spelled {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All values, in the order they are documented.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Spelling in metrics, logs and JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}
pub(crate) use spelled;

spelled! {
    /// State of a breaker.
    State {
        /// Calls pass, and their outcomes are recorded.
        Closed = "closed",
        /// Calls are rejected until the wait is over.
        Open = "open",
        /// A few probes, and then a growing share of the traffic, decide the next state.
        HalfOpen = "half_open",
        /// Rejects all calls, by command.
        ForcedOpen = "forced_open",
        /// Lets all calls pass and records nothing, by command.
        Disabled = "disabled",
        /// Lets all calls pass, records them, and never trips, by command.
        MetricsOnly = "metrics_only",
    }
}

spelled! {
    /// Reason of a transition.
    Reason {
        /// Consecutive failures reached their threshold.
        ConsecutiveFailures = "consecutive_failures",
        /// The failure rate of the window reached its threshold.
        FailureRate = "failure_rate",
        /// The slow-call rate of the window reached its threshold.
        SlowCallRate = "slow_call_rate",
        /// The open wait is over.
        WaitElapsed = "wait_elapsed",
        /// Enough probes succeeded.
        ProbesSucceeded = "probes_succeeded",
        /// Too many probes failed, or were slow.
        ProbesFailed = "probes_failed",
        /// Half-open reached its time limit.
        HalfOpenTimeout = "half_open_timeout",
        /// A stage of the recovery succeeded.
        StagePassed = "stage_passed",
        /// By command.
        Command = "command",
        /// A peer that guards the same dependency changed its state.
        Shared = "shared",
    }
}

spelled! {
    /// Outcome of a call.
    Outcome {
        /// The call succeeded.
        Success = "success",
        /// The call failed.
        Failure = "failure",
        /// The call timed out.
        Timeout = "timeout",
        /// An error that says nothing about the dependency's health, for example a 4xx status.
        Ignored = "ignored",
        /// The caller stopped waiting before there was an answer.
        Cancelled = "cancelled",
        /// The call panicked.
        Panicked = "panicked",
    }
}

/// A command of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Reject all calls until another command.
    ForceOpen,
    /// Close, from any state.
    Close,
    /// Let all calls pass and record nothing.
    Disable,
    /// Let all calls pass and record them, but never trip.
    MetricsOnly,
    /// Close and clear everything recorded, including the count of late results.
    Reset,
}

/// A change of state, with the statistics it was based on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// The previous state.
    pub from: State,
    /// The new state.
    pub to: State,
    /// Generation of the new state; each transition of a breaker increments it.
    pub generation: u64,
    /// Reason of the transition.
    pub reason: Reason,
    /// Time of the transition, as passed in by the caller.
    pub at: Instant,
    /// Statistics that decided: calls in the window, or probes of half-open.
    pub window: WindowSnapshot,
    /// How long the breaker stays open before a probe, if this transition opened it.
    pub open_for: Option<Duration>,
}

/// Rejection of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the breaker is {}; retry after {retry_after:?}", state.as_str())]
pub struct Rejected {
    /// The state that rejected the call.
    pub state: State,
    /// Earliest time at which a retry may succeed: the rest of the open wait; at most a second in half-open,
    /// whose end depends on its probes; the configured open wait when forced open.
    pub retry_after: Duration,
}

/// Result of recording an outcome.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recorded {
    /// The transition that it caused, if any.
    pub transition: Option<Transition>,
    /// Whether the call had begun in an earlier state, so that its outcome had no effect.
    pub late: bool,
    /// Whether it took at least the slow-call threshold.
    pub slow: bool,
}
