//! What happens under the lock: every change of state, and the probes of half-open.
//!
//! All of it is rare or short. Nothing here calls out, so the lock is never held across foreign
//! code.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    Admission, Breaker, BreakerSettings, Command, Outcome, Permit, Reason, Recorded, Rejected, State, Transition,
    WindowSnapshot,
    thresholds::{Verdict, judge_overdue, judge_probes},
    nanos_of,
    word::{Probes, Word},
};
use crate::{
    settings::SettingsError,
    sync::{MutexGuard, Ordering, lock},
};

/// Transitions kept for [`Breaker::tick`] when nobody was there to receive them.
const KEPT: usize = 16;
/// Epochs have 28 bits, like the payload that carries them.
const EPOCH_MASK: u32 = (1 << 28) - 1;

/// State that only the holder of the lock touches.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) settings: BreakerSettings,
    /// The window's present epoch.
    epoch: u32,
    /// Trips without a recovery in between.
    trips: u32,
    /// 0 while probing, then the stage of the recovery.
    stage: usize,
    /// Transitions caused by permits dropped in a panic.
    undelivered: VecDeque<Transition>,
}

impl Control {
    pub(super) fn new(settings: BreakerSettings, epoch: u32) -> Self {
        Self { settings, epoch, trips: 0, stage: 0, undelivered: VecDeque::new() }
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

/// Where to, why, when, and on what numbers.
struct Change {
    to: State,
    reason: Reason,
    now: Instant,
    window: WindowSnapshot,
}

impl Breaker {
    /// Moves on what only time moves: an overdue half-open. Also hands over transitions that a
    /// panic kept from their caller. To be called about once a second, and again while it gives
    /// a transition.
    pub fn tick(&self, now: Instant) -> Option<Transition> {
        let mut control = self.lock();
        control.undelivered.pop_front().or_else(|| self.expire(&mut control, now))
    }

    /// Does what an operator says. `None` when it already was as they want it.
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
            let change = Change { to, reason: Reason::Command, now, window: self.counted(word, now) };
            self.transition_to(&mut control, &change)
        });
        if command == Command::Reset {
            self.late.store(0, Ordering::Relaxed);
            control.undelivered.clear();
            if transition.is_none() {
                let epoch = control.next_epoch();
                self.window.reset(epoch);
                self.publish(Word::new(word.generation(), word.state(), epoch));
            }
        }
        transition
    }

    /// Follows a peer that guards the same dependency: opens for the rest of the peer's wait, or
    /// closes with it (`None`). What an operator commanded stays as it was commanded, and an open
    /// breaker keeps its own wait.
    pub fn follow(&self, open_for: Option<Duration>, now: Instant) -> Option<Transition> {
        let mut control = self.lock();
        let word = self.word();
        let to = match (word.state(), open_for) {
            (State::Closed | State::HalfOpen, Some(_)) => State::Open,
            (State::Open | State::HalfOpen, None) => State::Closed,
            _ => return None,
        };
        let change = Change { to, reason: Reason::Shared, now, window: self.counted(word, now) };
        let transition = self.transition_to(&mut control, &change);
        if let Some(wait) = open_for {
            // The state is visible already, with a wait of its own: whoever looks in between is
            // turned away as well, and only told another time.
            self.open_until.store(self.nanos(now).saturating_add(nanos_of(wait)), Ordering::Relaxed);
        }
        Some(transition)
    }

    /// Takes new settings at once. What the window holds is kept as far as its new shape allows;
    /// it is judged by the new thresholds right away, and so are the probes of half-open. An open
    /// wait that has begun stays as long as it was.
    pub fn reconfigure(&self, settings: BreakerSettings, now: Instant) -> Result<Option<Transition>, SettingsError> {
        settings.validate()?;
        let mut control = self.lock();
        let word = self.word();
        let old = std::mem::replace(&mut control.settings, settings);
        let settings = control.settings.clone();
        let window =
            |of: &BreakerSettings| (of.sliding_window_type, of.sliding_window_size, of.minimum_number_of_calls);
        let mut streak = self.window.streak(control.epoch);
        if window(&old) != window(&settings) {
            let before = control.epoch;
            let epoch = control.next_epoch();
            self.window.reshape(&settings, before, epoch);
            if matches!(word.state(), State::Closed | State::MetricsOnly) {
                self.publish(Word::new(word.generation(), word.state(), epoch));
            }
            streak = self.window.streak(epoch);
        }
        self.thresholds.set(&settings);
        Ok(match word.state() {
            State::Closed => {
                let totals = self.window.totals(self.nanos(now));
                self.thresholds.judge(totals, streak).map(|reason| {
                    let change = Change { to: State::Open, reason, now, window: totals };
                    self.transition_to(&mut control, &change)
                })
            }
            State::HalfOpen => self.decide(&mut control, self.word().probes(), now),
            _ => None,
        })
    }

    /// Trips a closed breaker, unless somebody was faster.
    pub(super) fn trip(
        &self,
        generation: u64,
        reason: Reason,
        window: WindowSnapshot,
        now: Instant,
    ) -> Option<Transition> {
        let mut control = self.lock();
        (self.word().generation() == generation).then(|| {
            let change = Change { to: State::Open, reason, now, window };
            self.transition_to(&mut control, &change)
        })
    }

    /// Admission where it takes a decision: the wait is over, or a probe may have a place.
    pub(super) fn admit_under_lock(&self, now: Instant) -> Admission<'_> {
        let mut control = self.lock();
        let overdue = self.expire(&mut control, now);
        let word = self.word();
        if let Some(refusal) = self.refusal(word, self.nanos(now)) {
            return rejected(refusal, overdue);
        }
        let transition = if word.state() == State::Open {
            let change =
                Change { to: State::HalfOpen, reason: Reason::WaitElapsed, now, window: WindowSnapshot::default() };
            Some(self.transition_to(&mut control, &change))
        } else {
            overdue
        };
        let word = self.word();
        if word.state() == State::HalfOpen {
            let mut probes = word.probes();
            probes.in_flight += 1;
            self.publish(Word::new(word.generation(), word.state(), probes.payload()));
        }
        Admission { permit: Ok(Permit::new(self, word, now)), transition }
    }

    /// Takes note of a probe's outcome.
    pub(super) fn settle_probe(&self, issued: Word, outcome: Outcome, slow: bool, now: Instant) -> Recorded {
        let mut control = self.lock();
        let word = self.word();
        if word.generation() != issued.generation() {
            self.late.fetch_add(1, Ordering::Relaxed);
            return Recorded { transition: None, late: true, slow };
        }
        let mut probes = word.probes();
        probes.in_flight -= 1;
        if let Some(sample) = self.thresholds.sample(outcome, slow) {
            // A probe that was given up on, slow as it was, did not succeed.
            if sample.failed || outcome == Outcome::Cancelled {
                probes.failed += 1;
            } else {
                probes.succeeded += 1;
            }
            probes.slow += u32::from(sample.slow);
        }
        self.publish(Word::new(word.generation(), word.state(), probes.payload()));
        Recorded { transition: self.decide(&mut control, probes, now), late: false, slow }
    }

    /// Closes, reopens or goes to the next stage when the probes allow a verdict.
    fn decide(&self, control: &mut Control, probes: Probes, now: Instant) -> Option<Transition> {
        match judge_probes(&control.settings, probes) {
            Verdict::Undecided => None,
            Verdict::Passed => Some(self.advance(control, probes, now)),
            Verdict::Failed => {
                let change =
                    Change { to: State::Open, reason: Reason::ProbesFailed, now, window: counted_probes(probes) };
                Some(self.transition_to(control, &change))
            }
        }
    }

    /// Ends a half-open state that is overdue.
    fn expire(&self, control: &mut Control, now: Instant) -> Option<Transition> {
        let word = self.word();
        if word.state() != State::HalfOpen || self.nanos(now) < self.half_open_until.load(Ordering::Relaxed) {
            return None;
        }
        let probes = word.probes();
        if judge_overdue(&control.settings, probes) == Verdict::Passed {
            return Some(self.advance(control, probes, now));
        }
        let change = Change { to: State::Open, reason: Reason::HalfOpenTimeout, now, window: counted_probes(probes) };
        Some(self.transition_to(control, &change))
    }

    /// The probes, or the stage, went well: on to the next stage, or closed.
    fn advance(&self, control: &mut Control, probes: Probes, now: Instant) -> Transition {
        let reason = if control.stage == 0 { Reason::ProbesSucceeded } else { Reason::StagePassed };
        let stage = control.stage + 1;
        let share = control.settings.recovery_stages.get(stage - 1).copied();
        let to = if share.is_some() { State::HalfOpen } else { State::Closed };
        let change = Change { to, reason, now, window: counted_probes(probes) };
        let transition = self.transition_to(control, &change);
        if let Some(percent) = share {
            control.stage = stage;
            self.thresholds.set_share(percent / 100.0);
        }
        transition
    }

    /// Changes the state: the one place where a generation is given out.
    fn transition_to(&self, control: &mut Control, change: &Change) -> Transition {
        let word = self.word();
        let generation = word.generation() + 1;
        let now = self.nanos(change.now);
        control.stage = 0;
        self.thresholds.set_share(1.0);
        let epoch = control.next_epoch();
        self.window.reset(epoch);
        let mut payload = 0;
        match change.to {
            State::Open => {
                control.trips = control.trips.saturating_add(1);
                let wait = control.settings.open_wait(control.trips, self.rng.uniform());
                self.open_until.store(now.saturating_add(nanos_of(wait)), Ordering::Relaxed);
            }
            State::HalfOpen => {
                let wait = control.settings.max_wait_duration_in_half_open_state;
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
        Transition {
            from: word.state(),
            to: change.to,
            generation,
            reason: change.reason,
            at: change.now,
            window: change.window,
        }
    }

    /// What the present state has counted.
    pub(super) fn counted(&self, word: Word, now: Instant) -> WindowSnapshot {
        match word.state() {
            State::HalfOpen => counted_probes(word.probes()),
            _ => self.window.totals(self.nanos(now)),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Control> {
        lock(&self.control)
    }

    /// Makes a word visible, and everything that was written for it before.
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
