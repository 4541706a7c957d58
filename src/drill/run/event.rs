//! Events that a conductor reports while it works.

use std::time::Duration;

use crate::drill::plan::Budget;
use crate::drill::plan::Plan;
use crate::drill::report::Drill;

/// One event.
#[derive(Debug)]
pub enum Event<'a> {
    /// The stack is fit for drills.
    Healthy {
        /// Targets that are up.
        targets: usize,
        /// Alerting rules that are loaded.
        rules: usize,
        /// Whether notifications arrive at the inbox.
        inbox: bool,
    },
    /// A remark for the user.
    Note(&'a str),
    /// A drill started.
    Began {
        /// Its plan.
        plan: &'a Plan,
        /// Its number, from 1.
        number: usize,
        /// Total number of drills.
        of: usize,
        /// Its time budgets.
        budget: Budget,
    },
    /// A milestone was reached.
    Reached {
        /// The milestone.
        milestone: Milestone,
        /// Time since the fault or since its end.
        after: Duration,
    },
    /// The fault has ended.
    Cleared,
    /// Still waiting.
    Waiting {
        /// The awaited event.
        what: &'a str,
        /// Time waited so far.
        since: Duration,
    },
    /// A drill ended.
    Ended(&'a Drill),
    /// A change could not be undone.
    NotRestored(&'a str),
}

/// An event that a drill waits for.
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
    /// Alertmanager suppresses its notification.
    Muted,
    /// The alert is inactive.
    Resolved,
    /// The notification of its resolution arrived.
    ResolvedNotified,
}

impl Milestone {
    /// The milestone in words.
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
