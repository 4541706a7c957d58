//! The commands that run something: everything, some services, or the viewers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Done, Failure, UpArgs};
use crate::admin::{self, Admin, Peers};
use crate::app::{self, Running, Site, Wiring};
use crate::client::{Telemetry, Transport};
use crate::console;
use crate::faults::Faults;
use crate::scenario::{self, Actuator, Mode, Scenario, Timeline};
use crate::services::{ServiceName, checkout};
use crate::settings::Settings;
use crate::traffic::{Target, Traffic};
use breakerbox_telemetry::{LogFormat, Metrics, TransitionLog, TransitionRecord};

/// How often the viewers' numbers are printed.
const PROGRESS: Duration = Duration::from_secs(30);
/// What viewers visit.
const DOORS: [ServiceName; 2] = [ServiceName::Gateway, ServiceName::GatewayBare];

/// What a process does besides serving.
struct Extras {
    traffic: Option<Traffic>,
    scenario: Option<(Scenario, Actuator)>,
}

/// `breakerbox` and `breakerbox up`.
pub(super) fn up(mut settings: Settings, args: &UpArgs) -> Done {
    lay_over(&mut settings, args);
    process(&settings, "breakerbox", ServiceName::ALL, true)
}

/// `breakerbox serve`.
pub(super) fn serve(mut settings: Settings, services: &[ServiceName]) -> Done {
    settings.traffic.enabled = false;
    settings.scenario.enabled = false;
    let mut services = services.to_vec();
    services.sort_unstable();
    services.dedup();
    let name = services.iter().map(|service| service.as_str()).collect::<Vec<_>>().join("+");
    process(&settings, &name, &services, false)
}

/// `breakerbox traffic`.
pub(super) fn traffic(mut settings: Settings, args: &UpArgs) -> Done {
    lay_over(&mut settings, args);
    process(&settings, "traffic", &[], false)
}

fn lay_over(settings: &mut Settings, args: &UpArgs) {
    if let Some(rate) = args.rate {
        settings.traffic.rate = rate;
    }
    settings.traffic.enabled &= !args.no_traffic;
    settings.scenario.enabled &= !args.no_scenario;
    if let Some(file) = &args.scenario {
        settings.scenario.file = Some(file.clone());
        settings.scenario.enabled = true;
    }
}

/// One process from its start to its end.
fn process(settings: &Settings, name: &str, services: &[ServiceName], friendly: bool) -> Done {
    settings.validate().map_err(Failure::Refused)?;
    let logs = &settings.telemetry;
    let live_lines = friendly && logs.log_format == LogFormat::Pretty;
    // Transitions have a line of their own there, which is easier to read.
    let shown = (live_lines && logs.log_filter == "info").then_some("warn,breakerbox_telemetry=off");
    let _telemetry = breakerbox_telemetry::init(logs, name, shown).map_err(Failure::Refused)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads())
        .max_blocking_threads(4)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(error.to_string()))?;
    runtime.block_on(live(settings, services, live_lines))
}

/// Two threads are plenty here, and each costs memory.
fn worker_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(2))
}

async fn live(settings: &Settings, services: &[ServiceName], friendly: bool) -> Done {
    let (running, transitions, extras) = start(settings, services).await.map_err(Failure::Refused)?;
    if friendly {
        welcome(&running, extras.scenario.is_some());
        tokio::spawn(print_transitions(transitions));
    } else {
        tracing::info!(admin = %running.admin_address, services = ?running.addresses, "serving");
    }
    let shutdown = app::interrupted();
    let stopped = beside(&extras, shutdown).await;
    if friendly {
        say("stopping: letting requests in flight finish");
    }
    running.stop().await;
    stopped
}

/// Runs viewers and the scenario until `shutdown`.
async fn beside(extras: &Extras, shutdown: impl Future<Output = ()>) -> Done {
    let traffic = async {
        match &extras.traffic {
            Some(traffic) => tokio::join!(traffic.run(std::future::pending()), print_progress(traffic)).0,
            None => std::future::pending().await,
        }
    };
    let scenario = async {
        match &extras.scenario {
            Some((scenario, actuator)) => scenario.run(actuator).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = shutdown => {}
        () = traffic => {}
        () = scenario => {}
    }
    if let Some((scenario, actuator)) = &extras.scenario {
        scenario.restore(actuator).await;
    }
    Ok(())
}

async fn start(settings: &Settings, services: &[ServiceName]) -> Result<(Running, TransitionLog, Extras), String> {
    let blueprint = settings.blueprint()?;
    let metrics = Metrics::new(&Site::call_timeouts(&blueprint));
    let telemetry = Telemetry { metrics: metrics.clone(), transitions: TransitionLog::new() };
    let timeline = timeline(settings)?;
    let admin_bound = app::bind_one(settings.admin.listen, "admin.listen").await?;
    let bound = app::bind(&blueprint, services).await?;
    let addresses: BTreeMap<_, _> =
        bound.iter().map(|(service, bound)| (*service, app::reachable(bound.address))).collect();

    let faults = app::targets(&settings.faults, services, settings.seed, &metrics);
    let site = Site::build(&blueprint, services, &Wiring::Sockets(addresses.clone()), &telemetry, faults.clone())?;
    let names: Vec<_> = services.iter().map(|service| service.as_str()).collect();
    let address = app::reachable(admin_bound.address).to_string();
    let admin = Admin::new(
        admin::AdminParts {
            metrics: metrics.clone(),
            transitions: telemetry.transitions.clone(),
            clients: site.clients.clone(),
            faults: faults.clone(),
            services: names,
            address,
        },
        &settings.admin,
    )?;
    let extras = extras(settings, &metrics, &addresses, &faults, timeline)?;
    let mut more = extras
        .scenario
        .as_ref()
        .map_or_else(|| admin.scenario_elsewhere(), |(scenario, _)| scenario::routes(scenario.clone()))
        .merge(console::routes());
    more = more.merge(match &site.checkout {
        Some(checkout) => checkout::admin_routes(checkout.clone()),
        None => admin.queue_elsewhere(),
    });
    let running = Running::start(site, bound, admin, admin_bound, more);
    Ok((running, telemetry.transitions, extras))
}

/// The scenario to run, read before any port is taken.
fn timeline(settings: &Settings) -> Result<Option<Timeline>, String> {
    if !settings.scenario.enabled {
        return Ok(None);
    }
    let text = match &settings.scenario.file {
        None => scenario::DEFAULT.to_owned(),
        Some(file) => std::fs::read_to_string(file).map_err(|error| format!("scenario {}: {error}", file.display()))?,
    };
    Timeline::parse(&text).map(Some).map_err(|error| format!("scenario: {error}"))
}

fn extras(
    settings: &Settings,
    metrics: &Metrics,
    addresses: &BTreeMap<ServiceName, SocketAddr>,
    faults: &Faults,
    timeline: Option<Timeline>,
) -> Result<Extras, String> {
    let traffic = settings.traffic.enabled.then(|| viewers(settings, metrics, addresses)).transpose()?;
    let Some(timeline) = timeline else { return Ok(Extras { traffic, scenario: None }) };
    let rate = traffic.as_ref().map(|traffic| traffic.rate().clone());
    let set_rate = Arc::new(move |to| {
        if let Some(rate) = &rate {
            rate.set(to);
        }
    });
    let actuator = Actuator::new(faults.clone(), Peers::new(&settings.admin)?, set_rate);
    let scenario = Scenario::new(timeline, metrics);
    scenario.set(Mode::Running);
    Ok(Extras { traffic, scenario: Some((scenario, actuator)) })
}

fn viewers(
    settings: &Settings,
    metrics: &Metrics,
    addresses: &BTreeMap<ServiceName, SocketAddr>,
) -> Result<Traffic, String> {
    let blueprint = settings.blueprint()?;
    let target = |door: ServiceName| {
        let url = blueprint.url(addresses, door)?;
        let transport = Transport::http(&url, None).map_err(|error| format!("services.{door}.url: {error}"))?;
        Ok(Target::new(door.as_str(), transport, metrics.traffic(door.as_str())))
    };
    let targets = DOORS.map(target).into_iter().collect::<Result<Vec<_>, String>>()?;
    Ok(Traffic::new(&settings.traffic, settings.seed, targets))
}

/// Says a line to whoever watches. A closed terminal is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn welcome(running: &Running, scenario: bool) {
    let at = |service| running.addresses.get(&service).map(ToString::to_string).unwrap_or_default();
    let admin = running.admin_address;
    say(&format!("API        http://{}/api/home", at(ServiceName::Gateway)));
    say(&format!("unprotected twin  http://{}/api/home", at(ServiceName::GatewayBare)));
    say(&format!("metrics    http://{admin}/metrics"));
    say(&format!("breakers   http://{admin}/breakers   faults, alerts, transitions and more at http://{admin}/"));
    if scenario {
        say("the first incident begins in 20 s; Ctrl-C ends everything");
    } else {
        say(
            "nothing breaks by itself: try `breakerbox fault set ml-api --error-rate 1 --ttl 60s`; Ctrl-C ends everything",
        );
    }
}

async fn print_transitions(transitions: TransitionLog) {
    let mut feed = transitions.subscribe();
    let start = tokio::time::Instant::now();
    while let Ok(record) = feed.recv().await {
        say(&format!("{:>7.1} s  {}", start.elapsed().as_secs_f64(), describe(&record)));
    }
}

fn describe(record: &TransitionRecord) -> String {
    let TransitionRecord { service, breaker, from, to, reason, calls, failures, slow_calls, .. } = record;
    let mut line =
        format!("{service} → {breaker}: {from} → {to}  ({reason}; {failures} of {calls} failed, {slow_calls} slow)");
    if let Some(wait) = record.open_wait_seconds {
        // Writing into a String can't fail.
        let _ = write!(line, ", next probe in {wait:.0} s");
    }
    line
}

async fn print_progress(traffic: &Traffic) {
    let mut every = tokio::time::interval(PROGRESS);
    every.tick().await;
    loop {
        every.tick().await;
        for (target, seen) in traffic.lately() {
            tracing::info!(
                target,
                ok = seen.ok,
                degraded = seen.degraded,
                errors = seen.errors,
                shed = seen.shed,
                p50_ms = seen.p50.as_millis(),
                p99_ms = seen.p99.as_millis(),
                "viewers"
            );
        }
    }
}
