//! Times of the milestones, collected over successive polls.

use std::time::Duration;

use super::event::Milestone;
use super::observation::Observation;
use crate::drill::report::Times;
use crate::drill::world::Phase;

/// Times of the milestones: the first four since the fault, the last two since its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Milestones {
    breaker_open: Option<Duration>,
    pending: Option<Duration>,
    firing: Option<Duration>,
    notified: Option<Duration>,
    muted: bool,
    /// Time since which the alert has been inactive; reset if it becomes active again.
    inactive: Option<Duration>,
    resolved_notified: Option<Duration>,
}

impl Milestones {
    /// Adds an observation from during the fault and returns the milestones that are new in it.
    pub(super) fn raised(&mut self, look: &Observation, after: Duration) -> Vec<Milestone> {
        let mut new = Vec::new();
        let mut mark = |slot: &mut Option<Duration>, seen: bool, milestone| {
            if seen && slot.is_none() {
                *slot = Some(after);
                new.push(milestone);
            }
        };
        mark(&mut self.breaker_open, look.breaker_open, Milestone::BreakerOpen);
        // An alert without `for` may go straight to firing between two polls; it was pending before that.
        mark(&mut self.pending, look.phase.is_some(), Milestone::Pending);
        mark(&mut self.firing, look.phase == Some(Phase::Firing), Milestone::Firing);
        mark(&mut self.notified, look.notified, Milestone::Notified);
        new
    }

    /// Records that Alertmanager suppresses the notification.
    pub(super) fn mute(&mut self) {
        self.muted = true;
    }

    /// Adds an observation from after the fault.
    pub(super) fn cleared(&mut self, look: &Observation, after: Duration) {
        if look.phase.is_none() {
            self.inactive.get_or_insert(after);
        } else {
            self.inactive = None;
        }
        if look.notified && look.all_resolved {
            self.resolved_notified.get_or_insert(after);
        } else {
            self.resolved_notified = None;
        }
    }

    pub(super) fn breaker_open(&self) -> bool {
        self.breaker_open.is_some()
    }

    pub(super) fn firing(&self) -> Option<Duration> {
        self.firing
    }

    pub(super) fn notified(&self) -> bool {
        self.notified.is_some()
    }

    pub(super) fn muted(&self) -> bool {
        self.muted
    }

    /// Time since which the alert has been inactive, if that is at least `settle` before `now`.
    pub(super) fn resolved(&self, now: Duration, settle: Duration) -> Option<Duration> {
        self.inactive.filter(|since| now >= *since + settle)
    }

    pub(super) fn resolved_notified(&self) -> Option<Duration> {
        self.resolved_notified
    }

    /// Time since which the alert has been inactive.
    pub(super) fn inactive(&self) -> Option<Duration> {
        self.inactive
    }

    pub(super) fn times(&self) -> Times {
        // Tenths of a second, because polling is no more precise.
        let seconds = |at: Option<Duration>| at.map(|at| (at.as_secs_f64() * 10.0).round() / 10.0);
        Times {
            breaker_open: seconds(self.breaker_open),
            pending: seconds(self.pending),
            firing: seconds(self.firing),
            notified: seconds(self.notified),
            resolved: seconds(self.inactive),
            resolved_notified: seconds(self.resolved_notified),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(phase: Option<Phase>) -> Observation {
        Observation { phase, ..Observation::default() }
    }

    #[test]
    fn an_alert_that_comes_back_is_not_over() {
        let (s, mut marks) = (Duration::from_secs, Milestones::default());
        marks.cleared(&look(Some(Phase::Firing)), s(1));
        marks.cleared(&look(None), s(2));
        marks.cleared(&look(Some(Phase::Pending)), s(3));
        assert_eq!(marks.resolved(s(9), s(2)), None);
        marks.cleared(&look(None), s(10));
        assert_eq!(marks.resolved(s(11), s(2)), None);
        assert_eq!(marks.resolved(s(12), s(2)), Some(s(10)));
    }

    #[test]
    fn each_milestone_is_reported_once() {
        let (s, mut marks) = (Duration::from_secs, Milestones::default());
        assert_eq!(marks.raised(&look(Some(Phase::Firing)), s(1)), [Milestone::Pending, Milestone::Firing]);
        assert_eq!(marks.raised(&look(Some(Phase::Firing)), s(2)), []);
        assert_eq!(marks.times().firing, Some(1.0));
    }
}
