//! The conductor against a scripted world, under a paused clock.

use std::future::pending;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::world::ScenarioSeen;
use super::world::fake::{Fake, Script};
use super::{Conductor, Drill, Event, Milestone, Options, Outcome, Plan, Refused, Report, Times, plans};

fn open() -> Vec<Plan> {
    plans().into_iter().filter(|plan| plan.matches("CircuitBreakerOpen/warning")).collect()
}

async fn run(world: &Fake) -> Result<Report, Refused> {
    run_with(world, &Options::default()).await
}

async fn run_with(world: &Fake, options: &Options) -> Result<Report, Refused> {
    Conductor::new(world, options, |_: Event<'_>| {}).run(&open(), pending()).await
}

async fn only(world: &Fake) -> Drill {
    run(world).await.unwrap().drills.remove(0)
}

fn changes(world: &Fake) -> Vec<String> {
    world.log.borrow().clone()
}

const SET: &str = r#"set catalog {"error_rate":1.0,"ttl":"260s"}"#;

#[tokio::test(start_paused = true)]
async fn an_alert_that_fires_and_resolves_passes_with_its_times() {
    let world = Fake::new(Script::default());
    let drill = only(&world).await;
    assert_eq!((drill.outcome, &drill.why), (Outcome::Passed, &None));
    let times = Times {
        breaker_open: Some(2.0),
        pending: Some(3.0),
        firing: Some(33.0),
        notified: Some(38.0),
        resolved: Some(12.0),
        resolved_notified: Some(22.0),
    };
    assert_eq!(drill.seconds, times);
    assert_eq!(changes(&world), [SET, "restore catalog"]);
}

#[tokio::test(start_paused = true)]
async fn milestones_are_reported_as_they_occur() {
    let world = Fake::new(Script::default());
    let mut seen = Vec::new();
    let options = Options::default();
    let tell = |event: Event<'_>| {
        if let Event::Reached { milestone, .. } = event {
            seen.push(milestone);
        }
    };
    Conductor::new(&world, &options, tell).run(&open(), pending()).await.unwrap();
    assert_eq!(
        seen,
        [
            Milestone::BreakerOpen,
            Milestone::Pending,
            Milestone::Firing,
            Milestone::Notified,
            Milestone::Resolved,
            Milestone::ResolvedNotified
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_never_fires_fails_and_all_is_restored() {
    let world = Fake::new(Script { fires: None, ..Script::default() });
    let report = run(&world).await.unwrap();
    assert_eq!(report.drills[0].outcome, Outcome::Failed);
    assert_eq!(report.drills[0].why.as_deref(), Some("did not fire within 110 s: it only became pending"));
    assert_eq!(report.exit_code(), 1);
    assert_eq!(changes(&world), [SET, "restore catalog"]);
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_already_fires_is_refused() {
    let world = Fake::new(Script { already_firing: true, ..Script::default() });
    let report = run(&world).await.unwrap();
    assert_eq!(report.drills[0].outcome, Outcome::Refused);
    assert_eq!(
        report.drills[0].why.as_deref(),
        Some("is already firing: {breaker=\"catalog\" service=\"gateway\"}; wait until it is over, or find out why")
    );
    assert_eq!((report.exit_code(), changes(&world).len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_restores_all_and_lists_drills_not_run() {
    let world = Fake::new(Script::default());
    *world.scenario.borrow_mut() = Some(ScenarioSeen { running: true, active: false });
    let options = Options::default();
    let plans = [open(), open()].concat();
    let conductor = Conductor::new(&world, &options, |_: Event<'_>| {});
    let report = conductor.run(&plans, tokio::time::sleep(Duration::from_secs(20))).await.unwrap();
    assert_eq!(changes(&world), ["scenario pause", SET, "restore catalog", "scenario start"]);
    assert_eq!((report.interrupted, report.exit_code()), (true, 1));
    assert_eq!(report.count(Outcome::Interrupted), 2);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_replayed_after_everything_is_restored() {
    let world = Fake::new(Script::default());
    let mut plans = open();
    let super::How::Raise(raise) = &mut plans[0].how else { panic!("it is raised") };
    raise.steps.insert(0, super::Step::ReplayAfterwards);
    let options = Options::default();
    Conductor::new(&world, &options, |_: Event<'_>| {}).run(&plans, pending()).await.unwrap();
    // Replayed repeatedly until the alert has resolved, because orders on their last attempt become dead letters late.
    assert_eq!(changes(&world)[..4], [SET, "restore catalog", "replay dead letters", "replay dead letters"]);
}

#[tokio::test(start_paused = true)]
async fn default_faults_are_cleared_first_and_restored() {
    let world = Fake::new(Script::default());
    let mut plans = open();
    let super::How::Raise(raise) = &mut plans[0].how else { panic!("it is raised") };
    let (breaker, calm) = (("gateway", "catalog"), Duration::from_secs(400));
    raise.heals = Some(super::Heal { target: "catalog", breaker, calm });
    let options = Options::default();
    let report = Conductor::new(&world, &options, |_: Event<'_>| {}).run(&plans, pending()).await.unwrap();
    assert_eq!(report.drills[0].outcome, Outcome::Passed);
    let heal = [r#"set catalog {"ttl":"745s"}"#, r#"breaker gateway/catalog {"state":"reset"}"#];
    let restore = [r#"breaker gateway/catalog {"state":"reset"}"#, "restore catalog"];
    assert_eq!(changes(&world), [&heal[..], &[SET], &heal[..], &restore[..]].concat());
}

#[tokio::test(start_paused = true)]
async fn drills_of_hours_are_skipped_unless_requested() {
    let world = Fake::new(Script::default());
    let mut plans = open();
    let super::How::Raise(raise) = &mut plans[0].how else { panic!("it is raised") };
    raise.ramp = Duration::from_hours(1);
    let run = async |long| {
        let options = Options { long, ..Options::default() };
        Conductor::new(&world, &options, |_: Event<'_>| {}).run(&plans, pending()).await.unwrap().drills.remove(0)
    };
    let drill = run(false).await;
    assert_eq!((drill.outcome, drill.why.as_deref()), (Outcome::Skipped, Some("takes up to 62 min; add --long")));
    assert!(changes(&world).is_empty());
    assert_eq!(run(true).await.outcome, Outcome::Passed);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_stays_closed_fails_the_drill() {
    let world = Fake::new(Script { opens: None, ..Script::default() });
    let drill = only(&world).await;
    assert_eq!(drill.outcome, Outcome::Failed);
    assert_eq!(drill.why.as_deref(), Some("fired, but its breaker never opened"));
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_does_not_resolve_fails_the_drill() {
    let world = Fake::new(Script { resolves: None, ..Script::default() });
    let drill = only(&world).await;
    assert_eq!(drill.why.as_deref(), Some("did not resolve within 85 s after the fault was removed"));
    assert_eq!(drill.seconds.firing, Some(33.0), "observations until then are reported");
}

#[tokio::test(start_paused = true)]
async fn a_notification_that_does_not_come_fails_the_drill() {
    let world = Fake::new(Script { notifies: None, ..Script::default() });
    assert_eq!(only(&world).await.why.as_deref(), Some("fired, but no notification arrived within 90 s"));
    let world = Fake::new(Script { tells_end: None, ..Script::default() });
    let why = only(&world).await.why;
    assert_eq!(why.as_deref(), Some("resolved, but the notification of that did not arrive within 90 s"));
}

#[tokio::test(start_paused = true)]
async fn a_muted_notification_is_no_failure() {
    let world = Fake::new(Script { notifies: None, suppressed: Some(true), ..Script::default() });
    let drill = only(&world).await;
    assert_eq!(drill.outcome, Outcome::Passed);
    assert_eq!(drill.notes, ["its notification was muted by another alert"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_watchdog_notifications_are_not_awaited() {
    let world = Fake::new(Script { notifies: None, connected: false, ..Script::default() });
    assert_eq!(only(&world).await.outcome, Outcome::Passed);
    let options = Options { need_inbox: true, ..Options::default() };
    let refused = run_with(&world, &options).await.unwrap_err();
    assert!(refused.to_string().contains("no Watchdog arrives"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn lasting_silence_fails_the_drill_and_restores() {
    let world = Fake::new(Script { silent: 10..30, ..Script::default() });
    assert_eq!(only(&world).await.outcome, Outcome::Passed);
    let world = Fake::new(Script { silent: 10..9999, ..Script::default() });
    let drill = only(&world).await;
    assert_eq!(drill.why.as_deref(), Some("Prometheus does not answer"));
    assert_eq!(changes(&world), [SET, "restore catalog"]);
}

#[tokio::test(start_paused = true)]
async fn the_scenario_pauses_between_incidents_and_stops_within_one() {
    for (active, halt) in [(false, "scenario pause"), (true, "scenario stop")] {
        let world = Fake::new(Script::default());
        *world.scenario.borrow_mut() = Some(ScenarioSeen { running: true, active });
        run(&world).await.unwrap();
        let changes = changes(&world);
        assert_eq!((changes.first().unwrap().as_str(), changes.last().unwrap().as_str()), (halt, "scenario start"));
    }
    let world = Fake::new(Script::default());
    *world.scenario.borrow_mut() = Some(ScenarioSeen { running: false, active: false });
    run(&world).await.unwrap();
    assert_eq!(changes(&world), [SET, "restore catalog"], "a stopped scenario is not started");
}

#[tokio::test(start_paused = true)]
async fn a_fault_set_by_others_is_a_reason_to_refuse() {
    let world = Fake::new(Script::default());
    {
        let mut fault = world.fault.borrow_mut();
        (fault.at_baseline, fault.active) = (false, vec!["latency".to_owned()]);
    }
    let refused = run(&world).await.unwrap_err();
    assert!(refused.to_string().contains("a fault is on at catalog (latency)"), "{refused}");
    assert_eq!(changes(&world).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_target_cleared_by_hand_is_cleared_again_afterwards() {
    let world = Fake::new(Script::default());
    world.fault.borrow_mut().at_baseline = false;
    assert_eq!(only(&world).await.outcome, Outcome::Passed);
    assert_eq!(changes(&world), [SET, "set catalog {}"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_undo_is_retried_and_then_reported() {
    let world = Fake::new(Script::default());
    let options = Options::default();
    let conductor = Conductor::new(&world, &options, |event: Event<'_>| {
        if let Event::Reached { milestone: Milestone::Notified, .. } = event {
            world.refusals.set(3);
        }
    });
    let report = conductor.run(&open(), pending()).await.unwrap();
    assert_eq!(report.drills[0].outcome, Outcome::Passed);

    let world = Fake::new(Script::default());
    let conductor = Conductor::new(&world, &options, |event: Event<'_>| {
        if let Event::Reached { milestone: Milestone::Notified, .. } = event {
            world.refusals.set(u32::MAX);
        }
    });
    let report = conductor.run(&open(), pending()).await.unwrap();
    assert_eq!(report.drills[0].outcome, Outcome::Failed);
    assert!(report.drills[0].notes[0].contains("run `breakerbox fault clear catalog`"), "{:?}", report.drills[0]);
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_is_not_loaded_is_refused() {
    let world = Fake::new(Script { loaded: false, ..Script::default() });
    let drill = only(&world).await;
    assert_eq!(drill.outcome, Outcome::Refused);
    assert!(drill.why.unwrap().contains("rule_files"));
}

#[tokio::test(start_paused = true)]
async fn user_commands_can_raise_and_clear_an_alert() {
    let world = Fake::new(Script::default());
    let plans: Vec<_> = open().iter().map(|plan| plan.by_command("raise", "clear")).collect();
    let options = Options::default();
    let report = Conductor::new(&world, &options, |_: Event<'_>| {}).run(&plans, pending()).await.unwrap();
    assert_eq!(report.drills[0].outcome, Outcome::Passed);
    assert_eq!(changes(&world), ["run raise", "run clear"]);
}

#[tokio::test(start_paused = true)]
async fn a_fast_run_leaves_long_drills_out() {
    let world = Fake::new(Script::default());
    let options = Options { fast: true, ..Options::default() };
    let mut plans = open();
    if let super::How::Raise(raise) = &mut plans[0].how {
        raise.fade = Duration::from_secs(600);
    }
    let report = Conductor::new(&world, &options, |_: Event<'_>| {}).run(&plans, pending()).await.unwrap();
    assert_eq!(report.drills[0].outcome, Outcome::Skipped);
    assert_eq!(report.drills[0].why.as_deref(), Some("takes about 12 min; leave --fast out"));
    assert_eq!((changes(&world).len(), report.exit_code()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_second_drill_waits_until_the_breaker_has_closed() {
    let world = Fake::new(Script { notifies: None, connected: false, resolves: Some(1), ..Script::default() });
    let options = Options::default();
    let mut waited = Vec::new();
    let tell = |event: Event<'_>| {
        if let Event::Waiting { what, .. } = event {
            waited.push(what.to_owned());
        }
    };
    let plans = [open(), open()].concat();
    let report = Conductor::new(&world, &options, tell).run(&plans, pending()).await.unwrap();
    assert_eq!(report.drills[1].outcome, Outcome::Passed, "{:?}", report.drills[1].why);
    assert!(waited.iter().any(|what| what == "breaker gateway/catalog (open) to close" || what.contains("resolve")));
}

/// Sample input of the reporters.
fn report() -> Report {
    let passed = Drill {
        alert: "CircuitBreakerOpen".to_owned(),
        severity: "warning".to_owned(),
        outcome: Outcome::Passed,
        why: None,
        raised_by: "catalog answers every request with an error".to_owned(),
        breaker: Some("gateway/catalog".to_owned()),
        seconds: Times {
            breaker_open: Some(0.4),
            pending: Some(1.2),
            firing: Some(31.0),
            notified: Some(36.3),
            resolved: Some(11.1),
            resolved_notified: Some(21.5),
        },
        firing_budget_seconds: 64.0,
        resolve_budget_seconds: 59.0,
        notes: Vec::new(),
        took_seconds: 58.1,
    };
    let failed = Drill {
        alert: "NoTraffic".to_owned(),
        outcome: Outcome::Failed,
        why: Some("did not fire within 80 s: it \"stayed\" <inactive>".to_owned()),
        raised_by: "gateway crashes: nothing listens on its port".to_owned(),
        breaker: None,
        seconds: Times::default(),
        notes: vec!["it was pending now and then before".to_owned()],
        took_seconds: 81.0,
        ..passed.clone()
    };
    let skipped = Drill {
        alert: "TargetDown".to_owned(),
        severity: "critical".to_owned(),
        outcome: Outcome::Skipped,
        why: Some("a process has to die".to_owned()),
        notes: Vec::new(),
        took_seconds: 0.0,
        ..failed.clone()
    };
    let lost = "the fault at user: no; run `breakerbox fault clear user`".to_owned();
    Report { drills: vec![passed, failed, skipped], not_restored: vec![lost], interrupted: false }
}

/// Compares with the snapshot file; `UPDATE_SNAPSHOTS=1` rewrites it, to be reviewed in the diff.
fn kept(name: &str, actual: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/drill/snapshots").join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&file, actual).unwrap();
    }
    assert_eq!(actual, std::fs::read_to_string(&file).unwrap_or_default(), "{name}");
}

#[test]
fn the_table_matches_its_snapshot() {
    kept("table.txt", &super::report::table::summary(&report()));
    kept("table.md", &super::report::table::markdown(&report()));
}

#[test]
fn the_list_matches_its_snapshot() {
    kept("list.txt", &super::report::table::list(&plans()));
}

#[test]
fn the_junit_file_matches_its_snapshot() {
    kept("junit.xml", &super::report::junit::xml(&report()));
}

#[test]
fn the_json_file_matches_its_snapshot() {
    let text = serde_json::to_string_pretty(&report()).unwrap();
    kept("report.json", &(text + "\n"));
}

#[test]
fn progress_is_lines_and_on_a_terminal_one_that_changes() {
    for (terminal, name) in [(false, "progress.txt"), (true, "progress_terminal.txt")] {
        let mut written = Vec::new();
        {
            let mut progress = super::report::progress::Progress::new(&mut written, terminal);
            let s = Duration::from_secs;
            let (plan, report) = (&open()[0], report());
            let budget = super::Budget { firing: s(64), resolve: s(59) };
            progress.tell(&Event::Healthy { targets: 1, rules: 35, inbox: true });
            progress.tell(&Event::Note("the scenario is paused until the drills are over"));
            progress.tell(&Event::Began { plan, number: 1, of: 2, budget });
            progress.tell(&Event::Waiting { what: "the alert to fire", since: s(1) });
            progress.tell(&Event::Reached { milestone: Milestone::Firing, after: Duration::from_millis(31_040) });
            progress.tell(&Event::Cleared);
            progress.tell(&Event::Ended(&report.drills[0]));
            progress.tell(&Event::Ended(&report.drills[1]));
            progress.tell(&Event::NotRestored("the fault at user: no"));
        }
        let written = String::from_utf8(written).unwrap().replace('\r', "<CR>").replace('\u{1b}', "<ESC>");
        kept(name, &written);
    }
}

#[test]
fn the_admin_port_accepts_the_json_of_each_plan() {
    use super::{How, Step};
    for plan in plans() {
        let How::Raise(raise) = &plan.how else { continue };
        for step in &raise.steps {
            match step {
                Step::Fault(target, fault) => {
                    let mut fault: serde_json::Value = serde_json::from_str(fault).unwrap();
                    fault["ttl"] = json!("60s");
                    let fault: crate::faults::FaultPlan = serde_json::from_value(fault).unwrap();
                    fault.validate().unwrap_or_else(|error| panic!("{}: {target}: {error}", plan.name()));
                }
                Step::Settings(_, _, settings) => {
                    let settings: breakerbox_resilience::breaker::BreakerSettings =
                        serde_json::from_str(settings).unwrap();
                    settings.validate().unwrap();
                }
                _ => {}
            }
        }
    }
}
