//! Moves a timeline with the clock.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::actuator::Actuator;
use super::timeline::{Action, Timeline};
use crate::faults::FaultPlan;
use crate::telemetry::{Metrics, ScenarioTelemetry};

/// What a scenario is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Its position moves.
    Running,
    /// It stays where it is, faults included.
    Paused,
    /// Its faults are gone; the next start is at the beginning.
    Stopped,
}

/// A scenario as it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub mode: Mode,
    /// Rounds that were finished.
    pub rounds: u64,
    /// Seconds into the present round.
    pub position_seconds: f64,
    /// Seconds that a round takes.
    pub length_seconds: f64,
    /// Names of the steps that are active.
    pub active: Vec<String>,
}

/// A scenario that can be started, paused and stopped. Cheap to clone.
#[derive(Clone)]
pub struct Scenario {
    inner: Arc<Inner>,
}

struct Inner {
    timeline: Timeline,
    mode: watch::Sender<Mode>,
    progress: Mutex<Progress>,
    telemetry: ScenarioTelemetry,
}

#[derive(Clone, Default)]
struct Progress {
    rounds: u64,
    /// Position when it last began to move, and when that was.
    position: Duration,
    since: Option<Instant>,
    active: BTreeSet<usize>,
}

impl Progress {
    fn position(&self) -> Duration {
        self.position + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Scenario {
    /// A scenario that stands at its beginning.
    #[must_use]
    pub fn new(timeline: Timeline, metrics: &Metrics) -> Self {
        let steps: Vec<_> = timeline.steps.iter().map(|step| step.name.clone()).collect();
        let telemetry = metrics.scenario(&steps);
        let inner = Inner { timeline, mode: watch::Sender::new(Mode::Stopped), progress: Mutex::default(), telemetry };
        Self { inner: Arc::new(inner) }
    }

    /// Its timeline.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.inner.timeline
    }

    /// Starts, pauses or stops it.
    pub fn set(&self, mode: Mode) {
        self.inner.mode.send_replace(mode);
    }

    /// As it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let progress = self.progress(|progress| progress.clone());
        let timeline = &self.inner.timeline;
        Status {
            name: timeline.name.clone(),
            mode: *self.inner.mode.borrow(),
            rounds: progress.rounds,
            position_seconds: progress.position().min(timeline.length).as_secs_f64(),
            length_seconds: timeline.length.as_secs_f64(),
            active: progress.active.iter().map(|index| timeline.steps[*index].name.clone()).collect(),
        }
    }

    /// Carries it out for as long as it is polled.
    pub async fn run(&self, actuator: &Actuator) {
        let mut mode = self.inner.mode.subscribe();
        loop {
            let now = *mode.borrow_and_update();
            self.enter(now);
            self.act(now, actuator).await;
            let changed = mode.changed();
            if now != Mode::Running {
                // The sender lives as long as `self`.
                let _ = changed.await;
                continue;
            }
            let position = self.progress(|progress| progress.position());
            let wait = self.inner.timeline.next_change(position).saturating_sub(position);
            tokio::select! {
                _ = changed => {}
                () = tokio::time::sleep(wait) => self.wrap(),
            }
        }
    }

    /// Takes its faults away, for a process that ends.
    pub async fn restore(&self, actuator: &Actuator) {
        self.act(Mode::Stopped, actuator).await;
    }

    fn progress<T>(&self, with: impl FnOnce(&mut Progress) -> T) -> T {
        with(&mut self.inner.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets the position move, stay or go back, as the mode says.
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

    /// Begins the next round once this one is over; one that isn't repeated stops.
    fn wrap(&self) {
        let timeline = &self.inner.timeline;
        let over = self.progress(|progress| {
            let over = progress.position() >= timeline.length;
            if over {
                progress.rounds += 1;
                progress.position = Duration::ZERO;
                progress.since = Some(Instant::now());
            }
            over
        });
        if over && !timeline.looped {
            self.set(Mode::Stopped);
        }
    }

    /// Ends what is over and begins what is due.
    async fn act(&self, mode: Mode, actuator: &Actuator) {
        let timeline = &self.inner.timeline;
        let (position, before) = self.progress(|progress| (progress.position(), progress.active.clone()));
        let due: BTreeSet<usize> = match mode {
            Mode::Stopped => BTreeSet::new(),
            Mode::Running | Mode::Paused => timeline.active(position).map(|(index, _)| index).collect(),
        };
        self.progress(|progress| progress.active.clone_from(&due));
        for index in before.difference(&due) {
            let step = &timeline.steps[*index];
            tracing::info!(step = step.name, "scenario step ended");
            match &step.action {
                Action::Fault(target, _) => actuator.restore(target.as_str()).await,
                Action::Rate(_) => actuator.rate(None),
            }
        }
        for index in &due {
            let step = &timeline.steps[*index];
            if !before.contains(index) {
                tracing::info!(step = step.name, note = step.note, "scenario step began");
            }
            match &step.action {
                Action::Fault(target, plan) => {
                    // A moment longer than the step, so that it is the scenario that ends it.
                    let left = step.to.saturating_sub(position) + Duration::from_secs(2);
                    let ttl = (mode == Mode::Running).then_some(left);
                    actuator.apply(target.as_str(), FaultPlan { ttl, ..plan.clone() }).await;
                }
                Action::Rate(rate) => actuator.rate(Some(*rate)),
            }
        }
        let names: Vec<_> = due.iter().map(|index| timeline.steps[*index].name.clone()).collect();
        self.inner.telemetry.active(&names);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::faults::{Faults, OnInjected};

    const SCENARIO: &str = r#"
        name = "test"
        length = "60s"
        loop = true
        [[step]]
        name = "outage"
        at = "20s"
        for = "10s"
        target = "ml-api"
        fault = { error_rate = 1.0 }
    "#;

    struct Stage {
        scenario: Scenario,
        faults: Faults,
        _task: tokio::task::JoinHandle<()>,
    }

    fn stage() -> Stage {
        let baseline = FaultPlan { error_rate: 0.3, ..FaultPlan::default() };
        let on_injected: Arc<OnInjected> = Arc::new(|_, _| {});
        let faults = Faults::new(BTreeMap::from([("ml-api".to_owned(), baseline)]), 1, &on_injected);
        let actuator = Actuator::new(faults.clone(), BTreeMap::new(), None, Arc::new(|_| {})).unwrap();
        let scenario = Scenario::new(Timeline::parse(SCENARIO).unwrap(), &Metrics::new(&[]));
        let own = scenario.clone();
        let task = tokio::spawn(async move { own.run(&actuator).await });
        Stage { scenario, faults, _task: task }
    }

    impl Stage {
        fn error_rate(&self) -> f64 {
            self.faults.snapshot()[0].plan.error_rate
        }

        async fn after(&self, seconds: u64) -> f64 {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            self.error_rate()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_breaks_its_target_and_ends_in_the_baseline_round_after_round() {
        let stage = stage();
        stage.scenario.set(Mode::Running);
        assert!((stage.after(19).await - 0.3).abs() < 1e-9);
        assert!((stage.after(2).await - 1.0).abs() < 1e-9);
        assert_eq!(stage.scenario.status().active, ["outage"]);
        assert!((stage.after(10).await - 0.3).abs() < 1e-9);
        assert!((stage.after(50).await - 1.0).abs() < 1e-9, "second round");
        assert_eq!(stage.scenario.status().rounds, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_scenario_stays_broken_and_goes_on_where_it_was() {
        let stage = stage();
        stage.scenario.set(Mode::Running);
        stage.after(25).await;
        stage.scenario.set(Mode::Paused);
        assert!((stage.after(3600).await - 1.0).abs() < 1e-9);
        assert!((stage.scenario.status().position_seconds - 25.0).abs() < 0.01);
        stage.scenario.set(Mode::Running);
        assert!((stage.after(4).await - 1.0).abs() < 1e-9);
        assert!((stage.after(2).await - 0.3).abs() < 1e-9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_scenario_takes_its_faults_away_and_begins_anew() {
        let stage = stage();
        stage.scenario.set(Mode::Running);
        stage.after(25).await;
        stage.scenario.set(Mode::Stopped);
        assert!((stage.after(1).await - 0.3).abs() < 1e-9);
        assert!(stage.scenario.status().position_seconds.abs() < 1e-9);
        stage.scenario.set(Mode::Running);
        assert!((stage.after(19).await - 0.3).abs() < 1e-9);
        assert!((stage.after(2).await - 1.0).abs() < 1e-9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_set_by_hand_is_left_alone_between_steps() {
        let stage = stage();
        stage.scenario.set(Mode::Running);
        stage.after(5).await;
        stage.faults.set("ml-api", FaultPlan { error_rate: 0.7, ..FaultPlan::default() }).unwrap();
        assert!((stage.after(10).await - 0.7).abs() < 1e-9);
    }
}
