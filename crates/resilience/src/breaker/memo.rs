//! What a thread remembers of a breaker, so that most successes need no arithmetic on instants.
//!
//! Recording a success takes two differences of [`Instant`]s: its duration, to be compared with the slow-call
//! threshold, and the time since the breaker's origin, to find its bucket of a time window. Each is a call into
//! the standard library and costs as much as the rest of a success. Comparing two instants is a few instructions.
//!
//! A thread therefore remembers an **interval**, for the breakers that it uses most. A call that starts and ends in
//! it is not slow, since the interval is shorter than the threshold, and it falls into one known bucket. The facts
//! that this was computed from are kept beside it: while the breaker has the same ones, so does the interval.
//!
//! Calls that are longer than an interval, and breakers that find their place taken, are computed as before. A
//! place is given to another breaker only after its interval is over, so that many breakers cannot evict each other
//! on every call.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use super::window::Place;
use crate::sync::unique;

/// Breakers that a thread can remember.
const PLACES: usize = 8;
/// The longest interval: a place is not kept for longer by a breaker that is no longer used.
const LONGEST: Duration = Duration::from_secs(1);

/// An identity that no other breaker of this process has or had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(u64);

impl Id {
    pub(super) fn new() -> Self {
        Self(unique())
    }

    #[inline]
    fn place(self) -> usize {
        usize::try_from(self.0 % PLACES as u64).expect("few places")
    }
}

/// An interval, and what it was computed from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memo {
    id: Id,
    slow_nanos: u64,
    bucket: Place,
    from: Instant,
    /// The first instant after it.
    until: Instant,
}

impl Memo {
    /// The longest interval with `now` that lies in a bucket, of which so much is over and so much left, and is
    /// too short for a slow call. `None` if there is none.
    fn around((id, slow_nanos): (Id, u64), now: Instant, [over, left]: [Duration; 2], bucket: Place) -> Option<Self> {
        let longest = LONGEST.min(Duration::from_nanos(slow_nanos));
        // Not from the begin of the bucket, if the interval would be over by now.
        let from = now.checked_sub(over.min(longest / 2))?;
        let until = now.checked_add(left)?.min(from.checked_add(longest)?);
        (now < until).then_some(Self { id, slow_nanos, bucket, from, until })
    }

    #[inline]
    fn covers(&self, start: Instant, end: Instant) -> bool {
        self.from <= start && start <= end && end < self.until
    }
}

#[cfg(not(feature = "loom"))]
thread_local! {
    static MEMOS: [Cell<Option<Memo>>; PLACES] = const { [const { Cell::new(None) }; PLACES] };
}

#[cfg(feature = "loom")]
loom::thread_local! {
    static MEMOS: [Cell<Option<Memo>>; PLACES] = [const { Cell::new(None) }; PLACES];
}

/// The bucket of a call, if this thread remembers that such a call is not slow.
#[inline]
pub(super) fn recall(id: Id, slow_nanos: u64, start: Instant, end: Instant) -> Option<Place> {
    let memo = MEMOS.try_with(|memos| memos[id.place()].get()).ok()??;
    let same = memo.id == id && memo.slow_nanos == slow_nanos;
    (same && memo.covers(start, end)).then_some(memo.bucket)
}

/// Remembers the interval around the end of a call, if its place is free.
pub(super) fn remember((id, slow_nanos): (Id, u64), now: Instant, shares: [Duration; 2], bucket: Place) {
    let _ = MEMOS.try_with(|memos| {
        let place = &memos[id.place()];
        if place.get().is_none_or(|memo| memo.until <= now) {
            place.set(Memo::around((id, slow_nanos), now, shares, bucket));
        }
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        breaker::{Breaker, BreakerSettings, Command, Outcome, WindowType},
        random::Rng,
    };

    const BUCKET: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(200)];

    fn place() -> Place {
        let breaker = Breaker::new(timed(1), Instant::now(), 1).unwrap();
        breaker.window.time.bucket_at(0).0
    }

    fn timed(seconds: u32) -> BreakerSettings {
        BreakerSettings {
            sliding_window_type: WindowType::TimeBased,
            sliding_window_size: seconds,
            slow_call_duration_threshold: Duration::from_millis(50),
            slow_call_rate_threshold: Some(100.0),
            ..BreakerSettings::default()
        }
    }

    #[test]
    fn an_interval_ends_with_its_bucket() {
        let (id, now) = (Id::new(), Instant::now());
        remember((id, u64::MAX), now, BUCKET, place());
        let (first, end) = (now.checked_sub(BUCKET[0]).unwrap(), now + BUCKET[1]);
        let tick = Duration::from_nanos(1);
        assert!(recall(id, u64::MAX, first, end.checked_sub(tick).unwrap()).is_some());
        assert!(recall(id, u64::MAX, first, end).is_none());
        assert!(recall(id, u64::MAX, first.checked_sub(tick).unwrap(), now).is_none());
        assert!(recall(id, u64::MAX, now, now.checked_sub(tick).unwrap()).is_none(), "ended before it started");
        assert!(recall(id, 1_000, now, now).is_none(), "another threshold");
        assert!(recall(Id::new(), u64::MAX, now, now).is_none(), "another breaker");
    }

    #[test]
    fn a_place_is_given_away_when_its_interval_is_over() {
        let (now, mine) = (Instant::now(), Id::new());
        let other = Id(mine.0 + PLACES as u64);
        let remembers = |id, at| recall(id, u64::MAX, at, at).is_some();
        remember((mine, u64::MAX), now, BUCKET, place());
        remember((other, u64::MAX), now, BUCKET, place());
        assert!(remembers(mine, now) && !remembers(other, now));
        let later = now + BUCKET[1];
        remember((other, u64::MAX), later, BUCKET, place());
        assert!(!remembers(mine, now) && remembers(other, later));
    }

    proptest! {
        /// Whatever is remembered, no covered call is slow or ends in another bucket.
        #[test]
        fn no_covered_call_is_slow(
            over in 0_u64..5_000_000_000,
            left in 1_u64..5_000_000_000,
            slow in 1_u64..3_000_000_000,
            start in -6_000_000_000_i64..6_000_000_000,
            took in 0_u64..4_000_000_000,
        ) {
            let now = Instant::now() + Duration::from_hours(1);
            let at = |offset: i64| {
                let by = Duration::from_nanos(offset.unsigned_abs());
                if offset < 0 { now.checked_sub(by).unwrap() } else { now + by }
            };
            let shares = [over, left].map(Duration::from_nanos);
            let memo = Memo::around((Id::new(), slow), now, shares, place());
            let (from, until) = (at(start), at(start) + Duration::from_nanos(took));
            if memo.is_some_and(|memo| memo.covers(from, until)) {
                prop_assert!(took < slow);
                prop_assert!(until + shares[0] >= now && until < now + shares[1]);
            }
        }
    }

    /// One breaker is called by a thread that remembers, its twin by threads that never called anything.
    #[test]
    #[cfg_attr(miri, ignore = "takes hours in Miri")]
    fn a_breaker_counts_as_its_twin_without_memory() {
        let (origin, rng) = (Instant::now(), Rng::new(7));
        let [breaker, twin] = [1, 1].map(|seed| Breaker::new(timed(1), origin, seed).unwrap());
        let micros = |most: f64| Duration::from_secs_f64(rng.uniform() * most / 1e6);
        let (mut now, mut hits) = (origin, 0);
        for step in 0..3_000 {
            now += micros(3_000.0);
            let took = micros(if rng.uniform() < 0.02 { 90_000.0 } else { 2_000.0 });
            // The clock may go back a little.
            let start = now.checked_sub(micros(500.0)).unwrap();
            let outcome = if rng.uniform() < 0.05 { Outcome::Failure } else { Outcome::Success };
            let slow_nanos = breaker.thresholds.slow_nanos();
            hits += u32::from(recall(breaker.id, slow_nanos, start, start + took).is_some());
            let call = |breaker: &Breaker| {
                match step % 500 {
                    100 => _ = breaker.command(Command::Reset, now),
                    300 => _ = breaker.reconfigure(timed(1 + step / 500), now),
                    _ => {}
                }
                if let Ok(permit) = breaker.try_acquire(start).permit {
                    permit.record(outcome, start + took);
                }
                breaker.snapshot(now)
            };
            let mine = call(&breaker);
            let its = std::thread::scope(|scope| scope.spawn(|| call(&twin)).join().unwrap());
            // As text: without calls, ratios are not numbers.
            assert_eq!(format!("{mine:?}"), format!("{its:?}"), "after call {step}");
        }
        assert!(hits > 1_000, "{hits} calls were remembered");
    }

    #[test]
    fn a_remembered_call_of_an_earlier_state_is_late() {
        let now = Instant::now();
        let breaker = Breaker::new(timed(10), now, 1).unwrap();
        let permit = || breaker.try_acquire(now).permit.unwrap();
        let late = permit();
        // Beyond the minimum, so that another one is only counted.
        for _ in 0..200 {
            permit().record(Outcome::Success, now);
        }
        breaker.command(Command::ForceOpen, now);
        assert!(late.record(Outcome::Success, now).late);
    }

    #[test]
    fn a_bucket_is_unknown_once_they_are_numbered_anew() {
        let now = Instant::now();
        let breaker = Breaker::new(timed(10), now, 1).unwrap();
        let changes: [&dyn Fn(); 2] =
            [&|| _ = breaker.command(Command::Reset, now), &|| _ = breaker.reconfigure(timed(60), now)];
        for change in changes {
            let bucket = breaker.window.time.bucket_at(0).0;
            assert!(breaker.window.time.has(bucket));
            change();
            assert!(!breaker.window.time.has(bucket));
        }
    }
}
