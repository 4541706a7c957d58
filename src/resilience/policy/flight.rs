//! One attempt on its way, and the promise that it is accounted for.

use std::time::Instant;

use super::{Attempt, Event, Observer, Policy, clock};
use crate::resilience::breaker::{Outcome, Permit};

/// An attempt between its start and its end. Dropped without an end, because the caller went away
/// or the call panicked, it ends as cancelled or panicked; so every permit is given back and every
/// start has its [`Event::Finished`].
pub(super) struct Flight<'a, O: Observer> {
    policy: &'a Policy,
    observer: &'a O,
    permit: Option<Permit<'a>>,
    start: Instant,
    attempt: Attempt,
    landed: bool,
}

impl<'a, O: Observer> Flight<'a, O> {
    pub(super) fn start(
        policy: &'a Policy,
        observer: &'a O,
        permit: Option<Permit<'a>>,
        start: Instant,
        attempt: Attempt,
    ) -> Self {
        observer.observe(Event::Admitted { attempt: attempt.number, hedge: attempt.hedge });
        Self { policy, observer, permit, start, attempt, landed: false }
    }

    /// Ends it.
    pub(super) fn land(mut self, outcome: Outcome, now: Instant) {
        self.end(outcome, now);
    }

    fn end(&mut self, outcome: Outcome, now: Instant) {
        self.landed = true;
        let elapsed = now.saturating_duration_since(self.start);
        let recorded = self.permit.take().map(|permit| permit.record(outcome, now));
        let (slow, late) = recorded.map_or((false, false), |recorded| (recorded.slow, recorded.late));
        if let Some(transition) = recorded.and_then(|recorded| recorded.transition) {
            self.observer.observe(Event::Transition(&transition));
        }
        self.policy.learn(self.attempt, outcome, elapsed, now);
        self.observer.observe(Event::Finished {
            outcome,
            slow,
            late,
            elapsed,
            attempt: self.attempt.number,
            hedge: self.attempt.hedge,
        });
    }
}

impl<O: Observer> Drop for Flight<'_, O> {
    fn drop(&mut self) {
        if !self.landed {
            let outcome = if std::thread::panicking() { Outcome::Panicked } else { Outcome::Cancelled };
            self.end(outcome, clock());
        }
    }
}
