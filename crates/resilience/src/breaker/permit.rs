//! Permits: each admits one call and records its outcome.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Breaker, Outcome, Pass, Recorded, Rejected, Transition, word::Word};

/// Result of asking for a permit.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a cancelled call"]
pub struct Admission<'a> {
    /// The permit, or the rejection.
    pub permit: Result<Permit<'a>, Rejected>,
    /// The transition caused by asking: the end of an open wait, or of an overdue half-open.
    pub transition: Option<Transition>,
}

/// Permission to make one call.
///
/// It carries the generation of the state that issued it: the outcome only counts in that state. Dropping
/// the permit returns its slot and records the call as cancelled, or as panicked while the thread unwinds.
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

    /// Disarms the permit; the caller records the outcome by other means.
    #[inline]
    pub(crate) fn into_pass(mut self) -> Pass {
        self.settled = true;
        Pass(self.issued)
    }

    /// Time of admission.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Generation of the state that issued this permit.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.issued.generation()
    }

    /// Records the outcome of a call with a known duration.
    #[inline]
    pub(crate) fn record_after(mut self, outcome: Outcome, took: Duration, now: Instant) -> Recorded {
        self.settled = true;
        self.breaker.settle(Pass(self.issued), self.breaker.is_slow(took), outcome, || now)
    }

    /// Records the outcome of the call that ended `now`.
    #[allow(clippy::inline_always, reason = "measured: a call costs more than the work")]
    #[inline(always)]
    #[allow(clippy::must_use_candidate, reason = "callers without an observer ignore the transition")]
    pub fn record(mut self, outcome: Outcome, now: Instant) -> Recorded {
        self.settled = true;
        self.breaker.settle_between(Pass(self.issued), (self.start, now), outcome)
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

/// Result of asking for an owned permit.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a cancelled call"]
pub struct OwnedAdmission {
    /// The permit, or the rejection.
    pub permit: Result<OwnedPermit, Rejected>,
    /// The transition caused by asking.
    pub transition: Option<Transition>,
}

/// A [`Permit`] that owns a reference to its breaker, for spawned tasks and for bodies that are still
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
    /// Asks for an owned permit for a call that starts `now`.
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
    /// Time of admission.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Generation of the state that issued this permit.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.issued.generation()
    }

    /// Records the outcome of the call that ended `now`.
    #[allow(clippy::must_use_candidate, reason = "callers without an observer ignore the transition")]
    pub fn record(mut self, outcome: Outcome, now: Instant) -> Recorded {
        self.settled = true;
        self.breaker.settle_between(Pass(self.issued), (self.start, now), outcome)
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        if !self.settled {
            self.breaker.abandon(self.issued, self.start);
        }
    }
}
