//! Advances a timeline with the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::actuator::Actuator;
use super::library::{self, Choice};
use super::timeline::{Action, Step, Timeline};
use crate::faults::FaultPlan;
use breakerbox_telemetry::{Metrics, ScenarioTelemetry};

/// What a scenario is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ScenarioStatus)]
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
    /// Whether it begins anew at its end.
    pub looped: bool,
    /// Its steps, in the order they begin.
    pub steps: Vec<StepStatus>,
    /// Faults of a target between its steps, in place of those of the settings.
    pub calm: BTreeMap<String, FaultPlan>,
    /// What it was drawn from, if it was drawn.
    pub seed: Option<u64>,
    /// Scenarios that can take its place.
    pub choices: Vec<Choice>,
}

/// A step, as the time line shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ScenarioStep)]
pub struct StepStatus {
    /// Its name.
    pub name: String,
    /// What a learner should look at.
    pub note: String,
    /// What it breaks, if it breaks something.
    pub target: Option<String>,
    /// How.
    pub fault: Option<FaultPlan>,
    /// The load it sets instead, journeys per second.
    pub rate: Option<f64>,
    /// When it begins within a round.
    pub from_seconds: f64,
    /// When it ends.
    pub to_seconds: f64,
}

impl From<&Step> for StepStatus {
    fn from(step: &Step) -> Self {
        let (target, fault, rate) = match &step.action {
            Action::Fault(target, plan) => (Some(target.as_str().to_owned()), Some(plan.clone()), None),
            Action::Rate(rate) => (None, None, Some(*rate)),
        };
        let (from_seconds, to_seconds) = (step.from.as_secs_f64(), step.to.as_secs_f64());
        Self { name: step.name.clone(), note: step.note.clone(), target, fault, rate, from_seconds, to_seconds }
    }
}

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::admin::{AdminSettings, Peers};
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
        [[step]]
        name = "rush"
        at = "24s"
        for = "3s"
        rate = 50.0
    "#;

    struct Stage {
        scenario: Scenario,
        faults: Faults,
        _task: tokio::task::JoinHandle<()>,
    }

    fn stage() -> Stage {
        stage_of(SCENARIO, BTreeMap::new())
    }

    fn stage_of(text: &str, peers: BTreeMap<String, String>) -> Stage {
        let baseline = FaultPlan { error_rate: 0.3, ..FaultPlan::default() };
        let on_injected: Arc<OnInjected> = Arc::new(|_, _| {});
        let faults = Faults::new(BTreeMap::from([("ml-api".to_owned(), baseline)]), 1, &on_injected);
        let peers = Peers::new(&AdminSettings { peers, ..AdminSettings::default() }).unwrap();
        let actuator = Actuator::new(faults.clone(), peers, Arc::new(|_| {}));
        let scenario = Scenario::new(Timeline::parse(text).unwrap(), &Metrics::new(&[]));
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
    async fn a_step_breaks_its_target_and_ends_at_the_baseline_each_round() {
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
    async fn a_calm_takes_the_baseline_s_place_until_the_scenario_stops() {
        let calm = format!("{SCENARIO}\n[calm]\nml-api = {{ error_rate = 0.1 }}");
        let stage = stage_of(&calm, BTreeMap::new());
        stage.scenario.set(Mode::Running);
        for (seconds, wanted) in [(19, 0.1), (2, 1.0), (10, 0.1), (40, 0.1), (10, 1.0), (10, 0.1)] {
            assert!((stage.after(seconds).await - wanted).abs() < 1e-9, "{:?}", stage.scenario.status());
        }
        let status = stage.scenario.status();
        assert!(status.active.is_empty());
        assert_eq!(status.calm.keys().collect::<Vec<_>>(), ["ml-api"]);
        assert!((status.calm["ml-api"].error_rate - 0.1).abs() < 1e-9, "{:?}", status.calm);
        stage.scenario.set(Mode::Stopped);
        assert!((stage.after(1).await - 0.3).abs() < 1e-9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_set_by_hand_wins() {
        let stage = stage();
        stage.scenario.set(Mode::Running);
        stage.after(10).await;
        let own = FaultPlan { error_rate: 0.5, ttl: Some(Duration::from_secs(60)), ..FaultPlan::default() };
        stage.faults.set("ml-api", own).unwrap();
        assert!((stage.after(11).await - 0.5).abs() < 1e-9, "the step started");
        stage.scenario.set(Mode::Stopped);
        assert!((stage.after(1).await - 0.5).abs() < 1e-9, "the scenario was stopped");
        // The scenario may set a fault again after it was cleared by hand.
        stage.faults.clear("ml-api").unwrap();
        stage.scenario.set(Mode::Running);
        assert!((stage.after(21).await - 1.0).abs() < 1e-9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_scenario_keeps_its_faults_and_position() {
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
    async fn a_stopped_scenario_clears_its_faults_and_restarts() {
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

    #[tokio::test(start_paused = true)]
    async fn a_skip_ends_running_steps_and_starts_the_next() {
        let stage = stage();
        stage.scenario.set(Mode::Running);
        assert!((stage.after(3).await - 0.3).abs() < 1e-9, "default faults apply before the first step");
        stage.scenario.skip();
        assert!((stage.after(1).await - 1.0).abs() < 1e-9, "{:?}", stage.scenario.status());
        assert!((20.0..22.0).contains(&stage.scenario.status().position_seconds));
        // After the rush there is no further step: skips to the first step, then back to its beginning.
        stage.scenario.skip();
        stage.scenario.skip();
        assert!((20.0..22.0).contains(&stage.scenario.status().position_seconds));
        assert!(stage.scenario.run_step("rush") && !stage.scenario.run_step("nothing"));
        assert!((stage.after(1).await - 1.0).abs() < 1e-9, "the outage is still active at 24 s");
        stage.scenario.set(Mode::Stopped);
        assert!((stage.after(1).await - 0.3).abs() < 1e-9);
        // A stopped scenario starts from the step it is sent to.
        assert!(stage.scenario.run_step("outage"));
        assert!((stage.after(1).await - 1.0).abs() < 1e-9);
        assert_eq!(stage.scenario.status().mode, Mode::Running);
        assert_eq!(stage.scenario.status().steps.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn another_scenario_ends_the_running_steps() {
        let stage = stage();
        stage.scenario.set(Mode::Running);
        assert!((stage.after(25).await - 1.0).abs() < 1e-9);
        stage.scenario.choose("slow", None).unwrap();
        assert!((stage.after(1).await - 0.3).abs() < 1e-9);
        assert_eq!(stage.scenario.status().name, "slow");
        assert!(stage.scenario.status().position_seconds < 2.0);
        stage.scenario.choose("drawn", Some(5)).unwrap();
        let drawn = stage.scenario.status();
        assert_eq!((drawn.seed, drawn.rounds, drawn.mode), (Some(5), 0, Mode::Running));
        // Back to the scenario of the settings.
        stage.scenario.choose("test", None).unwrap();
        assert!((stage.after(21).await - 1.0).abs() < 1e-9);
        let unknown = stage.scenario.choose("nothing", None).unwrap_err();
        assert!(unknown.0.iter().any(|choice| choice.name == "test"), "{unknown:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_set_by_hand_during_a_step_outlives_it() {
        let stage = stage();
        stage.scenario.set(Mode::Running);
        stage.after(22).await;
        stage.faults.set("ml-api", FaultPlan { error_rate: 0.7, ..FaultPlan::default() }).unwrap();
        // Past the rate step, which starts and ends meanwhile, and past the end of the step itself.
        for _ in 0..12 {
            assert!((stage.after(1).await - 0.7).abs() < 1e-9, "{:?}", stage.scenario.status());
        }
    }

    /// In real time with a real socket: the other process answers slowly.
    #[tokio::test]
    async fn a_step_due_while_another_process_is_slow_is_not_skipped() {
        const TWO: &str = r#"
            name = "slow"
            length = "20s"
            [[step]]
            name = "remote"
            at = "0s"
            for = "20s"
            target = "catalog"
            fault = { crash = true }
            [[step]]
            name = "local"
            at = "100ms"
            for = "15s"
            target = "ml-api"
            fault = { error_rate = 1.0 }
        "#;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = format!("http://{}", listener.local_addr().unwrap());
        let answer = |_: axum::extract::Request| async { tokio::time::sleep(Duration::from_millis(300)).await };
        let router = axum::Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let stage = stage_of(TWO, BTreeMap::from([("catalog".to_owned(), peer)]));
        stage.scenario.set(Mode::Running);
        let begun = async {
            while stage.error_rate() < 1.0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), begun).await.expect("the local step started");
    }
}
