//! The activity of a connection, and its deadlines.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Limits;
use breakerbox_telemetry::Dropped;

/// A client that has not read for this long is displaced on a full port.
const STALLED: Duration = Duration::from_secs(1);

/// One connection's activity, updated by its stream and by its service.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// Whether any of the head has arrived.
    begun: bool,
    /// Time since which the client has not read from its response.
    unread: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for a head, or receiving it.
    Head,
    /// Receiving a body.
    Body,
    /// The request is complete, its response is not.
    Served,
    /// Between two requests.
    Idle,
}

impl Activity {
    pub(super) fn new(now: Instant) -> Self {
        Self { state: Mutex::new(State { phase: Phase::Head, since: now, begun: false, unread: None }) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn enter(&self, phase: Phase, now: Instant) {
        self.with(|state| (state.phase, state.since) = (phase, now));
    }

    /// Records that bytes arrived.
    pub(super) fn read(&self, now: Instant) {
        self.with(|state| {
            if state.phase == Phase::Idle {
                (state.phase, state.since) = (Phase::Head, now);
            }
            state.begun = true;
        });
    }

    /// Records that a head is complete; `body` if a body follows.
    pub(super) fn head_done(&self, body: bool, now: Instant) {
        self.enter(if body { Phase::Body } else { Phase::Served }, now);
    }

    /// Records that the body is complete, or that the rest is not needed.
    pub(super) fn body_done(&self, now: Instant) {
        self.with(|state| {
            if state.phase == Phase::Body {
                (state.phase, state.since) = (Phase::Served, now);
            }
        });
    }

    /// Records that the response is complete.
    pub(super) fn answered(&self, now: Instant) {
        self.enter(Phase::Idle, now);
    }

    /// Records a write of the response; `taken` if any bytes were accepted.
    pub(super) fn written(&self, taken: bool, now: Instant) {
        self.with(|state| state.unread = if taken { None } else { Some(state.unread.unwrap_or(now)) });
    }

    /// Time since which the server has been waiting for the client, if it is.
    pub(super) fn waiting_since(&self, now: Instant) -> Option<Instant> {
        self.with(|state| match (state.phase, state.unread) {
            (_, Some(unread)) if now.saturating_duration_since(unread) >= STALLED => Some(unread),
            (Phase::Served, _) => None,
            (Phase::Head | Phase::Body | Phase::Idle, _) => Some(state.since),
        })
    }

    /// The current deadline, and what the client failed to do by then, if anything; `None` while the server is working.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<(Instant, Option<Dropped>)> {
        self.with(|state| {
            let own = match state.phase {
                // A connection pool may open connections without using them: an idle connection is no failure.
                Phase::Head => Some((state.since + limits.head, state.begun.then_some(Dropped::SlowHead))),
                // The body's own limit is shorter and answers 408.
                Phase::Body => Some((state.since + limits.body + STALLED, Some(Dropped::SlowBody))),
                Phase::Idle => Some((state.since + limits.idle, None)),
                Phase::Served => None,
            };
            let unread = state.unread.map(|since| (since + limits.write, Some(Dropped::SlowReader)));
            own.into_iter().chain(unread).min_by_key(|(at, _)| *at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::ConnectionSettings;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_phase_has_its_own_time() {
        let limits = ConnectionSettings::default().limits(8);
        let start = Instant::now();
        let activity = Activity::new(start);
        let deadline = || activity.deadline(&limits);
        assert_eq!(deadline(), Some((start + limits.head, None)), "an idle connection is no failure");
        activity.read(start + SECOND);
        assert_eq!(
            deadline(),
            Some((start + limits.head, Some(Dropped::SlowHead))),
            "slow bytes do not extend the deadline"
        );
        activity.head_done(true, start + SECOND);
        assert!(matches!(deadline(), Some((_, Some(Dropped::SlowBody)))));
        activity.body_done(start + SECOND);
        assert_eq!((deadline(), activity.waiting_since(start + 9 * SECOND)), (None, None));
        activity.answered(start + 2 * SECOND);
        assert_eq!(deadline(), Some((start + 2 * SECOND + limits.idle, None)));
        activity.read(start + 3 * SECOND);
        assert_eq!(deadline(), Some((start + 3 * SECOND + limits.head, Some(Dropped::SlowHead))));
    }

    #[test]
    fn a_client_that_does_not_read_counts_as_waiting() {
        let limits = ConnectionSettings::default().limits(8);
        let start = Instant::now();
        let activity = Activity::new(start);
        activity.head_done(false, start);
        activity.written(false, start);
        activity.written(false, start + 5 * SECOND);
        assert_eq!(activity.deadline(&limits), Some((start + limits.write, Some(Dropped::SlowReader))));
        assert_eq!(activity.waiting_since(start + 5 * SECOND), Some(start));
        activity.written(true, start + 6 * SECOND);
        assert_eq!(activity.deadline(&limits), None);
    }
}
