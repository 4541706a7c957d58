//! A dependency's client: what a handler calls instead of a socket.
//!
//! ## Theory of operation
//!
//! Each service holds one [`Client`] per dependency. A call goes through the dependency's [`Policy`] (bulkhead → total
//! deadline → retry → per attempt: breaker, timeout), and each attempt goes through a [`Transport`]. The policy reports
//! its decisions as events, which this module passes to telemetry; neither the policy nor the services know a metric by
//! name.
//!
//! The status decides whether a response is a success: 2xx and 3xx succeed, 429 and 5xx fail; other 4xx are the
//! caller's own mistake, which never trips a breaker and is never retried.
//!
//! A [`Client::bare`] client has no policy. Its calls only share a connection pool, like those of a service without
//! isolation; the unprotected twin gateway uses such clients.

mod attempt;
mod error;
mod fallback;
mod observe;
mod presets;
mod problem;
mod replicas;
mod request;
mod span;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

pub use crate::web::context::{Context, DEADLINE_HEADER, PROTECTION_HEADER};
pub use error::{AttemptError, Error};
pub use fallback::{Cache, Chain, FallbackKind, Fallbacks, Served};
pub use presets::{pool_preset, pool_preset_names, preset, preset_names};
pub use replicas::BELIEVED;
pub use request::{Reply, Request};
pub use transport::{Transport, TransportError};

use breakerbox_resilience::breaker::{Breaker, BreakerSettings, Command, Snapshot, Transition};
use breakerbox_resilience::bulkhead::Bulkhead;
use breakerbox_resilience::policy::{Attempt, Call, Policy, PolicySettings};
use breakerbox_telemetry::{BulkheadTelemetry, Metrics, PolicyTelemetry, TransitionLog};
use observe::Reporter;
use transport::Peer;

/// Destination of a client's events.
#[derive(Clone)]
pub struct Telemetry {
    /// The process's metrics.
    pub metrics: Metrics,
    /// The process's transitions.
    pub transitions: TransitionLog,
}

/// A client of one dependency. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    service: String,
    peer: Peer,
    transport: Transport,
    guard: Guard,
}

/// What guards a call before its transport.
enum Guard {
    Policy { policy: Arc<Policy>, reporter: Reporter },
    SharedPool(SharedPool),
}

/// One pool of slots that calls to all dependencies share. Cheap to clone.
#[derive(Clone)]
pub struct SharedPool {
    bulkhead: Arc<Bulkhead>,
}

impl SharedPool {
    /// A pool of `places`, with its series under `service`.
    #[must_use]
    pub fn new(bulkhead: Bulkhead, metrics: &Metrics, service: &str) -> Self {
        let bulkhead = Arc::new(bulkhead);
        let telemetry = BulkheadTelemetry::new(metrics, service, "shared");
        let watched = Arc::clone(&bulkhead);
        metrics.on_scrape(move || {
            let now = watched.snapshot();
            telemetry.read(now.in_flight, now.capacity, now.queued);
        });
        Self { bulkhead }
    }

    /// A pool without metrics.
    #[must_use]
    pub fn unwatched(bulkhead: Bulkhead) -> Self {
        Self { bulkhead: Arc::new(bulkhead) }
    }
}

impl Client {
    /// A client that calls `dependency` on behalf of `service` under a policy.
    ///
    /// `seed` makes its jitter repeatable.
    pub fn new(
        service: &str,
        dependency: &str,
        settings: &PolicySettings,
        transport: Transport,
        telemetry: &Telemetry,
        seed: u64,
    ) -> Result<Self, String> {
        let now = Instant::now().into_std();
        let policy = Policy::new(settings.clone(), now, seed)
            .map_err(|error| format!("policies.{service}.{dependency}: {error}"))?;
        let policy = Arc::new(policy);
        let reporter = Reporter::new(service, dependency, &policy, telemetry);
        Ok(Self::build(service, dependency, transport, Guard::Policy { policy, reporter }))
    }

    /// A client without protection: its calls share `pool` and have no time limit.
    #[must_use]
    pub fn bare(service: &str, dependency: &str, transport: Transport, pool: &SharedPool) -> Self {
        Self::build(service, dependency, transport, Guard::SharedPool(pool.clone()))
    }

    fn build(service: &str, dependency: &str, transport: Transport, guard: Guard) -> Self {
        let (service, peer) = (service.to_owned(), transport.peer(dependency));
        Self { inner: Arc::new(Inner { service, peer, transport, guard }) }
    }

    /// The service that calls.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.inner.service
    }

    /// The dependency that is called.
    #[must_use]
    pub fn dependency(&self) -> &str {
        &self.inner.peer.name
    }

    /// The policy; none in a bare client.
    #[must_use]
    pub fn policy(&self) -> Option<&Arc<Policy>> {
        match &self.inner.guard {
            Guard::Policy { policy, .. } => Some(policy),
            Guard::SharedPool(_) => None,
        }
    }

    /// Snapshot of the breaker; none in a bare client or when the policy has no breaker.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.policy()?.breaker().map(|breaker| breaker.snapshot(Instant::now().into_std()))
    }

    /// Telemetry of its calls; none in a bare client.
    #[must_use]
    pub fn telemetry(&self) -> Option<&PolicyTelemetry> {
        match &self.inner.guard {
            Guard::Policy { reporter, .. } => Some(reporter.telemetry()),
            Guard::SharedPool(_) => None,
        }
    }

    /// The breaker's current settings, including live changes.
    #[must_use]
    pub fn breaker_settings(&self) -> Option<BreakerSettings> {
        self.policy()?.breaker().map(Breaker::settings)
    }

    /// Executes an operator's command.
    pub fn command(&self, command: Command) {
        self.with_breaker(|breaker, now| breaker.command(command, now));
    }

    /// Adopts the state of a peer's breaker for the same dependency: opens for the rest of its wait, or closes
    /// (`None`).
    pub fn follow(&self, open_for: Option<Duration>) {
        self.with_breaker(|breaker, now| breaker.follow(open_for, now));
    }

    /// Changes the given settings of the breaker, and keeps its window.
    pub fn reconfigure(&self, changes: serde_json::Value) -> Result<(), String> {
        let current = self.breaker_settings().ok_or("there is no breaker")?;
        let (Ok(serde_json::Value::Object(mut merged)), serde_json::Value::Object(changes)) =
            (serde_json::to_value(&current), changes)
        else {
            return Err("must be an object, such as {\"failure-rate-threshold\": 40}".to_owned());
        };
        merged.extend(changes);
        let settings: BreakerSettings =
            serde_path_to_error::deserialize(serde_json::Value::Object(merged)).map_err(|error| error.to_string())?;
        let mut refused = None;
        self.with_breaker(|breaker, now| {
            breaker.reconfigure(settings, now).unwrap_or_else(|error| {
                refused = Some(error.to_string());
                None
            })
        });
        refused.map_or(Ok(()), Err)
    }

    /// Every transition of its breaker from now on, in order and without a gap; none without a breaker.
    #[must_use]
    pub fn transitions(&self) -> UnboundedReceiver<Transition> {
        match &self.inner.guard {
            Guard::Policy { reporter, .. } => reporter.subscribe(),
            // The sender is dropped, so the channel is closed.
            Guard::SharedPool(_) => unbounded_channel().1,
        }
    }

    /// Triggers transitions that depend on time alone. To be called about once a second.
    pub fn tick(&self) {
        while self.with_breaker(Breaker::tick) {}
    }

    /// Runs `act` on the breaker and reports a transition; returns whether there was one.
    fn with_breaker(&self, act: impl FnOnce(&Breaker, std::time::Instant) -> Option<Transition>) -> bool {
        if let Guard::Policy { policy, reporter } = &self.inner.guard
            && let Some(breaker) = policy.breaker()
            && let Some(transition) = act(breaker, Instant::now().into_std())
        {
            reporter.transition(&transition);
            return true;
        }
        false
    }

    /// Sends a request and returns the first successful reply.
    pub async fn call(&self, context: &Context, request: Request) -> Result<Reply, Error> {
        self.run(context, request, Ok).await
    }

    /// Like [`call`](Self::call), and parses the reply as JSON. A reply that cannot be parsed counts as a failure of
    /// the dependency.
    pub async fn call_json<T: DeserializeOwned>(&self, context: &Context, request: Request) -> Result<T, Error> {
        self.run(context, request, |reply| reply.json().map_err(AttemptError::from)).await
    }

    async fn run<T>(
        &self,
        context: &Context,
        request: Request,
        read: impl Fn(Reply) -> Result<T, AttemptError>,
    ) -> Result<T, Error> {
        let turn = self.inner.transport.turn();
        let attempt = |attempt: Attempt| self.attempt(context, &request, turn, attempt, &read);
        match &self.inner.guard {
            Guard::Policy { policy, reporter } => {
                let deadline = context.deadline.map(Instant::into_std);
                let call = Call { deadline, idempotent: request.is_idempotent() };
                // Boxed, because a page makes several calls and each future has room for two attempts.
                Box::pin(policy.call_with(call, reporter, attempt)).await.map_err(Error::from)
            }
            Guard::SharedPool(pool) => {
                let _place = pool.bulkhead.enter().await.map_err(|_| Error::BulkheadFull)?;
                let only = Attempt { number: 1, hedge: false, timeout: Duration::MAX, deadline: None };
                Box::pin(attempt(only)).await.map_err(Error::Failed)
            }
        }
    }
}
