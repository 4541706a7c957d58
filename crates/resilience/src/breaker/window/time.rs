//! The calls of the last N seconds, in buckets.
//!
//! The width of a bucket is a power of two of nanoseconds, between 1/32 and 1/16 of the window, so that finding
//! a bucket is a shift, and summing the window costs the same for a second and for an hour. The window is accurate
//! to one bucket. Time never goes back: an instant before the newest bucket is counted in the newest. After an
//! instant far ahead, from a clock that was wrong once, all later calls seem to come from the past; when they have
//! done so for the length of the window, the window follows them.
//!
//! Successes are counted by each thread [in its own cells](crate::slots), with a load and a store, and sums
//! add the threads up. So no cache line is shared for a success, and a breaker has cells for as many threads as
//! use it. Failures and slow calls are counted in one place: they are rare, and evaluated at once anyway.
//!
//! Clearing publishes the new epoch first and everything that positions depend on afterwards. A writer reads in
//! the opposite order: position first, epoch second. So a writer that saw any part of the new positions also sees
//! the new epoch, and stops.

use std::{array, sync::OnceLock, time::Duration};

use super::{Recording, Sample, WindowSnapshot};
use crate::{
    slots::PerThread,
    sync::{AtomicU32, AtomicU64, Ordering, Padded, fence},
};

/// Twice the most buckets a window spans, so that a new bucket never falls on a live one. The model checker's
/// time grows with each cell that is read, so that it gets a coarser window.
const PLACES: usize = if cfg!(feature = "loom") { 4 } else { 64 };
const BUCKETS: u64 = PLACES as u64;
/// A window spans at least this many buckets, and less than twice as many.
const PARTS: u64 = BUCKETS / 4;
/// Number of the first bucket. A window that is made shorter puts time 0 far before the bucket it goes
/// on from; there have to be numbers for that, so that time before it can be told apart.
const FIRST: u64 = 1 << 46;

#[derive(Debug)]
pub(crate) struct TimeWindow {
    buckets: OnceLock<Box<[Bucket]>>,
    /// Successes of each thread that has a slot. Those of others, and of windows that had another
    /// shape, are in the buckets.
    fine: PerThread<Fine>,
    /// log₂ of a bucket's width in nanoseconds.
    shift: AtomicU32,
    /// Buckets that make up the window.
    span: AtomicU32,
    /// Number of the bucket that time 0 falls into. Clearing advances it, so that everything counted before lies
    /// outside the window, without being overwritten.
    base: AtomicU64,
    minimum: AtomicU32,
    /// The epoch in which the window had the minimum when it was last summed. In any other, a success can
    /// complete it.
    filled: AtomicU32,
    /// Number of the first bucket that lay a whole window behind the newest, since a call last advanced the
    /// newest; [`NOT_BEHIND`] while none did.
    behind: AtomicU64,
    /// The newest bucket: `[epoch: 16 | number: 48]`.
    newest: Padded<AtomicU64>,
}

const NOT_BEHIND: u64 = u64::MAX;
/// No epoch: epochs have 28 bits.
const NONE: u32 = u32::MAX;

/// Three counts, each `[bucket number: 32 | count: 32]`.
#[derive(Debug)]
struct Bucket {
    fine: AtomicU64,
    failed: AtomicU64,
    slow: AtomicU64,
}

/// Successes of one thread, by bucket: `[bucket number: 32 | count: 32]`.
#[derive(Debug)]
struct Fine([AtomicU64; PLACES]);

/// A bucket, valid while the window numbers its buckets as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::breaker) struct Place {
    shift: u32,
    base: u64,
    pub(in crate::breaker) number: u64,
}

/// Content of a bucket, taken out to be restored under another shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content {
    nanos: u64,
    counts: WindowSnapshot,
}

impl TimeWindow {
    pub(crate) fn new() -> Self {
        Self {
            buckets: OnceLock::new(),
            fine: PerThread::new(|| Fine(array::from_fn(|_| AtomicU64::new(0)))),
            shift: AtomicU32::new(0),
            span: AtomicU32::new(0),
            base: AtomicU64::new(FIRST),
            minimum: AtomicU32::new(0),
            filled: AtomicU32::new(NONE),
            behind: AtomicU64::new(NOT_BEHIND),
            newest: Padded(AtomicU64::new(FIRST)),
        }
    }

    /// Sets the window's length. A window that was in use has to be [closed](Self::close) before and
    /// [restored](Self::restore) afterwards.
    pub(crate) fn provide(&self, span: Duration, minimum: u32) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).max(PARTS);
        let shift = (nanos / PARTS).ilog2();
        let width = 1_u64 << shift;
        self.buckets.get_or_init(|| {
            (0..BUCKETS)
                .map(|_| Bucket { fine: AtomicU64::new(0), failed: AtomicU64::new(0), slow: AtomicU64::new(0) })
                .collect()
        });
        let span = u32::try_from(nanos.div_ceil(width)).expect("fewer than half of the places");
        self.shift.store(shift, Ordering::Release);
        self.span.store(span, Ordering::Release);
        self.minimum.store(minimum, Ordering::Release);
    }

    #[allow(clippy::inline_always, reason = "measured: a call costs more than the work")]
    #[inline(always)]
    pub(super) fn record_in(&self, number: u64, epoch: u32, sample: Sample) -> Recording {
        if sample.failed || sample.slow || !self.count_again(epoch, number) {
            self.record_anew(epoch, sample, number)
        } else if self.filled.load(Ordering::Relaxed) != epoch {
            self.judge(epoch, number)
        } else {
            Recording::Counted
        }
    }

    /// Counts a success in a known bucket; `false` if it has to be [recorded](Self::record_in).
    #[allow(clippy::inline_always, reason = "measured: a call costs more than the work")]
    #[inline(always)]
    pub(in crate::breaker) fn count_again_in(&self, bucket: Place, epoch: u32) -> bool {
        self.has(bucket) && self.filled.load(Ordering::Relaxed) == epoch && self.count_again(epoch, bucket.number)
    }

    /// Whether its buckets are numbered like this one.
    #[inline]
    pub(in crate::breaker) fn has(&self, bucket: Place) -> bool {
        self.shift.load(Ordering::Acquire) == bucket.shift && self.base.load(Ordering::Acquire) == bucket.base
    }

    /// The bucket at this time, and how much of it is over and left.
    pub(in crate::breaker) fn bucket_at(&self, nanos: u64) -> (Place, [Duration; 2]) {
        let (shift, base) = (self.shift.load(Ordering::Acquire), self.base.load(Ordering::Acquire));
        let width = 1_u64 << shift;
        let over = nanos & (width - 1);
        let place = Place { shift, base, number: number_in(shift, base, nanos) };
        (place, [over, width - over].map(Duration::from_nanos))
    }

    #[inline(never)]
    fn record_anew(&self, epoch: u32, sample: Sample, number: u64) -> Recording {
        match self.count_anew(epoch, sample, number) {
            None => Recording::Stale,
            Some((number, turned)) => {
                let judge = sample.failed || sample.slow || turned || self.filled.load(Ordering::Relaxed) != epoch;
                if judge { self.judge(epoch, number) } else { Recording::Counted }
            }
        }
    }

    /// Records a sample; `false` under another epoch.
    #[inline]
    pub(crate) fn count(&self, epoch: u32, sample: Sample, nanos: u64) -> bool {
        let number = self.number_at(nanos);
        let again = !sample.failed && !sample.slow && self.count_again(epoch, number);
        again || self.count_anew(epoch, sample, number).is_some()
    }

    /// Counts a success in the newest bucket, if this thread has counted one there before.
    #[inline]
    fn count_again(&self, epoch: u32, number: u64) -> bool {
        if self.newest.0.load(Ordering::Acquire) != newest(epoch, number) {
            return false;
        }
        let Some(fine) = self.fine.mine() else { return false };
        let cell = &fine.0[place(number)];
        // No other thread writes it.
        let word = cell.load(Ordering::Relaxed);
        let again = word >> COUNT_BITS == number & COUNT_MASK && word & COUNT_MASK != COUNT_MASK;
        if again {
            cell.store(word + 1, Ordering::Release);
        }
        again
    }

    /// Records a sample; returns the number of its bucket, and whether that is a new one.
    #[inline(never)]
    fn count_anew(&self, epoch: u32, sample: Sample, number: u64) -> Option<(u64, bool)> {
        let (number, turned) = self.advance(epoch, number)?;
        let bucket = self.bucket(number);
        let cell = if sample.failed {
            &bucket.failed
        } else {
            self.fine.mine_or_new().map_or(&bucket.fine, |fine| &fine.0[place(number)])
        };
        self.add(cell, number);
        if sample.slow {
            self.add(&bucket.slow, number);
        }
        Some((number, turned))
    }

    #[cold]
    #[inline(never)]
    fn judge(&self, epoch: u32, number: u64) -> Recording {
        // Of two calls that complete the minimum together, each counts in a cell of its own and
        // then adds up all cells: one of them has to see the other.
        fence(Ordering::SeqCst);
        let totals = self.sum(number);
        let minimum = u64::from(self.minimum.load(Ordering::Relaxed));
        self.filled.store(if totals.calls < minimum { NONE } else { epoch }, Ordering::Relaxed);
        Recording::Judge(totals)
    }

    pub(crate) fn totals(&self, nanos: u64) -> WindowSnapshot {
        let newest = number_of(self.newest.0.load(Ordering::Acquire));
        self.sum(self.number_at(nanos).max(newest))
    }

    /// Clears the window under a new epoch.
    pub(crate) fn reset(&self, epoch: u32) {
        self.close(epoch);
        let number = number_of(self.newest.0.load(Ordering::Acquire));
        self.restart(epoch, self.base.load(Ordering::Acquire).wrapping_add(BUCKETS), number + BUCKETS);
    }

    /// Ends the previous epoch: callers that still write under it stop, or have counted already.
    pub(super) fn close(&self, epoch: u32) {
        // Never fails: the closure always gives a word.
        let _ = self
            .newest
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| Some(newest(epoch, number_of(word))));
    }

    /// Advances to another bucket, from which calls of `epoch` count; the previous epoch must be closed.
    fn restart(&self, epoch: u32, base: u64, number: u64) {
        self.filled.store(NONE, Ordering::Release);
        self.behind.store(NOT_BEHIND, Ordering::Release);
        self.newest.0.swap(newest(epoch, number), Ordering::AcqRel);
        self.base.store(base, Ordering::Release);
    }

    /// Content of each bucket of the window, oldest first.
    pub(super) fn contents(&self) -> Vec<Content> {
        let shift = self.shift.load(Ordering::Acquire);
        let base = self.base.load(Ordering::Acquire);
        let newest = number_of(self.newest.0.load(Ordering::Acquire));
        self.live(newest)
            .map(|number| Content { nanos: since(number.wrapping_sub(base)) << shift, counts: self.read(number) })
            .collect()
    }

    /// Clears the window under a new epoch and shape, and restores content taken out under the old one.
    pub(super) fn restore(&self, epoch: u32, contents: &[Content]) {
        let shift = self.shift.load(Ordering::Acquire);
        let last = contents.last().map_or(0, |content| content.nanos >> shift);
        // Twice the buckets: the oldest restored one must lie beyond the newest of before, too.
        let number = number_of(self.newest.0.load(Ordering::Acquire)) + 2 * BUCKETS;
        self.restart(epoch, number.wrapping_sub(last), number);
        for content in contents {
            let number = self.number_at(content.nanos);
            let bucket = self.bucket(number);
            put(&bucket.fine, number, content.counts.calls - content.counts.failures);
            put(&bucket.failed, number, content.counts.failures);
            put(&bucket.slow, number, content.counts.slow);
        }
    }

    #[inline]
    fn number_at(&self, nanos: u64) -> u64 {
        number_in(self.shift.load(Ordering::Acquire), self.base.load(Ordering::Acquire), nanos)
    }

    /// The bucket to count in, and whether it has just become the newest; `None` under another epoch.
    #[inline]
    fn advance(&self, epoch: u32, number: u64) -> Option<(u64, bool)> {
        let mut word = self.newest.0.load(Ordering::Acquire);
        loop {
            if word >> NUMBER_BITS != newest(epoch, 0) >> NUMBER_BITS {
                return None;
            }
            if number <= number_of(word) {
                if number_of(word) - number > u64::from(self.span.load(Ordering::Relaxed)) {
                    self.fall_behind(number, number_of(word));
                }
                return Some((number_of(word), false));
            }
            match self.newest.0.compare_exchange_weak(word, newest(epoch, number), Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => {
                    self.behind.store(NOT_BEHIND, Ordering::Relaxed);
                    return Some((number, true));
                }
                Err(now) => word = now,
            }
        }
    }

    /// Handles a call that lies more than a window before the newest bucket. Once, it is a permit that was held
    /// for long or a clock adjustment. If nothing else has come for the length of a window, the newest bucket was
    /// wrong, and time continues from there.
    #[cold]
    #[inline(never)]
    fn fall_behind(&self, number: u64, newest: u64) {
        let since = self.behind.load(Ordering::Relaxed);
        if number < since {
            self.behind.store(number, Ordering::Relaxed);
        } else if number - since >= u64::from(self.span.load(Ordering::Relaxed)) {
            self.behind.store(NOT_BEHIND, Ordering::Relaxed);
            let base = self.base.load(Ordering::Acquire);
            // Another caller that does the same, or restarts the window, makes this one fail.
            let moved = base.wrapping_add(newest - number);
            let _ = self.base.compare_exchange(base, moved, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Increments a cell that others write, too. It is reused from any earlier bucket. If a writer stalled for so
    /// long that a later bucket uses the cell, it leaves it alone: its call is older than the window.
    fn add(&self, cell: &AtomicU64, number: u64) {
        let mine = number & COUNT_MASK;
        // Acquire: who finds a later bucket's count must find that bucket published, too. That nothing has
        // to be added is no failure.
        let _ = cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            if word >> COUNT_BITS == mine {
                (word & COUNT_MASK != COUNT_MASK).then_some(word + 1)
            } else {
                let overtaken = number_of(self.newest.0.load(Ordering::Acquire)) >= number + BUCKETS;
                (!overtaken).then_some((mine << COUNT_BITS) | 1)
            }
        });
    }

    fn sum(&self, newest: u64) -> WindowSnapshot {
        let mut sum = WindowSnapshot::default();
        for number in self.live(newest) {
            let bucket = self.bucket(number);
            let failures = count_in(&bucket.failed, number);
            sum.calls += count_in(&bucket.fine, number) + failures;
            sum.failures += failures;
            sum.slow += count_in(&bucket.slow, number);
        }
        for fine in self.fine.each() {
            sum.calls += self.live(newest).map(|number| count_in(&fine.0[place(number)], number)).sum::<u64>();
        }
        // A slow call may be seen before it is seen as a call.
        sum.slow = sum.slow.min(sum.calls);
        sum
    }

    fn live(&self, newest: u64) -> impl Iterator<Item = u64> + use<> {
        let span = u64::from(self.span.load(Ordering::Relaxed));
        (newest + 1).saturating_sub(span)..=newest
    }

    fn read(&self, number: u64) -> WindowSnapshot {
        let bucket = self.bucket(number);
        let failures = count_in(&bucket.failed, number);
        let fine: u64 = self.fine.each().map(|fine| count_in(&fine.0[place(number)], number)).sum();
        let calls = count_in(&bucket.fine, number) + fine + failures;
        WindowSnapshot { calls, failures, slow: count_in(&bucket.slow, number).min(calls) }
    }

    #[inline]
    fn bucket(&self, number: u64) -> &Bucket {
        &self.buckets.get().expect("a window over time is provided for before it is used")[place(number)]
    }
}

/// Index of the cell of a bucket.
#[inline]
fn place(number: u64) -> usize {
    usize::try_from(number % BUCKETS).expect("below the number of buckets")
}

const COUNT_BITS: u32 = 32;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const NUMBER_BITS: u32 = 48;

/// A difference of two numbers, or a sum with the base: anything before zero counts as zero.
#[inline]
fn since(sum: u64) -> u64 {
    sum.cast_signed().max(0).cast_unsigned()
}

/// Number of the bucket at a time.
#[inline]
fn number_in(shift: u32, base: u64, nanos: u64) -> u64 {
    number_of(since((nanos >> shift).wrapping_add(base)))
}

#[inline]
fn newest(epoch: u32, number: u64) -> u64 {
    (u64::from(epoch) << NUMBER_BITS) | number_of(number)
}

#[inline]
fn number_of(word: u64) -> u64 {
    word & ((1 << NUMBER_BITS) - 1)
}

fn count_in(cell: &AtomicU64, number: u64) -> u64 {
    let word = cell.load(Ordering::Acquire);
    if word >> COUNT_BITS == number & COUNT_MASK { word & COUNT_MASK } else { 0 }
}

/// Adds a count to a cell that is not shared yet.
fn put(cell: &AtomicU64, number: u64, count: u64) {
    let sum = (count_in(cell, number) + count).min(COUNT_MASK);
    // A swap rather than a store keeps all writers in one order, also for the model checker.
    cell.swap(((number & COUNT_MASK) << COUNT_BITS) | sum, Ordering::AcqRel);
}

#[cfg(test)]
mod tests {
    use super::*;

    impl TimeWindow {
        fn record(&self, epoch: u32, sample: Sample, nanos: u64) -> Recording {
            self.record_in(self.number_at(nanos), epoch, sample)
        }
    }

    const FINE: Sample = Sample { failed: false, slow: false };
    const FAILED: Sample = Sample { failed: true, slow: false };
    const SECOND: u64 = 1_000_000_000;

    fn window(seconds: u64) -> TimeWindow {
        let window = TimeWindow::new();
        window.provide(Duration::from_secs(seconds), 2);
        window.reset(1);
        window
    }

    #[test]
    fn a_call_leaves_the_window_when_its_time_is_over() {
        let window = window(10);
        window.record(1, FAILED, 0);
        assert_eq!(window.totals(9 * SECOND).failures, 1);
        assert_eq!(window.totals(11 * SECOND).failures, 0);
    }

    #[test]
    fn an_instant_from_the_past_counts_as_now() {
        let window = window(10);
        window.record(1, FINE, 100 * SECOND);
        window.record(1, FAILED, 5 * SECOND);
        let totals = window.totals(0);
        assert_eq!((totals.calls, totals.failures), (2, 1));
    }

    #[test]
    fn a_long_silence_empties_it() {
        let window = window(1);
        for _ in 0..100 {
            window.record(1, FAILED, SECOND);
        }
        window.record(1, FINE, 1_000_000 * SECOND);
        let totals = window.totals(1_000_000 * SECOND);
        assert_eq!((totals.calls, totals.failures), (1, 0));
    }

    #[test]
    fn changing_its_span_keeps_what_still_fits() {
        let window = window(10);
        window.record(1, FAILED, SECOND);
        window.record(1, FINE, 9 * SECOND);
        let kept = window.contents();
        window.provide(Duration::from_mins(1), 1);
        window.restore(2, &kept);
        let totals = window.totals(20 * SECOND);
        assert_eq!((totals.calls, totals.failures), (2, 1));
    }

    /// A shorter span puts the zero of the clock before the first bucket.
    #[test]
    fn a_window_still_slides_after_late_resizing() {
        let window = window(60);
        for _ in 0..7 {
            window.record(1, FAILED, 200 * SECOND);
        }
        for (epoch, span) in [(2, 10), (3, 10), (4, 60)] {
            let kept = window.contents();
            window.provide(Duration::from_secs(span), 1);
            window.restore(epoch, &kept);
            assert_eq!(window.totals(200 * SECOND).failures, 7, "{span} s");
        }
        let kept = window.contents();
        window.provide(Duration::from_secs(10), 1);
        window.restore(5, &kept);
        // A record of long ago, by a clock that went back or a permit that was held for ever.
        window.record(5, FAILED, 0);
        assert_eq!(window.totals(200 * SECOND).failures, 8);
        window.record(5, FINE, 300 * SECOND);
        let totals = window.totals(300 * SECOND);
        assert_eq!((totals.calls, totals.failures), (1, 0), "what is old is gone");
    }

    /// One record an hour ahead used to stop the window for that hour.
    #[test]
    fn an_instant_far_ahead_stops_it_for_one_span_at_most() {
        let window = window(10);
        window.record(1, FAILED, 3_600 * SECOND);
        for second in 0..60 {
            window.record(1, FINE, second * SECOND);
        }
        let totals = window.totals(60 * SECOND);
        assert!((9..=12).contains(&totals.calls), "{totals:?}");
        assert_eq!(totals.failures, 0, "the stray call is gone");
    }

    #[test]
    fn threads_that_meet_lose_no_count_and_forget_none_of_it() {
        let window = window(10);
        // More threads than slots; Miri takes a thousand times as long for each call.
        let (threads, calls) = if cfg!(miri) { (34, 100) } else { (80, 2_000) };
        let start = std::sync::Barrier::new(usize::try_from(threads).unwrap());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    start.wait();
                    for call in 0..calls {
                        window.record(1, if call % 100 == 0 { FAILED } else { FINE }, SECOND);
                    }
                });
            }
        });
        let totals = window.totals(SECOND);
        assert_eq!((totals.calls, totals.failures), (threads * calls, threads * calls / 100));
        assert_eq!(window.totals(12 * SECOND).calls, 0);
        window.reset(2);
        assert_eq!(window.totals(SECOND).calls, 0);
    }

    /// What threads with and without a slot count is summed like what one counts alone.
    #[test]
    fn cells_of_threads_slide_and_change_span_with_the_buckets() {
        let window = window(10);
        window.record(1, FINE, SECOND);
        let number = window.advance(1, window.number_at(SECOND)).unwrap().0;
        window.add(&window.bucket(number).fine, number);
        std::thread::scope(|scope| scope.spawn(|| window.record(1, FINE, 9 * SECOND)).join().unwrap());
        assert_eq!(window.totals(9 * SECOND).calls, 3);
        assert_eq!(window.totals(12 * SECOND).calls, 1);
        let kept = window.contents();
        window.provide(Duration::from_mins(1), 1);
        window.restore(2, &kept);
        assert_eq!(window.totals(9 * SECOND).calls, 3);
        window.record(2, FINE, 10 * SECOND);
        assert_eq!(window.totals(10 * SECOND).calls, 4);
    }

    #[test]
    fn a_success_is_judged_only_when_it_can_matter() {
        let window = window(10);
        assert!(matches!(window.record(1, FINE, 0), Recording::Judge(WindowSnapshot { calls: 1, .. })));
        assert!(matches!(window.record(1, FINE, 0), Recording::Judge(WindowSnapshot { calls: 2, .. })));
        assert_eq!(window.record(1, FINE, 0), Recording::Counted);
    }
}
