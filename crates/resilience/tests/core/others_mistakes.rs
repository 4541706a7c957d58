//! Mistakes of other breakers; each test is named after the correct behaviour.

use std::{
    cell::Cell,
    collections::HashMap,
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use breakerbox_resilience::{
    breaker::{Breaker, BreakerSettings, Command, Outcome, Permit, Reason, State, WindowType},
    policy::{Call, CallError, Event, Observer, Policy, PolicySettings},
    retry::{Classify, ErrorKind, Verdict},
};

const WAIT: Duration = Duration::from_secs(10);

fn settings() -> BreakerSettings {
    BreakerSettings {
        consecutive_failure_threshold: Some(3),
        wait_duration_in_open_state: WAIT,
        permitted_number_of_calls_in_half_open_state: 1,
        half_open_success_rate_threshold: 100.0,
        slow_call_duration_threshold: Duration::from_secs(1),
        ..BreakerSettings::default()
    }
}

fn breaker(settings: BreakerSettings) -> (Breaker, Instant) {
    let now = Instant::now();
    (Breaker::new(settings, now, 1).unwrap(), now)
}

fn acquire(breaker: &Breaker, now: Instant) -> Permit<'_> {
    breaker.try_acquire(now).permit.unwrap()
}

fn fail(breaker: &Breaker, times: u32, now: Instant) {
    for _ in 0..times {
        acquire(breaker, now).record(Outcome::Failure, now);
    }
}

#[test]
fn half_open_admits_its_probes_and_none_of_a_thousand_others() {
    let permitted = 5;
    let (breaker, now) =
        breaker(BreakerSettings { permitted_number_of_calls_in_half_open_state: permitted, ..settings() });
    fail(&breaker, 3, now);
    let (breaker, start) = (Arc::new(breaker), Arc::new(Barrier::new(10)));
    let callers: Vec<_> = (0..10)
        .map(|_| {
            let (breaker, start) = (breaker.clone(), start.clone());
            thread::spawn(move || {
                start.wait();
                let permits: Vec<_> = (0..100).filter_map(|_| breaker.try_acquire(now + WAIT).permit.ok()).collect();
                start.wait();
                permits.len()
            })
        })
        .collect();
    let admitted: usize = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
    assert_eq!(admitted, permitted as usize);
}

#[test]
fn a_cancelled_probe_gives_its_place_back() {
    let (breaker, now) = breaker(settings());
    fail(&breaker, 3, now);
    for _ in 0..100 {
        drop(acquire(&breaker, now + WAIT));
    }
    assert_eq!(breaker.snapshot(now + WAIT).half_open_in_use, 0);
    acquire(&breaker, now + WAIT).record(Outcome::Success, now + WAIT);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_call_from_before_the_trip_does_not_close_the_breaker() {
    let (breaker, now) = breaker(settings());
    let early = acquire(&breaker, now);
    fail(&breaker, 3, now);
    let _hanging = acquire(&breaker, now + WAIT);
    let recorded = early.record(Outcome::Success, now + WAIT);
    assert!(recorded.late && recorded.transition.is_none());
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_eq!(breaker.snapshot(now + WAIT).late_results, 1);
}

#[test]
fn a_probe_of_the_last_half_open_does_not_close_this_one() {
    let (breaker, now) = breaker(settings());
    fail(&breaker, 3, now);
    let first = acquire(&breaker, now + WAIT);
    let overdue = now + WAIT + Duration::from_mins(2);
    assert_eq!(breaker.tick(overdue).unwrap().reason, Reason::HalfOpenTimeout);
    let _second = acquire(&breaker, overdue + WAIT);
    assert!(first.record(Outcome::Success, overdue + WAIT).late);
    assert_eq!(breaker.state(), State::HalfOpen);
}

#[test]
fn a_window_slides_even_after_ten_thousand_successes() {
    let (breaker, now) = breaker(BreakerSettings { consecutive_failure_threshold: None, ..settings() });
    for _ in 0..10_000 {
        acquire(&breaker, now).record(Outcome::Success, now);
    }
    fail(&breaker, 49, now);
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 1, now);
    assert_eq!(breaker.state(), State::Open, "50 of the last 100 failed");
}

#[test]
fn a_service_that_hangs_until_callers_give_up_trips() {
    let (breaker, now) =
        breaker(BreakerSettings { slow_call_rate_threshold: Some(50.0), minimum_number_of_calls: 5, ..settings() });
    let gave_up = now + Duration::from_secs(1);
    for _ in 0..4 {
        assert!(acquire(&breaker, now).record(Outcome::Cancelled, gave_up).slow);
    }
    let tripped = acquire(&breaker, now).record(Outcome::Cancelled, gave_up).transition.unwrap();
    assert_eq!(tripped.reason, Reason::SlowCallRate);
}

#[test]
fn a_caller_that_gives_up_at_once_is_no_evidence() {
    let (breaker, now) = breaker(BreakerSettings { slow_call_rate_threshold: Some(1.0), ..settings() });
    for _ in 0..1_000 {
        acquire(&breaker, now).record(Outcome::Cancelled, now);
    }
    assert_eq!(breaker.snapshot(now).window_calls, 0);
}

#[test]
fn panics_count() {
    let (breaker, now) = breaker(settings());
    for _ in 0..3 {
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _permit = acquire(&breaker, now);
            resume_unwind(Box::new("the call"));
        }));
        assert!(unwound.is_err());
    }
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_success_that_completes_the_minimum_trips_as_well() {
    let (breaker, now) =
        breaker(BreakerSettings { consecutive_failure_threshold: None, minimum_number_of_calls: 10, ..settings() });
    fail(&breaker, 9, now);
    assert_eq!(breaker.state(), State::Closed);
    let recorded = acquire(&breaker, now).record(Outcome::Success, now);
    assert_eq!(recorded.transition.unwrap().reason, Reason::FailureRate);
}

#[test]
fn a_clock_that_goes_back_changes_neither_window_nor_wait() {
    let (breaker, start) =
        breaker(BreakerSettings { sliding_window_type: WindowType::TimeBased, sliding_window_size: 10, ..settings() });
    let (now, past) = (start + Duration::from_hours(1), start);
    fail(&breaker, 2, now);
    acquire(&breaker, past).record(Outcome::Success, past);
    assert_eq!(breaker.snapshot(past).window_calls, 3);
    fail(&breaker, 3, now);
    let _ = breaker.try_acquire(past);
    assert!(breaker.try_acquire(now + WAIT).permit.is_ok(), "the wait is no longer than it was");
}

#[test]
fn transitions_keep_a_one_hot_gauge_one_hot() {
    let (breaker, now) = breaker(settings());
    let mut gauge: HashMap<State, i32> = State::ALL.iter().map(|state| (*state, 0)).collect();
    gauge.insert(State::Closed, 1);
    let mut transitions = Vec::new();
    for _ in 0..3 {
        transitions.extend(acquire(&breaker, now).record(Outcome::Failure, now).transition);
    }
    let admission = breaker.try_acquire(now + WAIT);
    transitions.extend(admission.transition);
    transitions.extend(admission.permit.unwrap().record(Outcome::Success, now + WAIT).transition);
    transitions.extend(breaker.command(Command::ForceOpen, now));
    assert_eq!(transitions.len(), 4);
    for transition in transitions {
        gauge.insert(transition.from, 0);
        gauge.insert(transition.to, 1);
        assert_eq!(gauge.values().sum::<i32>(), 1);
    }
    assert_eq!(gauge[&breaker.state()], 1);
}

#[test]
fn half_open_ends_by_default() {
    let (breaker, now) =
        breaker(BreakerSettings { consecutive_failure_threshold: Some(1), ..BreakerSettings::default() });
    fail(&breaker, 1, now);
    let probing = now + breaker.settings().wait_duration_in_open_state;
    let _hanging = acquire(&breaker, probing);
    assert!(breaker.tick(probing + Duration::from_hours(24)).is_some());
}

#[test]
fn a_failure_ratio_below_the_minimum_is_not_a_number() {
    let (breaker, now) = breaker(settings());
    fail(&breaker, 2, now);
    let snapshot = breaker.snapshot(now);
    assert!(snapshot.failure_ratio.is_nan() && snapshot.slow_ratio.is_nan());
}

#[derive(Debug, PartialEq)]
struct Down;

impl Classify for Down {
    fn verdict(&self) -> Verdict {
        Verdict::of(ErrorKind::ServerError)
    }
}

/// Queries the breaker from inside every event.
struct Curious<'a> {
    policy: &'a Policy,
    asked: Cell<u32>,
}

impl Observer for Curious<'_> {
    fn observe(&self, event: Event<'_>) {
        let breaker = self.policy.breaker().unwrap();
        let now = Instant::now();
        let _ = breaker.snapshot(now);
        if matches!(event, Event::Transition(transition) if transition.to == State::Open) {
            breaker.command(Command::Close, now);
        }
        self.asked.set(self.asked.get() + 1);
    }
}

fn policy(settings: BreakerSettings) -> Policy {
    let settings = PolicySettings { circuit_breaker: Some(settings), ..PolicySettings::default() };
    Policy::new(settings, tokio::time::Instant::now().into_std(), 1).unwrap()
}

#[tokio::test]
async fn an_observer_may_call_the_breaker_it_watches() {
    let policy = policy(BreakerSettings { consecutive_failure_threshold: Some(1), ..settings() });
    let observer = Curious { policy: &policy, asked: Cell::new(0) };
    let answer = policy.call_with(Call::idempotent(), &observer, |_| async { Err::<(), _>(Down) }).await;
    assert_eq!(answer, Err(CallError::Failed(Down)));
    assert_eq!(observer.asked.get(), 3);
    assert_eq!(policy.breaker().unwrap().state(), State::Closed, "as the observer commanded");
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_dropped_before_its_first_poll_takes_nothing() {
    let policy = policy(BreakerSettings { consecutive_failure_threshold: Some(1), ..settings() });
    for _ in 0..100 {
        drop(policy.call_with(Call::default(), &(), |_| pending::<Result<(), Down>>()));
    }
    let breaker = policy.breaker().unwrap();
    breaker
        .try_acquire(tokio::time::Instant::now().into_std())
        .permit
        .unwrap()
        .record(Outcome::Failure, tokio::time::Instant::now().into_std());
    tokio::time::advance(WAIT).await;
    for _ in 0..100 {
        // Polled once, then dropped: the probe's place is free again.
        let mut call = Box::pin(policy.call_with(Call::idempotent(), &(), |_| pending::<Result<(), Down>>()));
        assert!(futures_util::poll!(&mut call).is_pending());
        drop(call);
    }
    let answer = policy.call_with(Call::idempotent(), &(), |_| async { Ok::<_, Down>(()) }).await;
    assert_eq!(answer, Ok(()));
    assert_eq!(breaker.state(), State::Closed);
}
