//! The circuit breaker as a pure function of one stored item.
//!
//! A function instance lives for seconds and shares nothing with the next one, so the breaker lives in
//! the database: each decision reads the item, computes its successor here, and writes it on the
//! condition that the item did not change in between (see [`crate::store`]). Time is an argument.
//!
//! # Semantics
//!
//! - *Closed*: `failure_threshold` failures in a row open it; a success resets the count.
//! - *Open*: for `open_millis`, every call is rejected, with the remaining time.
//! - *Half-open*: at most `permitted_calls` probes in total. It closes when the share of successes can no
//!   longer fall below `success_rate`, and reopens as soon as that share can't be reached any more.
//!   A probe whose instance died expires after `probe_millis`, and counts as a failure.
//!
//! Each permit carries the generation of the state that issued it. An outcome with another generation
//! is ignored: a call that began before the trip must not count as a probe after it.

use serde::{Deserialize, Serialize};

/// Thresholds; the defaults are those of the payment gateway.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Number of consecutive failures that opens the breaker, at least 1.
    pub failure_threshold: u32,
    /// Duration of the open state, milliseconds.
    pub open_millis: u64,
    /// Maximum number of probes in one half-open state, at least 1.
    pub permitted_calls: u32,
    /// Share of probes that must succeed, 0–1.
    pub success_rate: f64,
    /// Time after which a probe without an outcome counts as failed, milliseconds.
    pub probe_millis: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { failure_threshold: 3, open_millis: 300_000, permitted_calls: 5, success_rate: 0.8, probe_millis: 30_000 }
    }
}

/// State of the breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Calls pass.
    #[default]
    Closed,
    /// Calls are rejected.
    Open,
    /// A limited number of probes pass.
    #[serde(rename = "HALF_OPEN")]
    HalfOpen,
}

impl State {
    /// Spelling in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Open => "OPEN",
            Self::HalfOpen => "HALF_OPEN",
        }
    }
}

/// The stored item.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Incremented by each write, which is conditional on the previous value.
    pub version: u64,
    /// Incremented by each change of state.
    pub generation: u64,
    /// The state.
    pub state: State,
    /// Consecutive failures while closed.
    pub failures_in_a_row: u32,
    /// End of the open state, Unix milliseconds; 0 in other states.
    pub open_until: u64,
    /// Probes that succeeded in this half-open state.
    pub probes_succeeded: u32,
    /// Probes that failed in this half-open state.
    pub probes_failed: u32,
    /// Expiry of each running probe, Unix milliseconds.
    pub probes_running: Vec<u64>,
}

/// Permission for one call, whose outcome must be recorded with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    generation: u64,
    /// The deadline that identifies a probe.
    probe: Option<u64>,
}

/// Decision about a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The call may be made after the record, if there is one, is stored.
    Admitted(Permit, Option<Record>),
    /// The call is rejected.
    Rejected {
        /// Milliseconds until the next probe is permitted.
        retry_after: u64,
        /// The record after probes of dead instances have expired, if it changed.
        next: Option<Record>,
    },
}

/// Outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered; a declined card is an answer.
    Success,
    /// Failed, timed out, or of unknown outcome.
    Failure,
}

impl Record {
    /// Decides whether a call may be made at `now` (Unix milliseconds).
    #[must_use]
    pub fn admit(&self, settings: &Settings, now: u64) -> Decision {
        match self.state {
            State::Closed => Decision::Admitted(Permit { generation: self.generation, probe: None }, None),
            State::Open if now < self.open_until => {
                Decision::Rejected { retry_after: self.open_until - now, next: None }
            }
            State::Open => self.moved(State::HalfOpen, 0).probe(settings, now),
            State::HalfOpen => {
                let settled = self.given_up(settings, now);
                match settled.state {
                    State::HalfOpen => settled.probe(settings, now),
                    // Expired probes are failures, so the new state is open.
                    _ => {
                        Decision::Rejected { retry_after: settled.open_until.saturating_sub(now), next: Some(settled) }
                    }
                }
            }
        }
    }

    /// The record after a call; `None` if it does not change.
    #[must_use]
    pub fn after(&self, permit: Permit, outcome: Outcome, settings: &Settings, now: u64) -> Option<Self> {
        if permit.generation != self.generation {
            return None;
        }
        let mut next = self.clone();
        match (self.state, outcome) {
            (State::Closed, Outcome::Success) if self.failures_in_a_row == 0 => return None,
            (State::Closed, Outcome::Success) => next.failures_in_a_row = 0,
            (State::Closed, Outcome::Failure) => {
                next.failures_in_a_row += 1;
                if next.failures_in_a_row >= settings.failure_threshold {
                    next = next.moved(State::Open, now + settings.open_millis);
                }
            }
            (State::HalfOpen, _) => {
                let running = permit.probe.and_then(|own| next.probes_running.iter().position(|at| *at == own))?;
                next.probes_running.swap_remove(running);
                match outcome {
                    Outcome::Success => next.probes_succeeded += 1,
                    Outcome::Failure => next.probes_failed += 1,
                }
                next = next.judged(settings, now);
            }
            (State::Open, _) => return None,
        }
        Some(next)
    }

    fn moved(&self, state: State, open_until: u64) -> Self {
        Self { version: self.version, generation: self.generation + 1, state, open_until, ..Self::default() }
    }

    /// Admits another probe, if the limit allows it.
    fn probe(mut self, settings: &Settings, now: u64) -> Decision {
        let used =
            self.probes_succeeded + self.probes_failed + u32::try_from(self.probes_running.len()).unwrap_or(u32::MAX);
        if used >= settings.permitted_calls {
            let first = self.probes_running.iter().min().copied().unwrap_or(now);
            return Decision::Rejected { retry_after: first.saturating_sub(now).max(1), next: None };
        }
        // The expiry also identifies the probe, so it must be unique.
        let mut deadline = now + settings.probe_millis;
        while self.probes_running.contains(&deadline) {
            deadline += 1;
        }
        self.probes_running.push(deadline);
        Decision::Admitted(Permit { generation: self.generation, probe: Some(deadline) }, Some(self))
    }

    /// Counts expired probes as failed.
    fn given_up(&self, settings: &Settings, now: u64) -> Self {
        let mut next = self.clone();
        let before = next.probes_running.len();
        next.probes_running.retain(|deadline| *deadline > now);
        next.probes_failed += u32::try_from(before - next.probes_running.len()).unwrap_or(u32::MAX);
        next.judged(settings, now)
    }

    /// Closes or reopens as soon as the remaining probes cannot change the result.
    fn judged(self, settings: &Settings, now: u64) -> Self {
        let all = f64::from(settings.permitted_calls);
        let best = all - f64::from(self.probes_failed);
        if f64::from(self.probes_succeeded) / all >= settings.success_rate {
            self.moved(State::Closed, 0)
        } else if best / all < settings.success_rate {
            self.moved(State::Open, now + settings.open_millis)
        } else {
            self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn admitted(record: &Record, now: u64) -> (Permit, Record) {
        match record.admit(&Settings::default(), now) {
            Decision::Admitted(permit, next) => (permit, next.unwrap_or_else(|| record.clone())),
            Decision::Rejected { retry_after, .. } => panic!("rejected for {retry_after} ms"),
        }
    }

    fn call(record: &Record, outcome: Outcome, now: u64) -> Record {
        let (permit, next) = admitted(record, now);
        next.after(permit, outcome, &Settings::default(), now).unwrap_or(next)
    }

    fn open() -> Record {
        (0..3).fold(Record::default(), |record, _| call(&record, Outcome::Failure, NOW))
    }

    #[test]
    fn three_failures_in_a_row_open_it_for_five_minutes() {
        let record = call(&call(&Record::default(), Outcome::Failure, NOW), Outcome::Failure, NOW);
        let record = call(&record, Outcome::Success, NOW);
        assert_eq!((record.state, record.failures_in_a_row), (State::Closed, 0), "a success in between");
        let record = open();
        assert_eq!(record.state, State::Open);
        let rejected = |now| record.admit(&Settings::default(), now);
        assert_eq!(rejected(NOW), Decision::Rejected { retry_after: 300_000, next: None });
        assert_eq!(rejected(NOW + 299_999), Decision::Rejected { retry_after: 1, next: None });
        assert!(matches!(rejected(NOW + 300_000), Decision::Admitted(..)));
    }

    #[test]
    fn four_of_five_probes_close_it() {
        use Outcome::{Failure, Success};
        let after = NOW + 300_000;
        for (outcomes, state) in [
            (&[Success, Success, Success, Success][..], State::Closed),
            (&[Success, Failure, Success, Success, Success], State::Closed),
            (&[Success, Success, Success], State::HalfOpen),
            (&[Success, Failure, Failure], State::Open),
        ] {
            let record = outcomes.iter().fold(open(), |record, outcome| call(&record, *outcome, after));
            assert_eq!(record.state, state, "{outcomes:?}");
        }
    }

    #[test]
    fn half_open_admits_five_in_all() {
        let after = NOW + 300_000;
        let record = (0..5).fold(open(), |record, _| admitted(&record, after).1);
        assert_eq!(record.admit(&Settings::default(), after), Decision::Rejected { retry_after: 30_000, next: None });
    }

    #[test]
    fn probes_of_dead_instances_reopen_it() {
        let after = NOW + 300_000;
        let record = (0..5).fold(open(), |record, _| admitted(&record, after).1);
        let late = after + 31_000;
        let Decision::Rejected { retry_after: 300_000, next: Some(reopened) } =
            record.admit(&Settings::default(), late)
        else {
            panic!("it must reopen")
        };
        assert_eq!(reopened.state, State::Open);
        let stored = reopened.admit(&Settings::default(), late + 1_000);
        assert_eq!(stored, Decision::Rejected { retry_after: 299_000, next: None }, "and not again from then on");
    }

    #[test]
    fn late_outcomes_change_nothing() {
        let (before, _) = admitted(&Record::default(), NOW);
        assert_eq!(open().after(before, Outcome::Success, &Settings::default(), NOW), None);
        let (probe, half_open) = admitted(&open(), NOW + 300_000);
        let reopened = half_open.moved(State::Open, NOW + 900_000);
        assert_eq!(reopened.after(probe, Outcome::Success, &Settings::default(), NOW), None);
    }

    #[test]
    fn a_probe_is_recorded_once() {
        let after = NOW + 300_000;
        let (probe, record) = admitted(&open(), after);
        let once = record.after(probe, Outcome::Success, &Settings::default(), after).unwrap();
        assert_eq!(once.after(probe, Outcome::Success, &Settings::default(), after), None);
    }
}
