//! The outbox: messages to viewers about their orders.
//!
//! A message is written in the transaction of its change, and sent afterwards until it is received: at least once.
//! Its id is that of the change, so that a receiver can detect a repetition.

use std::time::Duration;

use sqlx::AnyConnection;

use super::order::{Order, OrderState, Step};
use super::{CheckoutStore, End, StoreError, id, millis, number, orders, text};

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The same for each repetition.
    pub id: String,
    /// The order.
    pub order_id: String,
    /// The viewer.
    pub user_id: u32,
    /// The text.
    pub text: String,
    /// Failed attempts to send it.
    pub attempts: i64,
}

impl CheckoutStore {
    /// Leases up to `most` due messages.
    pub async fn claim_messages(&self, most: u32, lease: Duration, now: i64) -> Result<Vec<Message>, StoreError> {
        let due = self
            .store
            .read(now, |connection, now| {
                Box::pin(async move {
                    let due = "SELECT 1 AS due FROM outbox WHERE sent = 0 AND due_at <= $1 LIMIT 1";
                    Ok(sqlx::query(due).bind(*now).fetch_optional(&mut *connection).await?.is_some())
                })
            })
            .await?;
        if !due {
            return Ok(Vec::new());
        }
        let statement = self.pick(
            "UPDATE outbox SET due_at = $1 WHERE id IN (
                SELECT id FROM outbox WHERE sent = 0 AND due_at <= $2 ORDER BY due_at LIMIT $3
             ) RETURNING id, order_id, user_id, text, attempts",
            "UPDATE outbox SET due_at = $1 WHERE id IN (
                SELECT id FROM outbox WHERE sent = 0 AND due_at <= $2 ORDER BY due_at LIMIT $3
                FOR UPDATE SKIP LOCKED
             ) RETURNING id, order_id, user_id, text, attempts",
        );
        self.store
            .write((statement, now + millis(lease), now, most), |connection, (statement, until, now, most)| {
                Box::pin(async move {
                    let rows = sqlx::query(*statement)
                        .bind(*until)
                        .bind(*now)
                        .bind(i64::from(*most))
                        .fetch_all(&mut *connection)
                        .await?;
                    let messages = rows.iter().map(|row| {
                        Ok(Message {
                            id: text(row, "id")?,
                            order_id: text(row, "order_id")?,
                            user_id: id(row, "user_id")?,
                            text: text(row, "text")?,
                            attempts: number(row, "attempts")?,
                        })
                    });
                    Ok(End::Commit(messages.collect::<Result<_, StoreError>>()?))
                })
            })
            .await
    }

    /// Records which messages were received; the others get a new due time.
    pub async fn settle_messages(
        &self,
        received: Vec<Message>,
        failed: Vec<(Message, i64, String)>,
        now: i64,
    ) -> Result<(), StoreError> {
        self.store
            .write((received, failed, now), |connection, (received, failed, now)| {
                Box::pin(async move {
                    for message in received {
                        sqlx::query("UPDATE outbox SET sent = 1 WHERE id = $1")
                            .bind(message.id.as_str())
                            .execute(&mut *connection)
                            .await?;
                        note(connection, message, "done", String::new(), *now).await?;
                    }
                    for (message, due_at, why) in failed {
                        sqlx::query("UPDATE outbox SET attempts = attempts + 1, due_at = $1 WHERE id = $2")
                            .bind(*due_at)
                            .bind(message.id.as_str())
                            .execute(&mut *connection)
                            .await?;
                        if message.attempts == 0 {
                            note(connection, message, "failed", why.clone(), *now).await?;
                        }
                    }
                    Ok(End::Commit(()))
                })
            })
            .await
    }

    /// All messages: id, order, and whether it was received.
    pub async fn messages(&self) -> Result<Vec<(String, String, bool)>, StoreError> {
        self.store
            .read((), |connection, ()| {
                Box::pin(async move {
                    let rows = sqlx::query("SELECT id, order_id, sent FROM outbox ORDER BY id")
                        .fetch_all(&mut *connection)
                        .await?;
                    let read = |row| Ok((text(row, "id")?, text(row, "order_id")?, number(row, "sent")? != 0));
                    rows.iter().map(read).collect()
                })
            })
            .await
    }
}

/// Records the result of a message, unless its order was deleted.
async fn note(
    connection: &mut AnyConnection,
    message: &Message,
    outcome: &'static str,
    detail: String,
    now: i64,
) -> Result<(), StoreError> {
    let known = sqlx::query("SELECT version FROM orders WHERE id = $1").bind(message.order_id.as_str());
    let Some(row) = known.fetch_optional(&mut *connection).await? else { return Ok(()) };
    let step = Step { step: "notify", outcome, detail };
    orders::log(connection, &message.order_id, number(&row, "version")?, &[step], now).await
}

/// Writes the message about a change, if viewers wait for one.
pub(super) async fn put(connection: &mut AnyConnection, order: &Order, now: i64) -> Result<(), StoreError> {
    let Some(text) = words(order) else { return Ok(()) };
    sqlx::query("INSERT INTO outbox (id, order_id, user_id, state, text, due_at) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(format!("{}:{}", order.id, order.version))
        .bind(order.id.as_str())
        .bind(i64::from(order.user_id))
        .bind(order.state.as_str())
        .bind(text)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// Writes the message about a dead order, whose row need not be valid.
pub(super) async fn put_dead(
    connection: &mut AnyConnection,
    order: &str,
    version: i64,
    user_id: i64,
    now: i64,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO outbox (id, order_id, user_id, state, text, due_at) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(format!("{order}:{version}"))
        .bind(order)
        .bind(user_id)
        .bind(OrderState::Dead.as_str())
        .bind(format!("order {order}: not charged yet, being looked into"))
        .bind(now)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

fn words(order: &Order) -> Option<String> {
    let what = format!("film {}: {}, {} won", order.film_id, order.kind.as_str(), order.amount);
    match order.state {
        OrderState::Paid => Some(format!("{what}, paid")),
        OrderState::Cancelled => Some(format!("{what}, cancelled: {}; nothing was charged", order.reason)),
        OrderState::Dead => Some(format!("{what}, not charged yet: being looked into")),
        OrderState::Pending | OrderState::Charging | OrderState::Queued | OrderState::Cancelling => None,
    }
}
