//! A permit: the right to make one call, and the duty to say what became of it.

use std::time::Instant;

use super::{Breaker, Outcome, Recorded, Rejected, Transition, word::Word};

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
    #[allow(clippy::inline_always, reason = "measured: a call costs more than the work")]
    #[inline(always)]
    #[allow(clippy::must_use_candidate, reason = "whoever watches nothing has no use for the transition")]
    pub fn record(mut self, outcome: Outcome, now: Instant) -> Recorded {
        self.settled = true;
        self.breaker.settle(self.issued, self.start, outcome, now)
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
