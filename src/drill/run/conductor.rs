//! Executes drills one after another.

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::drill::{Run, Verdict};
use super::event::Event;
use super::observation::Subject;
use super::session::{Options, Session, patiently};
use crate::drill::plan::Budget;
use crate::drill::plan::{How, Plan, Raise};
use crate::drill::report::{Drill, Outcome, Report, Times};
use crate::drill::world::{Phase, RuleSeen, ScenarioSeen, Trouble, World};

/// Drills that take longer than this are skipped in a fast run.
const FAST: Duration = Duration::from_secs(180);
/// Drills that take longer than this are skipped unless requested.
const LONG: Duration = Duration::from_mins(30);

/// Why the stack is not fit for drills.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Executes drills.
pub struct Conductor<'a, W, L> {
    session: Session<'a, W, L>,
}

impl<'a, W: World, L: FnMut(Event<'_>)> Conductor<'a, W, L> {
    /// A conductor that reports events to `tell`.
    pub fn new(world: &'a W, options: &'a Options, tell: L) -> Self {
        Self { session: Session::new(world, options, tell) }
    }

    /// Runs these plans until they are done or `interrupted` completes, and restores everything.
    pub async fn run(&self, plans: &[Plan], interrupted: impl Future<Output = ()>) -> Result<Report, Refused> {
        let scenario = RefCell::new(None);
        let mut report = Report::default();
        let done = {
            let work = async {
                self.check().await?;
                let found = self.session.world.scenario().await.map_err(|trouble| Refused(trouble.to_string()))?;
                scenario.borrow_mut().clone_from(&found);
                self.halt(found).await?;
                self.each(plans, &mut report).await;
                Ok(())
            };
            tokio::select! {
                biased;
                () = interrupted => None,
                done = work => Some(done),
            }
        };
        report.interrupted = done.is_none();
        report.not_restored = self.session.undo.restore(self.session.world).await;
        let found = scenario.take();
        if let Some(trouble) = self.resume(found).await {
            report.not_restored.push(trouble);
        }
        for trouble in &report.not_restored {
            self.session.tell(Event::NotRestored(trouble));
        }
        match done {
            Some(Err(refused)) if report.drills.is_empty() => Err(refused),
            _ => {
                if report.interrupted {
                    let left = plans.iter().skip(report.drills.len());
                    report.drills.extend(left.map(|plan| blank(plan, Outcome::Interrupted, "stopped by hand")));
                }
                Ok(report)
            }
        }
    }

    async fn check(&self) -> Result<(), Refused> {
        let say = |trouble: Trouble| Refused(trouble.to_string());
        let faults = self.session.world.faults().await.map_err(say)?;
        if let Some(fault) = faults.iter().find(|fault| !fault.at_baseline && !fault.active.is_empty()) {
            let (target, kinds) = (&fault.target, fault.active.join(", "));
            let running =
                matches!(self.session.world.scenario().await, Ok(Some(ScenarioSeen { running: true, active: true })));
            // The scenario's own faults end when it is stopped.
            if !running {
                return Err(Refused(format!(
                    "a fault is on at {target} ({kinds}), so the cause of an alert would be unclear: \
                     run `breakerbox fault clear {target}` first"
                )));
            }
        }
        let targets = self.session.world.targets().await.map_err(say)?;
        if targets.is_empty() {
            return Err(Refused(
                "Prometheus has no target that exports breakerbox_build_info, or whose job is breakerbox or \
                 breakerbox-…: add the scrape job of prometheus/snippets/scrape.yml, or correct --matcher"
                    .to_owned(),
            ));
        }
        let down: Vec<_> = targets.iter().filter(|target| !target.up).map(|target| target.name.as_str()).collect();
        if !down.is_empty() {
            return Err(Refused(format!("Prometheus can't scrape {}", down.join(", "))));
        }
        let rules = self.session.world.rules().await.map_err(say)?;
        if rules.is_empty() {
            return Err(Refused("Prometheus has no alerting rules: add those of alerts/ to rule_files".to_owned()));
        }
        let inbox = self.inbox().await.map_err(say)?;
        self.session.tell(Event::Healthy { targets: targets.len(), rules: rules.len(), inbox });
        if !inbox && self.session.options.need_inbox {
            return Err(Refused(
                "no Watchdog arrives at the inbox, so notifications can't be seen: point an Alertmanager webhook at \
                 /alerts/webhook of the admin port"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Whether notifications arrive at the inbox. After a restart of the process the next heartbeat may be a minute
    /// away.
    async fn inbox(&self) -> Result<bool, Trouble> {
        let begun = Instant::now();
        loop {
            let connected = self.session.world.inbox().await?.connected;
            let since = begun.elapsed();
            if connected || !self.session.options.need_inbox || since >= self.session.options.notify {
                return Ok(connected);
            }
            self.session.tell(Event::Waiting { what: "a Watchdog at the inbox", since });
            tokio::time::sleep(self.session.options.poll).await;
        }
    }

    /// Stops the timeline of faults. Pausing it during an incident would keep the fault active.
    async fn halt(&self, scenario: Option<ScenarioSeen>) -> Result<(), Refused> {
        let Some(scenario) = scenario.filter(|scenario| scenario.running) else { return Ok(()) };
        let say = |trouble: Trouble| Refused(format!("the scenario can't be paused: {trouble}"));
        let mut active = scenario.active;
        if !active {
            self.session.world.command_scenario("pause").await.map_err(say)?;
            // A step may have started just now.
            active = self.session.world.scenario().await.map_err(say)?.is_some_and(|scenario| scenario.active);
        }
        if active {
            self.session.tell(Event::Note(
                "an incident of the scenario is going on: it is stopped, and begins anew afterwards",
            ));
            self.session.world.command_scenario("stop").await.map_err(say)?;
        } else {
            self.session.tell(Event::Note("the scenario is paused until the drills are over"));
        }
        Ok(())
    }

    async fn resume(&self, scenario: Option<ScenarioSeen>) -> Option<String> {
        scenario.filter(|scenario| scenario.running)?;
        let trouble = self.session.world.command_scenario("start").await.err()?;
        Some(format!("the scenario: {trouble}; start it at POST /scenario/start"))
    }

    async fn each(&self, plans: &[Plan], report: &mut Report) {
        for (index, plan) in plans.iter().enumerate() {
            let started = Instant::now();
            let rules = match patiently(self.session.options.silence, || self.session.world.rules()).await {
                Ok(rules) => rules,
                Err(trouble) => {
                    // Without rules nothing can be observed, and the remaining drills would fail with the same error.
                    self.session.tell(Event::Note(&trouble.to_string()));
                    let left = plans.iter().skip(index);
                    report.drills.extend(left.map(|plan| blank(plan, Outcome::Failed, &trouble.to_string())));
                    return;
                }
            };
            let mut drill = self.one(plan, (index + 1, plans.len()), &rules).await;
            drill.took_seconds = (started.elapsed().as_secs_f64() * 10.0).round() / 10.0;
            self.session.tell(Event::Ended(&drill));
            report.drills.push(drill);
        }
    }

    async fn one(&self, plan: &Plan, place: (usize, usize), rules: &[RuleSeen]) -> Drill {
        let raise = match &plan.how {
            How::Cannot { reason, .. } => return blank(plan, Outcome::Skipped, reason),
            How::Always => None,
            How::Raise(raise) => Some(raise),
        };
        let subject = Subject::new(plan, raise, if raise.is_some() { &self.session.options.matchers } else { &[] });
        let Some(rule) = subject.rule(rules) else {
            return blank(plan, Outcome::Refused, "Prometheus has not loaded this rule: add it to rule_files");
        };
        if let Some(error) = &rule.error {
            return blank(plan, Outcome::Refused, &format!("Prometheus can't evaluate this rule: {error}"));
        }
        let Some(raise) = raise else { return self.heartbeat(plan, &subject, &rule).await };
        if let Some(drill) = self.unfit(plan, raise, &rule).await {
            return drill;
        }
        let budget = self.session.options.budgets.apply(plan.alert, Budget::of(raise, &rule));
        self.session.tell(Event::Began { plan, number: place.0, of: place.1, budget });
        let mut drill = Drill {
            firing_budget_seconds: budget.firing.as_secs_f64(),
            resolve_budget_seconds: budget.resolve.as_secs_f64(),
            ..blank(plan, Outcome::Passed, "")
        };
        drill.why = None;
        let run = Run { session: &self.session, raise, subject: &subject, budget, first: place.0 == 1 };
        let verdict = run.drill(&mut drill).await;
        let left = self.session.undo.restore(self.session.world).await;
        drill.notes.extend(left.iter().map(|trouble| format!("not restored: {trouble}")));
        (drill.outcome, drill.why) = match verdict {
            Ok(()) if left.is_empty() => (Outcome::Passed, None),
            Ok(()) => (Outcome::Failed, Some("not everything could be put back".to_owned())),
            Err(Verdict::Refused(why)) => (Outcome::Refused, Some(why)),
            Err(Verdict::Failed(why)) => (Outcome::Failed, Some(why)),
        };
        drill
    }

    /// Why the plan can't be run here, as a skipped or refused drill.
    async fn unfit(&self, plan: &Plan, raise: &Raise, rule: &RuleSeen) -> Option<Drill> {
        let expected = Budget::expected(raise, rule);
        if self.session.options.fast && expected > FAST {
            let why = format!("takes about {} min; leave --fast out", expected.as_secs().div_ceil(60));
            return Some(blank(plan, Outcome::Skipped, &why));
        }
        if !self.session.options.long && expected > LONG {
            let why = format!("takes up to {} min; add --long", expected.as_secs().div_ceil(60));
            return Some(blank(plan, Outcome::Skipped, &why));
        }
        let needs = raise.needs?;
        match self.session.world.gives(needs.query).await {
            Ok(true) => None,
            Ok(false) => Some(blank(plan, Outcome::Skipped, needs.otherwise)),
            Err(trouble) => Some(blank(plan, Outcome::Failed, &trouble.to_string())),
        }
    }

    /// Drills the alert that always fires.
    async fn heartbeat(&self, plan: &Plan, subject: &Subject, rule: &RuleSeen) -> Drill {
        if subject.phase(rule) != Some(Phase::Firing) {
            return blank(plan, Outcome::Failed, "it should always fire, and does not");
        }
        let mut drill = blank(plan, Outcome::Passed, "");
        drill.why = None;
        if !self.session.world.inbox().await.is_ok_and(|inbox| inbox.connected) {
            drill.notes.push("its notification does not arrive at the inbox".to_owned());
        }
        drill
    }
}

/// The result of a drill that was not run.
fn blank(plan: &Plan, outcome: Outcome, why: &str) -> Drill {
    let (raised_by, opens) = match &plan.how {
        How::Raise(raise) => (raise.what, raise.opens),
        How::Always => ("nothing: it always fires", None),
        How::Cannot { by_hand, .. } => (*by_hand, None),
    };
    Drill {
        alert: plan.alert.to_owned(),
        severity: plan.severity.to_owned(),
        outcome,
        why: Some(why.to_owned()),
        raised_by: raised_by.to_owned(),
        breaker: opens.map(|(service, name)| format!("{service}/{name}")),
        seconds: Times::default(),
        firing_budget_seconds: 0.0,
        resolve_budget_seconds: 0.0,
        notes: Vec::new(),
        took_seconds: 0.0,
    }
}
