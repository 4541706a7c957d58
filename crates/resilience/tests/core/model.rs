//! A reference model of the breaker: slow, single-threaded, and simple enough to be checked by reading.

use std::collections::VecDeque;

use breakerbox_resilience::{
    breaker::{AfterMaxWait, BreakerSettings, Command, Outcome, Reason, State, WindowType},
    random::Rng,
};

/// Milliseconds.
pub(crate) type Time = u64;

/// The model's counterpart of a permit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    generation: u64,
    start: Time,
}

/// A transition: new state, generation, reason.
pub(crate) type Change = (State, u64, Reason);

#[derive(Debug, Default)]
struct Probes {
    in_flight: u32,
    succeeded: u32,
    failed: u32,
    slow: u32,
}

/// A stage of a recovery: its index, the percentage it admits, its earliest end, and its calls, failures and slow
/// calls.
#[derive(Debug)]
struct Stage {
    index: usize,
    share: f64,
    until: Time,
    in_flight: u32,
    calls: u64,
    failures: u64,
    slow: u64,
}

/// The calls of a window, each with its bucket if the window is time-based.
#[derive(Debug, Default)]
struct Window {
    calls: VecDeque<(bool, bool, i64)>,
    /// The newest bucket.
    newest: i64,
    /// The earliest bucket that was a whole window behind the newest, since the newest last moved.
    behind: Option<i64>,
}

/// log₂ of a bucket's width in nanoseconds, and the number of buckets in a window.
fn buckets(settings: &BreakerSettings) -> (u32, i64) {
    let span =
        settings.sliding_window_duration.unwrap_or_else(|| panic!("the model's windows over time have a duration"));
    let nanos = u64::try_from(span.as_nanos()).unwrap();
    let shift = (nanos / 16).ilog2();
    (shift, i64::try_from(nanos.div_ceil(1 << shift)).unwrap())
}

impl Window {
    fn bucket(settings: &BreakerSettings, now: Time) -> i64 {
        i64::try_from((now * 1_000_000) >> buckets(settings).0).unwrap()
    }

    fn push(&mut self, settings: &BreakerSettings, call: (bool, bool), now: Time) {
        if settings.sliding_window_type == WindowType::CountBased {
            if self.calls.len() == settings.sliding_window_size as usize {
                self.calls.pop_front();
            }
            self.calls.push_back((call.0, call.1, 0));
            return;
        }
        let (bucket, (_, span)) = (Self::bucket(settings, now), buckets(settings));
        let mut follow = 0;
        if bucket > self.newest {
            self.newest = bucket;
            self.behind = None;
        } else if self.newest - bucket > span {
            match self.behind {
                Some(since) if bucket >= since + span => {
                    self.behind = None;
                    follow = self.newest - bucket;
                }
                Some(since) => self.behind = Some(since.min(bucket)),
                None => self.behind = Some(bucket),
            }
        }
        self.calls.push_back((call.0, call.1, self.newest));
        // The clock has jumped back, so the window moves back to where the calls are.
        self.newest -= follow;
        for call in &mut self.calls {
            call.2 -= follow;
        }
        self.calls.retain(|call| call.2 > self.newest - span);
    }

    /// Calls, failures and slow calls at a given time.
    fn counted(&self, settings: &BreakerSettings, now: Time) -> (u64, u64, u64) {
        let from = match settings.sliding_window_type {
            WindowType::CountBased => i64::MIN,
            WindowType::TimeBased => self.newest.max(Self::bucket(settings, now)) - buckets(settings).1,
        };
        let held = || self.calls.iter().filter(|call| call.2 > from);
        (
            held().count() as u64,
            held().filter(|call| call.0).count() as u64,
            held().filter(|call| call.1).count() as u64,
        )
    }

    fn clear(&mut self) {
        self.calls.clear();
        self.behind = None;
    }

    fn reshape(&mut self, old: &BreakerSettings, new: &BreakerSettings) {
        use WindowType::{CountBased, TimeBased};
        match (old.sliding_window_type, new.sliding_window_type) {
            (CountBased, CountBased) => {
                while self.calls.len() > new.sliding_window_size as usize {
                    self.calls.pop_front();
                }
            }
            (TimeBased, TimeBased) => {
                let ((old_shift, span), (shift, _)) = (buckets(old), buckets(new));
                let moved = |bucket: i64| (bucket.max(0) << old_shift) >> shift;
                self.calls.retain(|call| call.2 > self.newest - span);
                for call in &mut self.calls {
                    call.2 = moved(call.2);
                }
                self.newest = moved(self.newest);
                self.behind = None;
            }
            (_, to) => {
                self.clear();
                if to == TimeBased {
                    self.newest = 0;
                }
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Model {
    settings: BreakerSettings,
    pub(crate) state: State,
    pub(crate) generation: u64,
    window: Window,
    streak: u32,
    trips: u32,
    stage: Option<Stage>,
    open_until: Time,
    half_open_until: Time,
    probes: Probes,
    rng: Rng,
    pub(crate) late: u64,
}

fn millis(duration: std::time::Duration) -> Time {
    u64::try_from(duration.as_millis()).unwrap()
}

fn reaches(count: usize, percent: Option<f64>, of: usize) -> bool {
    percent.is_some_and(|percent| count as f64 * 100.0 >= percent * of as f64)
}

impl Model {
    /// `seed` is the breaker's seed: the model must admit the same calls during a stage.
    pub(crate) fn new(settings: BreakerSettings, seed: u64) -> Self {
        Self {
            settings,
            state: State::Closed,
            generation: 1,
            window: Window::default(),
            streak: 0,
            trips: 0,
            stage: None,
            open_until: 0,
            half_open_until: 0,
            probes: Probes::default(),
            rng: Rng::new(seed),
            late: 0,
        }
    }

    pub(crate) fn acquire(&mut self, now: Time) -> (Option<Ticket>, Option<Change>) {
        let permitted = self.settings.permitted_number_of_calls_in_half_open_state;
        let share = self.stage.as_ref().map_or(100.0, |stage| stage.share);
        if self.state == State::HalfOpen && now < self.half_open_until {
            let full = self.stage.is_none() && self.used() >= permitted;
            if full || (share < 100.0 && self.rng.uniform() >= share / 100.0) {
                return (None, None);
            }
        }
        let mut change = self.expire(now);
        if self.state == State::Open && now >= self.open_until {
            change = Some(self.transition_to(State::HalfOpen, Reason::WaitElapsed, now));
        }
        let admitted = !matches!(self.state, State::Open | State::ForcedOpen);
        if admitted && self.state == State::HalfOpen {
            match &mut self.stage {
                Some(stage) => stage.in_flight += 1,
                None => self.probes.in_flight += 1,
            }
        }
        (admitted.then_some(Ticket { generation: self.generation, start: now }), change)
    }

    pub(crate) fn record(&mut self, ticket: Ticket, outcome: Outcome, now: Time) -> Option<Change> {
        if ticket.generation != self.generation {
            self.late += 1;
            return None;
        }
        let slow = now.saturating_sub(ticket.start) >= millis(self.settings.slow_call_duration_threshold);
        let failed = match outcome {
            Outcome::Success => Some(false),
            Outcome::Failure | Outcome::Timeout | Outcome::Panicked => Some(true),
            Outcome::Cancelled => slow.then_some(false),
            Outcome::Ignored => None,
        };
        match self.state {
            State::HalfOpen => {
                let bad = failed.map(|failed| failed || outcome == Outcome::Cancelled);
                match &mut self.stage {
                    Some(stage) => {
                        stage.in_flight -= 1;
                        if let Some(bad) = bad {
                            stage.calls += 1;
                            stage.failures += u64::from(bad);
                            stage.slow += u64::from(slow);
                        }
                    }
                    None => {
                        self.probes.in_flight -= 1;
                        if let Some(bad) = bad {
                            self.probes.failed += u32::from(bad);
                            self.probes.succeeded += u32::from(!bad);
                            self.probes.slow += u32::from(slow);
                        }
                    }
                }
                self.judge_half_open(now)
            }
            State::Closed | State::MetricsOnly => self.count(failed?, slow, outcome, now),
            _ => None,
        }
    }

    pub(crate) fn tick(&mut self, now: Time) -> Option<Change> {
        let automatic = self.settings.automatic_transition_from_open_to_half_open_enabled;
        if automatic && self.state == State::Open && now >= self.open_until {
            return Some(self.transition_to(State::HalfOpen, Reason::WaitElapsed, now));
        }
        self.expire(now)
    }

    fn expire(&mut self, now: Time) -> Option<Change> {
        if self.state != State::HalfOpen {
            return None;
        }
        if now < self.half_open_until {
            return if self.stage.is_some() { self.judge_half_open(now) } else { None };
        }
        let to = match self.settings.state_after_max_wait_in_half_open {
            AfterMaxWait::Judged => {
                let (calls, failures, slow) = self.counted(now);
                let of = if self.stage.is_some() { calls } else { self.used().into() } as usize;
                let good = (calls - failures) as usize;
                let passed = good > 0
                    && reaches(good, Some(self.settings.half_open_success_rate_threshold), of)
                    && !reaches(slow as usize, self.settings.slow_call_rate_threshold, of);
                if passed {
                    return Some(self.advance(now));
                }
                State::Open
            }
            AfterMaxWait::Open => State::Open,
            AfterMaxWait::Closed => State::Closed,
        };
        Some(self.transition_to(to, Reason::HalfOpenTimeout, now))
    }

    pub(crate) fn command(&mut self, command: Command, now: Time) -> Option<Change> {
        let to = match command {
            Command::ForceOpen => State::ForcedOpen,
            Command::Disable => State::Disabled,
            Command::MetricsOnly => State::MetricsOnly,
            Command::Close | Command::Reset => State::Closed,
        };
        if to == State::Closed {
            self.trips = 0;
        }
        let change = (self.state != to).then(|| self.transition_to(to, Reason::Command, now));
        if command == Command::Reset {
            self.window.clear();
            self.streak = 0;
            self.late = 0;
        }
        change
    }

    pub(crate) fn reconfigure(&mut self, settings: BreakerSettings, now: Time) -> Option<Change> {
        let old = std::mem::replace(&mut self.settings, settings);
        let window = |of: &BreakerSettings| {
            (of.sliding_window_type, of.sliding_window_size, of.sliding_window_duration, of.minimum_number_of_calls)
        };
        if window(&old) != window(&self.settings) {
            self.window.reshape(&old, &self.settings);
        }
        match self.state {
            State::Closed => self.judge_window(now, now),
            State::HalfOpen => self.judge_half_open(now),
            _ => None,
        }
    }

    /// Calls, failures and slow calls counted in the present state.
    pub(crate) fn counted(&self, now: Time) -> (u64, u64, u64) {
        match (&self.stage, self.state) {
            (Some(stage), State::HalfOpen) => (stage.calls, stage.failures, stage.slow),
            (None, State::HalfOpen) => {
                let finished = self.probes.succeeded + self.probes.failed;
                (finished.into(), self.probes.failed.into(), self.probes.slow.into())
            }
            _ => self.window.counted(&self.settings, now),
        }
    }

    pub(crate) fn in_use(&self) -> u32 {
        match (&self.stage, self.state) {
            (Some(stage), State::HalfOpen) => stage.in_flight,
            (None, State::HalfOpen) => self.used(),
            _ => 0,
        }
    }

    pub(crate) fn open_remaining(&self, now: Time) -> Time {
        if self.state == State::Open { self.open_until.saturating_sub(now) } else { 0 }
    }

    fn used(&self) -> u32 {
        self.probes.in_flight + self.probes.succeeded + self.probes.failed
    }

    fn count(&mut self, failed: bool, slow: bool, outcome: Outcome, now: Time) -> Option<Change> {
        self.window.push(&self.settings, (failed, slow), now);
        if failed {
            self.streak += 1;
        } else if outcome == Outcome::Success {
            self.streak = 0;
        }
        // Evaluated up to the newest bucket, even if this call carries an older time.
        if self.state == State::Closed { self.judge_window(0, now) } else { None }
    }

    fn judge_window(&mut self, at: Time, now: Time) -> Option<Change> {
        let settings = &self.settings;
        let (calls, failures, slow) = self.window.counted(settings, at);
        let (calls, failures, slow) = (calls as usize, failures as usize, slow as usize);
        let minimum = match settings.sliding_window_type {
            WindowType::CountBased => settings.minimum_number_of_calls.min(settings.sliding_window_size),
            WindowType::TimeBased => settings.minimum_number_of_calls,
        } as usize;
        let reason = if settings.consecutive_failure_threshold.is_some_and(|n| self.streak >= n) {
            Reason::ConsecutiveFailures
        } else if calls < minimum {
            return None;
        } else if reaches(failures, settings.failure_rate_threshold, calls) {
            Reason::FailureRate
        } else if reaches(slow, settings.slow_call_rate_threshold, calls) {
            Reason::SlowCallRate
        } else {
            return None;
        };
        Some(self.transition_to(State::Open, reason, now))
    }

    fn judge_half_open(&mut self, now: Time) -> Option<Change> {
        let settings = &self.settings;
        let (calls, failures, slow) = self.counted(now);
        let least = u64::from(settings.permitted_number_of_calls_in_half_open_state);
        let of = calls.max(least);
        let goal = Some(settings.half_open_success_rate_threshold);
        let best = of.saturating_sub(failures) as usize;
        if !reaches(best, goal, of as usize) || reaches(slow as usize, settings.slow_call_rate_threshold, of as usize) {
            return Some(self.transition_to(State::Open, Reason::ProbesFailed, now));
        }
        let complete = match &self.stage {
            Some(stage) => now >= stage.until && calls >= least,
            None => self.probes.in_flight == 0,
        };
        // A threshold below one call still requires one.
        let enough = calls > failures && reaches((calls - failures) as usize, goal, of as usize);
        (complete && enough).then(|| self.advance(now))
    }

    fn advance(&mut self, now: Time) -> Change {
        let (reason, next) = match &self.stage {
            None => (Reason::ProbesSucceeded, 0),
            Some(stage) => (Reason::StagePassed, stage.index + 1),
        };
        let Some(share) = self.settings.recovery_stages.get(next).copied() else {
            return self.transition_to(State::Closed, reason, now);
        };
        let change = self.transition_to(State::HalfOpen, reason, now);
        let lasts = millis(self.settings.recovery_stage_duration);
        self.stage =
            Some(Stage { index: next, share, until: now + lasts, in_flight: 0, calls: 0, failures: 0, slow: 0 });
        self.half_open_until = now + millis(self.settings.max_wait_duration_in_half_open_state).max(lasts);
        change
    }

    fn transition_to(&mut self, to: State, reason: Reason, now: Time) -> Change {
        self.state = to;
        self.generation += 1;
        self.stage = None;
        self.window.clear();
        self.streak = 0;
        self.probes = Probes::default();
        match to {
            State::Open => {
                self.trips += 1;
                let first = millis(self.settings.wait_duration_in_open_state) as f64;
                let grown = first * self.settings.open_wait_multiplier.powi(self.trips as i32 - 1);
                let most = millis(self.settings.max_wait_duration_in_open_state) as f64;
                self.open_until = now + grown.min(most) as Time;
                let _jitter = self.rng.uniform();
            }
            State::HalfOpen => {
                self.half_open_until = now + millis(self.settings.max_wait_duration_in_half_open_state);
            }
            State::Closed => self.trips = 0,
            _ => {}
        }
        (to, self.generation, reason)
    }
}
