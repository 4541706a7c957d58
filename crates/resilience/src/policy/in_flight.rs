//! An attempt in progress, which is always accounted for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::{Attempt, Event, Observer, Policy};
use crate::breaker::{Outcome, Permit};

/// What an attempt cannot see from where it is dropped.
#[derive(Default)]
pub(super) struct Fate {
    /// Whether the operation itself is running: only then is an unwinding thread caused by it. At any other
    /// time something else panicked, and the call did nothing wrong.
    at_work: AtomicBool,
    /// Whether another request for the same answer was faster.
    outrun: AtomicBool,
}

impl Fate {
    /// Runs a part of the operation.
    #[inline]
    pub(super) fn inside<T>(&self, part: impl FnOnce() -> T) -> T {
        self.at_work.store(true, Ordering::Relaxed);
        let done = part();
        self.at_work.store(false, Ordering::Relaxed);
        done
    }

    /// Marks the attempt as the loser: another request for the same answer was faster.
    pub(super) fn outrun(&self) {
        self.outrun.store(true, Ordering::Relaxed);
    }
}

/// An attempt between its start and its end. If it is dropped without an outcome, because the caller
/// disconnected or the operation panicked, it ends as cancelled or panicked, so that every permit is
/// returned and every start has its [`Event::Finished`].
pub(super) struct InFlight<'a, O: Observer> {
    policy: &'a Policy,
    observer: &'a O,
    permit: Option<Permit<'a>>,
    start: Instant,
    attempt: Attempt,
    fate: &'a Fate,
    finished: bool,
}

impl<'a, O: Observer> InFlight<'a, O> {
    pub(super) fn start(
        policy: &'a Policy,
        observer: &'a O,
        permit: Option<Permit<'a>>,
        start: Instant,
        (attempt, fate): (Attempt, &'a Fate),
    ) -> Self {
        observer.observe(Event::Admitted { attempt: attempt.number, hedge: attempt.hedge });
        Self { policy, observer, permit, start, attempt, fate, finished: false }
    }

    /// Records the outcome.
    pub(super) fn finish(mut self, outcome: Outcome, now: Instant) {
        self.end(outcome, now);
    }

    fn end(&mut self, outcome: Outcome, now: Instant) {
        self.finished = true;
        let elapsed = now.saturating_duration_since(self.start);
        // The loser of a race did not fail, however long it had taken by then.
        let lost = outcome == Outcome::Cancelled && self.fate.outrun.load(Ordering::Relaxed);
        let counts = if lost { Outcome::Ignored } else { outcome };
        let recorded = self.permit.take().map(|permit| permit.record_after(counts, elapsed, now));
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

impl<O: Observer> Drop for InFlight<'_, O> {
    fn drop(&mut self) {
        if !self.finished {
            let outcome =
                if self.fate.at_work.load(Ordering::Relaxed) { Outcome::Panicked } else { Outcome::Cancelled };
            self.end(outcome, self.policy.now());
        }
    }
}
