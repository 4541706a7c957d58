use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use super::{
    Outcome::{Failure, Success, Timeout},
    *,
};

/// A breaker and its time, which the test advances.
struct Bench {
    breaker: Breaker,
    now: Cell<Instant>,
}

impl Bench {
    fn new(settings: BreakerSettings) -> Self {
        let now = Instant::now();
        Self { breaker: Breaker::new(settings, now, 1).unwrap(), now: Cell::new(now) }
    }

    fn now(&self) -> Instant {
        self.now.get()
    }

    fn after(&self, millis: u64) {
        self.now.set(self.now() + Duration::from_millis(millis));
    }

    fn acquire(&self) -> Permit<'_> {
        self.breaker.try_acquire(self.now()).permit.unwrap()
    }

    fn call(&self, outcome: Outcome) -> Option<Transition> {
        let Admission { permit, transition } = self.breaker.try_acquire(self.now());
        permit.unwrap().record(outcome, self.now()).transition.or(transition)
    }

    fn rejected(&self) -> Rejected {
        self.breaker.try_acquire(self.now()).permit.unwrap_err()
    }

    fn state(&self) -> State {
        self.breaker.state()
    }

    /// Trips it by command of its settings: three failures in a row.
    fn tripped(settings: BreakerSettings) -> Self {
        let bench = Self::new(BreakerSettings { consecutive_failure_threshold: Some(3), ..settings });
        for _ in 0..3 {
            bench.call(Outcome::Failure);
        }
        assert_eq!(bench.state(), State::Open);
        bench
    }
}

fn settings() -> BreakerSettings {
    BreakerSettings {
        sliding_window_size: 10,
        minimum_number_of_calls: 4,
        wait_duration_in_open_state: Duration::from_secs(10),
        permitted_number_of_calls_in_half_open_state: 5,
        half_open_success_rate_threshold: 80.0,
        max_wait_duration_in_half_open_state: Duration::from_secs(30),
        slow_call_duration_threshold: Duration::from_secs(1),
        ..BreakerSettings::default()
    }
}

#[test]
fn three_failures_trip_unless_a_success_is_in_between() {
    let bench = Bench::new(BreakerSettings {
        failure_rate_threshold: None,
        consecutive_failure_threshold: Some(3),
        ..settings()
    });
    for outcome in [Failure, Timeout, Success, Failure, Timeout] {
        assert_eq!(bench.call(outcome), None);
    }
    let transition = bench.call(Failure).unwrap();
    assert_eq!(transition.reason, Reason::ConsecutiveFailures);
    assert_eq!((transition.from, transition.to), (State::Closed, State::Open));
    assert_eq!(transition.generation, 2);
    assert_eq!((transition.window.calls, transition.window.failures), (6, 5));
}

#[test]
fn the_failure_rate_trips_from_the_minimum_number_of_calls_on() {
    let bench = Bench::new(settings());
    for outcome in [Outcome::Failure, Outcome::Failure, Outcome::Success] {
        assert_eq!(bench.call(outcome), None);
    }
    assert!(bench.breaker.snapshot(bench.now()).failure_ratio.is_nan());
    let transition = bench.call(Outcome::Success).unwrap();
    assert_eq!(transition.reason, Reason::FailureRate);
}

#[test]
fn slow_calls_trip_even_when_they_succeed() {
    let bench = Bench::new(BreakerSettings { slow_call_rate_threshold: Some(50.0), ..settings() });
    bench.call(Outcome::Success);
    bench.call(Outcome::Success);
    let slow = |bench: &Bench| {
        let start = bench.now();
        bench.after(1_000);
        let permit = bench.breaker.try_acquire(start).permit.unwrap();
        permit.record(Outcome::Success, bench.now())
    };
    let first = slow(&bench);
    assert!(first.slow && first.transition.is_none());
    let second = slow(&bench);
    assert_eq!(second.transition.unwrap().reason, Reason::SlowCallRate);
}

#[test]
fn a_time_window_forgets_and_then_trips_on_what_is_left() {
    let bench = Bench::new(BreakerSettings { sliding_window_type: WindowType::TimeBased, ..settings() });
    for _ in 0..10 {
        bench.call(Outcome::Success);
    }
    bench.after(9_000);
    for _ in 0..4 {
        assert_eq!(bench.call(Outcome::Failure), None, "4 of 14 at most");
    }
    bench.after(2_000);
    let transition = bench.call(Outcome::Success).expect("4 of 5 are left");
    assert_eq!(transition.reason, Reason::FailureRate);
    assert_eq!((transition.window.calls, transition.window.failures), (5, 4));
}

#[test]
fn ignored_outcomes_neither_trip_nor_dilute() {
    let bench = Bench::new(settings());
    for _ in 0..100 {
        bench.call(Outcome::Ignored);
    }
    assert_eq!(bench.breaker.snapshot(bench.now()).window_calls, 0);
}

#[test]
fn a_rejection_tells_how_long_the_wait_still_is() {
    let bench = Bench::tripped(settings());
    bench.after(2_000);
    assert_eq!(bench.rejected().retry_after, Duration::from_secs(8));
    bench.after(7_999);
    assert_eq!(bench.rejected().retry_after, Duration::from_millis(1));
    bench.after(1);
    assert!(bench.breaker.try_acquire(bench.now()).permit.is_ok());
}

#[test]
fn half_open_closes_at_the_success_rate_and_not_before() {
    let bench = Bench::tripped(settings());
    bench.after(10_000);
    let first = bench.call(Outcome::Success).unwrap();
    assert_eq!(first.reason, Reason::WaitElapsed);
    assert_eq!(bench.call(Outcome::Failure), None);
    assert_eq!(bench.call(Outcome::Success), None);
    assert_eq!(bench.call(Outcome::Success), None);
    let closed = bench.call(Outcome::Success).unwrap();
    assert_eq!((closed.to, closed.reason), (State::Closed, Reason::ProbesSucceeded));
    assert_eq!(closed.generation, 4);
}

#[test]
fn half_open_reopens_once_the_success_rate_is_out_of_reach() {
    let bench = Bench::tripped(settings());
    bench.after(10_000);
    bench.call(Outcome::Failure);
    let reopened = bench.call(Outcome::Failure).unwrap();
    assert_eq!((reopened.to, reopened.reason), (State::Open, Reason::ProbesFailed));
}

#[test]
fn half_open_admits_its_permitted_calls_in_all() {
    let bench = Bench::tripped(settings());
    bench.after(10_000);
    let probes: Vec<_> = (0..5).map(|_| bench.acquire()).collect();
    assert_eq!(bench.rejected().state, State::HalfOpen);
    assert_eq!(bench.breaker.snapshot(bench.now()).half_open_in_use, 5);
    for probe in probes.into_iter().take(3) {
        probe.record(Outcome::Success, bench.now());
    }
    // The other two were dropped: their places are free again, those of the finished are not.
    assert_eq!(bench.breaker.snapshot(bench.now()).half_open_in_use, 3);
}

#[test]
fn a_half_open_that_hangs_reopens_after_its_maximum_wait() {
    let bench = Bench::tripped(settings());
    bench.after(10_000);
    let _hanging = bench.acquire();
    bench.after(29_999);
    assert_eq!(bench.breaker.tick(bench.now()), None);
    bench.after(1);
    let transition = bench.breaker.tick(bench.now()).unwrap();
    assert_eq!((transition.to, transition.reason), (State::Open, Reason::HalfOpenTimeout));
}

#[test]
fn an_overdue_half_open_closes_on_the_probes_it_has_seen() {
    let bench = Bench::tripped(settings());
    bench.after(10_000);
    bench.call(Outcome::Success);
    bench.after(30_000);
    let admission = bench.breaker.try_acquire(bench.now());
    assert_eq!(admission.transition.unwrap().to, State::Closed);
    assert!(admission.permit.is_ok());
}

#[test]
fn slow_probes_reopen_when_slowness_trips() {
    let bench = Bench::tripped(BreakerSettings { slow_call_rate_threshold: Some(40.0), ..settings() });
    bench.after(10_000);
    let (one, two) = (bench.acquire(), bench.acquire());
    let start = bench.now();
    let late = start + Duration::from_secs(1);
    assert!(one.record(Outcome::Success, late).transition.is_none());
    let reopened = two.record(Outcome::Success, late).transition.unwrap();
    assert_eq!(reopened.reason, Reason::ProbesFailed);
}

#[test]
fn waits_grow_with_each_trip_and_a_recovery_resets_them() {
    let bench = Bench::tripped(BreakerSettings {
        open_wait_multiplier: 2.0,
        max_wait_duration_in_open_state: Duration::from_secs(30),
        permitted_number_of_calls_in_half_open_state: 1,
        ..settings()
    });
    for wait in [10, 20, 30, 30] {
        assert_eq!(bench.rejected().retry_after.as_secs(), wait);
        bench.after(wait * 1_000);
        bench.call(Outcome::Failure);
    }
    bench.after(30_000);
    bench.call(Outcome::Success);
    for _ in 0..3 {
        bench.call(Outcome::Failure);
    }
    assert_eq!(bench.rejected().retry_after.as_secs(), 10);
}

/// Two stages that ended after 31 calls in 219 ms were no ramp.
#[test]
fn a_stage_lasts_its_time_and_its_calls() {
    let bench = Bench::tripped(BreakerSettings {
        recovery_stages: vec![10.0, 50.0],
        recovery_stage_duration: Duration::from_secs(5),
        permitted_number_of_calls_in_half_open_state: 2,
        ..settings()
    });
    bench.after(10_000);
    bench.call(Outcome::Success);
    let staged = bench.call(Outcome::Success).unwrap();
    assert_eq!((staged.from, staged.to), (State::HalfOpen, State::HalfOpen));
    assert_eq!(staged.reason, Reason::ProbesSucceeded);
    let (mut began, mut shares) = (bench.now(), Vec::new());
    let (mut asked, mut passed) = (0, 0);
    loop {
        bench.after(1);
        asked += 1;
        let Admission { permit, transition } = bench.breaker.try_acquire(bench.now());
        let Ok(permit) = permit else { continue };
        passed += 1;
        let Some(change) = permit.record(Outcome::Success, bench.now()).transition.or(transition) else { continue };
        assert!(bench.now() - began >= Duration::from_secs(5), "{change:?}");
        assert_eq!(change.reason, Reason::StagePassed);
        shares.push(100 * passed / asked);
        (began, asked, passed) = (bench.now(), 0, 0);
        if change.to == State::Closed {
            break;
        }
    }
    assert!((5..=15).contains(&shares[0]) && (45..=55).contains(&shares[1]), "{shares:?}");
}

#[test]
fn a_stage_without_enough_calls_waits_for_them() {
    let bench = Bench::tripped(BreakerSettings {
        recovery_stages: vec![100.0],
        recovery_stage_duration: Duration::from_secs(5),
        permitted_number_of_calls_in_half_open_state: 2,
        ..settings()
    });
    bench.after(10_000);
    bench.call(Outcome::Success);
    bench.call(Outcome::Success);
    bench.call(Outcome::Success);
    bench.after(6_000);
    assert_eq!(bench.breaker.tick(bench.now()), None, "one of two calls");
    assert_eq!(bench.call(Outcome::Success).unwrap().to, State::Closed);
}

#[test]
fn a_stage_that_has_seen_enough_closes_without_traffic() {
    let bench = Bench::tripped(BreakerSettings {
        recovery_stages: vec![100.0],
        permitted_number_of_calls_in_half_open_state: 1,
        ..settings()
    });
    bench.after(10_000);
    bench.call(Outcome::Success);
    bench.call(Outcome::Success);
    bench.after(9_999);
    assert_eq!(bench.breaker.tick(bench.now()), None);
    bench.after(1);
    assert_eq!(bench.breaker.tick(bench.now()).unwrap().reason, Reason::StagePassed);
}

#[test]
fn a_stage_counts_more_calls_than_probes_may_be_permitted() {
    let bench = Bench::tripped(BreakerSettings {
        recovery_stages: vec![100.0],
        permitted_number_of_calls_in_half_open_state: 4,
        ..settings()
    });
    bench.after(10_000);
    for _ in 0..4 {
        bench.call(Outcome::Success);
    }
    for _ in 0..1_000 {
        assert_eq!(bench.call(Outcome::Success), None);
    }
    assert_eq!(bench.breaker.snapshot(bench.now()).window_calls, 1_000);
    for _ in 0..250 {
        assert_eq!(bench.call(Outcome::Failure), None, "80 % of 1 250 is not out of reach yet");
    }
    let reopened = bench.call(Outcome::Failure).unwrap();
    assert_eq!((reopened.to, reopened.window.failures), (State::Open, 251));
}

#[test]
fn shares_that_do_not_grow_are_refused() {
    for stages in [vec![50.0, 50.0], vec![50.0, 10.0]] {
        let error = BreakerSettings { recovery_stages: stages, ..settings() }.validate().unwrap_err();
        assert_eq!(error.field, "recovery-stages");
    }
}

/// Five quick answers used to close it while five probes hung.
#[test]
fn half_open_waits_for_the_probes_in_flight() {
    let bench = Bench::tripped(BreakerSettings {
        permitted_number_of_calls_in_half_open_state: 10,
        half_open_success_rate_threshold: 50.0,
        ..settings()
    });
    bench.after(10_000);
    let mut probes: Vec<_> = (0..10).map(|_| bench.acquire()).collect();
    for probe in probes.drain(..5) {
        assert_eq!(probe.record(Outcome::Success, bench.now()).transition, None);
    }
    let last = probes.pop().unwrap();
    for probe in probes {
        assert_eq!(probe.record(Outcome::Timeout, bench.now()).transition, None);
    }
    let closed = last.record(Outcome::Success, bench.now()).transition.unwrap();
    assert_eq!((closed.to, closed.window.calls, closed.window.failures), (State::Closed, 10, 4));
}

#[test]
fn an_open_wait_can_end_without_traffic() {
    for automatic in [false, true] {
        let bench = Bench::tripped(BreakerSettings {
            automatic_transition_from_open_to_half_open_enabled: automatic,
            ..settings()
        });
        bench.after(9_999);
        assert_eq!(bench.breaker.tick(bench.now()), None);
        bench.after(1);
        assert_eq!(bench.breaker.tick(bench.now()).is_some(), automatic);
        assert_eq!(bench.state() == State::HalfOpen, automatic);
    }
}

#[test]
fn the_state_after_the_maximum_wait_can_be_chosen() {
    use crate::breaker::AfterMaxWait::{Closed, Judged, Open};
    for (after, outcome, to) in [
        (Judged, Outcome::Success, State::Closed),
        (Open, Outcome::Success, State::Open),
        (Closed, Outcome::Failure, State::Closed),
    ] {
        let bench = Bench::tripped(BreakerSettings { state_after_max_wait_in_half_open: after, ..settings() });
        bench.after(10_000);
        bench.call(outcome);
        bench.after(30_000);
        let change = bench.breaker.tick(bench.now()).unwrap();
        assert_eq!(change.to, to, "{after:?}");
    }
}

#[test]
fn it_begins_in_the_state_that_was_chosen() {
    use crate::breaker::InitialState;
    for (initial, state) in [
        (InitialState::Closed, State::Closed),
        (InitialState::Open, State::Open),
        (InitialState::ForcedOpen, State::ForcedOpen),
        (InitialState::Disabled, State::Disabled),
        (InitialState::MetricsOnly, State::MetricsOnly),
    ] {
        let bench = Bench::new(BreakerSettings { initial_state: initial, ..settings() });
        assert_eq!(bench.state(), state);
        let calls_pass = bench.breaker.try_acquire(bench.now()).permit.is_ok();
        assert_eq!(calls_pass, !matches!(state, State::Open | State::ForcedOpen));
    }
    let bench = Bench::new(BreakerSettings { initial_state: InitialState::Open, ..settings() });
    assert_eq!(bench.rejected().retry_after, Duration::from_secs(10));
    bench.after(10_000);
    assert_eq!(bench.call(Outcome::Success).unwrap().reason, Reason::WaitElapsed);
    let recording = Bench::new(BreakerSettings { initial_state: InitialState::MetricsOnly, ..settings() });
    recording.call(Outcome::Failure);
    assert_eq!(recording.breaker.snapshot(recording.now()).failures, 1);
}

#[test]
fn a_window_can_be_shorter_than_a_second() {
    let bench = Bench::new(BreakerSettings {
        sliding_window_type: WindowType::TimeBased,
        sliding_window_duration: Some(Duration::from_millis(100)),
        ..settings()
    });
    for _ in 0..3 {
        bench.call(Outcome::Failure);
    }
    bench.after(120);
    assert_eq!(bench.call(Outcome::Failure), None, "the others are out of it");
    assert_eq!(bench.breaker.snapshot(bench.now()).window_calls, 1);
}

#[test]
fn what_tripped_it_stays_readable_while_it_is_open() {
    let bench = Bench::new(settings());
    for outcome in [Failure, Success, Success, Success, Failure, Failure] {
        bench.call(outcome);
    }
    bench.after(5_000);
    let snapshot = bench.breaker.snapshot(bench.now());
    let trip = snapshot.last_trip.expect("it is open");
    assert_eq!((snapshot.state, trip.reason), (State::Open, Reason::FailureRate));
    assert_eq!((trip.window.calls, trip.window.failures), (6, 3));
    bench.breaker.command(Command::Reset, bench.now());
    assert_eq!(bench.breaker.snapshot(bench.now()).last_trip, None);
}

#[test]
fn a_failing_stage_reopens() {
    let bench = Bench::tripped(BreakerSettings {
        recovery_stages: vec![100.0],
        permitted_number_of_calls_in_half_open_state: 1,
        ..settings()
    });
    bench.after(10_000);
    bench.call(Outcome::Success);
    let reopened = bench.call(Outcome::Failure).unwrap();
    assert_eq!((reopened.to, reopened.reason), (State::Open, Reason::ProbesFailed));
}

#[test]
fn commands_go_through_every_state_and_back() {
    let bench = Bench::new(settings());
    let to = |command| {
        let transition = bench.breaker.command(command, bench.now())?;
        assert_eq!(transition.reason, Reason::Command);
        Some(transition.to)
    };
    assert_eq!(to(Command::ForceOpen), Some(State::ForcedOpen));
    assert_eq!(to(Command::ForceOpen), None);
    assert_eq!(bench.rejected().state, State::ForcedOpen);
    assert_eq!(to(Command::Disable), Some(State::Disabled));
    for _ in 0..20 {
        assert_eq!(bench.call(Outcome::Failure), None);
    }
    assert_eq!(bench.breaker.snapshot(bench.now()).window_calls, 0);
    assert_eq!(to(Command::MetricsOnly), Some(State::MetricsOnly));
    for _ in 0..20 {
        assert_eq!(bench.call(Outcome::Failure), None);
    }
    let snapshot = bench.breaker.snapshot(bench.now());
    assert!((snapshot.failure_ratio - 1.0).abs() < f64::EPSILON);
    assert_eq!(to(Command::Close), Some(State::Closed));
    assert_eq!(bench.breaker.snapshot(bench.now()).window_calls, 0);
}

#[test]
fn reset_forgets_without_a_change_of_state() {
    let bench = Bench::new(settings());
    bench.call(Outcome::Failure);
    assert_eq!(bench.breaker.command(Command::Reset, bench.now()), None);
    let snapshot = bench.breaker.snapshot(bench.now());
    assert_eq!((snapshot.window_calls, snapshot.generation), (0, 1));
    assert_eq!(snapshot.consecutive_failures, 0);
}

#[test]
fn new_thresholds_are_applied_to_what_the_window_holds() {
    let bench = Bench::new(settings());
    for outcome in [Outcome::Failure, Outcome::Success, Outcome::Success, Outcome::Success] {
        bench.call(outcome);
    }
    let stricter = BreakerSettings { failure_rate_threshold: Some(25.0), ..settings() };
    let transition = bench.breaker.reconfigure(stricter, bench.now()).unwrap();
    assert_eq!(transition.unwrap().reason, Reason::FailureRate);
}

#[test]
fn a_new_window_size_keeps_the_newest_calls() {
    let bench = Bench::new(BreakerSettings { consecutive_failure_threshold: Some(5), ..settings() });
    for outcome in [Outcome::Success; 8].iter().chain(&[Outcome::Failure; 2]) {
        bench.call(*outcome);
    }
    let smaller = BreakerSettings { sliding_window_size: 5, consecutive_failure_threshold: Some(5), ..settings() };
    bench.breaker.reconfigure(smaller, bench.now()).unwrap();
    let snapshot = bench.breaker.snapshot(bench.now());
    assert_eq!((snapshot.window_calls, snapshot.failures), (5, 2));
    assert_eq!(snapshot.consecutive_failures, 2);
    assert_eq!(bench.call(Outcome::Failure).unwrap().window.failures, 3, "3 of 5");
}

#[test]
fn refused_settings_change_nothing() {
    let bench = Bench::new(settings());
    let broken = BreakerSettings { sliding_window_size: 0, ..settings() };
    assert!(bench.breaker.reconfigure(broken, bench.now()).is_err());
    assert_eq!(bench.breaker.settings(), settings());
}

#[test]
fn a_panic_counts_as_a_failure_and_its_transition_is_not_lost() {
    let bench = Bench::new(BreakerSettings { consecutive_failure_threshold: Some(1), ..settings() });
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _permit = bench.acquire();
        panic!("the call");
    }));
    assert!(panicked.is_err());
    assert_eq!(bench.state(), State::Open);
    let kept = bench.breaker.tick(bench.now()).unwrap();
    assert_eq!(kept.reason, Reason::ConsecutiveFailures);
    assert_eq!(bench.breaker.tick(bench.now()), None);
}

#[test]
fn a_clock_that_stands_still_or_goes_back_does_no_harm() {
    let bench = Bench::tripped(settings());
    let past = bench.now().checked_sub(Duration::from_hours(1)).unwrap();
    let rejected = bench.breaker.try_acquire(past).permit.unwrap_err();
    assert_eq!(rejected.retry_after, Duration::from_secs(10));
    bench.after(10_000);
    let probe = bench.acquire();
    let recorded = probe.record(Outcome::Success, past);
    assert!(!recorded.slow);
    assert_eq!(bench.breaker.snapshot(past).open_remaining, Duration::ZERO);
}

#[test]
fn health_is_the_success_rate_less_half_the_slow_rate() {
    let bench = Bench::new(settings());
    assert!((bench.breaker.snapshot(bench.now()).health_score - 1.0).abs() < 1e-9);
    bench.call(Outcome::Failure);
    bench.call(Outcome::Success);
    let start = bench.now();
    bench.after(1_000);
    let slow = bench.breaker.try_acquire(start).permit.unwrap();
    slow.record(Outcome::Success, bench.now());
    let score = bench.breaker.snapshot(bench.now()).health_score;
    assert!((score - 2.0 / 3.0 * (1.0 - 0.5 / 3.0)).abs() < 1e-9, "{score}");
}

#[test]
fn half_open_after_many_trips_never_mixes_generations() {
    let bench = Bench::tripped(settings());
    let mut last = 2;
    for _ in 0..50 {
        bench.after(10_000);
        let stale = bench.acquire();
        assert_eq!(stale.generation(), last + 1);
        bench.breaker.command(Command::ForceOpen, bench.now());
        bench.breaker.command(Command::Close, bench.now());
        for _ in 0..3 {
            bench.call(Outcome::Failure);
        }
        assert!(stale.record(Outcome::Success, bench.now()).late);
        last = bench.breaker.snapshot(bench.now()).generation;
    }
    assert_eq!(bench.breaker.snapshot(bench.now()).late_results, 50);
}
