//! Types of a breaker: its states, outcomes of calls, and answers.

use std::time::{Duration, Instant};

use super::WindowSnapshot;

macro_rules! spelled {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every one, in the order they are documented.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The spelling used in series, logs and JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}
pub(crate) use spelled;

spelled! {
    /// Where a breaker stands.
    State {
        /// Calls pass and are judged.
        Closed = "closed",
        /// Calls are rejected until the wait is over.
        Open = "open",
        /// A few probes, and then a growing share of the traffic, decide what comes next.
        HalfOpen = "half_open",
        /// Rejects everything, by command.
        ForcedOpen = "forced_open",
        /// Lets everything pass and records nothing, by command.
        Disabled = "disabled",
        /// Lets everything pass, records, and never trips, by command.
        MetricsOnly = "metrics_only",
    }
}

spelled! {
    /// Why a breaker changed its state.
    Reason {
        /// Enough failures in a row.
        ConsecutiveFailures = "consecutive_failures",
        /// Too large a share of the window's calls failed.
        FailureRate = "failure_rate",
        /// Too large a share of the window's calls was slow.
        SlowCallRate = "slow_call_rate",
        /// The open wait is over.
        WaitElapsed = "wait_elapsed",
        /// Enough probes succeeded.
        ProbesSucceeded = "probes_succeeded",
        /// Too many probes failed, or were slow.
        ProbesFailed = "probes_failed",
        /// Half-open took too long to come to a result.
        HalfOpenTimeout = "half_open_timeout",
        /// A stage of the recovery went well.
        StagePassed = "stage_passed",
        /// By command.
        Command = "command",
        /// A peer that guards the same dependency did the same.
        Shared = "shared",
    }
}

spelled! {
    /// What became of a call.
    Outcome {
        /// The dependency answered well.
        Success = "success",
        /// It answered badly, or not at all.
        Failure = "failure",
        /// It took longer than the caller allows.
        Timeout = "timeout",
        /// An error that says nothing about the dependency's health, a 4xx for example.
        Ignored = "ignored",
        /// The caller went away before there was an answer.
        Cancelled = "cancelled",
        /// The call panicked.
        Panicked = "panicked",
    }
}

/// What an operator can tell a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Reject everything until another command.
    ForceOpen,
    /// Close now, from whatever state.
    Close,
    /// Let everything pass and record nothing.
    Disable,
    /// Let everything pass and record, but never trip.
    MetricsOnly,
    /// Close, and forget all that was recorded, the count of late results included.
    Reset,
}

/// One change of state, with the numbers it was decided on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// The state that ended.
    pub from: State,
    /// The state that began.
    pub to: State,
    /// Number of the state that began; every change of a breaker has the next higher one.
    pub generation: u64,
    /// Why.
    pub reason: Reason,
    /// When, by the time that the caller passed in.
    pub at: Instant,
    /// What was counted when the decision fell: the window's calls, or the probes of half-open.
    pub window: WindowSnapshot,
    /// How long the breaker stays open before a probe, when this opened it.
    pub open_for: Option<Duration>,
}

/// A call that was not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the breaker is {}; retry after {retry_after:?}", state.as_str())]
pub struct Rejected {
    /// The state that rejected it.
    pub state: State,
    /// When it is worth asking again: the rest of the open wait; at most a second in half-open,
    /// whose end depends on its probes; the configured open wait when forced open.
    pub retry_after: Duration,
}

/// What recording an outcome led to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recorded {
    /// The change of state it caused, if any.
    pub transition: Option<Transition>,
    /// Whether the call had begun in an earlier state, so that its outcome changed nothing.
    pub late: bool,
    /// Whether it took at least the slow-call threshold.
    pub slow: bool,
}
