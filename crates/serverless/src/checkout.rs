//! The saga: reserve, get a permit from the breaker, charge, settle.
//!
//! # Theory of operation
//!
//! 1. A *safety message* for the order goes to the queue, delayed by one lease. If this instance dies at
//!    any later point, that message brings the order to a worker; if the order was never stored, or is
//!    final by then, the message is dropped.
//! 2. The order is stored and its stock reserved in one transaction. Its id is the idempotency key, so
//!    the same request again finds it.
//! 3. The order is claimed by a lease; of two instances, the conditional write succeeds for one.
//! 4. The breaker decides. Rejected: the order waits as `queued`, and the customer gets the notice.
//! 5. The order is stored as `charging` *before* the gateway is called, with its id as idempotency key.
//! 6. Charged: `paid`. Declined: a possible charge of an earlier attempt is voided, the stock
//!    released, `cancelled`. Any other result: in doubt, `queued`.
//!
//! A worker repeats 3–6 for each message; after too many attempts the order is voided and cancelled,
//! or, if the void cannot be confirmed, `dead`, with a message in the dead-letter queue.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::breaker::{self, Decision, Permit};
use crate::order::{NewOrder, Order, Status};
use crate::payment::{Charge, Payments};
use crate::queue::{Queue, QueueError, Retry};
use crate::stateless::Stateless;
use crate::store::{Began, Store, StoreError};

/// Name of the breaker in the store.
pub const BREAKER: &str = "payment-gateway";
/// Maximum number of conditional writes of the breaker before the outcome is dropped.
const TRIES: u32 = 16;

/// Error of a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Source of the breaker's decisions.
#[derive(Clone)]
pub enum Guard {
    /// The item in the store.
    Stored(breaker::Settings),
    /// Prometheus.
    Stateless(Stateless),
}

/// Durations and limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Lease of an order, milliseconds; longer than the function's timeout.
    pub lease_millis: u64,
    /// Attempts before an order becomes a dead letter.
    pub max_attempts: u32,
    /// Wait after the first attempt in doubt, milliseconds; doubles with each attempt up to 15 minutes.
    pub first_delay_millis: u64,
}

/// Result of placing a new order.
#[derive(Debug)]
pub enum Placed {
    /// The order is final.
    Final(Order),
    /// The order waits; the customer may ask again after this many milliseconds.
    Waiting(Order, u64),
    /// The key was used for another order.
    Conflict,
    /// Sold out.
    SoldOut,
    /// Unknown title.
    UnknownTitle,
}

/// Result of an attempt.
#[derive(Debug)]
pub enum Progress {
    /// The order is final.
    Final(Order),
    /// Blocked, in doubt, or leased to another instance: try again after this many milliseconds.
    Waiting(Order, u64),
}

/// The checkout of one function instance.
#[derive(Clone)]
pub struct Checkout<S> {
    store: S,
    queue: Queue,
    /// The queue of orders that could not be completed.
    dead_letters: Queue,
    payments: Payments,
    guard: Guard,
    limits: Limits,
}

/// Milliseconds since 1970.
#[must_use]
pub fn unix_millis() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

impl<S: Store> Checkout<S> {
    /// Creates a checkout.
    #[must_use]
    pub fn new(store: S, [queue, dead_letters]: [Queue; 2], payments: Payments, guard: Guard, limits: Limits) -> Self {
        Self { store, queue, dead_letters, payments, guard, limits }
    }

    /// The order with this key.
    pub async fn order(&self, key: &str) -> Result<Option<Order>, Error> {
        Ok(self.store.order(key).await?)
    }

    /// Places an order, or returns the one with this key.
    pub async fn place(&self, key: &str, wanted: &NewOrder) -> Result<Placed, Error> {
        // A stored answer needs neither queue nor stock.
        if let Some(existing) = self.store.order(key).await? {
            return Ok(self.existing(existing, wanted));
        }
        self.queue.send(&Retry { order: key.to_owned(), tries: 0 }, self.limits.lease_millis).await?;
        match self.reserve(key, wanted).await? {
            Began::New => {}
            Began::Existing(order) => return Ok(self.existing(order, wanted)),
            Began::SoldOut => return Ok(Placed::SoldOut),
            Began::UnknownTitle => return Ok(Placed::UnknownTitle),
        }
        Ok(match self.attempt(key).await? {
            Some(Progress::Final(order)) => Placed::Final(order),
            Some(Progress::Waiting(order, delay)) => Placed::Waiting(order, delay),
            None => Placed::Conflict,
        })
    }

    /// Stores the order and reserves its stock.
    pub async fn reserve(&self, key: &str, wanted: &NewOrder) -> Result<Began, Error> {
        let order = Order {
            id: key.to_owned(),
            version: 1,
            title: wanted.title.clone(),
            amount: wanted.amount,
            status: Status::Reserved,
            maybe_charged: false,
            attempts: 0,
            lease_until: 0,
        };
        Ok(self.store.begin(&order).await?)
    }

    fn existing(&self, order: Order, wanted: &NewOrder) -> Placed {
        if order.title != wanted.title || order.amount != wanted.amount {
            Placed::Conflict
        } else if order.status.is_final() {
            Placed::Final(order)
        } else {
            Placed::Waiting(order, self.limits.lease_millis)
        }
    }

    /// Processes a message of the retry queue. `Ok` means that it can be deleted.
    pub async fn retry(&self, retry: &Retry) -> Result<(), Error> {
        let Some(progress) = self.attempt(&retry.order).await? else { return Ok(()) };
        let Progress::Waiting(order, delay) = progress else { return Ok(()) };
        if order.attempts < self.limits.max_attempts {
            self.queue.send(&Retry { order: order.id, tries: order.attempts }, delay).await?;
            return Ok(());
        }
        self.give_up(&order.id).await?;
        Ok(())
    }

    /// Compensates an order and makes it final. `None` if there is no such order.
    pub async fn give_up(&self, id: &str) -> Result<Option<Order>, Error> {
        let Some(order) = self.store.order(id).await? else { return Ok(None) };
        if order.status.is_final() {
            return Ok(Some(order));
        }
        let undone = !order.maybe_charged || self.payments.void(&order.id).await;
        let status = if undone { Status::Cancelled } else { Status::Dead };
        let ended = self.settled(order, status, |_| ()).await?;
        if ended.status == Status::Dead {
            let letter = Retry { order: ended.id.clone(), tries: ended.attempts };
            self.dead_letters.send(&letter, 0).await?;
            tracing::error!(order = ended.id, "order moved to dead letters; manual action required");
        }
        Ok(Some(ended))
    }

    /// Claims an order, gets a permit from the breaker, charges, and settles. `None` if there is no such order.
    pub async fn attempt(&self, id: &str) -> Result<Option<Progress>, Error> {
        let Some(order) = self.store.order(id).await? else { return Ok(None) };
        if order.status.is_final() {
            return Ok(Some(Progress::Final(order)));
        }
        let now = unix_millis();
        if order.lease_until > now {
            let wait = order.lease_until - now;
            return Ok(Some(Progress::Waiting(order, wait)));
        }
        let mut order = order;
        // If an instance died after it stored the intent to charge, the charge is in doubt.
        order.maybe_charged |= order.status == Status::Charging;
        order.lease_until = now + self.limits.lease_millis;
        order.version += 1;
        if !self.store.update(&order).await? {
            return Ok(Some(Progress::Waiting(order, self.limits.lease_millis)));
        }
        let permit = match self.admit().await? {
            Ok(permit) => permit,
            Err(retry_after) => {
                let order = self.settled(order, Status::Queued, |_| ()).await?;
                return Ok(Some(waiting(order, retry_after)));
            }
        };
        let order = self.charge(order, permit).await?;
        let delay = self.backoff(order.attempts);
        Ok(Some(waiting(order, delay)))
    }

    async fn charge(&self, mut order: Order, permit: Option<Permit>) -> Result<Order, Error> {
        order.status = Status::Charging;
        order.attempts += 1;
        order.version += 1;
        if !self.store.update(&order).await? {
            // The lease has expired and another instance has taken over.
            return Ok(self.store.order(&order.id).await?.unwrap_or(order));
        }
        let charge = self.payments.charge(&order.id, order.amount).await;
        tracing::info!(order = order.id, ?charge, attempt = order.attempts, "payment attempt ended");
        let order = match charge {
            Charge::Charged => self.settled(order, Status::Paid, |_| ()).await?,
            Charge::Declined if order.maybe_charged && !self.payments.void(&order.id).await => {
                self.settled(order, Status::Queued, |_| ()).await?
            }
            Charge::Declined => self.settled(order, Status::Cancelled, |_| ()).await?,
            Charge::Unknown => self.settled(order, Status::Queued, |order| order.maybe_charged = true).await?,
            Charge::NotSent => self.settled(order, Status::Queued, |_| ()).await?,
        };
        self.record(permit, charge).await?;
        Ok(order)
    }

    /// Writes a new status and ends the lease. An order that became final in the meantime is not changed.
    async fn settled(&self, order: Order, status: Status, change: impl Fn(&mut Order)) -> Result<Order, Error> {
        let mut present = order;
        loop {
            let mut next = present.clone();
            next.status = status;
            next.lease_until = 0;
            next.version += 1;
            change(&mut next);
            let written = match status {
                Status::Cancelled => self.store.release(&next).await?,
                _ => self.store.update(&next).await?,
            };
            if written {
                return Ok(next);
            }
            let Some(read) = self.store.order(&next.id).await? else { return Ok(next) };
            if read.status.is_final() {
                return Ok(read);
            }
            present = read;
        }
    }

    /// A permit, or the milliseconds until a call may be permitted.
    async fn admit(&self) -> Result<Result<Option<Permit>, u64>, Error> {
        let settings = match &self.guard {
            Guard::Stored(settings) => settings,
            Guard::Stateless(stateless) => return Ok(stateless.admit().await.map(|()| None)),
        };
        for _ in 0..TRIES {
            let record = self.store.breaker(BREAKER).await?;
            match record.admit(settings, unix_millis()) {
                Decision::Admitted(permit, None) => return Ok(Ok(Some(permit))),
                Decision::Rejected { retry_after, next: None } => return Ok(Err(retry_after)),
                Decision::Admitted(permit, Some(next)) => {
                    if self.write(&record, next).await? {
                        return Ok(Ok(Some(permit)));
                    }
                }
                Decision::Rejected { retry_after, next: Some(next) } => {
                    if self.write(&record, next).await? {
                        return Ok(Err(retry_after));
                    }
                }
            }
        }
        // Too many concurrent writes: the order waits for a moment.
        Ok(Err(1_000))
    }

    /// Records the outcome of a call.
    async fn record(&self, permit: Option<Permit>, charge: Charge) -> Result<(), Error> {
        let (Guard::Stored(settings), Some(permit)) = (&self.guard, permit) else { return Ok(()) };
        for _ in 0..TRIES {
            let record = self.store.breaker(BREAKER).await?;
            let Some(next) = record.after(permit, charge.outcome(), settings, unix_millis()) else { return Ok(()) };
            if self.write(&record, next).await? {
                return Ok(());
            }
        }
        tracing::warn!(breaker = BREAKER, "outcome not recorded: too many concurrent writes");
        Ok(())
    }

    async fn write(&self, before: &breaker::Record, mut next: breaker::Record) -> Result<bool, Error> {
        next.version = before.version + 1;
        let written = self.store.write_breaker(BREAKER, &next).await?;
        if written && next.state != before.state {
            tracing::warn!(
                breaker = BREAKER,
                from = ?before.state,
                to = ?next.state,
                generation = next.generation,
                failures_in_a_row = before.failures_in_a_row,
                open_until = next.open_until,
                "circuit breaker state changed"
            );
        }
        Ok(written)
    }

    fn backoff(&self, attempts: u32) -> u64 {
        let doubled = self.limits.first_delay_millis.saturating_mul(1 << attempts.saturating_sub(1).min(20));
        doubled.min(900_000)
    }
}

fn waiting(order: Order, delay: u64) -> Progress {
    if order.status.is_final() { Progress::Final(order) } else { Progress::Waiting(order, delay) }
}
