//! A permit: the right to make one call, and the duty to say what became of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Breaker, Outcome, Pass, Recorded, Rejected, Transition, word::Word};

/// The answer to a call that asks to pass.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a cancelled call"]
pub struct Admission<'a> {
    /// The right to call, or why not.
    pub permit: Result<Permit<'a>, Rejected>,
    /// The change of state that asking led to: the end of an open wait, or of an overdue half-open.
    pub transition: Option<Transition>,
}

/// The right to make one call.
///
/// It knows the state that issued it. Whatever happens to the call later, the outcome counts only
/// in that state; dropping the permit gives its place back and counts the call as cancelled, or as
/// panicked while the thread unwinds.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a cancelled call"]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    issued: Word,
    start: Instant,
    settled: bool,
}

impl<'a> Permit<'a> {
    #[inline]
    pub(super) fn new(breaker: &'a Breaker, issued: Word, start: Instant) -> Self {
        Self { breaker, issued, start, settled: false }
    }

    /// Gives up the duty; the caller fulfils it by other means.
    #[inline]
    pub(crate) fn into_pass(mut self) -> Pass {
        self.settled = true;
        Pass(self.issued)
    }

    /// When the call was admitted.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Number of the state that issued this permit.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.issued.generation()
    }

    /// The same for a call whose duration is known already.
    #[inline]
    pub(crate) fn record_after(mut self, outcome: Outcome, took: Duration, now: Instant) -> Recorded {
        self.settled = true;
        self.breaker.settle(Pass(self.issued), self.breaker.is_slow(took), outcome, || now)
    }

    /// Says what became of the call, which ends `now`.
    #[allow(clippy::inline_always, reason = "measured: a call costs more than the work")]
    #[inline(always)]
    #[allow(clippy::must_use_candidate, reason = "callers without an observer ignore the transition")]
    pub fn record(mut self, outcome: Outcome, now: Instant) -> Recorded {
        self.settled = true;
        self.breaker.settle_between(self.issued, (self.start, now), outcome)
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.settled {
            self.breaker.abandon(self.issued, self.start);
        }
    }
}

/// The answer to a call that asks to pass and is not bound to the breaker's lifetime.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a cancelled call"]
pub struct OwnedAdmission {
    /// The right to call, or why not.
    pub permit: Result<OwnedPermit, Rejected>,
    /// The change of state that asking led to.
    pub transition: Option<Transition>,
}

/// A [`Permit`] that owns a share of its breaker, for spawned tasks and for bodies that are still
/// being read after the call has returned.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a cancelled call"]
pub struct OwnedPermit {
    breaker: Arc<Breaker>,
    issued: Word,
    start: Instant,
    settled: bool,
}

impl Breaker {
    /// Takes note of a call that lasted from one instant to the other.
    #[allow(clippy::inline_always, reason = "measured: a call costs more than the work")]
    #[inline(always)]
    fn settle_between(&self, issued: Word, (start, now): (Instant, Instant), outcome: Outcome) -> Recorded {
        let slow = self.is_slow(now.saturating_duration_since(start));
        self.settle(Pass(issued), slow, outcome, || now)
    }

    /// Asks to make a call that starts `now`, for a permit that can leave this scope.
    pub fn try_acquire_owned(self: &Arc<Self>, now: Instant) -> OwnedAdmission {
        let Admission { permit, transition } = self.try_acquire(now);
        let permit = permit.map(|mut permit| {
            permit.settled = true;
            OwnedPermit { breaker: self.clone(), issued: permit.issued, start: permit.start, settled: false }
        });
        OwnedAdmission { permit, transition }
    }
}

impl OwnedPermit {
    /// When the call was admitted.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Number of the state that issued this permit.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.issued.generation()
    }

    /// Says what became of the call, which ends `now`.
    #[allow(clippy::must_use_candidate, reason = "callers without an observer ignore the transition")]
    pub fn record(mut self, outcome: Outcome, now: Instant) -> Recorded {
        self.settled = true;
        self.breaker.settle_between(self.issued, (self.start, now), outcome)
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        if !self.settled {
            self.breaker.abandon(self.issued, self.start);
        }
    }
}
