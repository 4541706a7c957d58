//! Eight threads at once, with every outcome and with dropped permits: no place and no transition is lost or
//! duplicated.
//!
//! `CROWD_CALLS=10000000` calls per thread is the long form.

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use breakerbox_resilience::{
    breaker::{Breaker, BreakerBuilder, Outcome, State},
    random::Rng,
};

const THREADS: u64 = 8;
/// Time that passes with each call, whichever thread makes it.
const STEP: Duration = Duration::from_nanos(STEP_NANOS);
const STEP_NANOS: u64 = 6_000;

fn crowd(builder: BreakerBuilder) {
    let calls: u64 = env::var("CROWD_CALLS").map_or(20_000, |calls| calls.parse().unwrap());
    let start = Instant::now();
    // A thread that is not scheduled may hold a probe for many calls of the others.
    let builder = builder.open_for(Duration::from_millis(5)).probes(4, 50.0).half_open_for(Duration::from_millis(1));
    let breaker = builder.seed(1).build(start).unwrap();
    let (shifts, admitted, late) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    // One clock for all threads: the scheduler determines only their order.
    let made = AtomicU64::new(0);
    let at = |call: u64| start + Duration::from_nanos(STEP_NANOS * call);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (breaker, shifts, admitted, late, made) = (&breaker, &shifts, &admitted, &late, &made);
            scope.spawn(move || {
                let rng = Rng::new(number);
                for _ in 0..calls {
                    let call = made.fetch_add(1, Ordering::Relaxed);
                    let now = at(call);
                    let admission = breaker.try_acquire(now);
                    shifts.fetch_add(admission.transition.is_some().into(), Ordering::Relaxed);
                    let Ok(permit) = admission.permit else { continue };
                    admitted.fetch_add(1, Ordering::Relaxed);
                    // Bad and good periods alternate, so that the breaker trips and recovers repeatedly.
                    let bad = if (call / 4_000).is_multiple_of(2) { 0.02 } else { 0.9 };
                    let outcome = match rng.uniform() {
                        roll if roll < 0.05 => {
                            drop(permit);
                            continue;
                        }
                        roll if roll < 0.1 => Outcome::Ignored,
                        roll if roll < 0.1 + 0.9 * bad => Outcome::Failure,
                        _ => Outcome::Success,
                    };
                    let recorded = permit.record(outcome, now + STEP);
                    shifts.fetch_add(recorded.transition.is_some().into(), Ordering::Relaxed);
                    late.fetch_add(recorded.late.into(), Ordering::Relaxed);
                }
            });
        }
    });
    let total = THREADS * calls;
    let mut now = at(total);
    // Transitions caused by dropped permits are returned by the next tick.
    while breaker.tick(now).is_some() {
        shifts.fetch_add(1, Ordering::Relaxed);
    }
    let seen = breaker.snapshot(now);
    assert_eq!(shifts.load(Ordering::Relaxed), seen.generation - 1, "each transition was reported once");
    assert!(seen.generation > 10, "it tripped and recovered: {seen:?}");
    assert!(seen.late_results >= late.load(Ordering::Relaxed));
    assert!(admitted.load(Ordering::Relaxed) > total / 50, "it admits calls in good periods");
    // Every place is free again: with no call in flight, the breaker closes after a wait and some probes.
    for _ in 0..1_000 {
        now += Duration::from_millis(10);
        if let Ok(permit) = breaker.try_acquire(now).permit {
            permit.record(Outcome::Success, now);
        }
        if breaker.state() == State::Closed {
            return;
        }
    }
    panic!("it never closes again: {:?}", breaker.snapshot(now));
}

#[test]
fn a_crowd_over_calls_loses_no_place_and_no_transition() {
    crowd(Breaker::builder().count_window(50));
}

#[test]
fn a_crowd_over_time_loses_no_place_and_no_transition() {
    crowd(Breaker::builder().time_window(Duration::from_millis(10)).minimum_calls(50));
}
