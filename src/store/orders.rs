//! Orders, their idempotency keys and their saga log.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::order::{Change, Known, NewOrder, Opened, Order, OrderAudit, OrderKind, OrderState, Step, Tracked};
use super::{End, Store, StoreError, StoreSettings, id, millis, number, outbox, queue, schema, text};

/// Orders, their keys, their log, their queue and their outbox.
#[derive(Clone)]
pub struct CheckoutStore {
    pub(super) store: Store,
}

const ORDER: &str = "SELECT id, user_id, film_id, kind, amount, retry_later, state, version, charge_sent, reason,
    deadline, created_at FROM orders WHERE id = $1";

const TRACKED: &str = "SELECT o.id AS id, o.user_id AS user_id, o.film_id AS film_id, o.kind AS kind,
    o.amount AS amount, o.retry_later AS retry_later, o.state AS state, o.version AS version,
    o.charge_sent AS charge_sent, o.reason AS reason, o.deadline AS deadline, o.created_at AS created_at,
    q.due_at AS due_at FROM orders o LEFT JOIN retry_queue q ON q.order_id = o.id AND q.dead = 0";

impl CheckoutStore {
    /// The database at `url`.
    pub fn new(url: &str, settings: &StoreSettings, hold_clock: bool) -> Result<Self, String> {
        Ok(Self { store: Store::new(url, settings, schema::CHECKOUT, hold_clock)? })
    }

    /// Waits for running tasks, then closes all connections.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// Opens the database; fails if its schema is too new for this program.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    /// The time that all instances agree on, Unix milliseconds.
    pub async fn now(&self) -> Result<i64, StoreError> {
        self.store.now().await
    }

    /// Its database.
    #[must_use]
    pub fn database(&self) -> &Store {
        &self.store
    }

    /// Accepts an order, unless its key is in use.
    pub async fn open(&self, new: &NewOrder<'_>, now: i64) -> Result<Opened, StoreError> {
        let (order, key) = OwnKey::of(new, now);
        self.store
            .write((order, key, now), |connection, (order, key, now)| {
                Box::pin(async move { open(connection, order, key, *now).await })
            })
            .await
    }

    /// The order for which a key was used, if it is in use.
    pub async fn known(
        &self,
        user_id: u32,
        key: &str,
        fingerprint: &str,
        now: i64,
    ) -> Result<Option<Known>, StoreError> {
        let args = (user_id, key.to_owned(), fingerprint.to_owned(), now);
        self.store
            .read(args, |connection, (user_id, key, fingerprint, now)| {
                Box::pin(async move { known(connection, *user_id, key, fingerprint, *now).await })
            })
            .await
    }

    /// The stored answer for this key, if it is in use.
    pub async fn answer(&self, user_id: u32, key: &str) -> Result<Option<String>, StoreError> {
        self.store
            .read((user_id, key.to_owned()), |connection, (user_id, key)| {
                Box::pin(async move {
                    let statement = "SELECT answer FROM idempotency_keys WHERE user_id = $1 AND idempotency_key = $2";
                    let row = sqlx::query(statement)
                        .bind(i64::from(*user_id))
                        .bind(key.as_str())
                        .fetch_optional(&mut *connection)
                        .await?;
                    Ok(row.map(|row| row.try_get("answer")).transpose()?.flatten())
                })
            })
            .await
    }

    /// The order with this id.
    pub async fn order(&self, id: &str) -> Result<Option<Order>, StoreError> {
        self.store
            .read(id.to_owned(), |connection, id| {
                Box::pin(async move {
                    let row = sqlx::query(ORDER).bind(id.as_str()).fetch_optional(&mut *connection).await?;
                    row.as_ref().map(order).transpose()
                })
            })
            .await
    }

    /// The order with this id, and its due time.
    pub async fn tracked(&self, id: &str) -> Result<Option<Tracked>, StoreError> {
        self.store
            .read(id.to_owned(), |connection, id| {
                Box::pin(async move {
                    let statement = sqlx::AssertSqlSafe(format!("{TRACKED} WHERE o.id = $1"));
                    let row = sqlx::query(statement).bind(id.as_str()).fetch_optional(&mut *connection).await?;
                    row.as_ref().map(tracked).transpose()
                })
            })
            .await
    }

    /// A viewer's orders, the latest first.
    pub async fn orders_of(&self, user_id: u32, most: u32) -> Result<Vec<Tracked>, StoreError> {
        self.store
            .read((user_id, most), |connection, (user_id, most)| {
                Box::pin(async move {
                    let own = "WHERE o.user_id = $1 ORDER BY o.created_at DESC, o.id LIMIT $2";
                    let rows = sqlx::query(sqlx::AssertSqlSafe(format!("{TRACKED} {own}")))
                        .bind(i64::from(*user_id))
                        .bind(i64::from(*most))
                        .fetch_all(&mut *connection)
                        .await?;
                    rows.iter().map(tracked).collect()
                })
            })
            .await
    }

    /// The saga log of an order, oldest first: step, outcome, detail, time.
    pub async fn steps(&self, id: &str) -> Result<Vec<(String, String, String, i64)>, StoreError> {
        self.store
            .read(id.to_owned(), |connection, id| {
                Box::pin(async move {
                    let statement = "SELECT step, outcome, detail, at FROM saga_log WHERE order_id = $1
                        ORDER BY version, at LIMIT 200";
                    let rows = sqlx::query(statement).bind(id.as_str()).fetch_all(&mut *connection).await?;
                    let read = |row: &AnyRow| {
                        Ok((text(row, "step")?, text(row, "outcome")?, text(row, "detail")?, number(row, "at")?))
                    };
                    rows.iter().map(read).collect()
                })
            })
            .await
    }

    /// Applies a change to an order in the version that was read. Returns the changed order, or `None` without any
    /// effect if another worker was faster.
    ///
    /// A change to a state that viewers wait for also writes the message about it.
    pub async fn change(&self, order: &Order, change: &Change, now: i64) -> Result<Option<Order>, StoreError> {
        self.store
            .write((order.clone(), change.clone(), now), |connection, (order, change, now)| {
                Box::pin(async move { make(connection, order, change, *now).await })
            })
            .await
    }

    /// Deletes up to `most` expired keys, and up to `most` orders that were final before `before`, with their log.
    /// Returns the larger of both numbers: if it equals `most`, there may be more.
    ///
    /// Orders that are not final are kept with their key, whatever their age: without the key, a repeated request for a
    /// waiting order would be accepted as a new order.
    pub async fn prune(&self, before: i64, now: i64, most: u32) -> Result<u64, StoreError> {
        self.store
            .write((before, now, most), |connection, (before, now, most)| {
                Box::pin(async move {
                    let keys = sqlx::query(
                        "DELETE FROM idempotency_keys WHERE order_id IN (
                            SELECT k.order_id FROM idempotency_keys k WHERE k.expires_at <= $1 AND NOT EXISTS (
                                SELECT 1 FROM orders o
                                WHERE o.id = k.order_id AND o.state NOT IN ('paid', 'cancelled')
                            ) ORDER BY k.expires_at LIMIT $2
                         )",
                    )
                    .bind(*now)
                    .bind(i64::from(*most))
                    .execute(&mut *connection)
                    .await?;
                    // The rows that belong to an order are deleted with it.
                    let orders = sqlx::query(
                        "DELETE FROM orders WHERE id IN (
                            SELECT id FROM orders WHERE state IN ('paid', 'cancelled') AND updated_at < $1
                            ORDER BY updated_at LIMIT $2
                         )",
                    )
                    .bind(*before)
                    .bind(i64::from(*most))
                    .execute(&mut *connection)
                    .await?;
                    Ok(End::Commit(keys.rows_affected().max(orders.rows_affected())))
                })
            })
            .await
    }

    /// Totals over all orders.
    pub async fn audit(&self) -> Result<OrderAudit, StoreError> {
        self.store.read((), |connection, ()| Box::pin(async move { audit(connection).await })).await
    }

    /// Ids of orders in a state, for comparison with other services' data.
    pub async fn in_state(&self, state: OrderState) -> Result<Vec<String>, StoreError> {
        self.store
            .read(state, |connection, state| {
                Box::pin(async move {
                    let rows = sqlx::query("SELECT id FROM orders WHERE state = $1 ORDER BY id")
                        .bind(state.as_str())
                        .fetch_all(&mut *connection)
                        .await?;
                    rows.iter().map(|row| text(row, "id")).collect()
                })
            })
            .await
    }
}

/// Columns of a new order that belong to its key.
struct OwnKey {
    key: String,
    fingerprint: String,
    expires_at: i64,
    leased_until: i64,
    capacity: u32,
}

impl OwnKey {
    fn of(new: &NewOrder<'_>, now: i64) -> (Order, Self) {
        let order = Order {
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
            deadline: 0,
            created_at: now,
        };
        let key = Self {
            key: new.key.to_owned(),
            fingerprint: new.fingerprint.to_owned(),
            expires_at: now + millis(new.key_lifetime),
            leased_until: now + millis(new.lease),
            capacity: new.capacity,
        };
        (order, key)
    }
}

async fn open(
    connection: &mut AnyConnection,
    order: &Order,
    key: &OwnKey,
    now: i64,
) -> Result<End<Opened>, StoreError> {
    if !claim_key(connection, order, key, now).await? {
        // The expiry of a key applies only once its order is final.
        let found = known(connection, order.user_id, &key.key, &key.fingerprint, i64::MIN).await?;
        return found.map(|found| End::Rollback(Opened::Known(found))).ok_or(StoreError::Interrupted);
    }
    sqlx::query(
        "INSERT INTO orders (id, user_id, film_id, kind, amount, retry_later, state, version, charge_sent,
         reason, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 1, 0, '', $8, $8)",
    )
    .bind(order.id.as_str())
    .bind(i64::from(order.user_id))
    .bind(i64::from(order.film_id))
    .bind(order.kind.as_str())
    .bind(order.amount)
    .bind(i64::from(order.retry_later))
    .bind(order.state.as_str())
    .bind(now)
    .execute(&mut *connection)
    .await?;
    let taken = Step { step: "verify_user", outcome: "done", detail: String::new() };
    log(connection, &order.id, 1, &[taken], now).await?;
    let capacity = if order.retry_later { key.capacity } else { 0 };
    let job = queue::lease(connection, &order.id, key.leased_until, capacity, now).await?;
    Ok(End::Commit(Opened::New(order.clone(), job)))
}

async fn make(
    connection: &mut AnyConnection,
    order: &Order,
    change: &Change,
    now: i64,
) -> Result<End<Option<Order>>, StoreError> {
    let reason = if change.reason.is_empty() { &order.reason } else { &change.reason };
    let changed = Order {
        state: change.state,
        version: order.version + 1,
        charge_sent: change.charge_sent.unwrap_or(order.charge_sent),
        reason: reason.clone(),
        deadline: change.deadline.unwrap_or(order.deadline),
        ..order.clone()
    };
    let done = sqlx::query(
        "UPDATE orders SET state = $1, version = $2, charge_sent = $3, reason = $4, deadline = $5, updated_at = $6
         WHERE id = $7 AND version = $8",
    )
    .bind(changed.state.as_str())
    .bind(changed.version)
    .bind(i64::from(changed.charge_sent))
    .bind(changed.reason.as_str())
    .bind(changed.deadline)
    .bind(now)
    .bind(order.id.as_str())
    .bind(order.version)
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(End::Rollback(None));
    }
    log(connection, &order.id, changed.version, &change.steps, now).await?;
    queue::apply(connection, &changed, &change.effect, now).await?;
    if let Some(answer) = &change.answer {
        // The first answer is kept.
        sqlx::query("UPDATE idempotency_keys SET answer = $1 WHERE order_id = $2 AND answer IS NULL")
            .bind(answer.as_str())
            .bind(order.id.as_str())
            .execute(&mut *connection)
            .await?;
    }
    outbox::put(connection, &changed, now).await?;
    Ok(End::Commit(Some(changed)))
}

async fn audit(connection: &mut AnyConnection) -> Result<OrderAudit, StoreError> {
    let rows = sqlx::query(
        "SELECT state, COUNT(*) AS orders, CAST(SUM(amount) AS BIGINT) AS amount FROM orders GROUP BY state",
    )
    .fetch_all(&mut *connection)
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

/// Takes the key for this order; false if it is in use and has not expired. A key does not expire before its order is
/// final: a repeated request must not create a second order while the first one waits.
async fn claim_key(connection: &mut AnyConnection, order: &Order, key: &OwnKey, now: i64) -> Result<bool, StoreError> {
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
    .bind(i64::from(order.user_id))
    .bind(key.key.as_str())
    .bind(key.fingerprint.as_str())
    .bind(order.id.as_str())
    .bind(key.expires_at)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    Ok(claimed.rows_affected() > 0)
}

/// The order for which a key was used, unless the key has expired and its order is final.
async fn known(
    connection: &mut AnyConnection,
    user_id: u32,
    key: &str,
    fingerprint: &str,
    now: i64,
) -> Result<Option<Known>, StoreError> {
    let row = sqlx::query(
        "SELECT k.fingerprint AS fingerprint, k.order_id AS order_id, k.answer AS answer
         FROM idempotency_keys k WHERE k.user_id = $1 AND k.idempotency_key = $2 AND (
            k.expires_at > $3 OR EXISTS (
                SELECT 1 FROM orders o WHERE o.id = k.order_id AND o.state NOT IN ('paid', 'cancelled')
            )
         )",
    )
    .bind(i64::from(user_id))
    .bind(key)
    .bind(now)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let same = text(&row, "fingerprint")? == fingerprint;
    let answer = row.try_get("answer")?;
    let found = sqlx::query(ORDER).bind(text(&row, "order_id")?).fetch_optional(&mut *connection).await?;
    Ok(Some(Known { same, order: found.as_ref().map(order).transpose()?, answer }))
}

pub(super) async fn log(
    connection: &mut AnyConnection,
    order: &str,
    version: i64,
    steps: &[Step],
    now: i64,
) -> Result<(), StoreError> {
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
        .execute(&mut *connection)
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
        deadline: number(row, "deadline")?,
        created_at: number(row, "created_at")?,
    })
}
