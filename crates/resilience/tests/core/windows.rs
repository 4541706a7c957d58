//! Windows compared with naive ones: a deque of the last N calls, a filter over the last T.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use breakerbox_resilience::breaker::{Breaker, BreakerSettings, Command, Outcome, WindowType};
use proptest::{collection::vec, prelude::*};

/// A breaker that records without ever tripping, so that only the window is under test.
fn recorder(window: WindowType, size: u32, now: Instant) -> Breaker {
    let breaker = Breaker::new(settings(window, size), now, 1).unwrap();
    breaker.command(Command::MetricsOnly, now);
    breaker
}

fn settings(window: WindowType, size: u32) -> BreakerSettings {
    BreakerSettings {
        sliding_window_type: window,
        sliding_window_size: size,
        slow_call_duration_threshold: Duration::from_secs(1),
        ..BreakerSettings::default()
    }
}

fn record(breaker: &Breaker, failed: bool, slow: bool, now: Instant) {
    let start = if slow { now.checked_sub(Duration::from_secs(1)).unwrap() } else { now };
    let outcome = if failed { Outcome::Failure } else { Outcome::Success };
    breaker.try_acquire(start).permit.unwrap().record(outcome, now);
}

proptest! {
    #[test]
    fn a_count_window_is_a_deque_of_the_last_n(
        sizes in vec(1_u32..40, 1..5), calls in vec(any::<(bool, bool)>(), 1..300),
    ) {
        let now = Instant::now() + Duration::from_hours(1);
        let breaker = recorder(WindowType::CountBased, sizes[0], now);
        let mut deque = VecDeque::new();
        // The size changes between chunks of calls; the newest calls are kept.
        for (size, calls) in sizes.iter().zip(calls.chunks(calls.len().div_ceil(sizes.len()))) {
            breaker.reconfigure(settings(WindowType::CountBased, *size), now).unwrap();
            for call in calls {
                deque.push_back(*call);
                while deque.len() > *size as usize {
                    deque.pop_front();
                }
                record(&breaker, call.0, call.1, now);
                let snapshot = breaker.snapshot(now);
                let count = |of: fn(&(bool, bool)) -> bool| deque.iter().filter(|call| of(call)).count() as u64;
                prop_assert_eq!(snapshot.window_calls, deque.len() as u64);
                prop_assert_eq!((snapshot.failures, snapshot.slow), (count(|call| call.0), count(|call| call.1)));
            }
        }
    }

    #[test]
    fn a_time_window_is_a_filter_to_within_one_bucket(
        seconds in 1_u32..120, calls in vec((0_u64..5_000, any::<(bool, bool)>()), 1..200),
    ) {
        let start = Instant::now() + Duration::from_hours(1);
        let breaker = recorder(WindowType::TimeBased, seconds, start);
        let size = u64::from(seconds) * 1_000;
        let bucket = size / 16 + 1;
        let (mut now, mut all) = (0, Vec::new());
        for (step, (failed, slow)) in calls {
            now += step;
            let at = start + Duration::from_millis(now);
            record(&breaker, failed, slow, at);
            all.push((now, failed, slow));
            let within = |span: u64, of: fn(&(u64, bool, bool)) -> bool| {
                all.iter().filter(|call| call.0 + span > now && of(call)).count() as u64
            };
            let snapshot = breaker.snapshot(at);
            for (counted, of) in [
                (snapshot.window_calls, (|_| true) as fn(&(u64, bool, bool)) -> bool),
                (snapshot.failures, |call| call.1),
                (snapshot.slow, |call| call.2),
            ] {
                prop_assert!(within(size - bucket, of) <= counted && counted <= within(size + bucket, of));
            }
        }
    }

    #[test]
    fn a_clock_that_jumps_never_makes_a_window_lose_or_invent_calls(
        jumps in vec((-100_000_i64..100_000, any::<bool>()), 1..200),
    ) {
        let start = Instant::now() + Duration::from_hours(24);
        let breaker = recorder(WindowType::TimeBased, 3_600, start);
        let mut at = 0_i64;
        for (count, (jump, failed)) in (1..).zip(jumps) {
            at += jump;
            let offset = Duration::from_millis(at.unsigned_abs());
            let now = if at < 0 { start.checked_sub(offset).unwrap() } else { start + offset };
            record(&breaker, failed, false, now);
            let snapshot = breaker.snapshot(now);
            prop_assert!(snapshot.window_calls <= count);
            prop_assert!(snapshot.window_calls >= 1, "the call that was just made");
            prop_assert!(snapshot.failures <= snapshot.window_calls);
        }
    }

    #[test]
    fn a_time_window_changes_its_span_without_inventing_calls(
        spans in vec(1_u32..600, 2..6), calls in vec((0_u64..2_000, any::<bool>()), 1..100),
    ) {
        let start = Instant::now() + Duration::from_hours(1);
        let breaker = recorder(WindowType::TimeBased, spans[0], start);
        let (mut now, mut made) = (0, 0);
        for (index, (step, failed)) in calls.into_iter().enumerate() {
            now += step;
            let at = start + Duration::from_millis(now);
            if index % 10 == 9 {
                let held = breaker.snapshot(at).window_calls;
                let span = spans[(index / 10) % spans.len()];
                breaker.reconfigure(settings(WindowType::TimeBased, span), at).unwrap();
                prop_assert!(breaker.snapshot(at).window_calls <= held.max(made));
            }
            record(&breaker, failed, false, at);
            made += 1;
            prop_assert!((1..=made).contains(&breaker.snapshot(at).window_calls));
        }
    }
}

#[test]
fn a_window_over_years_of_silence_still_counts() {
    let start = Instant::now();
    let breaker = recorder(WindowType::TimeBased, 1, start);
    for days in [0, 3, 4, 7, 30, 300, 1_000] {
        let now = start + Duration::from_hours(24 * days);
        record(&breaker, true, false, now);
        assert_eq!(breaker.snapshot(now).failures, 1, "after {days} days");
    }
}
