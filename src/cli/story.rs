//! Terminal output of a process with viewers: a line for each incident, each breaker that opens or closes, and
//! the end of each incident, with the results of viewers' requests.
//!
//! Probes are folded: a breaker that goes from open to half-open and back is still open, and the line about its
//! closing has the number of failed rounds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use breakerbox_resilience::breaker::State;
use breakerbox_telemetry::{TransitionLog, TransitionRecord};
use tokio::sync::broadcast::error::RecvError;

use super::run::say;
use crate::app::Parts;
use crate::clock;
use crate::scenario::{Scenario, StepStatus};
use crate::traffic::{Seen, Traffic};

/// Polling interval of the scenario.
const LOOK: Duration = Duration::from_millis(250);

/// The time of day in UTC.
fn time_of_day(unix_seconds: u64) -> String {
    let second = unix_seconds % 86_400;
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

fn tell(line: &str) {
    say(&format!("{}  {line}", time_of_day(clock::wall().as_secs())));
}

/// Prints lines for as long as the future is polled.
pub(super) async fn run(parts: &Parts) {
    let incidents = async {
        match &parts.scenario {
            Some(scenario) => tell_incidents(scenario, parts.traffic.as_ref()).await,
            None => std::future::pending().await,
        }
    };
    tokio::join!(tell_transitions(&parts.telemetry.transitions), incidents);
}

async fn tell_transitions(transitions: &TransitionLog) {
    let mut feed = transitions.subscribe();
    let mut probing = Probing::default();
    loop {
        match feed.recv().await {
            Ok(record) => probing.line(&record).iter().for_each(|line| tell(line)),
            Err(RecvError::Lagged(missed)) => {
                tell(&format!("{missed} state changes not shown: this terminal is too slow"));
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Failed probes of each breaker since it opened.
#[derive(Default)]
struct Probing {
    failed: BTreeMap<(String, String), u32>,
}

impl Probing {
    /// The line for a transition; `None` for probes.
    fn line(&mut self, record: &TransitionRecord) -> Option<String> {
        let TransitionRecord { service, breaker, from, to, reason, calls, failures, slow_calls, .. } = record;
        let key = || (service.clone(), breaker.clone());
        let name = format!("{service} → {breaker}");
        match (from, to) {
            (_, State::HalfOpen) => None,
            (State::HalfOpen, State::Open) => {
                *self.failed.entry(key()).or_default() += 1;
                None
            }
            (_, State::Open) => {
                self.failed.insert(key(), 0);
                let slow = if *slow_calls > 0 { format!(", {slow_calls} slow") } else { String::new() };
                let mut line = format!("{name} opens ({}: {failures} of {calls} failed{slow})", reason.as_str());
                if let Some(wait) = record.open_wait {
                    // Writing into a String can't fail.
                    let _ = write!(line, ", next probe in {:.0} s", wait.as_secs_f64());
                }
                Some(line)
            }
            (_, State::Closed) => {
                let tried = match self.failed.remove(&key()) {
                    None | Some(0) => String::new(),
                    Some(1) => " after one failed round of probes".to_owned(),
                    Some(times) => format!(" after {times} failed rounds of probes"),
                };
                Some(format!("{name} closes{tried} ({})", reason.as_str()))
            }
            _ => Some(format!("{name}: {} → {} ({})", from.as_str(), to.as_str(), reason.as_str())),
        }
    }
}

async fn tell_incidents(scenario: &Scenario, traffic: Option<&Traffic>) {
    let mut under_way: BTreeMap<String, Vec<(String, Seen)>> = BTreeMap::new();
    let mut every = tokio::time::interval(LOOK);
    loop {
        every.tick().await;
        let status = scenario.status();
        let seen = || traffic.map(Traffic::seen).unwrap_or_default();
        let step = |name: &str| status.steps.iter().find(|step| step.name == name);
        for name in &status.active {
            if !under_way.contains_key(name) {
                under_way.insert(name.clone(), seen());
                tell(&begins(name, step(name)));
            }
        }
        let over: Vec<_> = under_way.keys().filter(|name| !status.active.contains(name)).cloned().collect();
        for name in over {
            let before = under_way.remove(&name).unwrap_or_default();
            tell(&format!("■ {name} is over{}", got(&before, &seen())));
        }
    }
}

fn begins(name: &str, step: Option<&StepStatus>) -> String {
    let Some(step) = step else { return format!("▶ {name}") };
    let lasts = step.to_seconds - step.from_seconds;
    let at = step.target.as_ref().map(|target| format!(" at {target}")).unwrap_or_default();
    format!("▶ {name}{at}, for {lasts:.0} s. {}", step.note)
}

/// Viewers' results for each target between two moments.
fn got(before: &[(String, Seen)], after: &[(String, Seen)]) -> String {
    let mut text = String::new();
    for (name, now) in after {
        let from = before.iter().find(|(other, _)| other == name).map(|(_, seen)| *seen).unwrap_or_default();
        let grown = |now: u64, before: u64| now.saturating_sub(before);
        let (ok, degraded, errors) =
            (grown(now.ok, from.ok), grown(now.degraded, from.degraded), grown(now.errors, from.errors));
        let all = ok + degraded + errors;
        if all > 0 {
            let share = |part: u64| 100.0 * part as f64 / all as f64;
            // Writing into a String can't fail.
            let _ = write!(
                text,
                "; {name}: {all} pages, {:.1} % in part from a fallback, {:.1} % errors",
                share(degraded),
                share(errors)
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use breakerbox_resilience::breaker::Reason;

    use super::*;

    fn change(from: State, to: State, reason: Reason) -> TransitionRecord {
        TransitionRecord {
            unix_seconds: 0.0,
            service: "gateway".to_owned(),
            breaker: "catalog".to_owned(),
            from,
            to,
            reason,
            generation: 1,
            calls: 10,
            failures: 6,
            slow_calls: 0,
            failure_ratio: Some(0.6),
            slow_ratio: Some(0.0),
            open_wait: (to == State::Open).then(|| Duration::from_secs(20)),
        }
    }

    #[test]
    fn probes_are_folded_into_the_closing() {
        let mut probing = Probing::default();
        let mut line = |from, to, reason| probing.line(&change(from, to, reason));
        assert_eq!(
            line(State::Closed, State::Open, Reason::FailureRate).unwrap(),
            "gateway → catalog opens (failure_rate: 6 of 10 failed), next probe in 20 s"
        );
        for _ in 0..2 {
            assert_eq!(line(State::Open, State::HalfOpen, Reason::WaitElapsed), None);
            assert_eq!(line(State::HalfOpen, State::Open, Reason::ProbesFailed), None);
        }
        assert_eq!(line(State::Open, State::HalfOpen, Reason::WaitElapsed), None);
        assert_eq!(
            line(State::HalfOpen, State::Closed, Reason::ProbesSucceeded).unwrap(),
            "gateway → catalog closes after 2 failed rounds of probes (probes_succeeded)"
        );
    }

    #[test]
    fn the_end_of_an_incident_says_what_viewers_got() {
        let seen = |ok, degraded, errors| Seen { ok, degraded, errors, ..Seen::default() };
        let before = [("gateway".to_owned(), seen(100, 0, 0)), ("gateway-bare".to_owned(), seen(90, 0, 10))];
        let after = [("gateway".to_owned(), seen(150, 50, 0)), ("gateway-bare".to_owned(), seen(100, 0, 100))];
        assert_eq!(
            got(&before, &after),
            "; gateway: 100 pages, 50.0 % in part from a fallback, 0.0 % errors; gateway-bare: 100 pages, 0.0 % in part \
             from a fallback, 90.0 % errors"
        );
        assert_eq!(got(&before, &before), "");
    }

    #[test]
    fn times_are_printed_as_time_of_day() {
        assert_eq!(time_of_day(86_400 * 3 + 3_725), "01:02:05");
    }
}
