//! One drill, from the initial quiet state until everything is quiet again.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::event::{Event, Milestone};
use super::milestones::Milestones;
use super::observation::{Before, Observation, Subject};
use super::session::{Session, patiently};
use crate::drill::plan::Budget;
use crate::drill::plan::{Raise, Step};
use crate::drill::report::Drill;
use crate::drill::world::{BreakerSeen, FaultSeen, InboxSeen, Phase, RuleSeen, TransitionSeen, Trouble, World};

/// How long a step waits for a breaker to open.
const OPENING: Duration = Duration::from_secs(60);
/// Faults expire this long after the drill's budget, in case the drill is killed.
const MARGIN: Duration = Duration::from_secs(60);
/// Interval of repeated replays: orders on their last attempt when the fault ended become dead letters only afterwards.
const REPLAY_AGAIN: Duration = Duration::from_secs(5);
/// Pause between two queries to Alertmanager.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// One drill.
pub(super) struct Run<'a, W, L> {
    pub(super) session: &'a Session<'a, W, L>,
    pub(super) raise: &'a Raise,
    pub(super) subject: &'a Subject,
    pub(super) budget: Budget,
    /// Whether this is the first drill, so that no earlier one can still have an effect.
    pub(super) first: bool,
}

/// Why a drill did not pass.
pub(super) enum Verdict {
    /// It can't be run in the present state of the stack.
    Refused(String),
    /// It was run and failed.
    Failed(String),
}

impl From<Trouble> for Verdict {
    fn from(trouble: Trouble) -> Self {
        Self::Failed(trouble.to_string())
    }
}

/// Everything observed in one poll.
struct Sight {
    rule: RuleSeen,
    inbox: InboxSeen,
    transitions: Vec<TransitionSeen>,
}

/// The state before the drill.
struct Start {
    faults: Vec<FaultSeen>,
    breakers: Vec<BreakerSeen>,
    before: Before,
    /// Whether notifications arrive at the inbox.
    inbox: bool,
    /// The breaker to watch, if the admin port lists it.
    breaker: Option<(&'static str, &'static str)>,
}

impl<W: World, L: FnMut(Event<'_>)> Run<'_, W, L> {
    /// Runs the drill; observations go into `drill`.
    pub(super) async fn drill(&self, drill: &mut Drill) -> Result<(), Verdict> {
        self.heal().await?;
        self.quiet(drill).await?;
        let start = self.start(drill).await?;
        let mut marks = Milestones::default();
        let raised = self.raise(&start, &mut marks).await;
        drill.seconds = marks.times();
        let raised = match raised {
            Ok(()) => self.judge_raised(&start, &marks),
            Err(verdict) => Err(verdict),
        };
        raised?;
        if self.raise.heals.is_some() {
            // Default faults would keep the alert firing: they are restored at the very end.
            self.heal().await?;
            if self.raise.steps.contains(&Step::ReplayAfterwards) {
                self.session.world.replay_dead_letters().await?;
            }
        } else {
            let left = self.session.undo.restore(self.session.world).await;
            drill.notes.extend(left.iter().map(|trouble| format!("not restored: {trouble}")));
        }
        self.session.tell(Event::Cleared);
        let resolved = self.resolve(&start, &mut marks).await;
        drill.seconds = marks.times();
        if marks.muted() {
            drill.notes.push("its notification was muted by another alert".to_owned());
        } else if !self.subject.reaches_a_receiver() {
            drill.notes.push("severity info reaches no receiver".to_owned());
        } else if !start.inbox {
            drill.notes.push("notifications can't be seen: no Watchdog arrives at the inbox".to_owned());
        }
        resolved
    }

    /// Clears the target's default faults until the drill has ended.
    async fn heal(&self) -> Result<(), Verdict> {
        let (Some(heals), world) = (self.raise.heals, self.session.world) else { return Ok(()) };
        let faults = world.faults().await?;
        let Some(before) = faults.iter().find(|fault| fault.target == heals.target) else { return Ok(()) };
        self.session.undo.fault(before);
        let lasts = self.longest() + heals.calm + self.budget.resolve;
        world.set_fault(heals.target, &serde_json::json!({"ttl": format!("{}s", lasts.as_secs())})).await?;
        let (service, name) = heals.breaker;
        let own = |breaker: &BreakerSeen| (&*breaker.service, &*breaker.name) == heals.breaker;
        if world.breakers().await?.iter().any(own) {
            self.session.undo.breaker(service, name, None);
            world.change_breaker(service, name, &serde_json::json!({"state": "reset"})).await?;
        }
        Ok(())
    }

    /// Waits until neither this alert nor an open breaker is left over from the previous drill.
    async fn quiet(&self, drill: &mut Drill) -> Result<(), Verdict> {
        let begun = Instant::now();
        loop {
            let sight = self.sight().await?;
            let open = self.open_breaker().await?;
            let phase = self.subject.phase(&sight.rule);
            if phase == Some(Phase::Firing) && self.first && self.raise.heals.is_none() {
                return Err(Verdict::Refused(format!("is already firing: {}", self.already(&sight.rule))));
            }
            let Some(what) = waits_for(phase, open.as_deref()) else { return Ok(()) };
            let since = begun.elapsed();
            let calm = self.raise.heals.map_or(Duration::ZERO, |heals| heals.calm);
            if since >= self.session.options.calm.max(calm) {
                return match (phase, open) {
                    (Some(Phase::Firing), _) => {
                        Err(Verdict::Refused(format!("is still firing: {}", self.already(&sight.rule))))
                    }
                    (_, Some(breaker)) => Err(Verdict::Refused(format!("breaker {breaker} does not close"))),
                    // An alert that is pending from time to time does not prevent the drill.
                    _ => {
                        drill.notes.push("it was pending now and then before".to_owned());
                        Ok(())
                    }
                };
            }
            self.session.tell(Event::Waiting { what: &what, since });
            sleep(self.session.options.poll).await;
        }
    }

    fn already(&self, rule: &RuleSeen) -> String {
        let one = |labels: &crate::drill::world::Labels| {
            let pairs = labels.iter().filter(|(name, _)| !matches!(name.as_str(), "alertname" | "severity" | "job"));
            pairs.map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(" ")
        };
        let all: Vec<_> = self.subject.instances(rule).map(|instance| one(&instance.labels)).collect();
        format!("{{{}}}; wait until it is over, or find out why", all.join("}, {"))
    }

    /// A breaker that the drill uses and that does not admit all calls. Other breakers may be open: a payment gateway
    /// that fails a third of the time opens its breaker by itself.
    async fn open_breaker(&self) -> Result<Option<String>, Verdict> {
        let breakers = patiently(self.session.options.silence, || self.session.world.breakers()).await?;
        let own = self.raise.breakers();
        let open = breakers.iter().find(|breaker| {
            own.contains(&(&*breaker.service, &*breaker.name))
                && matches!(breaker.state.as_str(), "open" | "half_open" | "forced_open")
        });
        Ok(open.map(|breaker| format!("{}/{} ({})", breaker.service, breaker.name, breaker.state)))
    }

    async fn start(&self, drill: &mut Drill) -> Result<Start, Verdict> {
        let world = self.session.world;
        let faults = world.faults().await?;
        let breakers = world.breakers().await?;
        let sight = self.sight().await?;
        let shown =
            |(service, name): &(&str, &str)| breakers.iter().any(|b| (&*b.service, &*b.name) == (*service, *name));
        let breaker = self.raise.opens.filter(shown);
        if let (Some((service, name)), None) = (self.raise.opens, breaker) {
            let note = format!("breaker {service}/{name} is in a process whose admin port was not named (--peer)");
            drill.notes.push(note);
        }
        let before = Before::new(self.subject, &sight.inbox, &sight.transitions);
        Ok(Start {
            faults,
            breakers,
            before,
            inbox: sight.inbox.connected && self.subject.reaches_a_receiver(),
            breaker,
        })
    }

    /// Injects the fault, and polls until the alert fires and is delivered.
    async fn raise(&self, start: &Start, marks: &mut Milestones) -> Result<(), Verdict> {
        let begun = Instant::now();
        let mut openings = 0;
        for step in &self.raise.steps {
            openings += usize::from(matches!(step, Step::AwaitOpen(..)));
            self.step(start, step, (openings, begun), marks).await?;
        }
        let mut asked = None;
        loop {
            let sight = self.sight().await?;
            let look = self.look(start, &sight);
            let now = begun.elapsed();
            self.reached(marks, &look, now);
            if let Some(firing) = marks.firing() {
                let delivered = !start.inbox || marks.notified() || marks.muted();
                let opened = start.breaker.is_none() || marks.breaker_open();
                if (delivered && opened) || now >= firing + self.session.options.notify {
                    return Ok(());
                }
                if !delivered && asked.is_none_or(|at: Instant| at.elapsed() >= ASK_AGAIN) {
                    asked = Some(Instant::now());
                    if self.muted(&sight).await {
                        marks.mute();
                        self.session.tell(Event::Reached { milestone: Milestone::Muted, after: now });
                        continue;
                    }
                }
            } else if now >= self.budget.firing {
                return Ok(());
            }
            let what = if marks.firing().is_some() { "its notification" } else { "the alert to fire" };
            self.session.tell(Event::Waiting { what, since: now });
            sleep(self.session.options.poll).await;
        }
    }

    fn reached(&self, marks: &mut Milestones, look: &Observation, after: Duration) {
        for milestone in marks.raised(look, after) {
            self.session.tell(Event::Reached { milestone, after });
        }
    }

    /// Whether the drill may continue with the resolution of the alert.
    fn judge_raised(&self, start: &Start, marks: &Milestones) -> Result<(), Verdict> {
        let seconds = |time: Duration| format!("{} s", time.as_secs());
        match marks.firing() {
            None => {
                let how_far = if marks.times().pending.is_some() { "only became pending" } else { "stayed inactive" };
                Err(Verdict::Failed(format!("did not fire within {}: it {how_far}", seconds(self.budget.firing))))
            }
            Some(at) if at > self.budget.firing => {
                Err(Verdict::Failed(format!("fired after {}, budget {}", seconds(at), seconds(self.budget.firing))))
            }
            Some(_) if start.breaker.is_some() && !marks.breaker_open() => {
                Err(Verdict::Failed("fired, but its breaker never opened".to_owned()))
            }
            Some(_) if start.inbox && !marks.notified() && !marks.muted() => {
                let notify = seconds(self.session.options.notify);
                Err(Verdict::Failed(format!("fired, but no notification arrived within {notify}")))
            }
            Some(_) => Ok(()),
        }
    }

    /// Polls until the alert is inactive and the notification of its resolution has been delivered.
    async fn resolve(&self, start: &Start, marks: &mut Milestones) -> Result<(), Verdict> {
        let begun = Instant::now();
        let replays = self.raise.steps.contains(&Step::ReplayAfterwards);
        let (mut told, mut replayed) = (false, begun);
        loop {
            if replays && !told && replayed.elapsed() >= REPLAY_AGAIN {
                replayed = Instant::now();
                self.session.world.replay_dead_letters().await?;
            }
            let sight = self.sight().await?;
            let now = begun.elapsed();
            // An alert that is inactive for a single evaluation has not resolved.
            let settle = sight.rule.interval * 2;
            marks.cleared(&self.look(start, &sight), now);
            let resolved = marks.resolved(now, settle);
            if let (Some(after), false) = (resolved, told) {
                told = true;
                self.session.tell(Event::Reached { milestone: Milestone::Resolved, after });
            }
            let delivered = !marks.notified() || marks.resolved_notified().is_some();
            if resolved.is_some() && delivered {
                if let Some(after) = marks.resolved_notified() {
                    self.session.tell(Event::Reached { milestone: Milestone::ResolvedNotified, after });
                }
                return Ok(());
            }
            self.judge_resolving(marks, now, settle)?;
            let what = if resolved.is_some() { "the notification of its end" } else { "the alert to resolve" };
            self.session.tell(Event::Waiting { what, since: now });
            sleep(self.session.options.poll).await;
        }
    }

    /// Fails the drill if the alert can no longer resolve in time.
    fn judge_resolving(&self, marks: &Milestones, now: Duration, settle: Duration) -> Result<(), Verdict> {
        let (budget, notify) = (self.budget.resolve, self.session.options.notify);
        match marks.inactive().filter(|over| *over <= budget) {
            Some(over) if now >= over + notify.max(settle) => Err(Verdict::Failed(format!(
                "resolved, but the notification of that did not arrive within {} s",
                notify.as_secs()
            ))),
            None if now >= budget => Err(Verdict::Failed(format!(
                "did not resolve within {} s after the fault was removed",
                budget.as_secs()
            ))),
            _ => Ok(()),
        }
    }

    async fn step(
        &self,
        start: &Start,
        step: &Step,
        (openings, begun): (usize, Instant),
        marks: &mut Milestones,
    ) -> Result<(), Verdict> {
        let (world, undo) = (self.session.world, &self.session.undo);
        match step {
            Step::Fault(target, plan) => {
                undo.fault(fault(start, target)?);
                let mut plan: Value = serde_json::from_str(plan).map_err(|error| Trouble(error.to_string()))?;
                plan["ttl"] = Value::from(format!("{}s", self.longest().as_secs()));
                world.set_fault(target, &plan).await?;
            }
            Step::Mend(target) => {
                undo.fault(fault(start, target)?);
                world.restore_fault(target).await?;
            }
            Step::Command(service, name, state) => {
                breaker(start, service, name)?;
                undo.breaker(service, name, None);
                world.change_breaker(service, name, &serde_json::json!({"state": state})).await?;
            }
            Step::Settings(service, name, settings) => {
                let before = breaker(start, service, name)?;
                undo.breaker(service, name, Some(before.settings.clone()));
                let settings: Value = serde_json::from_str(settings).map_err(|error| Trouble(error.to_string()))?;
                world.change_breaker(service, name, &serde_json::json!({"settings": settings})).await?;
            }
            Step::AwaitOpen(service, name) => {
                breaker(start, service, name)?;
                self.await_opening(start, (service, name), (openings, begun), marks).await?;
            }
            Step::ReplayAfterwards => undo.replay(),
            Step::Run { raise, clear } => {
                undo.command(clear);
                world.run(raise).await?;
            }
        }
        Ok(())
    }

    async fn await_opening(
        &self,
        start: &Start,
        (service, name): (&'static str, &'static str),
        (openings, begun): (usize, Instant),
        marks: &mut Milestones,
    ) -> Result<(), Verdict> {
        let since = Instant::now();
        loop {
            let sight = self.sight().await?;
            self.reached(marks, &self.look(start, &sight), begun.elapsed());
            if start.before.openings(&sight.transitions, (service, name)) >= openings {
                return Ok(());
            }
            if since.elapsed() >= OPENING {
                let why = format!("breaker {service}/{name} did not open within {} s", OPENING.as_secs());
                return Err(Verdict::Failed(why));
            }
            self.session.tell(Event::Waiting { what: "the breaker to open", since: since.elapsed() });
            sleep(self.session.options.poll).await;
        }
    }

    fn longest(&self) -> Duration {
        self.budget.firing + self.session.options.notify + MARGIN
    }

    fn look(&self, start: &Start, sight: &Sight) -> Observation {
        start.before.look(self.subject, start.breaker, (&sight.rule, &sight.inbox, &sight.transitions))
    }

    async fn muted(&self, sight: &Sight) -> bool {
        for instance in self.subject.instances(&sight.rule) {
            if self.session.world.suppressed(instance).await == Some(true) {
                return true;
            }
        }
        false
    }

    /// Polls all sources. Missing answers are tolerated for a while.
    async fn sight(&self) -> Result<Sight, Verdict> {
        let world = self.session.world;
        let look = || async {
            let (rules, inbox, transitions) = tokio::join!(world.rules(), world.inbox(), world.transitions());
            let (rules, inbox, transitions) = (rules?, inbox?, transitions?);
            let rule = self.subject.rule(&rules).ok_or_else(|| Trouble("Prometheus lost the rule".to_owned()))?;
            Ok(Sight { rule, inbox, transitions })
        };
        Ok(patiently(self.session.options.silence, look).await?)
    }
}

fn waits_for(phase: Option<Phase>, open: Option<&str>) -> Option<String> {
    match (phase, open) {
        (Some(_), _) => Some("the alert to calm down".to_owned()),
        (None, Some(breaker)) => Some(format!("breaker {breaker} to close")),
        (None, None) => None,
    }
}

fn fault<'a>(start: &'a Start, target: &str) -> Result<&'a FaultSeen, Verdict> {
    start.faults.iter().find(|fault| fault.target == target).ok_or_else(|| {
        let known: Vec<_> = start.faults.iter().map(|fault| fault.target.as_str()).collect();
        Verdict::Refused(absent(target, &known))
    })
}

/// Error for an unknown target. A process that only runs viewers has no targets, although its console shows those of
/// others.
fn absent(target: &str, known: &[&str]) -> String {
    let here = if known.is_empty() { "none at all".to_owned() } else { known.join(", ") };
    format!(
        "there is no target {target} here, but {here}: name its process (--peer), or drill where the settings name \
         every process"
    )
}

fn breaker<'a>(start: &'a Start, service: &str, name: &str) -> Result<&'a BreakerSeen, Verdict> {
    start.breakers.iter().find(|breaker| breaker.service == service && breaker.name == name).ok_or_else(|| {
        Verdict::Refused(format!("there is no breaker {service}/{name} here: name its process (--peer)"))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_refusal_says_which_targets_there_are() {
        let of = |known: &[&str]| super::absent("catalog", known);
        assert!(of(&["user", "checkout"]).starts_with("there is no target catalog here, but user, checkout: name"));
        assert!(of(&[]).starts_with("there is no target catalog here, but none at all: name"));
    }
}
