//! The last N calls: their number, and which of them were bad.
//!
//! A bad call failed, was slow, or both. Calls are numbered in the order in which they end, and the numbers of
//! bad ones are kept: a bad call is in the window until N more have ended. A success needs no number: it
//! increments a counter, and each thread has [its own](crate::slots), so that a success is a load and a store
//! that no other thread waits for.
//!
//! Bad calls, and all calls until the window holds the minimum, take a short lock, sum the counters of all
//! threads and are evaluated. A success after that cannot reach a threshold, and is only counted. In a full
//! window without a bad call it changes nothing, and is not even counted: such a window is **healthy**, and a
//! success only reads that.

use std::collections::VecDeque;

use super::{Recording, Sample, WindowSnapshot};
use crate::{
    slots::PerThread,
    sync::{AtomicU32, AtomicU64, Mutex, Ordering, Padded, lock},
};

/// No epoch: epochs have 28 bits.
const NONE: u32 = u32::MAX;
/// Number of successes of a thread after which it checks whether the window has become healthy.
const LOOK_EACH: u64 = 512;

#[derive(Debug)]
pub(super) struct CountWindow {
    /// The epoch whose window has reached the minimum, with [`HEALTHY`] while it is full of successes.
    filled: AtomicU32,
    /// Successes of each thread: `[epoch: 28 | count: 36]`.
    fine: PerThread<AtomicU64>,
    /// The same for all threads without a slot.
    shared: Padded<AtomicU64>,
    book: Mutex<Book>,
}

const HEALTHY: u32 = 1 << 31;

/// What only the holder of the lock touches.
#[derive(Debug)]
struct Book {
    epoch: u32,
    /// Size of the window in calls.
    length: u32,
    minimum: u32,
    /// Calls of this epoch that no thread counts: the bad ones, and those taken over.
    calls: u64,
    /// The bad calls of the window, oldest first.
    bad: VecDeque<Bad>,
    failures: u32,
    slow: u32,
}

/// A bad call: `[number: 62 | slow | failed]`.
#[derive(Clone, Copy, Debug)]
struct Bad(u64);

impl CountWindow {
    pub(super) fn new() -> Self {
        Self {
            filled: AtomicU32::new(NONE),
            fine: PerThread::new(|| AtomicU64::new(0)),
            shared: Padded(AtomicU64::new(0)),
            book: Mutex::new(Book {
                epoch: NONE,
                length: 1,
                minimum: 1,
                calls: 0,
                bad: VecDeque::new(),
                failures: 0,
                slow: 0,
            }),
        }
    }

    /// Whether another success would change nothing in the window.
    #[inline]
    pub(super) fn is_healthy(&self, epoch: u32) -> bool {
        self.filled.load(Ordering::Relaxed) == epoch | HEALTHY
    }

    #[inline]
    pub(super) fn record(&self, epoch: u32, sample: Sample) -> Recording {
        let fine = !sample.failed && !sample.slow;
        let filled = self.filled.load(Ordering::Relaxed);
        if fine && (filled == epoch | HEALTHY || filled == epoch && self.add_fine(epoch)) {
            return Recording::Counted;
        }
        self.enter(epoch, sample)
    }

    /// Slow path: records everything except a further success of a window that has its minimum.
    #[inline(never)]
    fn enter(&self, epoch: u32, sample: Sample) -> Recording {
        let mut book = lock(&self.book);
        if book.epoch != epoch {
            return Recording::Stale;
        }
        let totals = if sample.failed || sample.slow {
            book.calls += 1;
            let calls = self.calls(&book);
            book.keep(Bad::new(calls, sample));
            book.totals(calls)
        } else {
            self.open(&mut book);
            book.calls += 1;
            self.judged(&mut book)
        };
        let reached = totals.calls >= u64::from(book.minimum);
        let healthy = book.bad.is_empty() && totals.calls == u64::from(book.length);
        let filled = if healthy { epoch | HEALTHY } else { epoch };
        let filled = if reached { filled } else { NONE };
        // Every call reads it.
        if self.filled.load(Ordering::Relaxed) != filled {
            self.filled.store(filled, Ordering::Relaxed);
        }
        Recording::Judge(totals)
    }

    /// Increments this thread's counter of successes; fails if it is of another epoch or full, or if the
    /// window has to be checked.
    #[inline]
    fn add_fine(&self, epoch: u32) -> bool {
        match self.fine.mine() {
            Some(mine) => {
                // No other thread writes it.
                let next = Count(mine.load(Ordering::Relaxed)).next(epoch);
                if let Some(next) = next {
                    mine.store(next, Ordering::Relaxed);
                }
                next.is_some()
            }
            None => self.add_shared(epoch),
        }
    }

    #[cold]
    #[inline(never)]
    fn add_shared(&self, epoch: u32) -> bool {
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        self.shared.0.fetch_update(success, failure, |count| Count(count).next(epoch)).is_ok()
    }

    /// Resets this thread's counter, and takes over what it has counted in this epoch.
    fn open(&self, book: &mut Book) {
        let cell = self.fine.mine_or_new().unwrap_or(&self.shared.0);
        let before = Count(cell.swap(Count::new(book.epoch).0, Ordering::Relaxed));
        book.calls += before.of(book.epoch);
    }

    /// Calls of this epoch.
    fn calls(&self, book: &Book) -> u64 {
        let fine = self.fine.each().chain([&self.shared.0]);
        book.calls + fine.map(|count| Count(count.load(Ordering::Relaxed)).of(book.epoch)).sum::<u64>()
    }

    fn judged(&self, book: &mut Book) -> WindowSnapshot {
        let calls = self.calls(book);
        book.forget(calls);
        WindowSnapshot { calls: calls.min(book.length.into()), failures: book.failures.into(), slow: book.slow.into() }
    }

    pub(super) fn totals(&self) -> WindowSnapshot {
        self.judged(&mut lock(&self.book))
    }

    /// Clears the window.
    pub(super) fn reset(&self, epoch: u32) {
        let mut book = lock(&self.book);
        self.filled.store(NONE, Ordering::Relaxed);
        book.epoch = epoch;
        (book.calls, book.failures, book.slow) = (0, 0, 0);
        book.bad.clear();
    }

    /// Changes size and minimum under a new epoch, and keeps the newest calls.
    pub(super) fn reshape(&self, epoch: u32, length: u32, minimum: u32) {
        let mut book = lock(&self.book);
        self.filled.store(NONE, Ordering::Relaxed);
        let calls = self.calls(&book);
        let kept = calls.min(book.length.min(length).into());
        book.length = book.length.min(length);
        book.forget(calls);
        for bad in &mut book.bad {
            bad.renumber(calls - kept);
        }
        (book.epoch, book.length, book.minimum, book.calls) = (epoch, length, minimum, kept);
        let (length, held) = (length as usize, book.bad.len());
        // All at once, so that no call has to wait for more.
        book.bad.reserve_exact(length - held);
        book.bad.shrink_to(length);
    }
}

impl Book {
    fn keep(&mut self, bad: Bad) {
        // Where every call is bad, the oldest one leaves for it.
        self.forget(bad.number());
        self.bad.push_back(bad);
        self.failures += u32::from(bad.failed());
        self.slow += u32::from(bad.slow());
    }

    /// Content of the window after so many calls.
    fn totals(&mut self, calls: u64) -> WindowSnapshot {
        self.forget(calls);
        WindowSnapshot { calls: calls.min(self.length.into()), failures: self.failures.into(), slow: self.slow.into() }
    }

    /// Drops bad calls that are not among the last of so many.
    fn forget(&mut self, calls: u64) {
        while let Some(oldest) = self.bad.front().copied()
            && oldest.number() + u64::from(self.length) <= calls
        {
            self.bad.pop_front();
            self.failures -= u32::from(oldest.failed());
            self.slow -= u32::from(oldest.slow());
        }
    }
}

impl Bad {
    const FAILED: u64 = 1;
    const SLOW: u64 = 2;
    const FLAGS: u32 = 2;

    fn new(number: u64, sample: Sample) -> Self {
        Self((number << Self::FLAGS) | (u64::from(sample.slow) << 1) | u64::from(sample.failed))
    }

    fn number(self) -> u64 {
        self.0 >> Self::FLAGS
    }

    fn failed(self) -> bool {
        self.0 & Self::FAILED != 0
    }

    fn slow(self) -> bool {
        self.0 & Self::SLOW != 0
    }

    fn renumber(&mut self, back: u64) {
        self.0 -= back << Self::FLAGS;
    }
}

/// A thread's successes since it last checked the window: `[epoch: 28 | count: 36]`.
#[derive(Clone, Copy)]
struct Count(u64);

impl Count {
    const BITS: u32 = 36;

    #[inline]
    fn new(epoch: u32) -> Self {
        Self(u64::from(epoch) << Self::BITS)
    }

    /// Increments it, if the epoch matches and the window need not be checked.
    #[inline]
    fn next(self, epoch: u32) -> Option<u64> {
        // Of another epoch, the difference is too large as well.
        (self.0.wrapping_sub(Self::new(epoch).0) < LOOK_EACH).then_some(self.0.wrapping_add(1))
    }

    /// Successes counted in this epoch.
    fn of(self, epoch: u32) -> u64 {
        let count = self.0.wrapping_sub(Self::new(epoch).0);
        if count <= LOOK_EACH { count } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Sample = Sample { failed: false, slow: false };
    const FAILED: Sample = Sample { failed: true, slow: false };

    fn window(length: u32) -> CountWindow {
        let window = CountWindow::new();
        window.reshape(1, length, length);
        window
    }

    #[test]
    fn it_holds_the_last_calls_and_no_others() {
        let window = window(3);
        for sample in [FAILED, FAILED, FINE, FINE] {
            window.record(1, sample);
        }
        let totals = window.totals();
        assert_eq!((totals.calls, totals.failures), (3, 1));
    }

    #[test]
    fn a_writer_of_an_earlier_epoch_changes_nothing() {
        let window = window(2);
        window.record(1, FINE);
        window.record(1, FINE);
        window.reset(2);
        window.record(2, FINE);
        for sample in [FAILED, FINE, FAILED, FINE] {
            assert_eq!(window.record(1, sample), Recording::Stale);
        }
        let totals = window.totals();
        assert_eq!((totals.calls, totals.failures), (1, 0));
    }

    /// It has seen the epoch before the reset, and writes after it.
    #[test]
    fn a_success_that_was_overtaken_by_a_reset_is_not_in_it() {
        let window = window(2);
        window.record(1, FINE);
        window.record(1, FINE);
        window.reset(2);
        assert!(window.add_fine(1), "the count of the thread is still the old one");
        assert_eq!(window.totals().calls, 0);
        window.record(2, FINE);
        assert_eq!(window.totals().calls, 1);
    }

    #[test]
    fn changing_the_length_keeps_the_newest_outcomes_in_their_order() {
        let window = window(5);
        for sample in [FAILED, FAILED, FINE, FINE, FAILED] {
            window.record(1, sample);
        }
        window.reshape(2, 3, 3);
        let totals = window.totals();
        assert_eq!((totals.calls, totals.failures), (3, 1));
        window.record(2, FINE);
        window.record(2, FINE);
        assert_eq!(window.totals().failures, 1, "the failure was the newest");
        window.record(2, FINE);
        assert_eq!(window.totals().failures, 0);
    }

    #[test]
    fn a_longer_window_holds_no_more_than_the_shorter_one_did() {
        let window = window(2);
        for sample in [FAILED, FAILED, FAILED, FINE] {
            window.record(1, sample);
        }
        window.reshape(2, 4, 4);
        let totals = window.totals();
        assert_eq!((totals.calls, totals.failures), (2, 1));
    }

    #[test]
    fn a_window_is_healthy_until_a_call_is_bad() {
        let window = window(100);
        for _ in 0..99 {
            window.record(1, FINE);
            assert!(!window.is_healthy(1));
        }
        for _ in 0..=LOOK_EACH {
            window.record(1, FINE);
        }
        assert!(window.is_healthy(1));
        window.record(1, FAILED);
        assert!(!window.is_healthy(1));
        for _ in 0..99 {
            window.record(1, FINE);
            assert_eq!(window.totals().failures, 1);
            assert!(!window.is_healthy(1));
        }
        for _ in 0..=LOOK_EACH {
            window.record(1, FINE);
            assert_eq!(window.totals(), WindowSnapshot { calls: 100, failures: 0, slow: 0 });
        }
        assert!(window.is_healthy(1));
        window.reset(2);
        assert!(!window.is_healthy(2));
    }

    #[test]
    fn threads_with_and_without_a_slot_lose_no_call() {
        let window = window(1_000_000);
        // Miri takes a thousand times as long for each call.
        let (threads, calls) = if cfg!(miri) { (34, 100) } else { (80, 2_000) };
        let start = std::sync::Barrier::new(threads);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    start.wait();
                    for call in 0..calls {
                        window.record(1, if call % 100 == 0 { FAILED } else { FINE });
                    }
                });
            }
        });
        let (threads, totals) = (threads as u64, window.totals());
        assert_eq!((totals.calls, totals.failures), (threads * calls, threads * calls / 100));
    }
}
