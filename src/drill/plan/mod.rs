//! What a drill of one alert consists of.

mod budget;
mod catalog;

use std::time::Duration;

pub use budget::{Budget, Overrides};
pub use catalog::plans;

/// One alert and what can be done about proving it.
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
    /// It always fires; the drill checks that it does, and that it is delivered.
    Always,
    /// Not from here.
    Cannot {
        /// Why.
        reason: &'static str,
        /// What to do by hand, or to give as `--raise` and `--clear`.
        by_hand: &'static str,
        /// How long that takes to show, and to fade.
        ramp: Duration,
        /// See [`Raise::fade`].
        fade: Duration,
    },
}

/// How an alert is raised, and what to expect.
#[derive(Clone, Debug, PartialEq)]
pub struct Raise {
    /// In words.
    pub what: &'static str,
    /// In order.
    pub steps: Vec<Step>,
    /// The breaker that opens on the way, as service and name.
    pub opens: Option<(&'static str, &'static str)>,
    /// Labels that tell the raised alert from others of its name.
    pub labels: Vec<(&'static str, &'static str)>,
    /// From the first step until the rule's expression holds; the rule's `for` comes on top.
    pub ramp: Duration,
    /// From the end of the trouble until the expression no longer holds.
    pub fade: Duration,
    /// Without this the plan can't work here.
    pub needs: Option<Needs>,
    /// What is to be well first, or the alert may fire without anybody's help.
    pub heals: Option<Heal>,
}

/// A target that is never quite well, and the breaker in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heal {
    /// The target, whose faults are switched off.
    pub target: &'static str,
    /// The breaker, which is reset, as service and name.
    pub breaker: (&'static str, &'static str),
    /// How long its alerts may take to calm down then.
    pub calm: Duration,
}

/// A `PromQL` expression that must give something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The expression.
    pub query: &'static str,
    /// What is missing when it gives nothing.
    pub otherwise: &'static str,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Puts a fault on a target, in the admin port's JSON.
    Fault(&'static str, &'static str),
    /// Mends a target.
    Mend(&'static str),
    /// Commands a breaker, named by service and name.
    Command(&'static str, &'static str, &'static str),
    /// Changes a breaker's settings, in the admin port's JSON.
    Settings(&'static str, &'static str, &'static str),
    /// Gives dead letters of the retry queue their attempts back once all else is put back.
    ReplayAfterwards,
    /// Waits until the breaker opened once more.
    AwaitOpen(&'static str, &'static str),
    /// Runs a command of the user's; the other one undoes it.
    Run {
        /// To raise.
        raise: String,
        /// To clear.
        clear: String,
    },
}

impl Raise {
    /// Breakers that it is about or touches, as service and name.
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
    /// `Alert` or, where another rule has the same name, `Alert/severity`.
    #[must_use]
    pub fn matches(&self, wanted: &str) -> bool {
        match wanted.split_once('/') {
            None => self.alert == wanted,
            Some((alert, severity)) => self.alert == alert && self.severity == severity,
        }
    }

    /// Whether it is delivered: severity `info` is for dashboards, and not routed to a receiver.
    #[must_use]
    pub fn reaches_a_receiver(&self) -> bool {
        self.severity != "info"
    }

    /// `Alert/severity`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.alert, self.severity)
    }

    /// The same alert, raised and cleared by commands of the user's instead.
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
