//! The inventory's stock and reservations.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::{End, OrderKind, Store, StoreError, StoreSettings, id, number, schema, text};

const HELD: &str = "held";
const RELEASED: &str = "released";

/// Result of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// Reserved, now or by an earlier request of the same order.
    Held {
        /// The showing.
        showing: i64,
    },
    /// Sold out.
    SoldOut,
    /// The order was cancelled before; a late request does not restore the reservation.
    Released,
}

/// Totals, for audits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StockAudit {
    /// Orders with a reservation.
    pub held: Vec<String>,
    /// Reserved places by the stock's own count.
    pub taken: i64,
}

/// The inventory's tables.
#[derive(Clone)]
pub struct InventoryStore {
    store: Store,
}

/// What to reserve.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The film.
    pub film_id: u32,
    /// Kind of the sale.
    pub kind: OrderKind,
    /// The showing.
    pub showing: i64,
    /// Capacity of the showing.
    pub capacity: i64,
}

impl InventoryStore {
    /// The database at `url`.
    pub fn new(url: &str, settings: &StoreSettings, hold_clock: bool) -> Result<Self, String> {
        Ok(Self { store: Store::new(url, settings, schema::INVENTORY, hold_clock)? })
    }

    /// Closes all connections.
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

    /// Reserves a place for an order. Idempotent by order.
    pub async fn reserve(&self, order: &str, place: Place, now: i64) -> Result<Reserved, StoreError> {
        self.store
            .write((order.to_owned(), place, now), |connection, (order, place, now)| {
                Box::pin(async move { reserve(connection, order, *place, *now).await })
            })
            .await
    }

    /// Releases an order's place, if it has one, and refuses late reservations for it.
    pub async fn release(&self, order: &str, now: i64) -> Result<bool, StoreError> {
        self.store
            .write((order.to_owned(), now), |connection, (order, now)| {
                Box::pin(async move { release(connection, order, *now).await.map(End::Commit) })
            })
            .await
    }

    /// Deletes up to `most` reservations made before `before` for a showing before `showing`, and the stock of such
    /// showings once it has none left. Returns the number of deleted reservations.
    ///
    /// They are no longer needed: a past showing cannot be sold, and no request is delayed for that long.
    pub async fn prune(&self, before: i64, showing: i64, most: u32) -> Result<u64, StoreError> {
        self.store
            .write((before, showing, most), |connection, (before, showing, most)| {
                Box::pin(async move {
                    let gone = sqlx::query(
                        "DELETE FROM reservations WHERE order_id IN (
                            SELECT order_id FROM reservations WHERE at < $1 AND showing < $2 ORDER BY at LIMIT $3
                         )",
                    )
                    .bind(*before)
                    .bind(*showing)
                    .bind(i64::from(*most))
                    .execute(&mut *connection)
                    .await?
                    .rows_affected();
                    if gone < u64::from(*most) {
                        sqlx::query(
                            "DELETE FROM stock WHERE showing < $1 AND NOT EXISTS (
                                SELECT 1 FROM reservations r WHERE r.film_id = stock.film_id AND r.kind = stock.kind
                                AND r.showing = stock.showing
                             )",
                        )
                        .bind(*showing)
                        .execute(&mut *connection)
                        .await?;
                    }
                    Ok(End::Commit(gone))
                })
            })
            .await
    }

    /// Places left in a showing that has reservations.
    pub async fn left(&self, place: Place) -> Result<i64, StoreError> {
        self.store
            .read(place, |connection, place| {
                Box::pin(async move {
                    let statement = "SELECT capacity - taken AS left_over FROM stock
                        WHERE film_id = $1 AND kind = $2 AND showing = $3";
                    let row = sqlx::query(statement)
                        .bind(i64::from(place.film_id))
                        .bind(place.kind.as_str())
                        .bind(place.showing)
                        .fetch_optional(&mut *connection)
                        .await?;
                    Ok(row.map(|row| row.try_get("left_over")).transpose()?.unwrap_or(place.capacity))
                })
            })
            .await
    }

    /// Totals.
    pub async fn audit(&self) -> Result<StockAudit, StoreError> {
        self.store
            .read((), |connection, ()| {
                Box::pin(async move {
                    let rows = sqlx::query("SELECT order_id FROM reservations WHERE state = $1 ORDER BY order_id")
                        .bind(HELD)
                        .fetch_all(&mut *connection)
                        .await?;
                    let held = rows.iter().map(|row| text(row, "order_id")).collect::<Result<_, _>>()?;
                    let row = sqlx::query("SELECT CAST(COALESCE(SUM(taken), 0) AS BIGINT) AS taken FROM stock")
                        .fetch_one(&mut *connection)
                        .await?;
                    Ok(StockAudit { held, taken: number(&row, "taken")? })
                })
            })
            .await
    }
}

async fn reserve(
    connection: &mut AnyConnection,
    order: &str,
    place: Place,
    now: i64,
) -> Result<End<Reserved>, StoreError> {
    if !add(connection, order, place, HELD, now).await? {
        let row = sqlx::query("SELECT state, showing FROM reservations WHERE order_id = $1")
            .bind(order)
            .fetch_one(&mut *connection)
            .await?;
        let held = text(&row, "state")? == HELD;
        let showing = number(&row, "showing")?;
        return Ok(End::Rollback(if held { Reserved::Held { showing } } else { Reserved::Released }));
    }
    sqlx::query(
        "INSERT INTO stock (film_id, kind, showing, capacity, taken) VALUES ($1, $2, $3, $4, 0)
         ON CONFLICT (film_id, kind, showing) DO NOTHING",
    )
    .bind(i64::from(place.film_id))
    .bind(place.kind.as_str())
    .bind(place.showing)
    .bind(place.capacity)
    .execute(&mut *connection)
    .await?;
    let taken = sqlx::query(
        "UPDATE stock SET taken = taken + 1
         WHERE film_id = $1 AND kind = $2 AND showing = $3 AND taken < capacity",
    )
    .bind(i64::from(place.film_id))
    .bind(place.kind.as_str())
    .bind(place.showing)
    .execute(&mut *connection)
    .await?;
    if taken.rows_affected() == 0 {
        // Rolls the reservation back.
        return Ok(End::Rollback(Reserved::SoldOut));
    }
    Ok(End::Commit(Reserved::Held { showing: place.showing }))
}

async fn release(connection: &mut AnyConnection, order: &str, now: i64) -> Result<bool, StoreError> {
    let mut row = give_back(connection, order).await?;
    if row.is_none() {
        let none = Place { film_id: 0, kind: OrderKind::Rent, showing: 0, capacity: 0 };
        // PostgreSQL waits here for a concurrent reservation to commit, which was not visible above. It is visible now.
        if !add(connection, order, none, RELEASED, now).await? {
            row = give_back(connection, order).await?;
        }
    }
    if let Some(row) = &row {
        sqlx::query("UPDATE stock SET taken = taken - 1 WHERE film_id = $1 AND kind = $2 AND showing = $3")
            .bind(i64::from(id(row, "film_id")?))
            .bind(text(row, "kind")?)
            .bind(number(row, "showing")?)
            .execute(&mut *connection)
            .await?;
    }
    Ok(row.is_some())
}

/// Marks an order's reservation as released, and returns it.
async fn give_back(connection: &mut AnyConnection, order: &str) -> Result<Option<AnyRow>, StoreError> {
    let row = sqlx::query(
        "UPDATE reservations SET state = $1 WHERE order_id = $2 AND state = $3 RETURNING film_id, kind, showing",
    )
    .bind(RELEASED)
    .bind(order)
    .bind(HELD)
    .fetch_optional(&mut *connection)
    .await?;
    Ok(row)
}

/// Adds a reservation, unless the order has one of any state.
async fn add(
    connection: &mut AnyConnection,
    order: &str,
    place: Place,
    state: &str,
    now: i64,
) -> Result<bool, StoreError> {
    let added = sqlx::query(
        "INSERT INTO reservations (order_id, film_id, kind, showing, state, at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (order_id) DO NOTHING",
    )
    .bind(order)
    .bind(i64::from(place.film_id))
    .bind(place.kind.as_str())
    .bind(place.showing)
    .bind(state)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    Ok(added.rows_affected() > 0)
}
