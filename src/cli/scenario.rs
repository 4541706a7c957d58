//! `breakerbox scenario`: look at the timeline of faults of a running process, and move it.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Subcommand;
use reqwest::Method;

use super::admin_client::{Remote, request};
use super::out::say_all;
use super::{Done, Failure};
use crate::scenario::{Mode, Status, StepStatus};

pub(super) type ScenarioArgs = Remote<Action>;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// List the steps, and the current position
    List,
    /// Pause; active faults stay
    Pause,
    /// Resume, or start from the beginning after `stop`
    Resume,
    /// Go to the start of the next step
    Skip,
    /// Go to the start of a step
    Step {
        /// Name of the step, as shown by `list`
        name: String,
    },
    /// Stop, and clear the faults of the scenario
    Stop,
}

pub(super) fn run(args: &ScenarioArgs) -> Done {
    let (method, path) = match &args.action {
        Action::List => (Method::GET, "/scenario".to_owned()),
        Action::Pause => (Method::POST, "/scenario/pause".to_owned()),
        Action::Resume => (Method::POST, "/scenario/start".to_owned()),
        Action::Skip => (Method::POST, "/scenario/skip".to_owned()),
        Action::Stop => (Method::POST, "/scenario/stop".to_owned()),
        Action::Step { name } if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') => {
            (Method::POST, format!("/scenario/step/{name}"))
        }
        Action::Step { name } => {
            return Err(Failure::Refused(format!("{name:?} is no step; `breakerbox scenario list` shows them")));
        }
    };
    let status: Status = request(&args.admin, method, &path, None)?;
    say_all!(described(&status))
}

fn described(status: &Status) -> String {
    let mode = match status.mode {
        Mode::Running => "running",
        Mode::Paused => "paused",
        Mode::Stopped => "stopped",
    };
    let mut text = format!(
        "{} is {mode}, {} into a round of {}\n",
        status.name,
        minutes(status.position_seconds),
        minutes(status.length_seconds)
    );
    for step in &status.steps {
        let now = if status.active.contains(&step.name) { '▶' } else { ' ' };
        let (from, to) = (minutes(step.from_seconds), minutes(step.to_seconds));
        // Writing into a String can't fail.
        let _ = writeln!(text, "{now} {from:>5} – {to:<5}  {:<24} {}", step.name, what(step));
    }
    text
}

fn what(step: &StepStatus) -> String {
    match (&step.target, &step.fault, step.rate) {
        (Some(target), Some(fault), _) => format!("{target}: {}", fault.active().join(", ")),
        (_, _, Some(rate)) => format!("{rate} journeys/s"),
        _ => String::new(),
    }
}

/// Minutes and seconds, as a clock shows them.
fn minutes(seconds: f64) -> String {
    let seconds = Duration::from_secs_f64(seconds.max(0.0)).as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{DEFAULT, Scenario, Timeline};
    use breakerbox_telemetry::Metrics;

    #[tokio::test]
    async fn a_list_names_each_step_with_its_time_and_fault() {
        let scenario = Scenario::new(Timeline::parse(DEFAULT).unwrap(), &Metrics::new(&[]));
        let text = described(&scenario.status());
        assert!(text.starts_with("default is stopped, 0:00 into a round of 8:00\n"), "{text}");
        assert!(text.contains("   6:25 – 7:10   catalog-crash            catalog: crash\n"), "{text}");
    }
}
