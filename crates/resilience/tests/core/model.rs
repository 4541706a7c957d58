//! A breaker as one would write it on a blackboard: slow, single-threaded, obviously right.

use std::collections::VecDeque;

use breakerbox_resilience::breaker::{BreakerSettings, Command, Outcome, Reason, State};

/// Milliseconds.
pub(crate) type Time = u64;

/// What a permit is to the model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    generation: u64,
    start: Time,
}

/// A change of state: to, number, why.
pub(crate) type Change = (State, u64, Reason);

#[derive(Debug, Default)]
struct Probes {
    in_flight: u32,
    succeeded: u32,
    failed: u32,
    slow: u32,
}

#[derive(Debug)]
pub(crate) struct Model {
    settings: BreakerSettings,
    pub(crate) state: State,
    pub(crate) generation: u64,
    window: VecDeque<(bool, bool)>,
    streak: u32,
    trips: u32,
    stage: usize,
    open_until: Time,
    half_open_until: Time,
    probes: Probes,
    pub(crate) late: u64,
}

fn millis(duration: std::time::Duration) -> Time {
    u64::try_from(duration.as_millis()).unwrap()
}

fn reaches(count: usize, percent: Option<f64>, of: usize) -> bool {
    percent.is_some_and(|percent| count as f64 * 100.0 >= percent * of as f64)
}

impl Model {
    pub(crate) fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            state: State::Closed,
            generation: 1,
            window: VecDeque::new(),
            streak: 0,
            trips: 0,
            stage: 0,
            open_until: 0,
            half_open_until: 0,
            probes: Probes::default(),
            late: 0,
        }
    }

    pub(crate) fn acquire(&mut self, now: Time) -> (Option<Ticket>, Option<Change>) {
        let mut change = self.tick(now);
        if self.state == State::Open && now >= self.open_until {
            change = Some(self.transition_to(State::HalfOpen, Reason::WaitElapsed, now));
        }
        let admitted = match self.state {
            State::Open | State::ForcedOpen => false,
            State::Closed | State::Disabled | State::MetricsOnly => true,
            State::HalfOpen => self.used() < self.settings.permitted_number_of_calls_in_half_open_state,
        };
        if admitted && self.state == State::HalfOpen {
            self.probes.in_flight += 1;
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
                self.probes.in_flight -= 1;
                if let Some(failed) = failed {
                    let bad = failed || outcome == Outcome::Cancelled;
                    self.probes.failed += u32::from(bad);
                    self.probes.succeeded += u32::from(!bad);
                    self.probes.slow += u32::from(slow);
                }
                self.judge_probes(now)
            }
            State::Closed | State::MetricsOnly => self.count(failed?, slow, outcome, now),
            _ => None,
        }
    }

    pub(crate) fn tick(&mut self, now: Time) -> Option<Change> {
        if self.state != State::HalfOpen || now < self.half_open_until {
            return None;
        }
        let (used, probes) = (self.used() as usize, &self.probes);
        let passed = probes.succeeded > 0
            && reaches(probes.succeeded as usize, Some(self.settings.half_open_success_rate_threshold), used)
            && !reaches(probes.slow as usize, self.settings.slow_call_rate_threshold, used);
        Some(if passed { self.advance(now) } else { self.transition_to(State::Open, Reason::HalfOpenTimeout, now) })
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
        self.settings = settings;
        while self.window.len() > self.settings.sliding_window_size as usize {
            self.window.pop_front();
        }
        match self.state {
            State::Closed => self.judge_window(now),
            State::HalfOpen => self.judge_probes(now),
            _ => None,
        }
    }

    /// Calls, failures and slow ones that the state has counted.
    pub(crate) fn counted(&self) -> (u64, u64, u64) {
        if self.state == State::HalfOpen {
            let finished = self.probes.succeeded + self.probes.failed;
            return (finished.into(), self.probes.failed.into(), self.probes.slow.into());
        }
        let count = |of: fn(&(bool, bool)) -> bool| self.window.iter().filter(|call| of(call)).count() as u64;
        (self.window.len() as u64, count(|call| call.0), count(|call| call.1))
    }

    pub(crate) fn in_use(&self) -> u32 {
        if self.state == State::HalfOpen { self.used() } else { 0 }
    }

    pub(crate) fn open_remaining(&self, now: Time) -> Time {
        if self.state == State::Open { self.open_until.saturating_sub(now) } else { 0 }
    }

    fn used(&self) -> u32 {
        self.probes.in_flight + self.probes.succeeded + self.probes.failed
    }

    fn count(&mut self, failed: bool, slow: bool, outcome: Outcome, now: Time) -> Option<Change> {
        if self.window.len() == self.settings.sliding_window_size as usize {
            self.window.pop_front();
        }
        self.window.push_back((failed, slow));
        if failed {
            self.streak += 1;
        } else if outcome == Outcome::Success {
            self.streak = 0;
        }
        if self.state == State::Closed { self.judge_window(now) } else { None }
    }

    fn judge_window(&mut self, now: Time) -> Option<Change> {
        let settings = &self.settings;
        let (calls, failures, slow) = self.counted();
        let (calls, failures, slow) = (calls as usize, failures as usize, slow as usize);
        let minimum = settings.minimum_number_of_calls.min(settings.sliding_window_size) as usize;
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

    fn judge_probes(&mut self, now: Time) -> Option<Change> {
        let settings = &self.settings;
        let of = settings.permitted_number_of_calls_in_half_open_state as usize;
        let goal = Some(settings.half_open_success_rate_threshold);
        let best = of.saturating_sub(self.probes.failed as usize);
        if !reaches(best, goal, of) || reaches(self.probes.slow as usize, settings.slow_call_rate_threshold, of) {
            return Some(self.transition_to(State::Open, Reason::ProbesFailed, now));
        }
        reaches(self.probes.succeeded as usize, goal, of).then(|| self.advance(now))
    }

    fn advance(&mut self, now: Time) -> Change {
        let reason = if self.stage == 0 { Reason::ProbesSucceeded } else { Reason::StagePassed };
        let stage = self.stage + 1;
        if stage <= self.settings.recovery_stages.len() {
            let change = self.transition_to(State::HalfOpen, reason, now);
            self.stage = stage;
            change
        } else {
            self.transition_to(State::Closed, reason, now)
        }
    }

    fn transition_to(&mut self, to: State, reason: Reason, now: Time) -> Change {
        self.state = to;
        self.generation += 1;
        self.stage = 0;
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
