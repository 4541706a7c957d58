//! What a conductor tells while it works.

use std::time::Duration;

use crate::drill::plan::Budget;
use crate::drill::plan::Plan;
use crate::drill::report::Drill;

/// One thing that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// The stack is fit for drills.
    Healthy {
        /// Targets that are up.
        targets: usize,
        /// Alerting rules that are loaded.
        rules: usize,
        /// Whether notifications can be seen.
        inbox: bool,
    },
    /// Something the user should know.
    Note(&'a str),
    /// A drill begins.
    Began {
        /// Which.
        plan: &'a Plan,
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// How long it may take.
        budget: Budget,
    },
    /// Something awaited came.
    Reached {
        /// What.
        milestone: Milestone,
        /// After this long, from the fault or from its end.
        after: Duration,
    },
    /// The trouble is over.
    Cleared,
    /// Nothing happened yet.
    Waiting {
        /// For what.
        what: &'a str,
        /// For how long already.
        since: Duration,
    },
    /// A drill is over.
    Ended(&'a Drill),
    /// Something could not be put back.
    NotRestored(&'a str),
}

/// What a drill waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// The breaker opened.
    BreakerOpen,
    /// The rule's expression holds.
    Pending,
    /// The alert fires.
    Firing,
    /// Its notification arrived.
    Notified,
    /// Alertmanager keeps its notification back.
    Muted,
    /// The alert is over.
    Resolved,
    /// The notification of its end arrived.
    ResolvedNotified,
}

impl Milestone {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::BreakerOpen => "breaker open",
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Notified => "notification received",
            Self::Muted => "notification muted by another alert",
            Self::Resolved => "resolved",
            Self::ResolvedNotified => "notification of its end received",
        }
    }
}
