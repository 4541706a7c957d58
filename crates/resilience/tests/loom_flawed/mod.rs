//! Breakers with one mistake each, of the kind that is easy to make and hard to see.
//!
//! One small lock-free breaker with switchable mistakes; each type selects one. They trip on consecutive failures, or
//! when half of a full window has failed, and have the three usual states and forced open. The window is only as
//! accurate as the models need: it counts the calls it holds, and never drops any.

use std::time::Duration;

use breakerbox_resilience::breaker::{Command, Outcome, State};
use loom::sync::atomic::{AtomicU32, Ordering::SeqCst};

use super::{Gate, WAIT};

#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    /// Half-open checks for a free place, and takes it in a separate step.
    CheckThenAdd,
    /// A cancelled probe does not release its place.
    LoseCancelled,
    /// Every thread that sees enough failures trips, without checking for a trip by another.
    TripTwice,
    /// A trip overwrites the state without checking whether it has changed.
    OverwriteCommands,
    /// The generation is compared before the window is written, in a separate step.
    CheckGenerationFirst,
    /// A call is counted first, and its failure in a separate step.
    CountFailureLater,
    /// The window checks for a free slot, and takes it in a separate step.
    OverfillWindow,
}

struct Flawed {
    mistake: Mistake,
    threshold: u32,
    permitted: u32,
    /// Calls that the window holds; 0 for no window.
    window: u32,
    /// Whether the breaker trips when half of a full window has failed.
    judges: bool,
    state: AtomicU32,
    generation: AtomicU32,
    failures: AtomicU32,
    counted: AtomicU32,
    probes: AtomicU32,
    succeeded: AtomicU32,
}

/// The generation that issued it, and whether it is a probe's.
type Ticket = (u32, bool);

impl Flawed {
    fn new(mistake: Mistake, threshold: u32, permitted: u32, window: u32, judges: bool) -> Self {
        let zero = || AtomicU32::new(0);
        Self {
            mistake,
            threshold,
            permitted,
            window,
            judges,
            state: zero(),
            generation: zero(),
            failures: zero(),
            counted: zero(),
            probes: zero(),
            succeeded: zero(),
        }
    }

    fn state(&self) -> State {
        State::ALL[self.state.load(SeqCst) as usize]
    }

    /// Changes the state if it is still `from`.
    fn transition_to(&self, from: State, to: State) -> bool {
        let shifted = self.state.compare_exchange(from as u32, to as u32, SeqCst, SeqCst).is_ok();
        if shifted {
            self.generation.fetch_add(1, SeqCst);
            self.forget();
        }
        shifted
    }

    fn forget(&self) {
        for count in [&self.failures, &self.counted, &self.probes, &self.succeeded] {
            count.store(0, SeqCst);
        }
    }

    fn enter(&self, now: Duration) -> (Option<Ticket>, bool) {
        let mut changed = false;
        if self.state() == State::Open && now >= WAIT {
            changed = self.transition_to(State::Open, State::HalfOpen);
        }
        let generation = self.generation.load(SeqCst);
        let ticket = match self.state() {
            State::Closed => Some((generation, false)),
            State::HalfOpen => self.probe().then_some((generation, true)),
            _ => None,
        };
        (ticket, changed)
    }

    fn probe(&self) -> bool {
        if self.mistake == Mistake::CheckThenAdd {
            let free = self.probes.load(SeqCst) < self.permitted;
            if free {
                self.probes.fetch_add(1, SeqCst);
            }
            return free;
        }
        let take = |taken| (taken < self.permitted).then_some(taken + 1);
        self.probes.fetch_update(SeqCst, SeqCst, take).is_ok()
    }

    fn record(&self, (generation, probe): Ticket, outcome: Outcome) -> bool {
        if self.generation.load(SeqCst) != generation {
            return false;
        }
        if probe {
            let succeeded = self.succeeded.fetch_add(1, SeqCst) + 1;
            return succeeded == self.permitted && self.transition_to(State::HalfOpen, State::Closed);
        }
        if self.window > 0 {
            return self.record_in_window(outcome);
        }
        self.counted.fetch_add(1, SeqCst);
        if outcome == Outcome::Success || self.failures.fetch_add(1, SeqCst) + 1 < self.threshold {
            return false;
        }
        match self.mistake {
            Mistake::TripTwice | Mistake::OverwriteCommands => {
                self.state.store(State::Open as u32, SeqCst);
                self.generation.fetch_add(1, SeqCst);
                true
            }
            _ => self.transition_to(State::Closed, State::Open),
        }
    }

    /// Takes a slot of the window, of which each is given out once; then trips if half of a full window has failed.
    fn record_in_window(&self, outcome: Outcome) -> bool {
        let failed = u32::from(outcome != Outcome::Success);
        if self.mistake != Mistake::CountFailureLater {
            self.failures.fetch_add(failed, SeqCst);
        }
        let counted = if self.mistake == Mistake::OverfillWindow {
            let counted = self.counted.load(SeqCst);
            if counted < self.window { self.counted.fetch_add(1, SeqCst) + 1 } else { counted }
        } else {
            let take = |counted| (counted < self.window).then_some(counted + 1);
            self.counted.fetch_update(SeqCst, SeqCst, take).map_or(self.window, |before| before + 1)
        };
        let failures = self.failures.load(SeqCst);
        if self.mistake == Mistake::CountFailureLater {
            self.failures.fetch_add(failed, SeqCst);
        }
        let half = counted >= self.window && failures * 2 >= self.window;
        half && self.judges && self.transition_to(State::Closed, State::Open)
    }

    fn cancel(&self, (generation, probe): Ticket) {
        let current = self.generation.load(SeqCst) == generation;
        if probe && current && self.mistake != Mistake::LoseCancelled {
            self.probes.fetch_sub(1, SeqCst);
        }
    }

    fn command(&self, command: Command) -> bool {
        let to = if command == Command::ForceOpen { State::ForcedOpen } else { State::Closed };
        self.state.store(to as u32, SeqCst);
        self.generation.fetch_add(1, SeqCst);
        self.forget();
        true
    }
}

macro_rules! flawed {
    ($($name:ident = $mistake:ident;)*) => {
        $(pub(super) struct $name(Flawed);

        impl Gate for $name {
            type Ticket<'a> = Ticket;

            fn new(failures: u32, permitted: u32) -> Self {
                Self(Flawed::new(Mistake::$mistake, failures, permitted, 0, false))
            }

            fn windowed(size: u32, judges: bool) -> Self {
                Self(Flawed::new(Mistake::$mistake, u32::MAX, 1, size, judges))
            }

            fn enter(&self, now: Duration) -> (Option<Ticket>, bool) {
                self.0.enter(now)
            }

            fn record(&self, ticket: Ticket, outcome: Outcome, _: Duration) -> bool {
                self.0.record(ticket, outcome)
            }

            fn cancel(&self, ticket: Ticket) {
                self.0.cancel(ticket);
            }

            fn command(&self, command: Command) -> bool {
                self.0.command(command)
            }

            fn counted(&self) -> u64 {
                self.0.counted.load(SeqCst).into()
            }

            fn state(&self) -> State {
                self.0.state()
            }

            fn changes(&self) -> u64 {
                self.0.generation.load(SeqCst).into()
            }
        })*
    };
}

flawed! {
    ChecksThenAdds = CheckThenAdd;
    LosesCancelled = LoseCancelled;
    TripsTwice = TripTwice;
    OverwritesCommands = OverwriteCommands;
    ChecksGenerationFirst = CheckGenerationFirst;
    CountsFailuresLater = CountFailureLater;
    OverfillsItsWindow = OverfillWindow;
}
