//! The last N calls: a ring of outcomes, and running totals.
//!
//! While all of them are successes, one more changes nothing, and recording it is one load.
//! Otherwise a call claims the next slot with one addition. Where the slot already says what the
//! call would write, that is all; if not, it swaps the slot and adds the difference to the totals.
//! Nothing ever walks the ring.

use std::{array, sync::OnceLock};

use super::{Recording, Sample, WindowSnapshot};
use crate::sync::{AtomicU32, AtomicU64, Ordering, Padded};

/// Rings of 2⁰ … 2¹⁷ slots.
const CLASSES: usize = 18;
const EPOCH_MASK: u32 = (1 << 28) - 1;

#[derive(Debug)]
pub(super) struct CountWindow {
    /// One ring per power of two, allocated when a length first needs it and then kept, so that a
    /// call can hold on to a ring while the length changes. At most twice the largest in all.
    rings: [OnceLock<Box<[AtomicU32]>>; CLASSES],
    /// ⌈2⁶⁴ / length⌉: with it, the remainder of a division by the length is two multiplications,
    /// which halves what finding a slot costs (Lemire, Kaser and Kurz, 2019).
    reciprocal: AtomicU64,
    /// Slots claimed so far. Only the low 32 bits choose a slot, so that once in 2³² calls the ring
    /// goes on from another place; it holds the last N calls again N calls later.
    head: Padded<AtomicU64>,
    totals: Padded<AtomicU64>,
}

impl CountWindow {
    pub(super) fn new() -> Self {
        Self {
            rings: array::from_fn(|_| OnceLock::new()),
            reciprocal: AtomicU64::new(0),
            head: Padded(AtomicU64::new(0)),
            totals: Padded(AtomicU64::new(0)),
        }
    }

    /// Makes room for a length; must come before the length is published.
    pub(super) fn provide(&self, length: u32) {
        self.rings[class(length)].get_or_init(|| (0..length.next_power_of_two()).map(|_| AtomicU32::new(0)).collect());
        self.reciprocal.store((u64::MAX / u64::from(length)).wrapping_add(1), Ordering::Release);
    }

    #[allow(clippy::inline_always, reason = "measured: a call costs more than the work")]
    #[inline(always)]
    pub(super) fn record(&self, epoch: u32, length: u32, sample: Sample) -> Recording {
        let fine = !sample.failed && !sample.slow;
        // N successes and one more are N successes: a healthy window is only read.
        if fine && self.totals.0.load(Ordering::Acquire) == Totals::all_fine(epoch, length).0 {
            return Recording::Counted;
        }
        self.claim(length, Slot::new(epoch, sample))
    }

    /// Writes an outcome in the next slot.
    fn claim(&self, length: u32, fresh: Slot) -> Recording {
        let claimed = self.head.0.fetch_add(1, Ordering::Relaxed);
        let slot = self.slot(length, claimed);
        let old = Slot(slot.load(Ordering::Relaxed));
        if old == fresh && fresh.is_fine() {
            return Recording::Counted;
        }
        self.replace(slot, old, fresh)
    }

    /// Whatever is not one more success in a row of them.
    #[cold]
    #[inline(never)]
    fn replace(&self, slot: &AtomicU32, mut old: Slot, fresh: Slot) -> Recording {
        loop {
            if old == fresh {
                return Recording::Judge(self.totals());
            }
            if old.is_newer_than(fresh) {
                return Recording::Stale;
            }
            match slot.compare_exchange_weak(old.0, fresh.0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => old = Slot(now),
            }
        }
        let before = if old.epoch() == fresh.epoch() { old.counts() } else { [0; 3] };
        let after = fresh.counts();
        let swapped = self.totals.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            Totals(word).exchange(fresh.epoch(), before, after)
        });
        match swapped {
            Ok(word) => Recording::Judge(
                Totals(word)
                    .exchange(fresh.epoch(), before, after)
                    .map(|now| Totals(now).snapshot())
                    .expect("the same exchange has just succeeded"),
            ),
            // The window has moved on after the slot was written: the caller that moved it may have found the
            // outcome there and taken it over. Writing it anew could count it twice.
            Err(_) => Recording::Judge(self.totals()),
        }
    }

    pub(super) fn totals(&self) -> WindowSnapshot {
        Totals(self.totals.0.load(Ordering::Acquire)).snapshot()
    }

    pub(super) fn reset(&self, epoch: u32) {
        // Slots of earlier epochs are vacant by their epoch; nothing has to be wiped. A swap rather than
        // a store keeps all writers in one order, also for the model checker.
        self.totals.0.swap(Totals::empty(epoch).0, Ordering::AcqRel);
    }

    /// The outcomes under `epoch`, newest first.
    pub(super) fn newest(&self, epoch: u32, length: u32) -> Vec<Sample> {
        let head = self.head.0.load(Ordering::Acquire);
        (1..=u64::from(length).min(head))
            .map(|back| Slot(self.slot(length, head - back).load(Ordering::Acquire)))
            .filter(|slot| slot.epoch() == epoch && slot.0 & Slot::USED != 0)
            .map(Slot::sample)
            .collect()
    }

    /// Puts outcomes back under a new epoch and length, as if they had just been recorded.
    pub(super) fn restore(&self, epoch: u32, length: u32, newest: &[Sample]) {
        let kept = newest.len().min(length as usize);
        for sample in newest[..kept].iter().rev() {
            self.record(epoch, length, *sample);
        }
    }

    #[inline]
    fn slot(&self, length: u32, claimed: u64) -> &AtomicU32 {
        let ring = self.rings[class(length)].get().expect("a length is published after its ring");
        &ring[remainder(claimed, length, self.reciprocal.load(Ordering::Relaxed))]
    }
}

/// The low 32 bits of `claimed` modulo `length`. Below the length whatever the reciprocal, which may
/// be another length's for the moment in which that changes.
#[inline]
fn remainder(claimed: u64, length: u32, reciprocal: u64) -> usize {
    let fraction = reciprocal.wrapping_mul(claimed & u64::from(u32::MAX));
    let scaled = (u128::from(fraction) * u128::from(length)) >> 64;
    usize::try_from(scaled).expect("below the length")
}

#[inline]
fn class(length: u32) -> usize {
    length.next_power_of_two().trailing_zeros() as usize
}

/// One outcome: `[epoch: 28 | - | slow | failed | used]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot(u32);

impl Slot {
    const USED: u32 = 1;
    const FAILED: u32 = 2;
    const SLOW: u32 = 4;

    #[inline]
    fn new(epoch: u32, sample: Sample) -> Self {
        let failed = if sample.failed { Self::FAILED } else { 0 };
        let slow = if sample.slow { Self::SLOW } else { 0 };
        Self(((epoch & EPOCH_MASK) << 4) | slow | failed | Self::USED)
    }

    /// Neither failed nor slow.
    fn is_fine(self) -> bool {
        self.0 & (Self::FAILED | Self::SLOW) == 0
    }

    fn epoch(self) -> u32 {
        self.0 >> 4
    }

    /// Whether this slot was written under a epoch after `other`'s; epochs wrap around.
    fn is_newer_than(self, other: Self) -> bool {
        let ahead = self.epoch().wrapping_sub(other.epoch()) & EPOCH_MASK;
        ahead != 0 && ahead < EPOCH_MASK / 2
    }

    fn sample(self) -> Sample {
        Sample { failed: self.0 & Self::FAILED != 0, slow: self.0 & Self::SLOW != 0 }
    }

    /// What it adds to the totals: calls, failures, slow calls.
    fn counts(self) -> [u64; 3] {
        [Self::USED, Self::FAILED, Self::SLOW].map(|bit| u64::from(self.0 & bit != 0))
    }
}

/// The totals in one word: `[epoch: 13 | slow: 17 | failures: 17 | calls: 17]`.
///
/// Two writers of one slot may add their differences in either order, so a count can be below zero
/// for a moment. Each field therefore starts at a bias that keeps it from borrowing off its
/// neighbour.
#[derive(Clone, Copy)]
struct Totals(u64);

impl Totals {
    const BITS: u32 = 17;
    const MASK: u64 = (1 << Self::BITS) - 1;
    const BIAS: u64 = 1 << 13;
    const EPOCH_SHIFT: u32 = 3 * Self::BITS;

    fn empty(epoch: u32) -> Self {
        Self(Self::epoch_bits(epoch) | Self::BIAS | (Self::BIAS << Self::BITS) | (Self::BIAS << (2 * Self::BITS)))
    }

    /// A full window of quick successes.
    #[inline]
    fn all_fine(epoch: u32, length: u32) -> Self {
        Self(Self::empty(epoch).0 + u64::from(length))
    }

    #[inline]
    fn epoch_bits(epoch: u32) -> u64 {
        u64::from(epoch) << Self::EPOCH_SHIFT
    }

    /// The word with one slot's counts exchanged; `None` under another epoch.
    fn exchange(self, epoch: u32, before: [u64; 3], after: [u64; 3]) -> Option<u64> {
        let mine = Self::epoch_bits(epoch) >> Self::EPOCH_SHIFT;
        (self.0 >> Self::EPOCH_SHIFT == mine).then(|| {
            (0..).zip(before.iter().zip(after)).fold(self.0, |word, (field, (before, after)): (u32, _)| {
                word + (after << (field * Self::BITS)) - (before << (field * Self::BITS))
            })
        })
    }

    fn snapshot(self) -> WindowSnapshot {
        let field = |at: u32| ((self.0 >> (at * Self::BITS)) & Self::MASK).saturating_sub(Self::BIAS);
        let calls = field(0);
        WindowSnapshot { calls, failures: field(1).min(calls), slow: field(2).min(calls) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Sample = Sample { failed: false, slow: false };
    const FAILED: Sample = Sample { failed: true, slow: false };

    fn window(length: u32) -> CountWindow {
        let window = CountWindow::new();
        window.provide(length);
        window.reset(1);
        window
    }

    #[test]
    fn the_remainder_is_the_one_of_a_division() {
        for length in [1, 2, 3, 7, 10, 64, 100, 9_999, 100_000] {
            let reciprocal = (u64::MAX / u64::from(length)).wrapping_add(1);
            for claimed in (0..300_000).chain(u64::from(u32::MAX) - 1_000..=u64::from(u32::MAX)) {
                assert_eq!(remainder(claimed, length, reciprocal) as u64, claimed % u64::from(length));
            }
        }
    }

    #[test]
    fn it_holds_the_last_calls_and_no_others() {
        let window = window(3);
        for sample in [FAILED, FAILED, FINE, FINE] {
            window.record(1, 3, sample);
        }
        let totals = window.totals();
        assert_eq!((totals.calls, totals.failures), (3, 1));
    }

    #[test]
    fn a_writer_of_an_earlier_tag_changes_nothing() {
        let window = window(2);
        window.record(1, 2, FINE);
        window.reset(2);
        window.record(2, 2, FINE);
        window.record(2, 2, FINE);
        for _ in 0..4 {
            assert_eq!(window.record(1, 2, FAILED), Recording::Stale);
        }
        let totals = window.totals();
        assert_eq!((totals.calls, totals.failures), (2, 0));
    }

    #[test]
    fn changing_the_length_keeps_the_newest_outcomes_in_their_order() {
        let window = window(5);
        for sample in [FAILED, FAILED, FINE, FINE, FAILED] {
            window.record(1, 5, sample);
        }
        let kept = window.newest(1, 5);
        window.provide(3);
        window.reset(2);
        window.restore(2, 3, &kept);
        let totals = window.totals();
        assert_eq!((totals.calls, totals.failures), (3, 1));
        window.record(2, 3, FINE);
        window.record(2, 3, FINE);
        assert_eq!(window.totals().failures, 1, "the failure was the newest");
        window.record(2, 3, FINE);
        assert_eq!(window.totals().failures, 0);
    }
}
