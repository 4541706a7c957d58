//! The plan of a drill: steps, expectations and requirements of one alert.

mod budget;
mod catalog;

use std::time::Duration;

pub use budget::{Budget, Overrides};
pub use catalog::plans;

/// An alert and how to drill it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// `alertname`.
    pub alert: &'static str,
    /// Its `severity`: an alert may have a rule for each.
    pub severity: &'static str,
    /// How it is raised.
    pub how: How,
}

/// How an alert is raised.
#[derive(Clone, Debug, PartialEq)]
pub enum How {
    /// By these steps.
    Raise(Raise),
    /// It always fires; the drill checks that it fires and is delivered.
    Always,
    /// A drill cannot raise it.
    Cannot {
        /// The reason.
        reason: &'static str,
        /// Manual instructions, or commands for `--raise` and `--clear`.
        by_hand: &'static str,
        /// How long those take to have an effect.
        ramp: Duration,
        /// See [`Raise::fade`].
        fade: Duration,
    },
}

/// The steps that raise an alert, and what to expect.
#[derive(Clone, Debug, PartialEq)]
pub struct Raise {
    /// Description.
    pub what: &'static str,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The breaker that opens during the drill, as service and name.
    pub opens: Option<(&'static str, &'static str)>,
    /// Labels that identify the raised alert among others of its name.
    pub labels: Vec<(&'static str, &'static str)>,
    /// From the first step until the rule's expression holds; the rule's `for` comes on top.
    pub ramp: Duration,
    /// From the end of the fault until the expression no longer holds.
    pub fade: Duration,
    /// A requirement of the plan.
    pub needs: Option<Needs>,
    /// A target whose usual faults must be cleared first, because the alert may otherwise fire by itself.
    pub heals: Option<Heal>,
}

/// A target with faults by default, and the breaker in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heal {
    /// The target, whose faults are cleared.
    pub target: &'static str,
    /// The breaker to reset, as service and name.
    pub breaker: (&'static str, &'static str),
    /// How long its alerts may take to resolve after that.
    pub calm: Duration,
}

/// A `PromQL` expression that must return a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The expression.
    pub query: &'static str,
    /// What is missing if it returns nothing.
    pub otherwise: &'static str,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Sets a fault on a target, in the admin port's JSON.
    Fault(&'static str, &'static str),
    /// Clears the fault of a target.
    Mend(&'static str),
    /// Sets the state of a breaker: service, name, state.
    Command(&'static str, &'static str, &'static str),
    /// Changes a breaker's settings, in the admin port's JSON.
    Settings(&'static str, &'static str, &'static str),
    /// Replays the dead letters of the retry queue after everything else is restored.
    ReplayAfterwards,
    /// Waits until the breaker opens once more.
    AwaitOpen(&'static str, &'static str),
    /// Runs a command of the user's; a second command undoes it.
    Run {
        /// Raises the alert.
        raise: String,
        /// Clears the alert.
        clear: String,
    },
}

impl Raise {
    /// Breakers that the plan watches or changes, as service and name.
    pub(in crate::drill) fn breakers(&self) -> Vec<(&'static str, &'static str)> {
        let label = |wanted: &str| self.labels.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        let touched = self.steps.iter().filter_map(|step| match step {
            Step::Command(service, name, _) | Step::Settings(service, name, _) | Step::AwaitOpen(service, name) => {
                Some((*service, *name))
            }
            Step::Fault(..) | Step::Mend(_) | Step::ReplayAfterwards | Step::Run { .. } => None,
        });
        touched.chain(self.opens).chain(label("service").zip(label("breaker"))).collect()
    }
}

impl Plan {
    /// Whether `wanted` is `Alert` or `Alert/severity`, the form that distinguishes rules of the same name.
    #[must_use]
    pub fn matches(&self, wanted: &str) -> bool {
        match wanted.split_once('/') {
            None => self.alert == wanted,
            Some((alert, severity)) => self.alert == alert && self.severity == severity,
        }
    }

    /// Whether it is sent to a receiver: alerts of severity `info` are for dashboards only.
    #[must_use]
    pub fn reaches_a_receiver(&self) -> bool {
        self.severity != "info"
    }

    /// `Alert/severity`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.alert, self.severity)
    }

    /// A plan for the same alert that is raised and cleared by commands of the user's.
    #[must_use]
    pub fn by_command(&self, raise: &str, clear: &str) -> Self {
        let usual = match &self.how {
            How::Raise(own) => (own.ramp, own.fade, own.labels.clone()),
            How::Cannot { ramp, fade, .. } => (*ramp, *fade, Vec::new()),
            How::Always => (Duration::ZERO, Duration::ZERO, Vec::new()),
        };
        let raise = Raise {
            what: "a command of yours",
            steps: vec![Step::Run { raise: raise.to_owned(), clear: clear.to_owned() }],
            opens: None,
            labels: usual.2,
            ramp: usual.0,
            fade: usual.1,
            needs: None,
            heals: None,
        };
        Self { how: How::Raise(raise), ..*self }
    }
}
