//! The payment gateway's ledger. It belongs to an external party: no other service reads or writes it.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::{End, Store, StoreError, StoreSettings, number, schema, text};

const CHARGED: &str = "charged";
const DECLINED: &str = "declined";
const REFUNDED: &str = "refunded";
const VOIDED: &str = "voided";

/// Result of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charged {
    /// Charged by this request.
    Taken(String),
    /// Charged by an earlier request with the same key.
    Before(String),
    /// Declined, now or before.
    Declined,
    /// The key was voided before: it will never be charged.
    Voided,
    /// The key was used for another amount before.
    Mismatch(i64),
}

/// Result of a void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voided {
    /// The charge was refunded, now or before.
    Refunded,
    /// Nothing had been charged, and nothing will be.
    Nothing,
}

/// Totals of the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerAudit {
    /// Keys that were charged and not refunded, with the amount in won.
    pub kept: Vec<(String, i64)>,
    /// Keys that were charged more than once.
    pub doubled: Vec<String>,
    /// Charges that were refunded.
    pub refunded: i64,
}

/// The payment gateway's tables.
///
/// Nothing is ever deleted here: a key has to be known for as long as a request with it is possible, which for a
/// dead letter is until an operator decides. A deleted key could be charged again, and a deleted void would let a
/// late charge through. A charge is about 300 bytes.
#[derive(Clone)]
pub struct LedgerStore {
    store: Store,
}

/// A charge to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewCharge<'a> {
    /// The idempotency key.
    pub key: &'a str,
    /// The charge's id, if it succeeds.
    pub id: &'a str,
    /// The viewer.
    pub user_id: u32,
    /// Amount in won.
    pub amount: i64,
    /// Whether the card is declined.
    pub declined: bool,
}

impl LedgerStore {
    /// The database at `url`.
    pub fn new(url: &str, settings: &StoreSettings, hold_clock: bool) -> Result<Self, String> {
        Ok(Self { store: Store::new(url, settings, schema::LEDGER, hold_clock)? })
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// Opens the database; fails if its schema is too new for this program.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    /// Its database.
    #[must_use]
    pub fn database(&self) -> &Store {
        &self.store
    }

    /// The database's time, Unix milliseconds.
    pub async fn now(&self) -> Result<i64, StoreError> {
        self.store.now().await
    }

    /// Takes money once per key.
    pub async fn charge(&self, charge: NewCharge<'_>, now: i64) -> Result<Charged, StoreError> {
        self.store
            .write((OwnCharge::from(charge), now), |connection, (charge, now)| {
                Box::pin(async move { charge_once(connection, charge, *now).await })
            })
            .await
    }

    /// Charges regardless of the key: a provider without idempotency.
    pub async fn charge_again(&self, charge: NewCharge<'_>, now: i64) -> Result<Charged, StoreError> {
        self.store
            .write((OwnCharge::from(charge), now), |connection, (charge, now)| {
                Box::pin(async move {
                    take_key(connection, &charge.key, CHARGED, charge, *now).await?;
                    enter(connection, charge, false, *now).await?;
                    Ok(End::Commit(Charged::Taken(charge.id.clone())))
                })
            })
            .await
    }

    /// Refunds the charge of a key, and refuses late charges for it.
    pub async fn void(&self, key: &str, now: i64) -> Result<Voided, StoreError> {
        self.store
            .write((key.to_owned(), now), |connection, (key, now)| {
                Box::pin(async move { void(connection, key, *now).await.map(End::Commit) })
            })
            .await
    }

    /// The state of a key and its charge's id; `None` for an unknown one.
    pub async fn find(&self, key: &str) -> Result<Option<(String, String)>, StoreError> {
        self.store
            .read(key.to_owned(), |connection, key| {
                Box::pin(async move {
                    let statement = "SELECT state, charge_id FROM charge_keys WHERE idempotency_key = $1";
                    let row = sqlx::query(statement).bind(key.as_str()).fetch_optional(&mut *connection).await?;
                    row.map(|row| Ok((text(&row, "state")?, text(&row, "charge_id")?))).transpose()
                })
            })
            .await
    }

    /// Totals of the ledger.
    pub async fn audit(&self) -> Result<LedgerAudit, StoreError> {
        self.store.read((), |connection, ()| Box::pin(async move { audit(connection).await })).await
    }
}

/// A charge that completes even if its caller disconnects.
struct OwnCharge {
    key: String,
    id: String,
    user_id: u32,
    amount: i64,
    declined: bool,
}

impl From<NewCharge<'_>> for OwnCharge {
    fn from(new: NewCharge<'_>) -> Self {
        let NewCharge { key, id, user_id, amount, declined } = new;
        Self { key: key.to_owned(), id: id.to_owned(), user_id, amount, declined }
    }
}

async fn charge_once(connection: &mut AnyConnection, charge: &OwnCharge, now: i64) -> Result<End<Charged>, StoreError> {
    let state = if charge.declined { DECLINED } else { CHARGED };
    if !take_key(connection, &charge.key, state, charge, now).await? {
        let row = key_row(connection, &charge.key).await?;
        let (state, amount) = (text(&row, "state")?, number(&row, "amount")?);
        return Ok(End::Rollback(match state.as_str() {
            VOIDED | REFUNDED => Charged::Voided,
            // Keys that are older than this column have 0.
            _ if amount != charge.amount && amount != 0 => Charged::Mismatch(amount),
            CHARGED => Charged::Before(text(&row, "charge_id")?),
            _ => Charged::Declined,
        }));
    }
    if charge.declined {
        return Ok(End::Commit(Charged::Declined));
    }
    enter(connection, charge, true, now).await?;
    Ok(End::Commit(Charged::Taken(charge.id.clone())))
}

async fn void(connection: &mut AnyConnection, key: &str, now: i64) -> Result<Voided, StoreError> {
    let none = OwnCharge { key: key.to_owned(), id: String::new(), user_id: 0, amount: 0, declined: false };
    if take_key(connection, key, VOIDED, &none, now).await? {
        return Ok(Voided::Nothing);
    }
    let row = key_row(connection, key).await?;
    Ok(match text(&row, "state")?.as_str() {
        CHARGED => {
            for statement in [
                "UPDATE charge_keys SET state = $1 WHERE idempotency_key = $2 AND state = $3",
                "UPDATE charges SET state = $1 WHERE idempotency_key = $2 AND state = $3",
            ] {
                let update = sqlx::query(statement).bind(REFUNDED).bind(key).bind(CHARGED);
                update.execute(&mut *connection).await?;
            }
            Voided::Refunded
        }
        REFUNDED => Voided::Refunded,
        _ => Voided::Nothing,
    })
}

async fn audit(connection: &mut AnyConnection) -> Result<LedgerAudit, StoreError> {
    let kept = sqlx::query(
        "SELECT idempotency_key, CAST(SUM(amount) AS BIGINT) AS amount FROM charges WHERE state = $1
         GROUP BY idempotency_key ORDER BY idempotency_key",
    )
    .bind(CHARGED)
    .fetch_all(&mut *connection)
    .await?;
    let doubled =
        sqlx::query("SELECT idempotency_key FROM charges GROUP BY idempotency_key HAVING COUNT(*) > 1 ORDER BY 1")
            .fetch_all(&mut *connection)
            .await?;
    let row = sqlx::query("SELECT COUNT(*) AS refunded FROM charges WHERE state = $1")
        .bind(REFUNDED)
        .fetch_one(&mut *connection)
        .await?;
    Ok(LedgerAudit {
        kept: kept
            .iter()
            .map(|row| Ok((text(row, "idempotency_key")?, number(row, "amount")?)))
            .collect::<Result<_, StoreError>>()?,
        doubled: doubled.iter().map(|row| text(row, "idempotency_key")).collect::<Result<_, _>>()?,
        refunded: row.try_get("refunded")?,
    })
}

/// Inserts a key in a state, unless it exists.
async fn take_key(
    connection: &mut AnyConnection,
    key: &str,
    state: &str,
    charge: &OwnCharge,
    now: i64,
) -> Result<bool, StoreError> {
    let taken = sqlx::query(
        "INSERT INTO charge_keys (idempotency_key, state, charge_id, amount, at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (idempotency_key) DO NOTHING",
    )
    .bind(key)
    .bind(state)
    .bind(charge.id.as_str())
    .bind(charge.amount)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    Ok(taken.rows_affected() > 0)
}

/// The row of a key, locked if the database has finer locks than one writer.
async fn key_row(connection: &mut AnyConnection, key: &str) -> Result<AnyRow, StoreError> {
    // Updating the row without a change locks it in both databases.
    Ok(sqlx::query("UPDATE charge_keys SET at = at WHERE idempotency_key = $1 RETURNING state, charge_id, amount")
        .bind(key)
        .fetch_one(&mut *connection)
        .await?)
}

async fn enter(
    connection: &mut AnyConnection,
    charge: &OwnCharge,
    key_honoured: bool,
    now: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO charges (id, idempotency_key, user_id, amount, state, key_honoured, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(charge.id.as_str())
    .bind(charge.key.as_str())
    .bind(i64::from(charge.user_id))
    .bind(charge.amount)
    .bind(CHARGED)
    .bind(i64::from(key_honoured))
    .bind(now)
    .execute(&mut *connection)
    .await?;
    Ok(())
}
