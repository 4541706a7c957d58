//! Builds services and connects them to each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::{Router, middleware};
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;

use crate::admin::Probe;
use crate::client::{Client, SharedPool, Telemetry, Transport};
use crate::faults::{self, Faults};
use crate::ingress::ConnectionSettings;
use crate::services::gateway::{self, Clients, GatewayState, Protection};
use crate::services::{
    Host, ServiceName, catalog, checkout, inventory, ml_api, notification, payment_gateway, recommendation, user,
};
use crate::settings::Blueprint;
use crate::store::Database;
use crate::web::edge::{Edge, Entry, edge};
use crate::web::trust;
use breakerbox_resilience::bulkhead::{Bulkhead, BulkheadSettings};
use breakerbox_resilience::policy::PolicySettings;
use breakerbox_telemetry::{EdgeTelemetry, LedgerTelemetry, Metrics, StoreReading, watch_store};

/// Largest request body, in bytes.
const LARGEST_BODY: usize = 64 * 1024;
/// Interval of checking the databases, with or without requests.
const ASKED_EVERY: Duration = Duration::from_secs(5);
/// Size of the pool of `gateway-bare`, shared by all dependencies.
const SHARED_POOL: u32 = 20;
/// Stands for "no limit" of the wait for a place: without protection there is none.
const NO_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// Connections between services.
#[derive(Clone, Debug)]
pub enum Wiring {
    /// Over sockets; services of this process listen on these addresses.
    Sockets(BTreeMap<ServiceName, SocketAddr>),
    /// By calling each other's routers, for tests and experiments under a paused clock.
    InProcess,
}

/// The services of one process, ready to be served.
#[derive(Clone)]
pub struct Site {
    /// Each service with its routes, including its edge.
    pub routers: BTreeMap<ServiceName, Router>,
    /// Every client, for the admin port and for transitions by time.
    pub clients: Vec<Client>,
    /// Limits of their connections.
    pub connections: ConnectionSettings,
    /// The faults at the services' edges.
    pub faults: Faults,
    /// Checkout, if it is built here: its worker has to be run, and its queue is shown on the admin port.
    pub checkout: Option<checkout::CheckoutState>,
    /// The inventory, if it is built here.
    pub inventory: Option<inventory::InventoryState>,
    /// The payment gateway, if it is built here.
    pub payment: Option<payment_gateway::PaymentState>,
}

/// Shared inputs of building services.
struct Builder<'a> {
    blueprint: &'a Blueprint,
    wiring: &'a Wiring,
    telemetry: &'a Telemetry,
    host: &'a Host,
    faults: Faults,
    routers: BTreeMap<ServiceName, Arc<OnceLock<Router>>>,
    clients: Vec<Client>,
    checkout: Option<checkout::CheckoutState>,
    inventory: Option<inventory::InventoryState>,
    payment: Option<payment_gateway::PaymentState>,
}

impl Site {
    /// The databases of these services.
    fn databases(&self) -> impl Iterator<Item = (ServiceName, Database)> {
        let checkout = self.checkout.as_ref().map(|own| (ServiceName::Checkout, own.store().database()));
        let inventory = self.inventory.as_ref().map(|own| (ServiceName::Inventory, own.store().database()));
        let payment = self.payment.as_ref().map(|own| (ServiceName::PaymentGateway, own.ledger().database()));
        [checkout, inventory, payment].into_iter().flatten().map(|(service, own)| (service, own.clone()))
    }

    /// Probes of whether they are writable.
    #[must_use]
    pub fn probes(&self) -> Vec<Probe> {
        let probe = |(service, database): (ServiceName, Database)| -> Probe {
            Arc::new(move || {
                let own = database.clone();
                Box::pin(async move { own.probe().await.map_err(|error| format!("{service}: {error}")) })
            })
        };
        self.databases().map(probe).collect()
    }

    /// Waits for running database tasks, including those of callers that have hung up.
    pub(super) async fn drained(&self) {
        for (_, database) in self.databases() {
            database.drained().await;
        }
    }

    /// Exports the state of the databases.
    fn watch_databases(&self, metrics: &Metrics) {
        for (service, database) in self.databases() {
            let read = move || StoreReading { up: database.is_up(), ahead: database.skew() };
            watch_store(metrics, service.as_str(), read);
        }
    }

    /// Checks the databases periodically, so that an idle service notices an outage, too.
    pub(super) async fn keep_asking(self, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = tokio::time::sleep(ASKED_EVERY) => {}
            }
            // Concurrently, because an unavailable database answers late. `is_up` has the result.
            futures_util::future::join_all(self.databases().map(|(_, own)| async move { own.probe().await })).await;
        }
    }

    /// Attempt timeouts of the blueprint's policies, which become bounds of the latency histogram.
    pub(super) fn call_timeouts(blueprint: &Blueprint) -> Vec<Duration> {
        let own = [&blueprint.user.primary, &blueprint.user.replica];
        blueprint.policies.values().chain(own).map(|policy| policy.time_limiter.timeout_duration).collect()
    }

    /// Builds `which` services. `faults` holds the targets' plans.
    pub(super) fn build(
        blueprint: &Blueprint,
        which: &[ServiceName],
        wiring: &Wiring,
        telemetry: &Telemetry,
        faults: Faults,
        host: &Host,
    ) -> Result<Self, String> {
        let routers = which.iter().map(|service| (*service, Arc::default())).collect();
        let mut builder = Builder {
            blueprint,
            wiring,
            telemetry,
            host,
            faults: faults.clone(),
            routers,
            clients: Vec::new(),
            checkout: None,
            inventory: None,
            payment: None,
        };
        let mut built = BTreeMap::new();
        for service in which {
            let router = builder.service(*service)?;
            let router = with_edge(*service, router, blueprint, telemetry, &faults, host.virtual_time);
            if let Some(slot) = builder.routers.get(service) {
                // Set only once, because each service is built once.
                let _ = slot.set(router.clone());
            }
            built.insert(*service, router);
        }
        let Builder { clients, checkout, inventory, payment, .. } = builder;
        let connections = blueprint.connections.clone();
        let own = Self { routers: built, clients, connections, faults, checkout, inventory, payment };
        own.watch_databases(&telemetry.metrics);
        Ok(own)
    }
}

impl Builder<'_> {
    fn service(&mut self, service: ServiceName) -> Result<Router, String> {
        Ok(match service {
            ServiceName::Gateway => {
                let clients = Clients {
                    user: self.client(service, ServiceName::User)?,
                    catalog: self.client(service, ServiceName::Catalog)?,
                    recommendation: self.client(service, ServiceName::Recommendation)?,
                    checkout: self.client(service, ServiceName::Checkout)?,
                };
                gateway::router(self.gateway(service, Protection::On, clients)?)
            }
            ServiceName::GatewayBare => {
                let pool = self.shared_pool(service)?;
                let clients = Clients {
                    user: self.bare_client(service, ServiceName::User, &pool)?,
                    catalog: self.bare_client(service, ServiceName::Catalog, &pool)?,
                    recommendation: self.bare_client(service, ServiceName::Recommendation, &pool)?,
                    checkout: self.bare_client(service, ServiceName::Checkout, &pool)?,
                };
                gateway::router(self.gateway(service, Protection::Off, clients)?)
            }
            ServiceName::User => user::router(self.user()?),
            ServiceName::Catalog => {
                catalog::router(catalog::CatalogState::new(&self.blueprint.catalog, self.blueprint.seed)?)
            }
            ServiceName::Recommendation => {
                let pool = Self::unlimited_pool()?;
                let clients = recommendation::MlApiClients {
                    protected: self.client(service, ServiceName::MlApi)?,
                    bare: self.bare_client(service, ServiceName::MlApi, &pool)?,
                };
                let Blueprint { recommendation: own, seed, .. } = self.blueprint;
                let state = recommendation::RecommendationState::new(own, clients, self.telemetry, *seed)?;
                recommendation::router(state)
            }
            ServiceName::MlApi => ml_api::router(ml_api::MlApiState::new(&self.blueprint.ml_api, self.blueprint.seed)?),
            ServiceName::Checkout => checkout::router(self.checkout()?),
            ServiceName::Inventory => {
                let Blueprint { inventory: own, store, .. } = self.blueprint;
                let state = inventory::InventoryState::new(own, store, self.host)?;
                self.inventory = Some(state.clone());
                inventory::router(state)
            }
            ServiceName::PaymentGateway => {
                let Blueprint { payment_gateway: own, store, .. } = self.blueprint;
                let telemetry = LedgerTelemetry::new(&self.telemetry.metrics, service.as_str());
                let state = payment_gateway::PaymentState::new(
                    own,
                    store,
                    telemetry,
                    self.faults.target(service.as_str()),
                    self.host,
                )?;
                self.payment = Some(state.clone());
                payment_gateway::router(state)
            }
            ServiceName::Notification => notification::router(notification::NotificationState::default()),
        })
    }

    /// The user service over two stores, each with its own faults and its own breaker.
    fn user(&mut self) -> Result<user::UserState, String> {
        let Blueprint { user: settings, seed, .. } = self.blueprint;
        let plain = user::UserState::new(settings, *seed)?;
        let mut store = |name: &'static str, state: user::UserState, policy: &PolicySettings| {
            let router = user::store_routes(state);
            let router = match self.faults.target(name) {
                Some(target) => router.layer(middleware::from_fn_with_state(target, faults::inject)),
                None => router,
            };
            let transport = Transport::InProcess(Arc::new(OnceLock::from(router)));
            let seed = seed.wrapping_add(self.clients.len() as u64);
            let client = Client::new(ServiceName::User.as_str(), name, policy, transport, self.telemetry, seed)?;
            self.clients.push(client.clone());
            Ok::<_, String>(client)
        };
        let primary = store(user::PRIMARY, plain.clone(), &settings.primary)?;
        let replica = store(user::REPLICA, plain.replica(settings.replication_lag), &settings.replica)?;
        Ok(plain.over(user::StoreClients::new(primary, replica, self.telemetry)))
    }

    fn checkout(&mut self) -> Result<checkout::CheckoutState, String> {
        let own = ServiceName::Checkout;
        // One pool for all calls of an order without protection: a hanging dependency occupies all of it.
        let pool = self.shared_pool(own)?;
        let mut pair = |dependency| -> Result<checkout::Pair, String> {
            let protected = self.client(own, dependency)?;
            Ok(checkout::Pair { protected, bare: self.bare_client(own, dependency, &pool)? })
        };
        let (user, inventory) = (pair(ServiceName::User)?, pair(ServiceName::Inventory)?);
        let (payment, notification) = (pair(ServiceName::PaymentGateway)?, pair(ServiceName::Notification)?);
        let policy = self.blueprint.policies.get(&(own, ServiceName::PaymentGateway));
        let payment_tried_once = policy.is_none_or(|policy| policy.retry.is_none() && policy.hedge.is_none());
        let clients = checkout::Clients { user, inventory, payment, notification, payment_tried_once };
        let Blueprint { checkout: settings, store, .. } = self.blueprint;
        let state = checkout::CheckoutState::new(settings, store, clients, self.telemetry, self.host)?;
        self.checkout = Some(state.clone());
        Ok(state)
    }

    fn gateway(&self, service: ServiceName, protection: Protection, clients: Clients) -> Result<GatewayState, String> {
        let Blueprint { gateway: own, seed, .. } = self.blueprint;
        GatewayState::new(service, protection, own, clients, self.telemetry, *seed)
    }

    fn client(&mut self, service: ServiceName, dependency: ServiceName) -> Result<Client, String> {
        let fallback = PolicySettings::default();
        let policy = self.blueprint.policies.get(&(service, dependency)).unwrap_or(&fallback);
        let transport = self.transport(dependency, Some(policy.time_limiter.connect_timeout()))?;
        if policy.hedge.is_some() && transport.is_single() && !self.host.virtual_time {
            tracing::info!(
                %service,
                %dependency,
                "only one instance: hedges go to the same one; set services.{dependency}.url to a name with several addresses"
            );
        }
        // Clients must not use the same random numbers.
        let seed = self.blueprint.seed.wrapping_add(self.clients.len() as u64);
        let client = Client::new(service.as_str(), dependency.as_str(), policy, transport, self.telemetry, seed)?;
        self.clients.push(client.clone());
        Ok(client)
    }

    fn bare_client(&self, service: ServiceName, dependency: ServiceName, pool: &SharedPool) -> Result<Client, String> {
        Ok(Client::bare(service.as_str(), dependency.as_str(), self.transport(dependency, None)?, pool))
    }

    fn shared_pool(&self, service: ServiceName) -> Result<SharedPool, String> {
        Ok(SharedPool::new(pool(SHARED_POOL)?, &self.telemetry.metrics, service.as_str()))
    }

    /// A pool without a limit, for calls from the unprotected gateway, whose own pool is the limit.
    fn unlimited_pool() -> Result<SharedPool, String> {
        Ok(SharedPool::unwatched(pool(1_000_000)?))
    }

    fn transport(&self, to: ServiceName, connect_timeout: Option<Duration>) -> Result<Transport, String> {
        match self.wiring {
            Wiring::InProcess => {
                let router = self.routers.get(&to).ok_or_else(|| format!("{to} is not built in this process"))?;
                Ok(Transport::InProcess(Arc::clone(router)))
            }
            Wiring::Sockets(bound) => {
                let url = self.blueprint.url(bound, to)?;
                let trust = self.blueprint.internal.trust();
                Transport::to_peer(&url, connect_timeout, &trust).map_err(|error| format!("services.{to}.url: {error}"))
            }
        }
    }
}

fn pool(places: u32) -> Result<Bulkhead, String> {
    let settings = BulkheadSettings { max_concurrent_calls: places, max_wait_duration: NO_LIMIT };
    Bulkhead::new(&settings).map_err(|error| error.to_string())
}

/// From the inside out: faults, panics, then the layers that observe both.
fn with_edge(
    service: ServiceName,
    router: Router,
    blueprint: &Blueprint,
    telemetry: &Telemetry,
    faults: &Faults,
    in_process: bool,
) -> Router {
    let entry = match service {
        ServiceName::Gateway => Entry::Protected(blueprint.gateway.page_budget),
        ServiceName::GatewayBare => Entry::Bare,
        _ => Entry::Internal,
    };
    let viewers = entry != Entry::Internal;
    let own = EdgeTelemetry::new(&telemetry.metrics, service.as_str(), viewers, routes(service));
    let router = match faults.target(service.as_str()) {
        Some(target) => router.layer(middleware::from_fn_with_state(target, faults::inject)),
        None => router,
    };
    let trust = blueprint.internal.trust();
    let router = match (viewers, in_process) {
        (true, _) => router.layer(middleware::from_fn_with_state(trust, trust::outsiders)),
        (false, false) => router.layer(middleware::from_fn_with_state(trust, trust::peers_only)),
        // No socket leads to it.
        (false, true) => router,
    };
    router
        .layer(CatchPanicLayer::new())
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(Edge::new(service.as_str(), entry, own, gateway::is_page), edge))
}

/// Routes whose series exist before the first request.
fn routes(service: ServiceName) -> &'static [(&'static str, &'static str)] {
    match service {
        ServiceName::Gateway | ServiceName::GatewayBare => gateway::ROUTES,
        ServiceName::User => user::ROUTES,
        ServiceName::Catalog => catalog::ROUTES,
        ServiceName::Recommendation => recommendation::ROUTES,
        ServiceName::MlApi => ml_api::ROUTES,
        ServiceName::Checkout => checkout::ROUTES,
        ServiceName::Inventory => inventory::ROUTES,
        ServiceName::PaymentGateway => payment_gateway::ROUTES,
        ServiceName::Notification => notification::ROUTES,
    }
}
