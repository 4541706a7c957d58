//! checkout: rents and sells films. Money is never taken twice and never lost.
//!
//! ## Theory of operation
//!
//! `POST /orders` with an `Idempotency-Key` runs a *saga*: verify the viewer → reserve stock → charge
//! → tell the viewer. Each step is idempotent by the order's id, and each is written down, so that
//! whoever goes on with an order after a crash can repeat the last step without harm.
//!
//! An order is in the [queue](crate::store) from the moment it is taken until it is final. The request
//! that took it has a *lease*; if its process dies, the lease runs out and the worker of any instance
//! goes on. A crash therefore needs no treatment of its own, and neither does a store that went away
//! in the middle.
//!
//! Every change of an order is conditional on the version it was decided on. Giving an order up is
//! such a change, and it comes *before* anything is given back: whoever loses the race does nothing.
//!
//! A charge that was not answered may have been made. It is never forgotten and never repeated under
//! another key: the order is either queued, to ask again with the same key, or given up, which *voids*
//! the key at the payment gateway. A voided key gives back what was charged and refuses a late charge.
//! Only when a void was confirmed is an order cancelled and its seat given to somebody else.
//!
//! ## How it fails
//!
//! - No payment gateway: the breaker opens after three failures in a row and stays open for five
//!   minutes. Orders that may wait are queued (bounded); the others get an honest answer at once.
//! - No store: nothing can be promised, so nothing is; orders under way are resumed when it is back.
//! - An order that was tried too often is dead: it keeps its seat and waits for a person
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
/// How often a duplicate that waits looks for the first one's answer.
const DUPLICATE_POLL: Duration = Duration::from_millis(25);
/// Viewers that are believed to exist while nobody can say.
const VERIFIED: (usize, Duration) = (1000, Duration::from_mins(10));

/// Two ways to one dependency.
#[derive(Clone)]
pub struct Pair {
    /// Under the policy.
    pub protected: Client,
    /// For requests that are to go without protection.
    pub bare: Client,
}

impl Pair {
    fn of(&self, context: &Context) -> &Client {
        if context.protection { &self.protected } else { &self.bare }
    }
}

/// What checkout calls.
#[derive(Clone)]
pub struct Clients {
    /// Who exists.
    pub user: Pair,
    /// What there is.
    pub inventory: Pair,
    /// Who takes the money.
    pub payment: Pair,
    /// Who tells the viewer.
    pub notification: Pair,
    /// Whether a call to the payment gateway is one attempt: then a call that was turned away on this
    /// side is known not to have reached it.
    pub payment_tried_once: bool,
}

/// What checkout knows. Cheap to clone.
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
    /// Something became due sooner than the worker expects.
    wake: Wakes,
    /// What goes on when its request has been answered.
    tasks: TaskTracker,
}

/// What orders are numbered and spread with: the operating system's randomness, or a seed's under a paused clock
/// in a store that no other instance can number orders in.
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

/// What each of the worker's loops waits for.
#[derive(Default)]
struct Wakes {
    urgent: Notify,
    charge: Notify,
    outbox: Notify,
}

/// What stands before a charge besides the client's own breaker.
enum Gate {
    /// Nothing.
    Local,
    /// What the peers saw.
    Shared(Arc<Shared>),
    /// What Prometheus says.
    Stateless(Stateless),
}

impl CheckoutState {
    /// A checkout over the database that the settings name.
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
                // It keeps nothing, not even by accident.
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

    /// Its database, to be compared with others' books.
    #[must_use]
    pub fn store(&self) -> &CheckoutStore {
        &self.inner.store
    }

    /// The time that all instances agree on, Unix milliseconds.
    async fn now(&self) -> Result<i64, StoreError> {
        self.inner.store.now().await
    }

    /// Refuses a viewer that doesn't exist. The gateway has seen their token; while nobody can be
    /// asked, somebody who was known a moment ago still is.
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
                let served = user_fallbacks.settle(verified.chain(&user_id).await, error.reason());
                served.map_or_else(|| Err(error.into()), |_| Ok(()))
            }
        }
    }

    /// Takes an order and runs its saga, or gives the answer that was given before.
    async fn take(&self, context: Context, request: &OrderRequest, key: &str) -> Result<OrderAnswer, Problem> {
        let Inner { store, settings, telemetry, .. } = &*self.inner;
        let fingerprint = request.fingerprint();
        let now = self.now().await.map_err(|error| away(&error))?;
        // An answer that was given before needs nobody else.
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

    /// The answer to a key that is in use.
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

    /// Runs a new order's saga to its first answer. It goes on when the caller leaves: what was begun
    /// is ended, and the lease bounds how long that may take.
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
            let detail = format!("order {id} was taken and is being worked on; ask again with the same key");
            Problem::unavailable(detail, Some(Duration::from_secs(1)))
        };
        match run.await {
            Ok(Ok(Ok(Some(answer)))) => Ok(answer),
            Ok(Ok(Err(error))) => {
                tracing::warn!(%error, order = id, "an order was interrupted; its lease will run out");
                Err(interrupted())
            }
            Ok(Ok(Ok(None)) | Err(_)) | Err(_) => Err(interrupted()),
        }
    }

    fn replay(&self, answer: &str) -> Result<OrderAnswer, Problem> {
        self.inner.telemetry.key(KeyOutcome::Replayed);
        serde_json::from_str(answer).map_err(|error| {
            tracing::error!(%error, "an answer that was kept can't be read");
            Problem::unavailable("the answer that was given before can't be read", None)
        })
    }

    /// The key's first request is under way, here or in another instance, or its process died.
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
    state.take(context, &request, &key).await.map(Json)
}

/// The request's key. It is required: without one, a caller that lost the answer could only choose
/// between paying twice and not knowing.
pub fn idempotency_key(headers: &HeaderMap) -> Result<&str, Problem> {
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if key.is_empty() || key.len() > LONGEST_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let allowed = format!("must have 1 to {LONGEST_KEY} visible ASCII characters, a new one for each order");
        return Err(Problem::bad_request("Idempotency-Key", allowed));
    }
    Ok(key)
}

/// How long a caller is asked to wait after this error.
fn retry_after(error: &Error) -> Duration {
    const UNKNOWN: Duration = Duration::from_secs(5);
    error.retry_after().unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests;
