//! Operations under the lock: every change of state, and the probes of half-open.
//!
//! All of them are rare or short. None calls foreign code, so that the lock is never held across it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    Admission, Breaker, BreakerSettings, Command, Outcome, Permit, Reason, Recorded, Rejected, State, Transition,
    WindowSnapshot, nanos_of,
    settings::AfterMaxWait,
    thresholds::{Verdict, judge_overdue, judge_probes, judge_stage},
    word::{Probes, Word},
};
use crate::{
    settings::SettingsError,
    sync::{MutexGuard, Ordering, fence, lock},
};

/// Transitions kept for [`Breaker::tick`] while no caller could receive them.
const KEPT: usize = 16;
/// Epochs have 28 bits, like the payload that carries them.
const EPOCH_MASK: u32 = (1 << 28) - 1;

/// State that only the holder of the lock touches.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) settings: BreakerSettings,
    /// Current epoch of the window.
    epoch: u32,
    /// Trips without a recovery in between.
    trips: u32,
    /// The stage of a recovery; `None` while probing and in every other state.
    pub(super) stage: Option<Stage>,
    /// The latest transition to open that was not a command.
    pub(super) last_trip: Option<Transition>,
    /// Transitions caused by permits dropped in a panic.
    undelivered: VecDeque<Transition>,
}

impl Control {
    pub(super) fn new(settings: BreakerSettings, epoch: u32) -> Self {
        let trips = u32::from(settings.initial_state.state() == State::Open);
        Self { settings, epoch, trips, stage: None, last_trip: None, undelivered: VecDeque::new() }
    }

    /// Keeps a transition until the next tick.
    pub(super) fn keep(&mut self, transition: Transition) {
        if self.undelivered.len() == KEPT {
            self.undelivered.pop_front();
        }
        self.undelivered.push_back(transition);
    }

    fn next_epoch(&mut self) -> u32 {
        self.epoch = self.epoch.wrapping_add(1) & EPOCH_MASK;
        self.epoch
    }
}

/// A stage of a recovery: a share of the traffic passes, for a time and a minimum of calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    /// Index in the settings' list.
    index: usize,
    /// Earliest end, in nanoseconds since the origin.
    until: u64,
    pub(super) in_flight: u32,
    pub(super) counts: WindowSnapshot,
}

/// A planned transition: target, reason, time and statistics.
struct Change {
    to: State,
    reason: Reason,
    now: Instant,
    window: WindowSnapshot,
    /// The first stage of half-open; `None`: its probes.
    stage: Option<usize>,
    /// Duration of open; `None`: from the settings.
    open_for: Option<Duration>,
}

impl Change {
    fn new(to: State, reason: Reason, now: Instant, window: WindowSnapshot) -> Self {
        Self { to, reason, now, window, stage: None, open_for: None }
    }
}

impl Breaker {
    /// Performs the transitions that are due by time alone: an overdue half-open, a finished stage and, if
    /// [enabled](BreakerSettings::automatic_transition_from_open_to_half_open_enabled), the end of an open wait.
    /// Also returns transitions that a panic kept from their caller. Call it about once a second, and again while
    /// it returns a transition.
    pub fn tick(&self, now: Instant) -> Option<Transition> {
        let mut control = self.lock();
        if let Some(kept) = control.undelivered.pop_front() {
            return Some(kept);
        }
        let waited = self.word().state() == State::Open && self.nanos(now) >= self.open_until.load(Ordering::Relaxed);
        if waited && control.settings.automatic_transition_from_open_to_half_open_enabled {
            return Some(self.half_open(&mut control, now));
        }
        self.expire(&mut control, now)
    }

    /// Executes a command of an operator. Returns `None` if the breaker already was in that state.
    pub fn command(&self, command: Command, now: Instant) -> Option<Transition> {
        let mut control = self.lock();
        let to = match command {
            Command::ForceOpen => State::ForcedOpen,
            Command::Close | Command::Reset => State::Closed,
            Command::Disable => State::Disabled,
            Command::MetricsOnly => State::MetricsOnly,
        };
        if matches!(command, Command::Close | Command::Reset) {
            control.trips = 0;
        }
        let word = self.word();
        let transition = (word.state() != to).then(|| {
            let change = Change::new(to, Reason::Command, now, self.counted(&control, word, now));
            self.transition_to(&mut control, &change)
        });
        if command == Command::Reset {
            self.late.store(0, Ordering::Relaxed);
            control.undelivered.clear();
            control.last_trip = None;
            if transition.is_none() {
                let epoch = control.next_epoch();
                self.window.reset(epoch);
                self.publish(Word::new(word.generation(), word.state(), epoch));
            }
        }
        transition
    }

    /// Follows a peer that guards the same dependency: opens for the rest of the peer's wait, or closes with
    /// it (`None`). States set by command are kept, and an open breaker keeps its own wait.
    pub fn follow(&self, open_for: Option<Duration>, now: Instant) -> Option<Transition> {
        let mut control = self.lock();
        let word = self.word();
        let to = match (word.state(), open_for) {
            (State::Closed | State::HalfOpen, Some(_)) => State::Open,
            (State::Open | State::HalfOpen, None) => State::Closed,
            _ => return None,
        };
        let window = self.counted(&control, word, now);
        let change = Change { open_for, ..Change::new(to, Reason::Shared, now, window) };
        Some(self.transition_to(&mut control, &change))
    }

    /// Replaces the settings while running. The content of the window is kept as far as its new shape allows,
    /// and is evaluated by the new thresholds at once, as are the probes of half-open. An open wait or a stage
    /// that has begun keeps its length. When the window changes its shape, the outcome of a call that ends at the
    /// same moment may be missing from it; the number of consecutive failures is always complete.
    pub fn reconfigure(&self, settings: BreakerSettings, now: Instant) -> Result<Option<Transition>, SettingsError> {
        settings.validate()?;
        let mut control = self.lock();
        let word = self.word();
        let old = std::mem::replace(&mut control.settings, settings);
        let settings = control.settings.clone();
        let window = |of: &BreakerSettings| {
            (of.sliding_window_type, of.sliding_window_size, of.sliding_window_duration, of.minimum_number_of_calls)
        };
        if window(&old) != window(&settings) {
            let epoch = control.next_epoch();
            self.window.reshape(&settings, epoch);
            if matches!(word.state(), State::Closed | State::MetricsOnly) {
                self.publish(Word::new(word.generation(), word.state(), epoch));
            }
        }
        self.thresholds.set(&settings);
        // See `follow_up`, which counts first and then reads what has just been written here.
        fence(Ordering::SeqCst);
        Ok(match word.state() {
            State::Closed => self.judge(&mut control, now),
            State::HalfOpen => self.decide(&mut control, now),
            _ => None,
        })
    }

    /// Trips a closed breaker, unless its state has changed since `issued`. A window that was cleared or
    /// reshaped in between is evaluated by its current content.
    pub(super) fn trip(
        &self,
        issued: Word,
        reason: Reason,
        window: WindowSnapshot,
        now: Instant,
    ) -> Option<Transition> {
        let mut control = self.lock();
        let word = self.word();
        if word == issued {
            return Some(self.transition_to(&mut control, &Change::new(State::Open, reason, now, window)));
        }
        if word.generation() == issued.generation() { self.judge(&mut control, now) } else { None }
    }

    /// Trips a closed breaker if its window has reached a threshold.
    fn judge(&self, control: &mut Control, now: Instant) -> Option<Transition> {
        let totals = self.window.totals(self.nanos(now));
        let reason = self.thresholds.judge(totals, self.window.streak(control.epoch))?;
        Some(self.transition_to(control, &Change::new(State::Open, reason, now, totals)))
    }

    /// Slow path of admission: the wait is over, or a probe may be admitted.
    pub(super) fn admit_under_lock(&self, now: Instant) -> Admission<'_> {
        let mut control = self.lock();
        let overdue = self.expire(&mut control, now);
        if let Some(refusal) = self.refusal(self.word(), self.nanos(now)) {
            return rejected(refusal, overdue);
        }
        let waited = self.word().state() == State::Open;
        let transition = if waited { Some(self.half_open(&mut control, now)) } else { overdue };
        let mut word = self.word();
        if word.state() == State::HalfOpen {
            if let Some(stage) = &mut control.stage {
                stage.in_flight += 1;
            } else {
                let mut probes = word.probes();
                probes.in_flight += 1;
                word = Word::new(word.generation(), word.state(), probes.payload());
                self.publish(word);
            }
        }
        Admission { permit: Ok(Permit::new(self, word, now)), transition }
    }

    fn half_open(&self, control: &mut Control, now: Instant) -> Transition {
        let change = Change::new(State::HalfOpen, Reason::WaitElapsed, now, WindowSnapshot::default());
        self.transition_to(control, &change)
    }

    /// Records the outcome of a probe, or of a call in a stage.
    pub(super) fn settle_probe(&self, issued: Word, outcome: Outcome, slow: bool, now: Instant) -> Recorded {
        let mut control = self.lock();
        let word = self.word();
        if word.generation() != issued.generation() {
            self.late.fetch_add(1, Ordering::Relaxed);
            return Recorded { transition: None, late: true, slow };
        }
        let sample = self.thresholds.sample(outcome, slow);
        // A slow probe that was cancelled did not succeed.
        let failed = sample.is_some_and(|sample| sample.failed) || outcome == Outcome::Cancelled;
        if let Some(stage) = &mut control.stage {
            stage.in_flight -= 1;
            if let Some(sample) = sample {
                stage.counts.calls += 1;
                stage.counts.failures += u64::from(failed);
                stage.counts.slow += u64::from(sample.slow);
            }
        } else {
            let mut probes = word.probes();
            probes.in_flight -= 1;
            if let Some(sample) = sample {
                probes.failed += u32::from(failed);
                probes.succeeded += u32::from(!failed);
                probes.slow += u32::from(sample.slow);
            }
            self.publish(Word::new(word.generation(), word.state(), probes.payload()));
        }
        Recorded { transition: self.decide(&mut control, now), late: false, slow }
    }

    /// Closes, reopens or advances the stage if the calls of half-open suffice for a decision.
    fn decide(&self, control: &mut Control, now: Instant) -> Option<Transition> {
        let verdict = match &control.stage {
            Some(stage) => judge_stage(&control.settings, stage.counts, self.nanos(now) >= stage.until),
            None => judge_probes(&control.settings, self.word().probes()),
        };
        match verdict {
            Verdict::Undecided => None,
            Verdict::Passed => Some(self.advance(control, now)),
            Verdict::Failed => {
                let counted = self.counted(control, self.word(), now);
                Some(self.transition_to(control, &Change::new(State::Open, Reason::ProbesFailed, now, counted)))
            }
        }
    }

    /// Ends a half-open state that is overdue, and a stage whose time is over.
    fn expire(&self, control: &mut Control, now: Instant) -> Option<Transition> {
        let word = self.word();
        if word.state() != State::HalfOpen {
            return None;
        }
        if self.nanos(now) < self.half_open_until.load(Ordering::Relaxed) {
            return if control.stage.is_some() { self.decide(control, now) } else { None };
        }
        let counted = self.counted(control, word, now);
        let to = match control.settings.state_after_max_wait_in_half_open {
            AfterMaxWait::Judged => {
                let used = if control.stage.is_some() { counted.calls } else { word.probes().used().into() };
                if judge_overdue(&control.settings, counted, used) == Verdict::Passed {
                    return Some(self.advance(control, now));
                }
                State::Open
            }
            AfterMaxWait::Open => State::Open,
            AfterMaxWait::Closed => State::Closed,
        };
        Some(self.transition_to(control, &Change::new(to, Reason::HalfOpenTimeout, now, counted)))
    }

    /// The probes or the stage succeeded: next stage, or closed.
    fn advance(&self, control: &mut Control, now: Instant) -> Transition {
        let (reason, next) = match control.stage {
            None => (Reason::ProbesSucceeded, 0),
            Some(stage) => (Reason::StagePassed, stage.index + 1),
        };
        let stage = (next < control.settings.recovery_stages.len()).then_some(next);
        let to = if stage.is_some() { State::HalfOpen } else { State::Closed };
        let window = self.counted(control, self.word(), now);
        self.transition_to(control, &Change { stage, ..Change::new(to, reason, now, window) })
    }

    /// Changes the state: the only place that assigns a generation. All data of the new state is written
    /// before its word is published.
    fn transition_to(&self, control: &mut Control, change: &Change) -> Transition {
        let word = self.word();
        let generation = word.generation() + 1;
        let now = self.nanos(change.now);
        let epoch = control.next_epoch();
        self.window.reset(epoch);
        control.stage = change.stage.map(|index| Stage {
            index,
            until: now.saturating_add(nanos_of(control.settings.recovery_stage_duration)),
            in_flight: 0,
            counts: WindowSnapshot::default(),
        });
        let share = change.stage.and_then(|index| control.settings.recovery_stages.get(index).copied());
        self.thresholds.set_share(share.map_or(1.0, |percent| percent / 100.0));
        let (mut payload, mut open_for) = (0, None);
        match change.to {
            State::Open => {
                control.trips = control.trips.saturating_add(1);
                let own = || control.settings.open_wait(control.trips, self.rng.uniform());
                let wait = change.open_for.unwrap_or_else(own);
                self.open_until.store(now.saturating_add(nanos_of(wait)), Ordering::Relaxed);
                open_for = Some(wait);
            }
            State::HalfOpen => {
                let least = change.stage.map_or(Duration::ZERO, |_| control.settings.recovery_stage_duration);
                let wait = control.settings.max_wait_duration_in_half_open_state.max(least);
                self.half_open_until.store(now.saturating_add(nanos_of(wait)), Ordering::Relaxed);
            }
            State::Closed => {
                control.trips = 0;
                payload = epoch;
            }
            State::MetricsOnly => payload = epoch,
            State::ForcedOpen | State::Disabled => {}
        }
        self.publish(Word::new(generation, change.to, payload));
        let transition = Transition {
            from: word.state(),
            to: change.to,
            generation,
            reason: change.reason,
            at: change.now,
            window: change.window,
            open_for,
        };
        if change.to == State::Open {
            control.last_trip = Some(transition);
        }
        transition
    }

    /// Statistics of the current state.
    pub(super) fn counted(&self, control: &Control, word: Word, now: Instant) -> WindowSnapshot {
        match (word.state(), &control.stage) {
            (State::HalfOpen, Some(stage)) => stage.counts,
            (State::HalfOpen, None) => counted_probes(word.probes()),
            _ => self.window.totals(self.nanos(now)),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Control> {
        lock(&self.control)
    }

    /// Publishes a word and everything that was written for it before.
    fn publish(&self, word: Word) {
        self.word.0.store(word.0, Ordering::Release);
    }
}

fn counted_probes(probes: Probes) -> WindowSnapshot {
    WindowSnapshot { calls: probes.finished().into(), failures: probes.failed.into(), slow: probes.slow.into() }
}

fn rejected<'a>(refusal: Rejected, transition: Option<Transition>) -> Admission<'a> {
    Admission { permit: Err(refusal), transition }
}
