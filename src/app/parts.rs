//! The parts of an application, and their construction.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use tokio_util::task::TaskTracker;

use super::openapi;
use super::site::{Site, Wiring};
use super::storefronts::storefronts;
use super::targets::targets;
use crate::admin::{Admin, AdminParts, AdminSettings, Peers};
use crate::client::{Telemetry, Transport};
use crate::drill::Access;
use crate::drill::service::Drillmaster;
use crate::pages::{Feed, console};
use crate::scenario::{self, Actuator, Mode, Scenario, Timeline};
use crate::services::{Host, ServiceName, checkout};
use crate::settings::{Blueprint, ScenarioSettings, Settings};
use crate::traffic::{Target, Traffic, TrafficSettings};
use breakerbox_telemetry::{Metrics, TransitionLog};

/// The two gateways, which viewers visit.
const GATEWAYS: [ServiceName; 2] = [ServiceName::Gateway, ServiceName::GatewayBare];

/// The parts of an application, for access while it runs. Cheap to clone.
#[derive(Clone)]
pub struct Parts {
    /// The process's metrics, and its log of transitions.
    pub telemetry: Telemetry,
    /// Services: their routers, clients, faults and state.
    pub site: Site,
    /// The admin port.
    pub admin: Admin,
    /// Its routes.
    pub admin_router: Router,
    /// Address of the admin port; for an application without sockets, the configured one.
    pub admin_address: SocketAddr,
    /// The viewers, if the settings enable them.
    pub traffic: Option<Traffic>,
    /// The scenario, if the settings enable it.
    pub scenario: Option<Scenario>,
    /// Drills started through the admin port.
    pub(super) drills: Drillmaster,
    /// Data feed of the console.
    pub(super) feed: Option<Feed>,
    pub(super) tasks: TaskTracker,
    wiring: Wiring,
    blueprint: Arc<Blueprint>,
    peers: AdminSettings,
}

impl Parts {
    /// Address of each service of this process; empty without sockets.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<ServiceName, SocketAddr> {
        match &self.wiring {
            Wiring::Sockets(addresses) => addresses.clone(),
            Wiring::InProcess => BTreeMap::new(),
        }
    }

    /// Transport to a service from outside of all services.
    pub fn transport(&self, service: ServiceName) -> Result<Transport, String> {
        match &self.wiring {
            Wiring::Sockets(addresses) => {
                let url = self.blueprint.url(addresses, service)?;
                let trust = self.blueprint.internal.trust();
                Transport::to_peer(&url, None, &trust).map_err(|error| format!("services.{service}.url: {error}"))
            }
            Wiring::InProcess => {
                let router = self.site.routers.get(&service).ok_or_else(|| format!("{service} is not built"))?;
                Ok(Transport::InProcess(Arc::new(OnceLock::from(router.clone()))))
            }
        }
    }

    /// Viewers of both gateways, not started.
    pub fn viewers(&self, settings: &TrafficSettings) -> Result<Traffic, String> {
        let target = |gateway: ServiceName| {
            let telemetry = self.telemetry.metrics.traffic(gateway.as_str());
            Ok(Target::new(gateway.as_str(), self.transport(gateway)?, telemetry))
        };
        let targets = GATEWAYS.map(target).into_iter().collect::<Result<Vec<_>, String>>()?;
        Ok(Traffic::new(settings, self.blueprint.seed, targets))
    }

    /// What a scenario controls: this process's faults, the admin ports of other processes, and the rate of these
    /// viewers.
    pub fn actuator(&self, traffic: Option<&Traffic>) -> Result<Actuator, String> {
        let rate = traffic.map(|traffic| traffic.rate().clone());
        let set_rate = Arc::new(move |to| {
            if let Some(rate) = &rate {
                rate.set(to);
            }
        });
        Ok(Actuator::new(self.site.faults.clone(), Peers::new(&self.peers)?, set_rate))
    }
}

/// Parts that exist before a port is bound.
pub(super) struct Draft<'a> {
    settings: &'a Settings,
    blueprint: Blueprint,
    timeline: Option<Timeline>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(settings: &'a Settings) -> Result<Self, String> {
        let timeline = settings.scenario.enabled.then(|| timeline(&settings.scenario)).transpose()?;
        Ok(Self { settings, blueprint: settings.blueprint()?, timeline })
    }

    pub(super) fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    pub(super) fn finish(
        self,
        services: &[ServiceName],
        wiring: Wiring,
        admin_address: SocketAddr,
    ) -> Result<(Parts, Actuator), String> {
        let Self { settings, blueprint, timeline } = self;
        let metrics = Metrics::new(&Site::call_timeouts(&blueprint));
        let telemetry = Telemetry { metrics, transitions: TransitionLog::new() };
        let faults = targets(&blueprint.faults, services, settings.seed, &telemetry.metrics);
        let host =
            Host { virtual_time: matches!(wiring, Wiring::InProcess), seed: settings.seed, tasks: TaskTracker::new() };
        let mut site = Site::build(&blueprint, services, &wiring, &telemetry, faults, &host)?;
        if let Wiring::Sockets(addresses) = &wiring {
            storefronts(&mut site, &settings.admin, &blueprint, (addresses, admin_address), &host)?;
        }
        let admin_parts = AdminParts {
            metrics: telemetry.metrics.clone(),
            transitions: telemetry.transitions.clone(),
            clients: site.clients.clone(),
            faults: site.faults.clone(),
            services: services.iter().map(|service| service.as_str()).collect(),
            address: admin_address.to_string(),
            probes: site.probes(),
        };
        let mut parts = Parts {
            admin: Admin::new(admin_parts, &settings.admin)?,
            admin_router: Router::new(),
            admin_address,
            telemetry,
            site,
            traffic: None,
            scenario: None,
            drills: Drillmaster::new(drill_access(&settings.admin, admin_address)),
            feed: None,
            tasks: host.tasks,
            wiring,
            blueprint: Arc::new(blueprint),
            peers: settings.admin.clone(),
        };
        parts.traffic = settings.traffic.enabled.then(|| parts.viewers(&settings.traffic)).transpose()?;
        parts.scenario = timeline.map(|timeline| {
            let scenario = Scenario::new(timeline, &parts.telemetry.metrics);
            scenario.set(Mode::Running);
            scenario
        });
        let base = admin_base(&parts);
        let feed = Feed::new(
            parts.telemetry.metrics.clone(),
            parts.admin.clone(),
            parts.admin.router(base.clone()),
            storefront_address(&parts),
        );
        parts.admin_router = parts.admin.router(base.merge(feed.routes()).merge(console()));
        parts.feed = Some(feed);
        let actuator = parts.actuator(parts.traffic.as_ref())?;
        Ok((parts, actuator))
    }
}

/// What drills use: this admin port, and those of other processes.
fn drill_access(settings: &AdminSettings, own: SocketAddr) -> Access {
    let peers = settings.peers.values().flat_map(|urls| urls.split(',')).map(|url| url.trim().to_owned());
    Access {
        prometheus: settings.prometheus.clone(),
        admin: std::iter::once(format!("http://{own}")).chain(peers).collect(),
        admin_token: settings.token.as_ref().map(|token| token.reveal().to_owned()),
        ..Access::default()
    }
}

/// Address of this process's storefront for browsers on this machine, if it has one.
fn storefront_address(parts: &Parts) -> Option<String> {
    let address = parts.addresses().get(&ServiceName::Gateway).copied()?;
    Some(format!("http://{address}/"))
}

/// Further routes of the admin port: of scenario and queue, local or forwarded.
fn admin_base(parts: &Parts) -> Router {
    let Parts { admin, site, scenario, .. } = parts;
    let scenario = match scenario {
        Some(scenario) => scenario::routes(scenario.clone()),
        None => admin.scenario_elsewhere(),
    };
    let queue = match &site.checkout {
        Some(checkout) => checkout::admin_routes(checkout.clone()),
        None => admin.queue_elsewhere(),
    };
    scenario.merge(queue).merge(parts.drills.routes()).merge(openapi::routes())
}

fn timeline(settings: &ScenarioSettings) -> Result<Timeline, String> {
    let text = match &settings.file {
        None => scenario::DEFAULT.to_owned(),
        Some(file) => std::fs::read_to_string(file).map_err(|error| format!("scenario {}: {error}", file.display()))?,
    };
    Timeline::parse(&text).map_err(|error| format!("scenario: {error}"))
}
