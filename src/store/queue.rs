//! The retry queue: orders that somebody must go on with.
//!
//! Every order is in it from the moment it is taken until it is final. While its first taker works on
//! it, it is invisible to others for as long as the lease lasts; if the taker dies, the lease runs out
//! and a worker goes on. That is the whole recovery after a crash. Orders that have to wait for the
//! payment gateway are *parked*: those are what the queue's depth counts.

use sqlx::Row;

use super::{CheckoutStore, Effect, OrderState, StoreError, Writing, millis, number, text};
use std::time::Duration;

/// A leased item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The order.
    pub order_id: String,
    /// Attempts that failed so far.
    pub attempts: i64,
    /// Since when it waits, Unix milliseconds.
    pub enqueued_at: i64,
    /// Whether it was parked, rather than left behind by a crash.
    pub parked: bool,
    /// Until when it is the taker's, Unix milliseconds.
    pub leased_until: i64,
}

/// The queue at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Items that wait.
    pub depth: i64,
    /// Items that were given up.
    pub dead: i64,
    /// When the oldest waiting item was put in, Unix milliseconds.
    pub oldest: Option<i64>,
    /// When the next item of any kind is due, Unix milliseconds.
    pub next_due: Option<i64>,
}

/// An item that was given up.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct DeadLetter {
    /// The order.
    pub order_id: String,
    /// Attempts that failed.
    pub attempts: i64,
    /// Why the last one did.
    pub error: String,
    /// Since when it is in the queue, Unix milliseconds.
    pub enqueued_at: i64,
    /// What it is worth, won.
    pub amount: i64,
}

/// A dead item that got its attempts back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// What it is worth, won.
    pub amount: i64,
    /// Whether it may still be paid, rather than be given back.
    pub to_be_paid: bool,
}

impl CheckoutStore {
    /// Leases up to `most` due items for `visibility`: nobody else gets them until then.
    pub async fn claim(&self, most: u32, visibility: Duration, now: i64) -> Result<Vec<Job>, StoreError> {
        let mut writing = self.store.write().await?;
        // PostgreSQL's other workers step over rows that one is about to take; in SQLite there is only
        // one writer at a time.
        let statement = self.store.pick(
            "UPDATE retry_queue SET due_at = $1, blocked = 0 WHERE order_id IN (
                SELECT order_id FROM retry_queue WHERE dead = 0 AND due_at <= $2 ORDER BY due_at LIMIT $3
             ) RETURNING order_id, attempts, enqueued_at, parked, due_at",
            "UPDATE retry_queue SET due_at = $1, blocked = 0 WHERE order_id IN (
                SELECT order_id FROM retry_queue WHERE dead = 0 AND due_at <= $2 ORDER BY due_at LIMIT $3
                FOR UPDATE SKIP LOCKED
             ) RETURNING order_id, attempts, enqueued_at, parked, due_at",
        );
        let rows = sqlx::query(statement)
            .bind(now + millis(visibility))
            .bind(now)
            .bind(i64::from(most))
            .fetch_all(&mut *writing.transaction)
            .await?;
        writing.commit().await?;
        rows.iter()
            .map(|row| {
                Ok(Job {
                    order_id: text(row, "order_id")?,
                    attempts: number(row, "attempts")?,
                    enqueued_at: number(row, "enqueued_at")?,
                    parked: number(row, "parked")? != 0,
                    leased_until: number(row, "due_at")?,
                })
            })
            .collect()
    }

    /// Puts a leased item back without a change of its order: it couldn't even be tried. `blocked` says
    /// that the breaker turned it away. Nothing happens when somebody else has the item by now.
    pub async fn postpone(&self, job: &Job, due_at: i64, blocked: bool) -> Result<(), StoreError> {
        let mut writing = self.store.write().await?;
        sqlx::query(
            "UPDATE retry_queue SET due_at = $1, blocked = $2 WHERE order_id = $3 AND due_at = $4 AND dead = 0",
        )
        .bind(due_at)
        .bind(i64::from(blocked))
        .bind(job.order_id.as_str())
        .bind(job.leased_until)
        .execute(&mut *writing.transaction)
        .await?;
        writing.commit().await
    }

    /// Makes due what waits for the breaker alone: it lets calls through again. Says how many.
    pub async fn unblock(&self, now: i64) -> Result<u64, StoreError> {
        let mut writing = self.store.write().await?;
        let due = sqlx::query(
            "UPDATE retry_queue SET due_at = $1, blocked = 0 WHERE blocked = 1 AND due_at > $1 AND dead = 0",
        )
        .bind(now)
        .execute(&mut *writing.transaction)
        .await?
        .rows_affected();
        writing.commit().await?;
        Ok(due)
    }

    /// How many items wait. Reads an index; cheap enough to ask before each new one.
    pub async fn depth(&self) -> Result<i64, StoreError> {
        Ok(self.queue().await?.depth)
    }

    /// The queue as it stands.
    pub async fn queue(&self) -> Result<QueueStats, StoreError> {
        let mut reading = self.store.read().await?;
        let rows = sqlx::query(
            "SELECT parked, dead, COUNT(*) AS items, MIN(enqueued_at) AS oldest, MIN(due_at) AS next_due
             FROM retry_queue GROUP BY parked, dead",
        )
        .fetch_all(&mut *reading.connection)
        .await?;
        let mut stats = QueueStats::default();
        for row in &rows {
            let items = number(row, "items")?;
            if number(row, "dead")? != 0 {
                stats.dead += items;
                continue;
            }
            let next_due = number(row, "next_due")?;
            stats.next_due = Some(stats.next_due.map_or(next_due, |other| other.min(next_due)));
            if number(row, "parked")? != 0 {
                stats.depth = items;
                stats.oldest = row.try_get("oldest")?;
            }
        }
        Ok(stats)
    }

    /// Items that were given up, oldest first.
    pub async fn dead_letters(&self, most: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let mut reading = self.store.read().await?;
        let rows = sqlx::query(
            "SELECT q.order_id AS order_id, q.attempts AS attempts, q.last_error AS last_error,
                    q.enqueued_at AS enqueued_at, o.amount AS amount
             FROM retry_queue q JOIN orders o ON o.id = q.order_id
             WHERE q.dead = 1 ORDER BY q.enqueued_at, q.order_id LIMIT $1",
        )
        .bind(i64::from(most))
        .fetch_all(&mut *reading.connection)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(DeadLetter {
                    order_id: text(row, "order_id")?,
                    attempts: number(row, "attempts")?,
                    error: text(row, "last_error")?,
                    enqueued_at: number(row, "enqueued_at")?,
                    amount: number(row, "amount")?,
                })
            })
            .collect()
    }

    /// Gives a dead item its attempts back; nothing when there is no such item.
    pub async fn replay(&self, order_id: &str, now: i64) -> Result<Option<Replayed>, StoreError> {
        let mut writing = self.store.write().await?;
        let transaction = &mut writing.transaction;
        let revived = sqlx::query(
            "UPDATE retry_queue SET dead = 0, parked = 1, attempts = 0, due_at = $1, enqueued_at = $1
             WHERE order_id = $2 AND dead = 1",
        )
        .bind(now)
        .bind(order_id)
        .execute(&mut **transaction)
        .await?;
        if revived.rows_affected() == 0 {
            return Ok(None);
        }
        // What died while it was given back goes on being given back.
        let row = sqlx::query("SELECT state, amount FROM orders WHERE id = $1")
            .bind(order_id)
            .fetch_one(&mut **transaction)
            .await?;
        let to_be_paid = text(&row, "state")? == OrderState::Dead.as_str();
        sqlx::query(
            "UPDATE orders SET state = CASE WHEN state = $1 THEN $2 ELSE state END, version = version + 1,
             updated_at = $3 WHERE id = $4",
        )
        .bind(OrderState::Dead.as_str())
        .bind(OrderState::Queued.as_str())
        .bind(now)
        .bind(order_id)
        .execute(&mut **transaction)
        .await?;
        let amount = number(&row, "amount")?;
        writing.commit().await?;
        Ok(Some(Replayed { amount, to_be_paid }))
    }
}

/// What a change of an order means for its item.
pub(super) async fn apply(writing: &mut Writing, order: &str, effect: &Effect, now: i64) -> Result<(), StoreError> {
    let transaction = &mut writing.transaction;
    match effect {
        Effect::Keep => return Ok(()),
        Effect::Remove => {
            sqlx::query("DELETE FROM retry_queue WHERE order_id = $1").bind(order).execute(&mut **transaction).await?
        }
        Effect::Park { due_at, attempts, error, blocked } => {
            // The wait counts from the first time it is parked.
            sqlx::query(
                "UPDATE retry_queue SET enqueued_at = CASE WHEN parked = 0 THEN $1 ELSE enqueued_at END, parked = 1,
                 due_at = $2, attempts = $3, last_error = $4, blocked = $5 WHERE order_id = $6",
            )
            .bind(now)
            .bind(*due_at)
            .bind(*attempts)
            .bind(error.as_str())
            .bind(i64::from(*blocked))
            .bind(order)
            .execute(&mut **transaction)
            .await?
        }
        Effect::Seize { until } => {
            sqlx::query("UPDATE retry_queue SET due_at = $1, dead = 0, attempts = 0, blocked = 0 WHERE order_id = $2")
                .bind(*until)
                .bind(order)
                .execute(&mut **transaction)
                .await?
        }
        Effect::Bury { error } => {
            sqlx::query("UPDATE retry_queue SET dead = 1, parked = 1, last_error = $1 WHERE order_id = $2")
                .bind(error.as_str())
                .bind(order)
                .execute(&mut **transaction)
                .await?
        }
    };
    Ok(())
}
