//! Explores every interleaving of a breaker's critical operations with loom.
//!
//! ```text
//! cargo test -p breakerbox-resilience --features loom --test loom
//! LOOM_MAX_PREEMPTIONS=4 cargo test --release -p breakerbox-resilience --features loom --test loom   # deeper
//! ```
//!
//! Each model is run twice: on the shipped breaker, compiled against loom's atomics, and on a small one with one
//! deliberate mistake, on which the same model has to fail. A model that cannot fail proves nothing.

use std::time::{Duration, Instant};

use breakerbox_resilience::breaker::{Breaker, BreakerSettings, Command, Outcome, Permit, State, WindowType};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

#[path = "loom_flawed/mod.rs"]
mod flawed;

/// The operations that the models need of a breaker.
trait Gate: Send + Sync + 'static {
    type Ticket<'a>;
    /// A breaker that trips on this many consecutive failures, waits [`WAIT`], and permits this many probes, all of
    /// which must succeed.
    fn new(failures: u32, permitted: u32) -> Self;
    /// A breaker with a window of this many calls; if `judges`, it trips when half of them have failed.
    fn windowed(size: u32, judges: bool) -> Self;
    /// A ticket, and whether the request changed the state.
    fn enter(&self, now: Duration) -> (Option<Self::Ticket<'_>>, bool);
    /// Whether recording changed the state.
    fn record(&self, ticket: Self::Ticket<'_>, outcome: Outcome, now: Duration) -> bool;
    /// Drops the ticket without an outcome.
    fn cancel(&self, ticket: Self::Ticket<'_>);
    /// Whether the command changed the state.
    fn command(&self, command: Command) -> bool;
    /// Calls counted in the present closed state.
    fn counted(&self) -> u64;
    fn state(&self) -> State;
    /// Number of transitions so far, as counted by the breaker.
    fn changes(&self) -> u64;
}

const WAIT: Duration = Duration::from_secs(10);

/// The shipped breaker, with a window over calls or over time.
struct Shipped<const TIMED: bool> {
    breaker: Breaker,
    origin: Instant,
}

type Counting = Shipped<false>;
type Timed = Shipped<true>;

impl<const TIMED: bool> Shipped<TIMED> {
    fn with(mut settings: BreakerSettings) -> Self {
        if TIMED {
            settings.sliding_window_type = WindowType::TimeBased;
        }
        let origin = Instant::now();
        let breaker = Breaker::new(settings, origin, 1).expect("valid settings");
        Self { breaker, origin }
    }
}

fn settings(failures: u32, permitted: u32) -> BreakerSettings {
    BreakerSettings {
        failure_rate_threshold: None,
        consecutive_failure_threshold: Some(failures),
        sliding_window_size: 2,
        minimum_number_of_calls: 2,
        wait_duration_in_open_state: WAIT,
        permitted_number_of_calls_in_half_open_state: permitted,
        half_open_success_rate_threshold: 100.0,
        ..BreakerSettings::default()
    }
}

impl<const TIMED: bool> Gate for Shipped<TIMED> {
    type Ticket<'a> = Permit<'a>;

    fn new(failures: u32, permitted: u32) -> Self {
        Self::with(settings(failures, permitted))
    }

    fn windowed(size: u32, judges: bool) -> Self {
        Self::with(BreakerSettings {
            failure_rate_threshold: judges.then_some(50.0),
            sliding_window_size: size,
            minimum_number_of_calls: size,
            ..settings(9, 1)
        })
    }

    fn enter(&self, now: Duration) -> (Option<Permit<'_>>, bool) {
        let admission = self.breaker.try_acquire(self.origin + now);
        (admission.permit.ok(), admission.transition.is_some())
    }

    fn record(&self, ticket: Permit<'_>, outcome: Outcome, now: Duration) -> bool {
        ticket.record(outcome, self.origin + now).transition.is_some()
    }

    fn cancel(&self, ticket: Permit<'_>) {
        drop(ticket);
    }

    fn command(&self, command: Command) -> bool {
        self.breaker.command(command, self.origin).is_some()
    }

    fn counted(&self) -> u64 {
        self.breaker.snapshot(self.origin).window_calls
    }

    fn state(&self) -> State {
        self.breaker.state()
    }

    fn changes(&self) -> u64 {
        self.breaker.snapshot(self.origin).generation - 1
    }
}

/// Two preemptions are enough to find nearly every bug; the environment can raise the number.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    explore_within(2, model);
}

fn explore_within(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.max_branches = 20_000;
    builder.check(model);
}

fn count(shifted: bool, changes: &AtomicU32) {
    if shifted {
        changes.fetch_add(1, Ordering::Relaxed);
    }
}

fn tripped<G: Gate>(failures: u32, permitted: u32) -> G {
    let gate = G::new(failures, permitted);
    for _ in 0..failures {
        let ticket = gate.enter(Duration::ZERO).0.expect("closed");
        gate.record(ticket, Outcome::Failure, Duration::ZERO);
    }
    assert_eq!(gate.state(), State::Open);
    gate
}

/// Runs `body` in two threads at once, then returns the breaker.
fn both<G: Gate>(gate: G, body: impl Fn(&G, u32) + Send + Sync + Copy + 'static) -> Arc<G> {
    let gate = Arc::new(gate);
    let threads: Vec<_> = (0..2)
        .map(|index| {
            let gate = gate.clone();
            thread::spawn(move || body(&gate, index))
        })
        .collect();
    for thread in threads {
        thread.join().expect("no thread panics");
    }
    gate
}

/// Callers arrive at the very end of the open wait: one turns the breaker half-open, and no more than the permitted
/// number pass.
fn half_open_admission<G: Gate>() {
    let gate = Arc::new(tripped::<G>(1, 1));
    let (admitted, changes) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (gate, admitted, changes) = (gate.clone(), admitted.clone(), changes.clone());
            thread::spawn(move || {
                let (ticket, shifted) = gate.enter(WAIT);
                count(shifted, &changes);
                if let Some(ticket) = ticket {
                    admitted.fetch_add(1, Ordering::Relaxed);
                    // Still in flight when the counts are checked.
                    std::mem::forget(ticket);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no thread panics");
    }
    assert_eq!(admitted.load(Ordering::Relaxed), 1, "exactly the permitted probe");
    assert_eq!(changes.load(Ordering::Relaxed), 1, "one transition, reported once");
}

/// Probes are cancelled while other callers try to enter: every place is released.
fn cancelled_probes<G: Gate>() {
    let gate = both(tripped::<G>(1, 1), |gate: &G, _| {
        if let (Some(ticket), _) = gate.enter(WAIT) {
            gate.cancel(ticket);
        }
    });
    let ticket = gate.enter(WAIT).0.expect("every place has come back");
    gate.record(ticket, Outcome::Success, WAIT);
    assert_eq!(gate.state(), State::Closed);
}

/// Two failures that each reach the threshold: one of them trips, and the other causes no second trip.
fn trip_race<G: Gate>() {
    let gate = Arc::new(G::new(1, 1));
    let changes = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (gate, changes) = (gate.clone(), changes.clone());
            thread::spawn(move || {
                if let (Some(ticket), _) = gate.enter(Duration::ZERO) {
                    count(gate.record(ticket, Outcome::Failure, Duration::ZERO), &changes);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no thread panics");
    }
    assert_eq!(gate.state(), State::Open);
    assert_eq!(changes.load(Ordering::Relaxed), 1, "one transition, reported once");
    assert_eq!(gate.changes(), 1);
}

/// A failure that would trip races a command to force the breaker open: the command wins.
fn forced_against_automatic<G: Gate>() {
    let gate = both(G::new(1, 1), |gate: &G, index| {
        if index == 0 {
            gate.command(Command::ForceOpen);
        } else if let (Some(ticket), _) = gate.enter(Duration::ZERO) {
            gate.record(ticket, Outcome::Failure, Duration::ZERO);
        }
    });
    assert_eq!(gate.state(), State::ForcedOpen, "the command stands");
}

/// A call that began in an earlier closed state ends while the breaker passes through another state and closes again:
/// it is never counted in the new one.
fn late_result<G: Gate>() {
    let gate = both(G::new(5, 1), |gate: &G, index| {
        if index == 0 {
            gate.command(Command::ForceOpen);
            gate.command(Command::Close);
        } else if let (Some(ticket), _) = gate.enter(Duration::ZERO) {
            // Entered in the first closed state, or in the last: only the latter may be counted.
            let first = gate.changes() == 0;
            if first {
                gate.record(ticket, Outcome::Failure, Duration::ZERO);
            } else {
                gate.cancel(ticket);
            }
        }
    });
    assert_eq!(gate.counted(), 0, "a result of an earlier state was counted");
}

/// One probe ends while another is cancelled: the place of the cancelled one is free, that of the finished one is not,
/// and the probes are evaluated once.
fn probe_ends_while_another_is_cancelled<G: Gate>() {
    let gate = tripped::<G>(1, 2);
    let gate = both(gate, |gate: &G, index| {
        if let (Some(ticket), _) = gate.enter(WAIT) {
            if index == 0 {
                gate.record(ticket, Outcome::Success, WAIT);
            } else {
                gate.cancel(ticket);
            }
        }
    });
    let ticket = gate.enter(WAIT).0.expect("one of two places is free");
    gate.record(ticket, Outcome::Success, WAIT);
    assert_eq!(gate.state(), State::Closed, "two of two probes succeeded");
}

/// A success and a failure together reach the minimum number of calls: whichever is recorded last must trip.
fn completed_minimum<G: Gate>() {
    let gate = both(G::windowed(2, true), success_beside_failure);
    assert_eq!(gate.state(), State::Open, "one of two calls failed");
    assert_eq!(gate.changes(), 1);
}

/// Two writers on a window with one slot: it holds one call in the end.
fn lapped_window<G: Gate>() {
    let gate = both(G::windowed(1, false), success_beside_failure);
    assert_eq!(gate.counted(), 1, "one slot holds one call");
}

fn success_beside_failure<G: Gate>(gate: &G, index: u32) {
    let outcome = if index == 0 { Outcome::Success } else { Outcome::Failure };
    if let (Some(ticket), _) = gate.enter(Duration::ZERO) {
        gate.record(ticket, outcome, Duration::ZERO);
    }
}

macro_rules! models {
    ($($name:ident: $model:ident, caught on $flaw:ty, $complaint:literal;)*) => {
        $(mod $name {
            use super::*;

            #[test]
            fn holds_over_calls() {
                explore($model::<Counting>);
            }

            #[test]
            fn holds_over_time() {
                explore($model::<Timed>);
            }

            #[test]
            #[should_panic(expected = $complaint)]
            fn fails_on_a_breaker_with_this_mistake() {
                explore($model::<$flaw>);
            }
        })*
    };
}

models! {
    half_open_admits_only_its_probes: half_open_admission, caught on flawed::ChecksThenAdds,
        "exactly the permitted probe";
    no_place_is_lost_when_probes_are_cancelled: cancelled_probes, caught on flawed::LosesCancelled,
        "every place has come back";
    one_trip_is_one_transition: trip_race, caught on flawed::TripsTwice,
        "one transition, reported once";
    a_command_outlasts_a_trip: forced_against_automatic, caught on flawed::OverwritesCommands,
        "the command stands";
    a_late_result_is_never_counted: late_result, caught on flawed::ChecksGenerationFirst,
        "a result of an earlier state was counted";
    finished_and_cancelled_probes_add_up: probe_ends_while_another_is_cancelled, caught on flawed::LosesCancelled,
        "one of two places is free";
    whoever_completes_the_minimum_trips: completed_minimum, caught on flawed::CountsFailuresLater,
        "one of two calls failed";
}

/// Only a window over calls has slots in which two writers can collide.
mod a_window_that_is_lapped_still_adds_up {
    use super::*;

    #[test]
    fn holds_over_calls() {
        explore(lapped_window::<Counting>);
    }

    #[test]
    #[should_panic(expected = "one slot holds one call")]
    fn fails_on_a_breaker_with_this_mistake() {
        explore(lapped_window::<flawed::OverfillsItsWindow>);
    }
}

/// A failure that reaches the threshold races a reset: in either order the breaker is closed in the end, because
/// nothing recorded before a reset may open it afterwards.
fn reset_against_trip<const TIMED: bool>() {
    let gate = Shipped::<TIMED>::with(settings(2, 1));
    let ticket = gate.enter(Duration::ZERO).0.expect("closed");
    gate.record(ticket, Outcome::Failure, Duration::ZERO);
    let gate = both(gate, |gate: &Shipped<TIMED>, index| {
        if index == 0 {
            gate.command(Command::Reset);
        } else if let (Some(ticket), _) = gate.enter(Duration::ZERO) {
            gate.record(ticket, Outcome::Failure, Duration::ZERO);
        }
    });
    assert_eq!(gate.state(), State::Closed, "opened because of calls from before the reset");
}

/// A failure below the old threshold races a change to a stricter one that it exceeds: one of the two sees the other,
/// and the breaker opens.
fn stricter_threshold_against_failure<const TIMED: bool>() {
    let with = |percent| BreakerSettings { failure_rate_threshold: Some(percent), ..settings(9, 1) };
    let mut stricter = with(50.0);
    let gate = Shipped::<TIMED>::with(with(90.0));
    stricter.sliding_window_type = gate.breaker.settings().sliding_window_type;
    let ticket = gate.enter(Duration::ZERO).0.expect("closed");
    gate.record(ticket, Outcome::Success, Duration::ZERO);
    let gate = Arc::new(gate);
    let other = {
        let gate = gate.clone();
        thread::spawn(move || {
            if let (Some(ticket), _) = gate.enter(Duration::ZERO) {
                gate.record(ticket, Outcome::Failure, Duration::ZERO);
            }
        })
    };
    gate.breaker.reconfigure(stricter, gate.origin).expect("valid settings");
    other.join().expect("no thread panics");
    assert_eq!(gate.state(), State::Open, "neither saw the other");
}

/// A call that began in metrics-only ends after the breaker has closed: only calls that began in the closed state are
/// counted in it.
fn late_record_against_close<const TIMED: bool>() {
    let gate = Shipped::<TIMED>::with(settings(9, 1));
    gate.command(Command::MetricsOnly);
    let gate = both(gate, |gate: &Shipped<TIMED>, index| {
        if index == 0 {
            gate.command(Command::Close);
        } else if let (Some(ticket), _) = gate.enter(Duration::ZERO) {
            if ticket.generation() == 2 {
                gate.record(ticket, Outcome::Failure, Duration::ZERO);
            } else {
                gate.cancel(ticket);
            }
        }
    });
    assert_eq!(gate.counted(), 0, "a result of an earlier state was counted");
}

/// The window changes its shape while a failure is recorded: the failure is either in the new window or was in the old
/// one, and the run of failures is complete in both cases.
fn another_window_against_failure<const TIMED: bool>() {
    let gate = Shipped::<TIMED>::with(settings(2, 1));
    let ticket = gate.enter(Duration::ZERO).0.expect("closed");
    gate.record(ticket, Outcome::Failure, Duration::ZERO);
    let mut longer = gate.breaker.settings();
    longer.sliding_window_size = 4;
    let gate = Arc::new(gate);
    let other = {
        let gate = gate.clone();
        thread::spawn(move || {
            if let (Some(ticket), _) = gate.enter(Duration::ZERO) {
                gate.record(ticket, Outcome::Failure, Duration::ZERO);
            }
        })
    };
    gate.breaker.reconfigure(longer, gate.origin).expect("valid settings");
    other.join().expect("no thread panics");
    assert_eq!(gate.state(), State::Open, "two failures in a row");
}

/// The last probe moves the recovery to a stage with almost no share while a caller arrives: no call passes before the
/// share applies.
fn stage_against_caller<const TIMED: bool>() {
    let gate = Shipped::<TIMED>::with(BreakerSettings { recovery_stages: vec![1e-9], ..settings(1, 1) });
    let ticket = gate.enter(Duration::ZERO).0.expect("closed");
    gate.record(ticket, Outcome::Failure, Duration::ZERO);
    let gate = Arc::new(gate);
    let (probing, entered) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let other = {
        let (gate, probing, entered) = (gate.clone(), probing.clone(), entered.clone());
        thread::spawn(move || {
            if probing.load(Ordering::Acquire) == 1 && gate.enter(WAIT).0.is_some() {
                entered.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let probe = gate.enter(WAIT).0.expect("the wait is over");
    probing.store(1, Ordering::Release);
    gate.record(probe, Outcome::Success, WAIT);
    other.join().expect("no thread panics");
    assert_eq!(entered.load(Ordering::Relaxed), 0, "a call passed before the stage's share applied");
}

/// Two concurrent successes: both are in the window.
fn success_beside_success<const TIMED: bool>() {
    let gate = both(Shipped::<TIMED>::windowed(4, true), |gate: &Shipped<TIMED>, _| {
        if let (Some(ticket), _) = gate.enter(Duration::ZERO) {
            gate.record(ticket, Outcome::Success, Duration::ZERO);
        }
    });
    assert_eq!(gate.counted(), 2, "a success was lost");
}

/// A success races a change of the window's length: it is in the new window at most once. It may be missing, if it was
/// written while the old window was being read; see `Breaker::reconfigure`.
fn another_window_against_success<const TIMED: bool>() {
    let gate = Arc::new(Shipped::<TIMED>::with(settings(9, 1)));
    let ticket = gate.enter(Duration::ZERO).0.expect("closed");
    gate.record(ticket, Outcome::Success, Duration::ZERO);
    let mut longer = gate.breaker.settings();
    longer.sliding_window_size = 4;
    let other = {
        let gate = gate.clone();
        thread::spawn(move || {
            if let (Some(ticket), _) = gate.enter(Duration::ZERO) {
                gate.record(ticket, Outcome::Success, Duration::ZERO);
            }
        })
    };
    gate.breaker.reconfigure(longer, gate.origin).expect("valid settings");
    other.join().expect("no thread panics");
    assert!((1..=2).contains(&gate.counted()), "{} of two", gate.counted());
}

/// A probe succeeds while the permitted number is lowered to one and another probe is in flight: the breaker stays
/// half-open.
fn fewer_probes_against_probe<const TIMED: bool>() {
    let gate: Shipped<TIMED> = tripped(1, 2);
    let mut fewer = gate.breaker.settings();
    fewer.permitted_number_of_calls_in_half_open_state = 1;
    let gate = Arc::new(gate);
    let (entered, _) = gate.enter(WAIT);
    // Leaked, so that the ticket outlives this scope and the other thread can record it.
    std::mem::forget(entered.expect("the wait is over"));
    let other = {
        let gate = gate.clone();
        thread::spawn(move || {
            if let (Some(ticket), _) = gate.enter(WAIT) {
                gate.record(ticket, Outcome::Success, WAIT);
            }
        })
    };
    gate.breaker.reconfigure(fewer, gate.origin + WAIT).expect("valid settings");
    other.join().expect("no thread panics");
    // The leaked probe is still in flight: nothing closes before its end.
    assert_eq!(gate.state(), State::HalfOpen);
}

/// A call is dropped while a failure trips: the breaker opens once, and nothing else changes.
fn drop_against_trip<const TIMED: bool>() {
    let gate = both(Shipped::<TIMED>::with(settings(1, 1)), |gate: &Shipped<TIMED>, index| {
        if let (Some(ticket), _) = gate.enter(Duration::ZERO) {
            if index == 0 {
                gate.cancel(ticket);
            } else {
                gate.record(ticket, Outcome::Failure, Duration::ZERO);
            }
        }
    });
    assert_eq!((gate.state(), gate.changes()), (State::Open, 1));
}

/// A reset races the probe that closes: the breaker is closed in the end, and the probe is not in the window.
fn reset_against_probe<const TIMED: bool>() {
    let gate = both(tripped::<Shipped<TIMED>>(1, 1), |gate: &Shipped<TIMED>, index| {
        if index == 0 {
            gate.command(Command::Reset);
        } else if let (Some(ticket), _) = gate.enter(WAIT) {
            if ticket.generation() == 3 {
                gate.record(ticket, Outcome::Success, WAIT);
            } else {
                gate.cancel(ticket);
            }
        }
    });
    assert_eq!(gate.state(), State::Closed);
    assert!(gate.counted() <= 1, "{}", gate.counted());
}

macro_rules! on_both_windows {
    ($($name:ident: $model:ident;)*) => {
        $(mod $name {
            use super::*;

            #[test]
            fn over_calls() {
                explore($model::<false>);
            }

            #[test]
            fn over_time() {
                explore($model::<true>);
            }
        })*
    };
}

on_both_windows! {
    a_failure_beside_a_change_of_the_window_is_not_lost: another_window_against_failure;
    a_success_beside_a_change_of_the_window_counts_once_at_most: another_window_against_success;
    a_reset_is_never_followed_by_a_trip_on_what_it_forgot: reset_against_trip;
    a_reset_beside_a_probe_leaves_it_closed: reset_against_probe;
    a_new_threshold_and_a_failure_never_miss_each_other: stricter_threshold_against_failure;
    a_stage_is_never_visible_before_its_share: stage_against_caller;
    a_result_of_recording_only_is_not_counted_when_closed: late_record_against_close;
    fewer_probes_do_not_end_one_that_is_in_flight: fewer_probes_against_probe;
    successes_that_meet_are_both_counted: success_beside_success;
    what_is_given_up_beside_a_trip_changes_nothing: drop_against_trip;
}
