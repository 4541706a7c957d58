//! The retry queue: orders that a worker must continue.
//!
//! Every order is in it from its acceptance until it is final. While the process that accepted it works on it, it is
//! invisible to others for the length of the lease; if the process dies, the lease expires and a worker continues.
//! That is the entire crash recovery. Orders that wait for the payment gateway are *parked*; the queue's depth
//! counts those.
//!
//! Two lanes keep urgent work (crash recovery, and orders to be compensated) from waiting behind orders that wait
//! to be charged.
//!
//! The queue is bounded by *places*. An order that may wait takes its place in the transaction that accepts it,
//! so that concurrent orders cannot exceed the bound. Places are counted in a few rows, the shards, so that orders
//! rarely wait for each other's transactions.
//!
//! Leasing an item counts as a claim. Any result resets the count; an item that is leased again and again without
//! a result becomes a dead letter.

mod dead;
mod places;

use std::time::Duration;

use sqlx::{AnyConnection, Row};

use super::connect::Dialect;
use super::order::Order;
use super::{CheckoutStore, Effect, End, OrderState, StoreError, millis, number, text};
use places::{free_place, take_place};

pub use dead::DeadLetter;

/// Purpose of leasing an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Crash recovery and compensation.
    Urgent,
    /// Charging queued orders.
    Charge,
}

impl Lane {
    fn number(self) -> i64 {
        match self {
            Self::Urgent => 0,
            Self::Charge => 1,
        }
    }

    fn of(state: OrderState) -> Self {
        if state == OrderState::Queued { Self::Charge } else { Self::Urgent }
    }
}

/// A leased item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The order.
    pub order_id: String,
    /// Attempts that failed so far.
    pub attempts: i64,
    /// Claims since the last result, including this one.
    pub claims: i64,
    /// Start of its wait, Unix milliseconds.
    pub enqueued_at: i64,
    /// Whether it was parked, rather than left behind by a crash.
    pub parked: bool,
    /// Whether it has a place in the queue.
    pub placed: bool,
    /// End of the lease, Unix milliseconds.
    pub leased_until: i64,
}

/// State of the queue at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Waiting items.
    pub depth: i64,
    /// Dead letters.
    pub dead: i64,
    /// When the oldest waiting item was queued, Unix milliseconds.
    pub oldest: Option<i64>,
}

impl CheckoutStore {
    /// Selects the statement for this database.
    pub(super) fn pick(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self.store.dialect() {
            Dialect::Sqlite => sqlite,
            Dialect::Postgres => postgres,
        }
    }

    /// Leases up to `most` due items of a lane for `visibility`: no other worker gets them meanwhile.
    pub async fn claim(&self, lane: Lane, most: u32, visibility: Duration, now: i64) -> Result<Vec<Job>, StoreError> {
        if self.next_due(lane).await?.is_none_or(|due| due > now) {
            return Ok(Vec::new());
        }
        // Other workers of PostgreSQL skip rows that one worker has locked; SQLite has only one writer at a time.
        let statement = self.pick(
            "UPDATE retry_queue SET due_at = $1, blocked = 0, claims = claims + 1 WHERE order_id IN (
                SELECT order_id FROM retry_queue WHERE dead = 0 AND lane = $2 AND due_at <= $3
                ORDER BY due_at LIMIT $4
             ) RETURNING order_id, attempts, claims, enqueued_at, parked, place, due_at",
            "UPDATE retry_queue SET due_at = $1, blocked = 0, claims = claims + 1 WHERE order_id IN (
                SELECT order_id FROM retry_queue WHERE dead = 0 AND lane = $2 AND due_at <= $3
                ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED
             ) RETURNING order_id, attempts, claims, enqueued_at, parked, place, due_at",
        );
        let args = (statement, now + millis(visibility), lane, now, most);
        self.store
            .write(args, |connection, (statement, until, lane, now, most)| {
                Box::pin(async move {
                    let rows = sqlx::query(*statement)
                        .bind(*until)
                        .bind(lane.number())
                        .bind(*now)
                        .bind(i64::from(*most))
                        .fetch_all(&mut *connection)
                        .await?;
                    let jobs = rows.iter().map(|row| {
                        Ok(Job {
                            order_id: text(row, "order_id")?,
                            attempts: number(row, "attempts")?,
                            claims: number(row, "claims")?,
                            enqueued_at: number(row, "enqueued_at")?,
                            parked: number(row, "parked")? != 0,
                            placed: number(row, "place")? >= 0,
                            leased_until: number(row, "due_at")?,
                        })
                    });
                    Ok(End::Commit(jobs.collect::<Result<_, StoreError>>()?))
                })
            })
            .await
    }

    /// Due time of a lane's next item, Unix milliseconds. Reads one entry of an index.
    pub async fn next_due(&self, lane: Lane) -> Result<Option<i64>, StoreError> {
        self.store
            .read(lane, |connection, lane| {
                Box::pin(async move {
                    let statement = "SELECT MIN(due_at) AS due_at FROM retry_queue WHERE dead = 0 AND lane = $1";
                    let row = sqlx::query(statement).bind(lane.number()).fetch_one(&mut *connection).await?;
                    Ok(row.try_get("due_at")?)
                })
            })
            .await
    }

    /// Returns a leased item unchanged, due at `due_at`; its claim counts. No effect if another worker has the item
    /// by now.
    pub async fn postpone(&self, job: &Job, due_at: i64, why: &str) -> Result<(), StoreError> {
        self.store
            .write((job.clone(), due_at, why.to_owned()), |connection, (job, due_at, why)| {
                Box::pin(async move {
                    sqlx::query(
                        "UPDATE retry_queue SET due_at = $1, last_error = $2
                         WHERE order_id = $3 AND due_at = $4 AND dead = 0",
                    )
                    .bind(*due_at)
                    .bind(why.as_str())
                    .bind(job.order_id.as_str())
                    .bind(job.leased_until)
                    .execute(&mut *connection)
                    .await?;
                    Ok(End::Commit(()))
                })
            })
            .await
    }

    /// Removes a leased item whose order is already final.
    pub async fn finish(&self, job: &Job) -> Result<(), StoreError> {
        self.store
            .write(job.clone(), |connection, job| {
                Box::pin(async move {
                    remove(connection, &job.order_id, Some(job.leased_until)).await?;
                    Ok(End::Commit(()))
                })
            })
            .await
    }

    /// Makes items due that wait for the breaker only, since it admits calls. Returns their number.
    pub async fn unblock(&self, now: i64) -> Result<u64, StoreError> {
        let blocked = self
            .store
            .read((), |connection, ()| {
                Box::pin(async move {
                    let any = "SELECT 1 AS any_blocked FROM retry_queue WHERE blocked = 1 AND dead = 0 LIMIT 1";
                    Ok(sqlx::query(any).fetch_optional(&mut *connection).await?.is_some())
                })
            })
            .await?;
        if !blocked {
            return Ok(0);
        }
        self.hasten(
            "UPDATE retry_queue SET due_at = $1, blocked = 0 WHERE blocked = 1 AND dead = 0 AND $2 = $2",
            now,
            0,
        )
        .await
    }

    /// Corrects due times that are too far in the future after a clock was set back. Returns their number.
    pub async fn pull_in(&self, horizon: i64, now: i64) -> Result<u64, StoreError> {
        let late = self
            .store
            .read(horizon, |connection, horizon| {
                Box::pin(async move {
                    let any = "SELECT 1 AS late FROM retry_queue WHERE dead = 0 AND due_at > $1 LIMIT 1";
                    Ok(sqlx::query(any).bind(*horizon).fetch_optional(&mut *connection).await?.is_some())
                })
            })
            .await?;
        if !late {
            return Ok(0);
        }
        self.hasten("UPDATE retry_queue SET due_at = $1 WHERE dead = 0 AND due_at > $2", now, horizon).await
    }

    async fn hasten(&self, statement: &'static str, now: i64, beyond: i64) -> Result<u64, StoreError> {
        self.store
            .write((statement, now, beyond), |connection, (statement, now, beyond)| {
                Box::pin(async move {
                    let done = sqlx::query(*statement).bind(*now).bind(*beyond).execute(&mut *connection).await?;
                    Ok(End::Commit(done.rows_affected()))
                })
            })
            .await
    }

    /// State of the queue. Reads the whole queue: call it about once a second, not for each order.
    pub async fn queue(&self) -> Result<QueueStats, StoreError> {
        self.store
            .read((), |connection, ()| {
                Box::pin(async move {
                    let rows = sqlx::query(
                        "SELECT parked, dead, COUNT(*) AS items, MIN(enqueued_at) AS oldest
                         FROM retry_queue GROUP BY parked, dead",
                    )
                    .fetch_all(&mut *connection)
                    .await?;
                    let mut stats = QueueStats::default();
                    for row in &rows {
                        let items = number(row, "items")?;
                        if number(row, "dead")? != 0 {
                            stats.dead += items;
                        } else if number(row, "parked")? != 0 {
                            stats.depth = items;
                            stats.oldest = row.try_get("oldest")?;
                        }
                    }
                    Ok(stats)
                })
            })
            .await
    }
}

/// Inserts a new order, leased to its process, with a place if one of `capacity` is free.
pub(super) async fn lease(
    connection: &mut AnyConnection,
    order: &str,
    until: i64,
    capacity: u32,
    now: i64,
) -> Result<Job, StoreError> {
    let place = take_place(connection, order, capacity).await?;
    sqlx::query(
        "INSERT INTO retry_queue (order_id, lane, parked, dead, attempts, claims, place, due_at, enqueued_at,
         last_error) VALUES ($1, $2, 0, 0, 0, 0, $3, $4, $5, '')",
    )
    .bind(order)
    .bind(Lane::Urgent.number())
    .bind(place.unwrap_or(-1))
    .bind(until)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    Ok(Job {
        order_id: order.to_owned(),
        attempts: 0,
        claims: 0,
        enqueued_at: now,
        parked: false,
        placed: place.is_some(),
        leased_until: until,
    })
}

/// Removes an item; with a lease, only if it is leased until then.
async fn remove(connection: &mut AnyConnection, order: &str, leased_until: Option<i64>) -> Result<(), StoreError> {
    let row = sqlx::query("DELETE FROM retry_queue WHERE order_id = $1 AND (due_at = $2 OR $3 = 1) RETURNING place")
        .bind(order)
        .bind(leased_until.unwrap_or_default())
        .bind(i64::from(leased_until.is_none()))
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(()) };
    let place = number(&row, "place")?;
    if place >= 0 {
        sqlx::query("UPDATE queue_places SET taken = taken - 1 WHERE shard = $1")
            .bind(place)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Effect of an order's change on its item.
pub(super) async fn apply(
    connection: &mut AnyConnection,
    order: &Order,
    effect: &Effect,
    now: i64,
) -> Result<(), StoreError> {
    match effect {
        Effect::Keep => {}
        Effect::Remove => remove(connection, &order.id, None).await?,
        Effect::Park { due_at, attempts, error, blocked } => {
            // The waiting time counts from the first time it is parked.
            sqlx::query(
                "UPDATE retry_queue SET enqueued_at = CASE WHEN parked = 0 THEN $1 ELSE enqueued_at END, parked = 1,
                 claims = 0, lane = $2, due_at = $3, attempts = $4, last_error = $5, blocked = $6
                 WHERE order_id = $7",
            )
            .bind(now)
            .bind(Lane::of(order.state).number())
            .bind(*due_at)
            .bind(*attempts)
            .bind(error.as_str())
            .bind(i64::from(*blocked))
            .bind(order.id.as_str())
            .execute(&mut *connection)
            .await?;
        }
        Effect::Seize { until } => {
            sqlx::query(
                "UPDATE retry_queue SET due_at = $1, lane = $2, dead = 0, attempts = 0, claims = 0, blocked = 0
                 WHERE order_id = $3",
            )
            .bind(*until)
            .bind(Lane::Urgent.number())
            .bind(order.id.as_str())
            .execute(&mut *connection)
            .await?;
        }
        Effect::Bury { error } => {
            free_place(connection, &order.id).await?;
            sqlx::query(
                "UPDATE retry_queue SET dead = 1, parked = 1, blocked = 0, last_error = $1 WHERE order_id = $2",
            )
            .bind(error.as_str())
            .bind(order.id.as_str())
            .execute(&mut *connection)
            .await?;
        }
    }
    Ok(())
}
