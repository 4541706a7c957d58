//! The commands that run something: everything, some services, or the viewers.

use std::io::Write as _;
use std::time::Duration;

use super::place::Place;
use super::story;
use super::{Done, Failure, UpArgs};
use crate::app::{self, Application, Parts};
use crate::services::ServiceName;
use crate::settings::Settings;
use crate::traffic::Traffic;
use breakerbox_telemetry::{LogFormat, Push};

/// Interval of printing the viewers' results.
const PROGRESS: Duration = Duration::from_secs(30);
/// `breakerbox` and `breakerbox up`.
pub(super) fn up(mut settings: Settings, args: &UpArgs) -> Done {
    lay_over(&mut settings, args);
    let place = Place::take(&mut settings, args.data.as_deref()).map_err(Failure::Refused)?;
    process(&settings, "breakerbox", ServiceName::ALL, true, place.as_ref())
}

/// `breakerbox serve`.
pub(super) fn serve(mut settings: Settings, services: &[ServiceName]) -> Done {
    settings.traffic.enabled = false;
    settings.scenario.enabled = false;
    let mut services = services.to_vec();
    services.sort_unstable();
    services.dedup();
    let name = services.iter().map(|service| service.as_str()).collect::<Vec<_>>().join("+");
    process(&settings, &name, &services, false, None)
}

/// `breakerbox traffic`.
pub(super) fn traffic(mut settings: Settings, args: &UpArgs) -> Done {
    lay_over(&mut settings, args);
    process(&settings, "traffic", &[], false, None)
}

/// Applies flags to the settings.
pub(super) fn lay_over(settings: &mut Settings, args: &UpArgs) {
    if let Some(rate) = args.rate {
        settings.traffic.rate = rate;
        settings.flagged("traffic.rate", "--rate");
    }
    settings.traffic.enabled &= !args.no_traffic;
    settings.scenario.enabled &= !args.no_scenario;
    if let Some(offset) = args.port_offset {
        settings.move_ports(offset);
    }
    if let Some(file) = &args.scenario {
        settings.scenario.file = Some(file.clone());
        settings.scenario.enabled = true;
    }
}

/// Runs a process from start to end.
fn process(settings: &Settings, name: &str, services: &[ServiceName], friendly: bool, place: Option<&Place>) -> Done {
    settings.validate().map_err(Failure::Refused)?;
    let logs = &settings.telemetry;
    let live_lines = friendly && logs.log_format == LogFormat::Pretty;
    // Transitions are printed as separate lines in this mode, which are easier to read.
    let shown = (live_lines && logs.log_filter == "info").then_some("warn,breakerbox_telemetry=off");
    let _telemetry = breakerbox_telemetry::init(logs, name, shown).map_err(Failure::Refused)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads())
        .max_blocking_threads(4)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let done = runtime.block_on(live(settings, name, services, live_lines, place));
    // Databases must be closed before their directory is removed.
    drop(runtime);
    done
}

/// Two threads suffice, and each costs memory.
fn worker_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(2))
}

async fn live(
    settings: &Settings,
    name: &str,
    services: &[ServiceName],
    friendly: bool,
    place: Option<&Place>,
) -> Done {
    let application = Application::build(settings, services).await.map_err(Failure::Refused)?;
    let parts = application.parts().clone();
    if friendly {
        welcome(&parts, place);
    } else {
        if let Some(place) = place {
            tracing::info!("{}", place.describe());
        }
        tracing::info!(admin = %parts.admin_address, services = ?parts.addresses(), "serving");
    }
    let shutdown = async {
        app::interrupted().await;
        if friendly {
            say("shutting down: waiting for requests in flight");
        }
    };
    let push = Push {
        endpoint: settings.telemetry.otlp_metrics_endpoint.clone(),
        interval: settings.telemetry.otlp_metrics_interval,
        // The rules select jobs with these names.
        service_name: if name == "breakerbox" { name.to_owned() } else { format!("breakerbox-{name}") },
        instance: parts.admin_address.to_string(),
    };
    tokio::select! {
        () = application.run_until(shutdown) => {}
        never = breakerbox_telemetry::push(parts.telemetry.metrics.clone(), push.clone()), if !push.endpoint.is_empty() => match never {},
        () = story::run(&parts), if friendly => {}
        () = print_progress(parts.traffic.as_ref()), if parts.traffic.is_some() => {}
    }
    Ok(())
}

/// Prints a line. A closed terminal is no reason to stop.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn welcome(parts: &Parts, place: Option<&Place>) {
    let addresses = parts.addresses();
    let at = |service| addresses.get(&service).map(ToString::to_string).unwrap_or_default();
    let admin = parts.admin_address;
    say(&format!(
        "storefront http://{0}/   beside its unprotected twin: http://{0}/?split=1",
        at(ServiceName::Gateway)
    ));
    say(&format!("API        http://{}/api/home", at(ServiceName::Gateway)));
    say(&format!("unprotected twin  http://{}/api/home", at(ServiceName::GatewayBare)));
    if let Some(place) = place {
        say(&place.describe());
    }
    say(&format!("metrics    http://{admin}/metrics"));
    say(&format!("breakers   http://{admin}/breakers   faults, alerts, transitions and more at http://{admin}/"));
    if let Some(scenario) = &parts.scenario {
        let first = scenario.timeline().incidents().next().map_or(0.0, |step| step.from.as_secs_f64());
        let seen = if parts.traffic.is_some() { "" } else { ", and no viewers to notice it" };
        say(&format!("the first incident begins in {first:.0} s{seen} (times are UTC); Ctrl-C ends everything"));
    } else {
        say(
            "nothing breaks by itself: try `breakerbox fault set ml-api --error-rate 1 --ttl 60s`; Ctrl-C ends everything",
        );
    }
}

async fn print_progress(traffic: Option<&Traffic>) {
    let mut every = tokio::time::interval(PROGRESS);
    every.tick().await;
    loop {
        every.tick().await;
        for (target, seen) in traffic.into_iter().flat_map(Traffic::lately) {
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
