//! The payment gateway's own books. An outside party keeps them: nobody else reads or writes here.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::{End, Store, StoreError, StoreSettings, number, schema, text};

const CHARGED: &str = "charged";
const DECLINED: &str = "declined";
const REFUNDED: &str = "refunded";
const VOIDED: &str = "voided";

/// What became of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charged {
    /// The money was taken by this request.
    Taken(String),
    /// It had been taken by an earlier request with the same key.
    Before(String),
    /// The card was declined, now or before.
    Declined,
    /// The key was voided before: nothing will ever be taken for it.
    Voided,
    /// The key was used for this other amount before.
    Mismatch(i64),
}

/// What became of a void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voided {
    /// Money had been taken and was given back, now or before.
    Refunded,
    /// None had been taken, and none will be.
    Nothing,
}

/// What the books come to.
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
/// Nothing is ever deleted here. They are books; and a key has to be known for as long as somebody may
/// still ask with it, which for a dead letter is until a person decides. A forgotten key would charge
/// again, and a forgotten void would let a late charge through. A charge is about 300 bytes.
#[derive(Clone)]
pub struct LedgerStore {
    store: Store,
}

/// A charge to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewCharge<'a> {
    /// The idempotency key.
    pub key: &'a str,
    /// The charge's id, if it comes to one.
    pub id: &'a str,
    /// Whose card.
    pub user_id: u32,
    /// In won.
    pub amount: i64,
    /// Whether the card is declined.
    pub declined: bool,
}

impl LedgerStore {
    /// The database at `url`.
    pub fn new(url: &str, settings: &StoreSettings, hold_clock: bool) -> Result<Self, String> {
        Ok(Self { store: Store::new(url, settings, schema::LEDGER, hold_clock)? })
    }

    /// Lets go of every connection.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// Opens the database, and refuses one that this program is too old for.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    /// The database that it is in.
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
                Box::pin(async move { take(connection, charge, *now).await })
            })
            .await
    }

    /// Takes money, whether or not the key was seen before: what a provider without idempotency does.
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

    /// Gives back what was taken for a key, and lets no late charge take anything for it.
    pub async fn void(&self, key: &str, now: i64) -> Result<Voided, StoreError> {
        self.store
            .write((key.to_owned(), now), |connection, (key, now)| {
                Box::pin(async move { void(connection, key, *now).await.map(End::Commit) })
            })
            .await
    }

    /// The state of a key and its charge's id; nothing for an unknown one.
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

    /// What the books come to.
    pub async fn audit(&self) -> Result<LedgerAudit, StoreError> {
        self.store.read((), |connection, ()| Box::pin(async move { audit(connection).await })).await
    }
}

/// A charge that outlives its caller.
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

async fn take(connection: &mut AnyConnection, charge: &OwnCharge, now: i64) -> Result<End<Charged>, StoreError> {
    let state = if charge.declined { DECLINED } else { CHARGED };
    if !take_key(connection, &charge.key, state, charge, now).await? {
        let row = key_row(connection, &charge.key).await?;
        let (state, amount) = (text(&row, "state")?, number(&row, "amount")?);
        return Ok(End::Rollback(match state.as_str() {
            VOIDED | REFUNDED => Charged::Voided,
            // 0 is for keys that are older than the column.
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

/// Enters a key in a state, unless it was seen before.
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

/// The row of a key, locked where the database knows finer locks than one writer.
async fn key_row(connection: &mut AnyConnection, key: &str) -> Result<AnyRow, StoreError> {
    // Writing the row as it is locks it, in either database.
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
