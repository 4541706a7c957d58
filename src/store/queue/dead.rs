//! Dead letters: orders that the worker has given up, until an operator replays them.

use sqlx::AnyConnection;

use super::places::free_place;
use super::{Job, Lane};
use crate::store::order::Step;
use crate::store::{CheckoutStore, End, OrderState, StoreError, number, orders, outbox, text};

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct DeadLetter {
    /// The order.
    pub order_id: String,
    /// Attempts that failed.
    pub attempts: i64,
    /// Error of the last attempt.
    pub error: String,
    /// When it was queued, Unix milliseconds.
    pub enqueued_at: i64,
    /// Its value in won.
    pub amount: i64,
}

/// A dead letter that was replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Its value in won.
    pub amount: i64,
    /// Whether it can still be paid, rather than compensated.
    pub to_be_paid: bool,
}

impl CheckoutStore {
    /// Turns a leased item into a dead letter, and its order into a dead one unless it is being compensated. The
    /// order's row need not be valid. Returns false, without effect, if another worker has the item by now.
    pub async fn bury(&self, job: &Job, why: &str, now: i64) -> Result<bool, StoreError> {
        self.store
            .write((job.clone(), why.to_owned(), now), |connection, (job, why, now)| {
                Box::pin(async move { bury(connection, job, why, *now).await })
            })
            .await
    }

    /// Dead letters, oldest first.
    pub async fn dead_letters(&self, most: u32) -> Result<Vec<DeadLetter>, StoreError> {
        self.store
            .read(most, |connection, most| {
                Box::pin(async move {
                    let rows = sqlx::query(
                        "SELECT q.order_id AS order_id, q.attempts AS attempts, q.last_error AS last_error,
                                q.enqueued_at AS enqueued_at, COALESCE(o.amount, 0) AS amount
                         FROM retry_queue q LEFT JOIN orders o ON o.id = q.order_id
                         WHERE q.dead = 1 ORDER BY q.enqueued_at, q.order_id LIMIT $1",
                    )
                    .bind(i64::from(*most))
                    .fetch_all(&mut *connection)
                    .await?;
                    let letters = rows.iter().map(|row| {
                        Ok(DeadLetter {
                            order_id: text(row, "order_id")?,
                            attempts: number(row, "attempts")?,
                            error: text(row, "last_error")?,
                            enqueued_at: number(row, "enqueued_at")?,
                            amount: number(row, "amount")?,
                        })
                    });
                    letters.collect()
                })
            })
            .await
    }

    /// Replays dead letters, and returns those that existed. One transaction for all: with one each, a thousand dead
    /// letters took longer than the command's timeout.
    pub async fn replay(&self, order_ids: Vec<String>, now: i64) -> Result<Vec<Replayed>, StoreError> {
        self.store
            .write((order_ids, now), |connection, (order_ids, now)| {
                Box::pin(async move {
                    let mut revived = Vec::new();
                    for order in order_ids {
                        revived.extend(replay(connection, order, *now).await?);
                    }
                    Ok(End::Commit(revived))
                })
            })
            .await
    }
}

async fn replay(connection: &mut AnyConnection, order: &str, now: i64) -> Result<Option<Replayed>, StoreError> {
    let row = sqlx::query("SELECT state, amount, deadline FROM orders WHERE id = $1").bind(order);
    let Some(row) = row.fetch_optional(&mut *connection).await? else { return Ok(None) };
    // An order that died during its compensation continues with that; one that died before its reservation starts with
    // that, which also sets its deadline.
    let to_be_paid = text(&row, "state")? == OrderState::Dead.as_str();
    let revived_as = if number(&row, "deadline")? > 0 { OrderState::Queued } else { OrderState::Pending };
    let lane = if to_be_paid { Lane::of(revived_as) } else { Lane::Urgent };
    let revived = sqlx::query(
        "UPDATE retry_queue SET dead = 0, parked = 1, attempts = 0, claims = 0, lane = $1, due_at = $2,
         enqueued_at = $2 WHERE order_id = $3 AND dead = 1",
    )
    .bind(lane.number())
    .bind(now)
    .bind(order)
    .execute(&mut *connection)
    .await?;
    if revived.rows_affected() == 0 {
        return Ok(None);
    }
    sqlx::query(
        "UPDATE orders SET state = CASE WHEN state = $1 THEN $2 ELSE state END, version = version + 1,
         updated_at = $3 WHERE id = $4",
    )
    .bind(OrderState::Dead.as_str())
    .bind(revived_as.as_str())
    .bind(now)
    .bind(order)
    .execute(&mut *connection)
    .await?;
    Ok(Some(Replayed { amount: number(&row, "amount")?, to_be_paid }))
}

async fn bury(connection: &mut AnyConnection, job: &Job, why: &str, now: i64) -> Result<End<bool>, StoreError> {
    let buried = sqlx::query(
        "UPDATE retry_queue SET dead = 1, parked = 1, blocked = 0, last_error = $1
         WHERE order_id = $2 AND due_at = $3 AND dead = 0",
    )
    .bind(why)
    .bind(job.order_id.as_str())
    .bind(job.leased_until)
    .execute(&mut *connection)
    .await?;
    if buried.rows_affected() == 0 {
        return Ok(End::Rollback(false));
    }
    free_place(connection, &job.order_id).await?;
    let row = sqlx::query(
        "UPDATE orders SET state = 'dead', version = version + 1, updated_at = $1
         WHERE id = $2 AND state IN ('pending', 'charging', 'queued') RETURNING version, user_id",
    )
    .bind(now)
    .bind(job.order_id.as_str())
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(row) = row {
        let version = number(&row, "version")?;
        let step = Step { step: "queue", outcome: "dead", detail: why.to_owned() };
        orders::log(connection, &job.order_id, version, &[step], now).await?;
        outbox::put_dead(connection, &job.order_id, version, number(&row, "user_id")?, now).await?;
    }
    Ok(End::Commit(true))
}
