//! The whole state machine against the naive model, over random sequences of all operations and events.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant},
};

use breakerbox_resilience::breaker::{
    AfterMaxWait, Breaker, BreakerSettings, Command, Outcome, Permit, Transition, WindowType,
};
use proptest::{collection::vec, option, prelude::*, test_runner::TestRunner};

use crate::model::{Change, Model, Ticket, Time};

#[derive(Clone, Debug)]
enum Step {
    Acquire,
    Record(usize, Outcome),
    Drop(usize),
    Panic(usize),
    Tick,
    Forward(Time),
    Back(Time),
    Set(Time),
    Command(Command),
    Reconfigure(BreakerSettings),
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Success),
        4 => Just(Outcome::Failure),
        1 => Just(Outcome::Timeout),
        1 => Just(Outcome::Ignored),
        1 => Just(Outcome::Cancelled),
        1 => Just(Outcome::Panicked),
    ]
}

fn commands() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(Command::ForceOpen),
        Just(Command::Close),
        Just(Command::Disable),
        Just(Command::MetricsOnly),
        Just(Command::Reset),
    ]
}

prop_compose! {
    /// Small numbers, so that every transition is frequent. All waits are whole milliseconds and exact powers of two
    /// apart, so that the model can count in milliseconds.
    fn settings()(
        (rate, slow, run) in (option::of(1.0..=100.0_f64), option::of(1.0..=100.0_f64), option::of(1_u32..5)),
        (size, minimum, span) in (1_u32..12, 1_u32..12, option::of(16_u64..2_000)),
        (permitted, success) in (1_u32..6, 1.0..=100.0_f64),
        (grows, stages) in (any::<bool>(), 0_usize..4),
        (automatic, after) in (any::<bool>(), prop_oneof![
            4 => Just(AfterMaxWait::Judged), 1 => Just(AfterMaxWait::Open), 1 => Just(AfterMaxWait::Closed)
        ]),
    ) -> BreakerSettings {
        let nothing = rate.is_none() && slow.is_none() && run.is_none();
        BreakerSettings {
            failure_rate_threshold: if nothing { Some(50.0) } else { rate },
            consecutive_failure_threshold: run,
            slow_call_rate_threshold: slow,
            slow_call_duration_threshold: Duration::from_millis(300),
            sliding_window_type: if span.is_some() { WindowType::TimeBased } else { WindowType::CountBased },
            sliding_window_size: size,
            sliding_window_duration: span.map(Duration::from_millis),
            minimum_number_of_calls: minimum.min(size),
            wait_duration_in_open_state: Duration::from_millis(500),
            open_wait_multiplier: if grows { 2.0 } else { 1.0 },
            max_wait_duration_in_open_state: Duration::from_secs(3),
            permitted_number_of_calls_in_half_open_state: permitted,
            half_open_success_rate_threshold: success,
            max_wait_duration_in_half_open_state: Duration::from_millis(800),
            state_after_max_wait_in_half_open: after,
            automatic_transition_from_open_to_half_open_enabled: automatic,
            recovery_stages: [20.0, 60.0, 100.0][..stages].to_vec(),
            recovery_stage_duration: Duration::from_millis(400),
            ..BreakerSettings::default()
        }
    }
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Acquire),
        8 => (any::<usize>(), outcomes()).prop_map(|(index, outcome)| Step::Record(index, outcome)),
        2 => any::<usize>().prop_map(Step::Drop),
        1 => any::<usize>().prop_map(Step::Panic),
        1 => Just(Step::Tick),
        4 => (0_u64..700).prop_map(Step::Forward),
        1 => (0_u64..700).prop_map(Step::Back),
        // A clock that jumps an hour ahead, and one that restarts.
        1 => prop_oneof![Just(3_600_000), Just(0)].prop_map(Step::Set),
        1 => commands().prop_map(Step::Command),
        1 => settings().prop_map(Step::Reconfigure),
    ]
}

/// The breaker and the model, run in parallel.
struct Pair<'a> {
    breaker: &'a Breaker,
    model: Model,
    origin: Instant,
    now: Time,
    outstanding: Vec<(Permit<'a>, Ticket)>,
}

impl Pair<'_> {
    fn instant(&self) -> Instant {
        self.origin + Duration::from_millis(self.now)
    }

    fn take(&mut self, index: usize) -> Option<(usize, usize)> {
        let count = self.outstanding.len();
        (count > 0).then(|| (index % count, count))
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let now = self.instant();
        let (ours, theirs) = match step {
            Step::Forward(by) => {
                self.now += by;
                return Ok(());
            }
            Step::Back(by) => {
                self.now = self.now.saturating_sub(by);
                return Ok(());
            }
            Step::Set(to) => {
                self.now = to;
                return Ok(());
            }
            Step::Acquire => {
                let admission = self.breaker.try_acquire(now);
                let (ticket, change) = self.model.acquire(self.now);
                prop_assert_eq!(admission.permit.is_ok(), ticket.is_some());
                if let (Ok(permit), Some(ticket)) = (admission.permit, ticket) {
                    self.outstanding.push((permit, ticket));
                }
                (admission.transition, change)
            }
            Step::Record(index, outcome) => {
                let Some((index, _)) = self.take(index) else { return Ok(()) };
                let (permit, ticket) = self.outstanding.swap_remove(index);
                (permit.record(outcome, now).transition, self.model.record(ticket, outcome, self.now))
            }
            Step::Drop(index) => {
                let Some((index, _)) = self.take(index) else { return Ok(()) };
                let (permit, ticket) = self.outstanding.swap_remove(index);
                // A dropped permit has no later time than its start.
                let start = u64::try_from((permit.start() - self.origin).as_millis()).unwrap();
                drop(permit);
                let change = self.model.record(ticket, Outcome::Cancelled, start);
                // The end of the last probe in flight decides, even if it is dropped. The tick returns the transition.
                (change.and_then(|_| self.breaker.tick(now)), change)
            }
            Step::Panic(index) => {
                let Some((index, _)) = self.take(index) else { return Ok(()) };
                let (permit, ticket) = self.outstanding.swap_remove(index);
                let start = u64::try_from((permit.start() - self.origin).as_millis()).unwrap();
                let unwound = catch_unwind(AssertUnwindSafe(|| {
                    let _permit = permit;
                    // Unlike `panic!`, this prints no message.
                    resume_unwind(Box::new(()));
                }));
                assert!(unwound.is_err());
                let change = self.model.record(ticket, Outcome::Panicked, start);
                // The permit was dropped, so the tick returns the transition.
                (change.and_then(|_| self.breaker.tick(now)), change)
            }
            Step::Tick => (self.breaker.tick(now), self.model.tick(self.now)),
            Step::Command(command) => (self.breaker.command(command, now), self.model.command(command, self.now)),
            Step::Reconfigure(settings) => {
                let transition = self.breaker.reconfigure(settings.clone(), now).unwrap();
                (transition, self.model.reconfigure(settings, self.now))
            }
        };
        self.compare(ours, theirs)
    }

    fn compare(&self, ours: Option<Transition>, theirs: Option<Change>) -> Result<(), TestCaseError> {
        prop_assert_eq!(ours.map(|ours| (ours.to, ours.generation, ours.reason)), theirs);
        let snapshot = self.breaker.snapshot(self.instant());
        prop_assert_eq!(snapshot.state, self.model.state);
        prop_assert_eq!(snapshot.generation, self.model.generation);
        prop_assert_eq!((snapshot.window_calls, snapshot.failures, snapshot.slow), self.model.counted(self.now));
        prop_assert_eq!(snapshot.half_open_in_use, self.model.in_use());
        prop_assert_eq!(snapshot.late_results, self.model.late);
        let remaining = Duration::from_millis(self.model.open_remaining(self.now));
        prop_assert_eq!(snapshot.open_remaining, remaining);
        prop_assert!((0.0..=1.0).contains(&snapshot.health_score));
        Ok(())
    }
}

fn play(settings: BreakerSettings, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let origin = Instant::now();
    let breaker = Breaker::new(settings.clone(), origin, 1).unwrap();
    let mut pair = Pair { breaker: &breaker, model: Model::new(settings, 1), origin, now: 0, outstanding: Vec::new() };
    steps.into_iter().try_for_each(|step| pair.step(step))
}

/// The long form: a million sequences, 5 minutes of one core.
///
/// ```text
/// cargo test --release -p breakerbox-resilience --test core a_million -- --ignored
/// ```
#[test]
#[ignore = "takes minutes"]
fn a_million_sequences_agree_with_the_naive_model() {
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 1_000_000, failure_persistence: None, ..ProptestConfig::default() });
    runner.run(&(settings(), vec(steps(), 1..200)), |(settings, steps)| play(settings, steps)).unwrap();
}

proptest! {
    #[test]
    fn the_breaker_does_what_the_naive_model_does(settings in settings(), steps in vec(steps(), 1..200)) {
        play(settings, steps)?;
    }

    #[test]
    fn half_open_always_ends(
        settings in settings(), hang in 0_u32..6, outcomes in vec(outcomes(), 0..6),
    ) {
        let settings = BreakerSettings { consecutive_failure_threshold: Some(1), ..settings };
        let origin = Instant::now();
        let breaker = Breaker::new(settings, origin, 1).unwrap();
        let trip = breaker.try_acquire(origin).permit.unwrap();
        trip.record(Outcome::Failure, origin);
        let probing = origin + Duration::from_millis(500);
        let mut hanging = Vec::new();
        for _ in 0..hang {
            hanging.extend(breaker.try_acquire(probing).permit);
        }
        for outcome in outcomes {
            if let Ok(permit) = breaker.try_acquire(probing).permit {
                permit.record(outcome, probing);
            }
        }
        let before = breaker.snapshot(probing).generation;
        let overdue = probing + Duration::from_millis(800);
        let _ = breaker.tick(overdue);
        let after = breaker.snapshot(overdue);
        let ended = breaker.state() != breakerbox_resilience::breaker::State::HalfOpen || after.generation > before;
        prop_assert!(ended, "{after:?}");
    }

    #[test]
    fn open_never_admits_early_and_always_admits_after(
        trips in 1_u32..6, jitter in 0.0..=1.0_f64, seed in any::<u64>(), early in 1_u64..10_000,
    ) {
        let settings = BreakerSettings {
            consecutive_failure_threshold: Some(1),
            wait_duration_in_open_state: Duration::from_secs(10),
            open_wait_multiplier: 2.0,
            max_wait_duration_in_open_state: Duration::from_mins(1),
            open_wait_jitter: jitter,
            permitted_number_of_calls_in_half_open_state: 1,
            ..BreakerSettings::default()
        };
        let mut now = Instant::now();
        let breaker = Breaker::new(settings, now, seed).unwrap();
        for trip in 0..trips {
            breaker.try_acquire(now).permit.unwrap().record(Outcome::Failure, now);
            let wait = breaker.snapshot(now).open_remaining;
            let base = Duration::from_secs(10 * 2_u64.pow(trip)).min(Duration::from_mins(1));
            prop_assert!(wait >= base && wait <= base.mul_f64(1.0 + jitter) + Duration::from_nanos(1));
            prop_assert!(breaker.try_acquire(now + (wait.saturating_sub(Duration::from_nanos(early)))).permit.is_err());
            now += wait;
        }
        prop_assert!(breaker.try_acquire(now).permit.is_ok());
    }
}
