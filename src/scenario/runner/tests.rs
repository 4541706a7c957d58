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
