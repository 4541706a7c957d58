//! checkout: rents and sells films. No order is charged twice, and no payment is lost.
//!
//! ## Theory of operation
//!
//! `POST /orders` with an `Idempotency-Key` runs a *saga*: verify the viewer → reserve stock → charge →
//! notify the viewer. Each step is idempotent by the order's id and is recorded, so that any process can
//! repeat the last step after a crash without harm.
//!
//! An order is in the [queue](crate::store) from its acceptance until it is final. The request that accepted
//! it has a *lease*; if its process dies, the lease expires and the worker of any instance continues. A crash
//! therefore needs no special handling, and neither does a store that is unavailable for a while.
//!
//! Every change of an order is conditional on the version it was based on. Cancelling an order is such a
//! change, and it precedes all compensation: of two concurrent changes, the second has no effect.
//!
//! A charge without an answer may have been made. It is never ignored and never repeated under another key:
//! the order is either queued, to be charged with the same key again, or cancelled, which *voids* the key at the
//! payment gateway. A voided key refunds what was charged and refuses a late charge. An order is only cancelled,
//! and its seat released, after a confirmed void.
//!
//! ## How it fails
//!
//! - Payment gateway down: the breaker opens after three failures in a row and stays open for five minutes.
//!   Orders that may wait are queued (bounded); the others are refused at once.
//! - Store down: no order is accepted; orders in progress are resumed when it is back.
//! - An order that is out of attempts becomes a dead letter: it keeps its seat and needs manual action
//!   (`breakerbox queue dead`, `breakerbox queue replay`).

mod admin;
mod saga;
mod settings;
mod shared;
mod stateless;
mod stock;
mod undo;
mod view;
mod wire;
mod worker;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::HeaderMap;
use rand::distr::{Distribution, StandardUniform};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

pub use admin::{DeadLetters, QueueStatus, Replay, Replayed, admin_routes, openapi};
pub use settings::{BreakerMode, CheckoutSettings, QueueSettings, StatelessSettings};
pub use wire::{
    CheckoutRequest, OrderAnswer, OrderList, OrderOutcome, OrderRequest, OrderStep, OrderView, PAYMENT_NOTICE, price,
};

use shared::Shared;
use stateless::Stateless;

use super::Host;
use super::data::films;
use super::inventory::away;
use crate::client::{Cache, Client, Context, Error, FallbackKind, Fallbacks, Request, Telemetry};
use crate::store::{CheckoutStore, Database, Job, Known, NewOrder, Opened, Order, StoreError, StoreSettings};
use crate::web::problem::{Body, Problem};
use breakerbox_resilience::breaker::Command;
use breakerbox_telemetry::{CheckoutTelemetry, KeyOutcome, QueueTelemetry, SagaStep, StepOutcome};

/// Methods and routes whose series exist before the first request.
pub const ROUTES: &[(&str, &str)] =
    &[("POST", "/orders"), ("GET", "/orders"), ("GET", "/orders/{id}"), ("DELETE", "/orders/{id}")];

/// The name of the one queue.
pub const QUEUE: &str = "payments";
/// Longest idempotency key, in bytes.
const LONGEST_KEY: usize = 128;
/// How often a waiting duplicate polls for the first one's answer.
const DUPLICATE_POLL: Duration = Duration::from_millis(25);
/// Viewers that are taken to exist while the user service is unavailable.
const VERIFIED: (usize, Duration) = (1000, Duration::from_mins(10));

/// Two clients of one dependency.
#[derive(Clone)]
pub struct Pair {
    /// With the policy.
    pub protected: Client,
    /// For requests without protection.
    pub bare: Client,
}

impl Pair {
    fn of(&self, context: &Context) -> &Client {
        if context.protection { &self.protected } else { &self.bare }
    }
}

/// Clients of checkout's dependencies.
#[derive(Clone)]
pub struct Clients {
    /// Verifies viewers.
    pub user: Pair,
    /// Reserves stock.
    pub inventory: Pair,
    /// Charges.
    pub payment: Pair,
    /// Notifies viewers.
    pub notification: Pair,
    /// Whether a call to the payment gateway is a single attempt: then a call rejected locally is known not to
    /// have reached it.
    pub payment_tried_once: bool,
}

/// State of checkout. Cheap to clone.
#[derive(Clone)]
pub struct CheckoutState {
    inner: Arc<Inner>,
}

struct Inner {
    settings: CheckoutSettings,
    store: CheckoutStore,
    clients: Clients,
    telemetry: CheckoutTelemetry,
    queue: QueueTelemetry,
    user_fallbacks: Fallbacks,
    payment_fallbacks: Fallbacks,
    verified: Cache<u32, ()>,
    gate: Gate,
    luck: Luck,
    /// Wakes the worker when something is due earlier than it expects.
    wake: Wakes,
    /// Work that continues after its request was answered.
    tasks: TaskTracker,
}

/// Randomness of order ids and jitter: the operating system's, or seeded under a paused clock in a store that
/// no other instance uses.
struct Luck(Option<Mutex<ChaCha8Rng>>);

impl Luck {
    fn of(host: &Host, database: &Database) -> Self {
        let alone = host.virtual_time && database.is_in_memory();
        Self(alone.then(|| Mutex::new(ChaCha8Rng::seed_from_u64(host.seed))))
    }

    fn draw<T>(&self) -> T
    where
        StandardUniform: Distribution<T>,
    {
        match &self.0 {
            None => rand::random(),
            Some(seeded) => seeded.lock().unwrap_or_else(PoisonError::into_inner).random(),
        }
    }
}

/// Wake-ups of the worker's loops.
#[derive(Default)]
struct Wakes {
    urgent: Notify,
    charge: Notify,
    outbox: Notify,
}

/// Admission of a charge, in addition to the client's own breaker.
enum Gate {
    /// None.
    Local,
    /// The breaker shared with other instances.
    Shared(Arc<Shared>),
    /// A breaker that queries Prometheus.
    Stateless(Stateless),
}

impl CheckoutState {
    /// Creates a checkout over the configured database.
    pub fn new(
        settings: &CheckoutSettings,
        store: &StoreSettings,
        clients: Clients,
        telemetry: &Telemetry,
        host: &Host,
    ) -> Result<Self, String> {
        settings.validate()?;
        let url = store.locate("checkout", &settings.url)?;
        let store =
            CheckoutStore::new(&url, store, host.virtual_time).map_err(|error| format!("checkout.url: {error}"))?;
        let service = clients.payment.protected.service().to_owned();
        let payment = &clients.payment.protected;
        let gate = match settings.breaker {
            BreakerMode::Local => Gate::Local,
            BreakerMode::Shared => {
                let shared = Shared::new(store.breakers(), payment.clone(), settings.breaker_cache);
                Gate::Shared(Arc::new(shared))
            }
            BreakerMode::Stateless => {
                // Disabled, so that it keeps no state.
                payment.command(Command::Disable);
                Gate::Stateless(Stateless::new(payment, &settings.stateless, &telemetry.metrics)?)
            }
        };
        let fallbacks = |client: &Client, kinds: &[FallbackKind]| {
            Fallbacks::new(client.service(), client.dependency(), kinds, telemetry)
        };
        let inner = Inner {
            user_fallbacks: fallbacks(&clients.user.protected, &[FallbackKind::Cache]),
            payment_fallbacks: fallbacks(&clients.payment.protected, &[FallbackKind::Queue, FallbackKind::Notice]),
            telemetry: CheckoutTelemetry::new(&telemetry.metrics, &service),
            queue: QueueTelemetry::new(&telemetry.metrics, &service, QUEUE, settings.queue.capacity),
            luck: Luck::of(host, store.database()),
            verified: Cache::new(VERIFIED.0, VERIFIED.1),
            settings: settings.clone(),
            store,
            clients,
            gate,
            wake: Wakes::default(),
            tasks: host.tasks.clone(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Its database, for audits.
    #[must_use]
    pub fn store(&self) -> &CheckoutStore {
        &self.inner.store
    }

    /// The time that all instances agree on, Unix milliseconds.
    async fn now(&self) -> Result<i64, StoreError> {
        self.inner.store.now().await
    }

    /// Refuses a viewer that does not exist. The gateway has verified the token; while the user service is
    /// unavailable, recently verified viewers are accepted.
    async fn verify(&self, context: &Context, user_id: u32) -> Result<(), Problem> {
        let Inner { clients, verified, user_fallbacks, telemetry, .. } = &*self.inner;
        let request = Request::get(format!("/users/{user_id}"));
        match clients.user.of(context).call(context, request).await {
            Ok(_) => {
                verified.put(user_id, ());
                telemetry.step(SagaStep::VerifyUser, StepOutcome::Done);
                Ok(())
            }
            Err(error) if error.status() == Some(http::StatusCode::NOT_FOUND) => {
                telemetry.step(SagaStep::VerifyUser, StepOutcome::Refused);
                Err(Problem::not_found(format!("there is no viewer {user_id}")))
            }
            Err(error) => {
                telemetry.step(SagaStep::VerifyUser, StepOutcome::Failed);
                if !context.protection {
                    return Err(error.into());
                }
                let served = user_fallbacks.finish(verified.chain(&user_id).await, error.reason());
                served.map_or_else(|| Err(error.into()), |_| Ok(()))
            }
        }
    }

    /// Accepts an order and runs its saga, or returns the stored answer.
    async fn accept(&self, context: Context, request: &OrderRequest, key: &str) -> Result<OrderAnswer, Problem> {
        let Inner { store, settings, telemetry, .. } = &*self.inner;
        let fingerprint = request.fingerprint();
        let now = self.now().await.map_err(|error| away(&error))?;
        // A stored answer needs no dependency.
        let known = store.known(request.user_id, key, &fingerprint, now).await.map_err(|error| away(&error))?;
        if let Some(known) = known {
            return self.answer_again(known, request.user_id, key).await;
        }
        self.verify(&context, request.user_id).await?;
        let id = format!("ord_{:032x}", self.inner.luck.draw::<u128>());
        let new = NewOrder {
            id: &id,
            user_id: request.user_id,
            film_id: request.film_id,
            kind: request.kind,
            amount: price(request.kind),
            // Without protection there is no queue either.
            retry_later: request.retry_later && context.protection,
            key,
            fingerprint: &fingerprint,
            key_lifetime: settings.key_lifetime,
            lease: settings.lease,
            capacity: settings.queue.capacity,
        };
        // The lease counts from before the row is written, and so does the time that the first run has.
        let leased = tokio::time::Instant::now() + settings.lease;
        let now = self.now().await.map_err(|error| away(&error))?;
        match store.open(&new, now).await.map_err(|error| away(&error))? {
            Opened::New(order, job) => {
                telemetry.key(KeyOutcome::New);
                self.first_run(context, order, job, leased).await
            }
            Opened::Known(known) => self.answer_again(known, request.user_id, key).await,
        }
    }

    /// The answer for a key that is in use.
    async fn answer_again(&self, known: Known, user_id: u32, key: &str) -> Result<OrderAnswer, Problem> {
        match known {
            Known { same: false, .. } => {
                self.inner.telemetry.key(KeyOutcome::Mismatch);
                Err(Problem::unprocessable("this Idempotency-Key was used for another order"))
            }
            Known { answer: Some(answer), .. } => self.replay(&answer),
            Known { order, .. } => self.wait_for(order, user_id, key).await,
        }
    }

    /// Runs a new order's saga to its first answer. It continues if the caller disconnects, bounded by the lease.
    async fn first_run(
        &self,
        context: Context,
        order: Order,
        job: Job,
        leased: tokio::time::Instant,
    ) -> Result<OrderAnswer, Problem> {
        let (own, id) = (self.clone(), order.id.clone());
        let run = self
            .inner
            .tasks
            .spawn(async move { tokio::time::timeout_at(leased, own.advance(&context, order, &job)).await });
        let interrupted = || {
            let detail = format!("order {id} was accepted and is being processed; retry with the same key");
            Problem::unavailable(detail, Some(Duration::from_secs(1)))
        };
        match run.await {
            Ok(Ok(Ok(Some(answer)))) => Ok(answer),
            Ok(Ok(Err(error))) => {
                tracing::warn!(%error, order = id, "an order was interrupted; a worker resumes it when its lease expires");
                Err(interrupted())
            }
            Ok(Ok(Ok(None)) | Err(_)) | Err(_) => Err(interrupted()),
        }
    }

    fn replay(&self, answer: &str) -> Result<OrderAnswer, Problem> {
        self.inner.telemetry.key(KeyOutcome::Replayed);
        serde_json::from_str(answer).map_err(|error| {
            tracing::error!(%error, "a stored answer cannot be parsed");
            Problem::unavailable("the stored answer cannot be read", None)
        })
    }

    /// Waits while the key's first request is in progress, here or in another instance.
    async fn wait_for(&self, order: Option<Order>, user_id: u32, key: &str) -> Result<OrderAnswer, Problem> {
        let Inner { store, settings, telemetry, .. } = &*self.inner;
        let until = tokio::time::Instant::now() + settings.duplicate_wait;
        while tokio::time::Instant::now() < until {
            tokio::time::sleep(DUPLICATE_POLL).await;
            if let Some(answer) = store.answer(user_id, key).await.map_err(|error| away(&error))? {
                return self.replay(&answer);
            }
        }
        telemetry.key(KeyOutcome::InProgress);
        let which = order.map(|order| format!("order {}", order.id)).unwrap_or_default();
        let detail = format!("a request with this key is under way; {which}");
        Err(Problem::conflict(detail).after(Some(Duration::from_secs(1))))
    }
}

/// The service.
pub fn router(state: CheckoutState) -> Router {
    Router::new()
        .route("/orders", post(take).get(view::list))
        .route("/orders/{id}", get(view::show).delete(view::cancel))
        .route("/stock/{film}", get(stock::stock))
        .with_state(state)
}

async fn take(
    State(state): State<CheckoutState>,
    context: Context,
    headers: HeaderMap,
    Body(request): Body<OrderRequest>,
) -> Result<Json<OrderAnswer>, Problem> {
    let key = idempotency_key(&headers)?.to_owned();
    if films::by_id(request.film_id).is_none() {
        return Err(Problem::bad_request("film_id", format!("must be a film's id, 1 to {}", films::count())));
    }
    state.accept(context, &request, &key).await.map(Json)
}

/// The request's idempotency key. It is required: without one, a caller that did not receive the answer would
/// have to risk paying twice.
pub fn idempotency_key(headers: &HeaderMap) -> Result<&str, Problem> {
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if key.is_empty() || key.len() > LONGEST_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let allowed = format!("must have 1 to {LONGEST_KEY} visible ASCII characters, a new one for each order");
        return Err(Problem::bad_request("Idempotency-Key", allowed));
    }
    Ok(key)
}

/// Suggested wait of a caller after this error.
fn retry_after(error: &Error) -> Duration {
    const UNKNOWN: Duration = Duration::from_secs(5);
    error.retry_after().unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests;
