//! One process, from its settings to its graceful shutdown.
//!
//! [`Application::build`] binds the ports and connects services over sockets; [`Application::in_process`]
//! connects them by calling each other's routers instead, which works under Tokio's paused clock and needs no
//! port. Either is run by [`Application::run_until`] or, to do something meanwhile, by [`Application::start`] and
//! [`Running::stop`]:
//!
//! ```no_run
//! # async fn example() -> Result<(), String> {
//! use breakerbox::app::Application;
//! use breakerbox::settings::Settings;
//!
//! let settings = Settings::load(None, std::env::vars())?;
//! let application = Application::in_process(&settings)?;
//! let parts = application.parts().clone(); // routers, clients, faults, metrics, viewers
//! let running = application.start();
//! let viewers = parts.viewers(&settings.traffic)?;
//! viewers.run(tokio::time::sleep(std::time::Duration::from_secs(600))).await;
//! running.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! While an application runs, so do its listeners, checkout's worker, the breakers' clock, and the viewers and the
//! scenario if the settings enable them. Everything is a tracked task. A shutdown first ends viewers and scenario
//! (which clears its faults), then stops accepting requests, lets requests in flight and background work of the
//! services finish, and aborts after five seconds.

mod listen;
mod openapi;
mod parts;
mod ports;
mod site;
mod storefronts;
mod targets;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

pub use listen::interrupted;
pub use openapi::openapi;
pub use parts::Parts;
pub use site::{Site, Wiring};

use self::listen::{Bound, Served, bind, bind_one, on, reachable, serve, serve_admin, tick};
use self::ports::Ports;
use crate::scenario::Actuator;
use crate::services::ServiceName;
use crate::settings::Settings;

/// Time that requests in flight get when the process is asked to stop; viewers before them, databases after them, get
/// as much.
pub const DRAIN: Duration = Duration::from_secs(5);

/// Connected services that do not run yet.
pub struct Application {
    parts: Parts,
    actuator: Actuator,
    listeners: Option<Listeners>,
}

struct Listeners {
    services: BTreeMap<ServiceName, Bound>,
    admin: Bound,
}

impl Application {
    /// Builds these services on the configured ports, which are bound at once; other services are reached at their
    /// configured URLs.
    pub async fn build(settings: &Settings, services: &[ServiceName]) -> Result<Self, String> {
        settings.validate()?;
        let draft = parts::Draft::new(settings)?;
        let admin = bind_one(settings.admin.listen, "admin.listen").await?;
        let bound = bind(draft.blueprint(), services).await?;
        let addresses: BTreeMap<_, _> =
            bound.iter().map(|(service, bound)| (*service, reachable(bound.address))).collect();
        let wiring = Wiring::Sockets(addresses);
        let (parts, actuator) = draft.finish(services, wiring, reachable(admin.address))?;
        Ok(Self { parts, actuator, listeners: Some(Listeners { services: bound, admin }) })
    }

    /// Builds all services without sockets, for tests and experiments under a paused clock.
    pub fn in_process(settings: &Settings) -> Result<Self, String> {
        settings.validate()?;
        let draft = parts::Draft::new(settings)?;
        let (parts, actuator) = draft.finish(ServiceName::ALL, Wiring::InProcess, settings.admin.listen)?;
        Ok(Self { parts, actuator, listeners: None })
    }

    /// Its parts.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Runs until `shutdown` completes, then shuts down gracefully.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) {
        let running = self.start();
        shutdown.await;
        running.stop().await;
    }

    /// Starts all tasks.
    #[must_use = "it runs until it is stopped"]
    pub fn start(self) -> Running {
        let Self { parts, actuator, listeners } = self;
        let (stop_load, load_stopped) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        let (load, tasks) = (TaskTracker::new(), parts.tasks.clone());
        if let Some(checkout) = parts.site.checkout.clone() {
            tasks.spawn(checkout.work(stopped.clone()));
        }
        if let Some(Listeners { services, admin }) = listeners {
            let names: Vec<_> = services.keys().copied().collect();
            let Site { connections, clients, .. } = &parts.site;
            let ports = Ports::new(connections, &parts.telemetry.metrics, &names, clients.len());
            for (name, bound) in services {
                if let Some(router) = parts.site.routers.get(&name).cloned()
                    && let Some(faults) = parts.site.faults.target(name.as_str())
                {
                    let served = Served { name, port: ports.service(name), router, faults };
                    tasks.spawn(serve(served, bound, stopped.clone()));
                }
            }
            tasks.spawn(parts.site.clone().keep_asking(stopped.clone()));
            if let Some(feed) = parts.feed.clone() {
                tasks.spawn(feed.run(stopped.clone()));
            }
            tasks.spawn(serve_admin(ports.admin(), parts.admin_router.clone(), admin, stopped.clone()));
        }
        tasks.spawn(tick(parts.site.clients.clone(), stopped));
        if let Some(traffic) = parts.traffic.clone() {
            let stopped = load_stopped.clone();
            load.spawn(async move { traffic.run(on(stopped)).await });
        }
        if let Some(scenario) = parts.scenario.clone() {
            load.spawn(async move {
                tokio::select! {
                    () = on(load_stopped) => {}
                    () = scenario.run(&actuator) => {}
                }
                scenario.restore(&actuator).await;
            });
        }
        parts.admin.set_ready(true);
        Running { parts, stop_load, stop, load, tasks }
    }
}

/// A running application.
pub struct Running {
    parts: Parts,
    stop_load: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    load: TaskTracker,
    tasks: TaskTracker,
}

impl Running {
    /// Its parts.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Stops accepting requests, and lets work in progress finish within a time limit.
    pub async fn stop(self) {
        self.parts.admin.set_ready(false);
        self.parts.drills.stop();
        drain(&self.stop_load, &self.load, "the scenario's faults could not be taken back in time").await;
        drain(&self.stop, &self.tasks, "requests still in flight were dropped").await;
        if tokio::time::timeout(DRAIN, self.parts.site.drained()).await.is_err() {
            tracing::warn!(seconds = DRAIN.as_secs(), "running transactions were dropped at shutdown");
        }
    }
}

async fn drain(stop: &watch::Sender<bool>, tasks: &TaskTracker, late: &'static str) {
    // Without a receiver there is nothing to stop.
    let _ = stop.send(true);
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!(seconds = DRAIN.as_secs(), tasks = tasks.len(), "{late}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::time::Instant;

    use super::*;

    fn quiet() -> Running {
        let off = ["BREAKERBOX_TRAFFIC__ENABLED", "BREAKERBOX_SCENARIO__ENABLED"];
        let variables = off.map(|name| (name.to_owned(), "false".to_owned()));
        Application::in_process(&Settings::load(None, variables.into_iter()).unwrap()).unwrap().start()
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_waits_for_work_beside_requests() {
        let running = quiet();
        let done = Arc::new(AtomicBool::new(false));
        let finished = Arc::clone(&done);
        running.tasks.spawn(async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            finished.store(true, Ordering::Relaxed);
        });
        running.stop().await;
        assert!(done.load(Ordering::Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_does_not_wait_for_ever() {
        let running = quiet();
        running.tasks.spawn(std::future::pending::<()>());
        let begun = Instant::now();
        running.stop().await;
        assert_eq!(begun.elapsed().as_secs(), DRAIN.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_takes_the_scenario_s_faults_back() {
        let variables = [("BREAKERBOX_TRAFFIC__ENABLED".to_owned(), "false".to_owned())];
        let settings = Settings::load(None, variables.into_iter()).unwrap();
        let running = Application::in_process(&settings).unwrap().start();
        let parts = running.parts().clone();
        let broken = || parts.site.faults.snapshot().iter().filter(|target| target.remaining_seconds.is_some()).count();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(broken() > 0, "the first incident starts after 20 s");
        running.stop().await;
        assert_eq!(broken(), 0);
    }
}
