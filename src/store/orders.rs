//! Orders, their idempotency keys and their saga log.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::order::{Change, NewOrder, Opened, Order, OrderAudit, OrderKind, OrderState, Step, Tracked};
use super::{Store, StoreError, StoreSettings, Writing, id, millis, number, schema, text};

/// Orders, their keys, their log and their queue.
#[derive(Clone)]
pub struct CheckoutStore {
    pub(super) store: Store,
}

const ORDER: &str = "SELECT id, user_id, film_id, kind, amount, retry_later, state, version, charge_sent, reason,
    created_at FROM orders WHERE id = $1";

const TRACKED: &str = "SELECT o.id AS id, o.user_id AS user_id, o.film_id AS film_id, o.kind AS kind,
    o.amount AS amount, o.retry_later AS retry_later, o.state AS state, o.version AS version,
    o.charge_sent AS charge_sent, o.reason AS reason, o.created_at AS created_at, q.due_at AS due_at
    FROM orders o LEFT JOIN retry_queue q ON q.order_id = o.id AND q.dead = 0";

impl CheckoutStore {
    /// The database at `url`.
    pub fn new(url: &str, settings: &StoreSettings, hold_clock: bool) -> Result<Self, String> {
        Ok(Self { store: Store::new(url, settings.connections, schema::CHECKOUT, hold_clock)? })
    }

    /// Lets go of every connection.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// Takes an order, unless its key is in use.
    pub async fn open(&self, new: &NewOrder<'_>, now: i64) -> Result<Opened, StoreError> {
        let mut writing = self.store.write().await?;
        if !claim_key(&mut writing, new, now).await? {
            return known(&mut writing, new).await;
        }
        let transaction = &mut writing.transaction;
        sqlx::query(
            "INSERT INTO orders (id, user_id, film_id, kind, amount, retry_later, state, version, charge_sent,
             reason, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 1, 0, '', $8, $8)",
        )
        .bind(new.id)
        .bind(i64::from(new.user_id))
        .bind(i64::from(new.film_id))
        .bind(new.kind.as_str())
        .bind(new.amount)
        .bind(i64::from(new.retry_later))
        .bind(OrderState::Pending.as_str())
        .bind(now)
        .execute(&mut **transaction)
        .await?;
        sqlx::query(
            "INSERT INTO retry_queue (order_id, parked, dead, attempts, due_at, enqueued_at, last_error)
             VALUES ($1, 0, 0, 0, $2, $3, '')",
        )
        .bind(new.id)
        .bind(now + millis(new.lease))
        .bind(now)
        .execute(&mut **transaction)
        .await?;
        let taken = Step { step: "verify_user", outcome: "done", detail: String::new() };
        log(&mut writing, new.id, 1, &[taken], now).await?;
        writing.commit().await?;
        Ok(Opened::New(Order {
            id: new.id.to_owned(),
            user_id: new.user_id,
            film_id: new.film_id,
            kind: new.kind,
            amount: new.amount,
            retry_later: new.retry_later,
            state: OrderState::Pending,
            version: 1,
            charge_sent: false,
            reason: String::new(),
            created_at: now,
        }))
    }

    /// What was answered to this key, if it is in use.
    pub async fn answer(&self, user_id: u32, key: &str) -> Result<Option<String>, StoreError> {
        let mut reading = self.store.read().await?;
        let row = sqlx::query("SELECT answer FROM idempotency_keys WHERE user_id = $1 AND idempotency_key = $2")
            .bind(i64::from(user_id))
            .bind(key)
            .fetch_optional(&mut *reading.connection)
            .await?;
        Ok(row.map(|row| row.try_get("answer")).transpose()?.flatten())
    }

    /// An order.
    pub async fn order(&self, id: &str) -> Result<Option<Order>, StoreError> {
        let mut reading = self.store.read().await?;
        let row = sqlx::query(ORDER).bind(id).fetch_optional(&mut *reading.connection).await?;
        row.as_ref().map(order).transpose()
    }

    /// An order with its place in the queue.
    pub async fn tracked(&self, id: &str) -> Result<Option<Tracked>, StoreError> {
        let mut reading = self.store.read().await?;
        let statement = format!("{TRACKED} WHERE o.id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(id).fetch_optional(&mut *reading.connection).await?;
        row.as_ref().map(tracked).transpose()
    }

    /// A viewer's latest orders, the latest first.
    pub async fn orders_of(&self, user_id: u32, most: u32) -> Result<Vec<Tracked>, StoreError> {
        let mut reading = self.store.read().await?;
        let statement = format!("{TRACKED} WHERE o.user_id = $1 ORDER BY o.created_at DESC, o.id LIMIT $2");
        let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(i64::from(user_id))
            .bind(i64::from(most))
            .fetch_all(&mut *reading.connection)
            .await?;
        rows.iter().map(tracked).collect()
    }

    /// What was done for an order, oldest first: step, outcome, detail, when.
    pub async fn steps(&self, id: &str) -> Result<Vec<(String, String, String, i64)>, StoreError> {
        let mut reading = self.store.read().await?;
        let rows = sqlx::query(
            "SELECT step, outcome, detail, at FROM saga_log WHERE order_id = $1 ORDER BY version, at LIMIT 200",
        )
        .bind(id)
        .fetch_all(&mut *reading.connection)
        .await?;
        let read =
            |row: &AnyRow| Ok((text(row, "step")?, text(row, "outcome")?, text(row, "detail")?, number(row, "at")?));
        rows.iter().map(read).collect()
    }

    /// Changes an order as it was read. Gives the changed order; nothing when somebody else was
    /// faster, in which case nothing is changed at all.
    pub async fn change(&self, order: &Order, change: &Change, now: i64) -> Result<Option<Order>, StoreError> {
        let mut writing = self.store.write().await?;
        let version = order.version + 1;
        let reason = if change.reason.is_empty() { &order.reason } else { &change.reason };
        let charge_sent = change.charge_sent.unwrap_or(order.charge_sent);
        let done = sqlx::query(
            "UPDATE orders SET state = $1, version = $2, charge_sent = $3, reason = $4, updated_at = $5
             WHERE id = $6 AND version = $7",
        )
        .bind(change.state.as_str())
        .bind(version)
        .bind(i64::from(charge_sent))
        .bind(reason.as_str())
        .bind(now)
        .bind(order.id.as_str())
        .bind(order.version)
        .execute(&mut *writing.transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(None);
        }
        log(&mut writing, &order.id, version, &change.steps, now).await?;
        super::queue::apply(&mut writing, &order.id, &change.effect, now).await?;
        if let Some(answer) = &change.answer {
            sqlx::query("UPDATE idempotency_keys SET answer = $1 WHERE order_id = $2")
                .bind(answer.as_str())
                .bind(order.id.as_str())
                .execute(&mut *writing.transaction)
                .await?;
        }
        writing.commit().await?;
        Ok(Some(Order { state: change.state, version, charge_sent, reason: reason.clone(), ..order.clone() }))
    }

    /// Adds to an order's log without changing it.
    pub async fn note(&self, order: &Order, step: Step, now: i64) -> Result<(), StoreError> {
        let mut writing = self.store.write().await?;
        log(&mut writing, &order.id, order.version, &[step], now).await?;
        writing.commit().await
    }

    /// Forgets up to `most` keys that have expired and up to `most` orders that were final before
    /// `before`, with their log. Says how many rows of the larger kind went: as many as `most` means
    /// that there may be more.
    ///
    /// What is not final stays whole, however old: an order that waits for a person still needs its
    /// key, or a caller that asks again would be taken for a new one.
    pub async fn prune(&self, before: i64, now: i64, most: u32) -> Result<u64, StoreError> {
        let mut writing = self.store.write().await?;
        let transaction = &mut writing.transaction;
        let keys = sqlx::query(
            "DELETE FROM idempotency_keys WHERE order_id IN (
                SELECT k.order_id FROM idempotency_keys k WHERE k.expires_at <= $1 AND NOT EXISTS (
                    SELECT 1 FROM orders o WHERE o.id = k.order_id AND o.state NOT IN ('paid', 'cancelled')
                ) ORDER BY k.expires_at LIMIT $2
             )",
        )
        .bind(now)
        .bind(i64::from(most))
        .execute(&mut **transaction)
        .await?;
        let orders = sqlx::query(
            "DELETE FROM orders WHERE id IN (
                SELECT id FROM orders WHERE state IN ('paid', 'cancelled') AND updated_at < $1
                ORDER BY updated_at LIMIT $2
             ) RETURNING id",
        )
        .bind(before)
        .bind(i64::from(most))
        .fetch_all(&mut **transaction)
        .await?;
        for row in &orders {
            sqlx::query("DELETE FROM saga_log WHERE order_id = $1")
                .bind(text(row, "id")?)
                .execute(&mut **transaction)
                .await?;
        }
        writing.commit().await?;
        Ok(keys.rows_affected().max(u64::try_from(orders.len()).unwrap_or(u64::MAX)))
    }

    /// What all orders come to.
    pub async fn audit(&self) -> Result<OrderAudit, StoreError> {
        let mut reading = self.store.read().await?;
        let rows = sqlx::query(
            "SELECT state, COUNT(*) AS orders, CAST(SUM(amount) AS BIGINT) AS amount FROM orders GROUP BY state",
        )
        .fetch_all(&mut *reading.connection)
        .await?;
        let mut audit = OrderAudit::default();
        for row in &rows {
            let (orders, amount) = (number(row, "orders")?, number(row, "amount")?);
            audit.orders += orders;
            match OrderState::read(text(row, "state")?)? {
                OrderState::Paid => (audit.paid, audit.paid_amount) = (orders, amount),
                OrderState::Dead => (audit.dead, audit.dead_amount) = (orders, amount),
                OrderState::Cancelled => {}
                _ => audit.unfinished += orders,
            }
        }
        Ok(audit)
    }

    /// Ids of orders in a state, for comparing with others' books.
    pub async fn in_state(&self, state: OrderState) -> Result<Vec<String>, StoreError> {
        let mut reading = self.store.read().await?;
        let rows = sqlx::query("SELECT id FROM orders WHERE state = $1 ORDER BY id")
            .bind(state.as_str())
            .fetch_all(&mut *reading.connection)
            .await?;
        rows.iter().map(|row| text(row, "id")).collect()
    }
}

/// Takes the key for this order; false when it is in use and has not expired. A key doesn't expire
/// before its order is final: asking again must not become a second order beside one that still waits.
async fn claim_key(writing: &mut Writing, new: &NewOrder<'_>, now: i64) -> Result<bool, StoreError> {
    let claimed = sqlx::query(
        "INSERT INTO idempotency_keys (user_id, idempotency_key, fingerprint, order_id, answer, expires_at)
         VALUES ($1, $2, $3, $4, NULL, $5)
         ON CONFLICT (user_id, idempotency_key) DO UPDATE
         SET fingerprint = excluded.fingerprint, order_id = excluded.order_id, answer = NULL,
             expires_at = excluded.expires_at
         WHERE idempotency_keys.expires_at <= $6 AND NOT EXISTS (
            SELECT 1 FROM orders WHERE orders.id = idempotency_keys.order_id
            AND orders.state NOT IN ('paid', 'cancelled')
         )",
    )
    .bind(i64::from(new.user_id))
    .bind(new.key)
    .bind(new.fingerprint)
    .bind(new.id)
    .bind(now + millis(new.key_lifetime))
    .bind(now)
    .execute(&mut *writing.transaction)
    .await?;
    Ok(claimed.rows_affected() > 0)
}

async fn known(writing: &mut Writing, new: &NewOrder<'_>) -> Result<Opened, StoreError> {
    let row = sqlx::query(
        "SELECT fingerprint, order_id, answer FROM idempotency_keys WHERE user_id = $1 AND idempotency_key = $2",
    )
    .bind(i64::from(new.user_id))
    .bind(new.key)
    .fetch_one(&mut *writing.transaction)
    .await?;
    let same = text(&row, "fingerprint")? == new.fingerprint;
    let answer = row.try_get("answer")?;
    let found = sqlx::query(ORDER).bind(text(&row, "order_id")?).fetch_optional(&mut *writing.transaction).await?;
    Ok(Opened::Known { same, order: found.as_ref().map(order).transpose()?, answer })
}

async fn log(writing: &mut Writing, order: &str, version: i64, steps: &[Step], now: i64) -> Result<(), StoreError> {
    for Step { step, outcome, detail } in steps {
        sqlx::query(
            "INSERT INTO saga_log (order_id, version, step, outcome, detail, at) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(order)
        .bind(version)
        .bind(*step)
        .bind(*outcome)
        .bind(detail.as_str())
        .bind(now)
        .execute(&mut *writing.transaction)
        .await?;
    }
    Ok(())
}

fn tracked(row: &AnyRow) -> Result<Tracked, StoreError> {
    Ok(Tracked { order: order(row)?, due_at: row.try_get("due_at")? })
}

fn order(row: &AnyRow) -> Result<Order, StoreError> {
    Ok(Order {
        id: text(row, "id")?,
        user_id: id(row, "user_id")?,
        film_id: id(row, "film_id")?,
        kind: OrderKind::read(text(row, "kind")?)?,
        amount: number(row, "amount")?,
        retry_later: number(row, "retry_later")? != 0,
        state: OrderState::read(text(row, "state")?)?,
        version: number(row, "version")?,
        charge_sent: number(row, "charge_sent")? != 0,
        reason: text(row, "reason")?,
        created_at: number(row, "created_at")?,
    })
}
