//! The runner of a scenario: advances its timeline with the clock.

mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::actuator::Actuator;
use super::library::{self, Choice};
use super::timeline::{Action, Step, Timeline};
use crate::faults::FaultPlan;
use breakerbox_telemetry::{Metrics, ScenarioTelemetry};

pub use status::{Mode, Status, StepStatus};

/// A scenario that can be started, paused and stopped. Cheap to clone.
#[derive(Clone)]
pub struct Scenario {
    inner: Arc<Inner>,
}

struct Inner {
    mode: watch::Sender<Mode>,
    progress: Mutex<Progress>,
    metrics: Metrics,
    /// The scenario of the settings, to which one can return.
    own: Arc<Timeline>,
}

#[derive(Clone)]
struct Progress {
    timeline: Arc<Timeline>,
    telemetry: ScenarioTelemetry,
    seed: Option<u64>,
    /// Active steps of the replaced scenario, which the runner of this one ends.
    leaving: Vec<Step>,
    rounds: u64,
    /// Position and time at which it last started to advance.
    position: Duration,
    since: Option<Instant>,
    active: BTreeSet<usize>,
    /// Whether a command changed the position, so that steps in progress must end.
    moved: bool,
}

impl Progress {
    fn position(&self) -> Duration {
        self.position + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Scenario {
    /// A scenario at its beginning.
    #[must_use]
    pub fn new(timeline: Timeline, metrics: &Metrics) -> Self {
        let own = Arc::new(timeline);
        let progress = Progress {
            telemetry: telemetry(&own, metrics),
            timeline: Arc::clone(&own),
            seed: None,
            leaving: Vec::new(),
            rounds: 0,
            position: Duration::ZERO,
            since: None,
            active: BTreeSet::new(),
            moved: false,
        };
        let (mode, progress) = (watch::Sender::new(Mode::Stopped), Mutex::new(progress));
        Self { inner: Arc::new(Inner { mode, progress, metrics: metrics.clone(), own }) }
    }

    /// Its timeline.
    #[must_use]
    pub fn timeline(&self) -> Arc<Timeline> {
        self.progress(|progress| Arc::clone(&progress.timeline))
    }

    /// Replaces the scenario by another, which starts from its beginning; steps in progress end. An error lists the
    /// choices.
    pub fn choose(&self, name: &str, seed: Option<u64>) -> Result<(), Unknown> {
        let own = &self.inner.own;
        let (timeline, seed) = if name == own.name {
            (Arc::clone(own), None)
        } else {
            let (timeline, seed) = library::find(name, seed).ok_or_else(|| Unknown(self.choices()))?;
            (Arc::new(timeline), seed)
        };
        self.progress(|progress| {
            progress.telemetry.active(&[]);
            let old = Arc::clone(&progress.timeline);
            progress.leaving.extend(std::mem::take(&mut progress.active).iter().map(|index| old.steps[*index].clone()));
            progress.telemetry = telemetry(&timeline, &self.inner.metrics);
            progress.timeline = timeline;
            progress.seed = seed;
            progress.rounds = 0;
        });
        self.move_to(Duration::ZERO);
        self.set(Mode::Running);
        Ok(())
    }

    fn choices(&self) -> Vec<Choice> {
        library::choices(&self.inner.own)
    }

    /// Sets its mode.
    pub fn set(&self, mode: Mode) {
        self.inner.mode.send_replace(mode);
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> Status {
        let progress = self.progress(|progress| progress.clone());
        let timeline = &progress.timeline;
        Status {
            name: timeline.name.clone(),
            mode: *self.inner.mode.borrow(),
            rounds: progress.rounds,
            position_seconds: progress.position().min(timeline.length).as_secs_f64(),
            length_seconds: timeline.length.as_secs_f64(),
            active: names(timeline, &progress.active),
            looped: timeline.looped,
            steps: timeline.incidents().map(StepStatus::from).collect(),
            calm: timeline.calm().map(|(target, plan)| (target.as_str().to_owned(), plan.clone())).collect(),
            seed: progress.seed,
            choices: self.choices(),
        }
    }

    /// Jumps to a position within the round, in any mode. A stopped scenario starts from there.
    fn move_to(&self, position: Duration) {
        self.progress(|progress| {
            progress.position = position;
            progress.since = progress.since.map(|_| Instant::now());
            progress.moved = true;
        });
        // Wakes the runner in any mode.
        self.inner.mode.send_modify(|mode| {
            if *mode == Mode::Stopped {
                *mode = Mode::Running;
            }
        });
    }

    /// Jumps to the next step; after the last one, to the first.
    pub fn skip(&self) {
        let now = self.progress(|progress| progress.position());
        let timeline = self.timeline();
        let begins = || timeline.incidents().map(|step| step.from);
        self.move_to(begins().find(|from| *from > now).or_else(|| begins().next()).unwrap_or_default());
    }

    /// Jumps to the step with this name. Returns false if there is none.
    #[must_use]
    pub fn run_step(&self, name: &str) -> bool {
        let from = self.timeline().incidents().find(|step| step.name == name).map(|step| step.from);
        from.map(|from| self.move_to(from)).is_some()
    }

    /// Executes the timeline for as long as the future is polled.
    pub async fn run(&self, actuator: &Actuator) {
        let mut mode = self.inner.mode.subscribe();
        let mut entered = None;
        loop {
            let now = *mode.borrow_and_update();
            self.enter(now);
            let moved = self.progress(|progress| std::mem::take(&mut progress.moved));
            let position = self.act(now, actuator, entered != Some(now) || moved, moved).await;
            entered = Some(now);
            let changed = mode.changed();
            if now != Mode::Running {
                // The sender lives as long as `self`.
                let _ = changed.await;
                continue;
            }
            // From the position that was acted on: acting on another process takes time, and steps that became due
            // meanwhile must not be skipped.
            let next = self.timeline().next_change(position);
            let wait = next.saturating_sub(self.progress(|progress| progress.position()));
            tokio::select! {
                _ = changed => {}
                () = tokio::time::sleep(wait) => self.wrap(),
            }
        }
    }

    /// Clears its faults before the process ends.
    pub async fn restore(&self, actuator: &Actuator) {
        self.act(Mode::Stopped, actuator, true, false).await;
    }

    fn progress<T>(&self, with: impl FnOnce(&mut Progress) -> T) -> T {
        with(&mut self.inner.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adjusts the position for a new mode: advancing, kept, or reset.
    fn enter(&self, mode: Mode) {
        self.progress(|progress| match mode {
            Mode::Running => {
                progress.since.get_or_insert_with(Instant::now);
            }
            Mode::Paused => {
                progress.position = progress.position();
                progress.since = None;
            }
            Mode::Stopped => {
                progress.position = Duration::ZERO;
                progress.since = None;
            }
        });
    }

    /// Starts the next round when this one is over; a scenario that does not loop stops.
    fn wrap(&self) {
        let timeline = self.timeline();
        let over = self.progress(|progress| {
            let over = progress.position() >= timeline.length;
            if over {
                progress.rounds += 1;
                // A delay of the last round is not carried over to this one.
                progress.position = progress.position().saturating_sub(timeline.length);
                progress.since = Some(Instant::now());
            }
            over
        });
        if over && !timeline.looped {
            self.set(Mode::Stopped);
        }
    }

    /// Ends steps that are over, starts steps that are due, and returns the position it acted on. When `entering` a
    /// mode it sends active faults again, because a pause removes their time to live and a start sets it. If `moved` by
    /// a command, it ends steps in progress, whose time to live has not expired.
    async fn act(&self, mode: Mode, actuator: &Actuator, entering: bool, moved: bool) -> Duration {
        // Under one lock, so that no other scenario is chosen between reading and writing.
        let (timeline, position, before, due, leaving) = self.progress(|progress| {
            let (timeline, position) = (Arc::clone(&progress.timeline), progress.position());
            let due: BTreeSet<usize> = match mode {
                Mode::Stopped => BTreeSet::new(),
                Mode::Running | Mode::Paused => timeline.active(position).map(|(index, _)| index).collect(),
            };
            progress.telemetry.active(&names(&timeline, &due));
            let before = std::mem::replace(&mut progress.active, due.clone());
            (timeline, position, before, due, std::mem::take(&mut progress.leaving))
        });
        for step in &leaving {
            match &step.action {
                Action::Fault(target, _) => actuator.restore(target.as_str()).await,
                Action::Rate(_) => actuator.rate(None),
            }
        }
        for step in before.difference(&due).map(|index| &timeline.steps[*index]) {
            if !step.calm {
                tracing::info!(step = step.name, "scenario step ended");
            }
            match &step.action {
                Action::Fault(target, _) if mode == Mode::Stopped || moved => actuator.restore(target.as_str()).await,
                // It expires by itself, or was replaced: a fault set by hand meanwhile stays.
                Action::Fault(..) => {}
                Action::Rate(_) => actuator.rate(None),
            }
        }
        for index in due {
            let (step, begins) = (&timeline.steps[index], !before.contains(&index));
            if begins && !step.calm {
                tracing::info!(step = step.name, note = step.note, "scenario step began");
            }
            if begins || entering {
                self.switch_on(step, mode, actuator).await;
            }
        }
        position
    }

    async fn switch_on(&self, step: &Step, mode: Mode, actuator: &Actuator) {
        match &step.action {
            Action::Rate(rate) => actuator.rate(Some(*rate)),
            Action::Fault(target, plan) if mode == Mode::Running => {
                // From now, not from when the step was due, because earlier actions may have taken time.
                let left = step.to.saturating_sub(self.progress(|progress| progress.position()));
                if !left.is_zero() {
                    actuator.apply(target.as_str(), FaultPlan { ttl: Some(left), ..plan.clone() }).await;
                }
            }
            Action::Fault(target, plan) => actuator.apply(target.as_str(), plan.clone()).await,
        }
    }
}

/// No scenario has this name.
#[derive(Debug)]
pub struct Unknown(pub Vec<Choice>);

fn telemetry(timeline: &Timeline, metrics: &Metrics) -> ScenarioTelemetry {
    let steps: Vec<_> = timeline.incidents().map(|step| step.name.clone()).collect();
    metrics.scenario(&steps)
}

/// Names of the given steps that set a fault.
fn names(timeline: &Timeline, steps: &BTreeSet<usize>) -> Vec<String> {
    let steps = steps.iter().filter_map(|index| timeline.steps.get(*index));
    steps.filter(|step| !step.calm).map(|step| step.name.clone()).collect()
}
