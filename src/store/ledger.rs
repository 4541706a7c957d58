//! The payment gateway's own books. An outside party keeps them: nobody else reads or writes here.

use sqlx::Row;

use super::{Store, StoreError, StoreSettings, Writing, number, schema, text};

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
        Ok(Self { store: Store::new(url, settings.connections, schema::LEDGER, hold_clock)? })
    }

    /// Lets go of every connection.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// Takes money once per key.
    pub async fn charge(&self, charge: NewCharge<'_>, now: i64) -> Result<Charged, StoreError> {
        let mut writing = self.store.write().await?;
        let state = if charge.declined { DECLINED } else { CHARGED };
        if !take_key(&mut writing, charge.key, state, charge.id, now).await? {
            let row = key_row(&mut writing, charge.key).await?;
            return Ok(match text(&row, "state")?.as_str() {
                CHARGED => Charged::Before(text(&row, "charge_id")?),
                DECLINED => Charged::Declined,
                _ => Charged::Voided,
            });
        }
        if charge.declined {
            writing.commit().await?;
            return Ok(Charged::Declined);
        }
        enter(&mut writing, charge, now).await?;
        writing.commit().await?;
        Ok(Charged::Taken(charge.id.to_owned()))
    }

    /// Takes money, whether or not the key was seen before: what a provider without idempotency does.
    pub async fn charge_again(&self, charge: NewCharge<'_>, now: i64) -> Result<Charged, StoreError> {
        let mut writing = self.store.write().await?;
        take_key(&mut writing, charge.key, CHARGED, charge.id, now).await?;
        enter(&mut writing, charge, now).await?;
        writing.commit().await?;
        Ok(Charged::Taken(charge.id.to_owned()))
    }

    /// Gives back what was taken for a key, and lets no late charge take anything for it.
    pub async fn void(&self, key: &str, now: i64) -> Result<Voided, StoreError> {
        let mut writing = self.store.write().await?;
        if take_key(&mut writing, key, VOIDED, "", now).await? {
            writing.commit().await?;
            return Ok(Voided::Nothing);
        }
        let row = key_row(&mut writing, key).await?;
        let outcome = match text(&row, "state")?.as_str() {
            CHARGED => {
                sqlx::query("UPDATE charge_keys SET state = $1 WHERE idempotency_key = $2")
                    .bind(REFUNDED)
                    .bind(key)
                    .execute(&mut *writing.transaction)
                    .await?;
                sqlx::query("UPDATE charges SET state = $1 WHERE idempotency_key = $2 AND state = $3")
                    .bind(REFUNDED)
                    .bind(key)
                    .bind(CHARGED)
                    .execute(&mut *writing.transaction)
                    .await?;
                Voided::Refunded
            }
            REFUNDED => Voided::Refunded,
            _ => Voided::Nothing,
        };
        writing.commit().await?;
        Ok(outcome)
    }

    /// The state of a key and its charge's id; nothing for an unknown one.
    pub async fn find(&self, key: &str) -> Result<Option<(String, String)>, StoreError> {
        let mut reading = self.store.read().await?;
        let row = sqlx::query("SELECT state, charge_id FROM charge_keys WHERE idempotency_key = $1")
            .bind(key)
            .fetch_optional(&mut *reading.connection)
            .await?;
        row.map(|row| Ok((text(&row, "state")?, text(&row, "charge_id")?))).transpose()
    }

    /// What the books come to.
    pub async fn audit(&self) -> Result<LedgerAudit, StoreError> {
        let mut reading = self.store.read().await?;
        let kept = sqlx::query(
            "SELECT idempotency_key, CAST(SUM(amount) AS BIGINT) AS amount FROM charges WHERE state = $1
             GROUP BY idempotency_key ORDER BY idempotency_key",
        )
        .bind(CHARGED)
        .fetch_all(&mut *reading.connection)
        .await?;
        let doubled =
            sqlx::query("SELECT idempotency_key FROM charges GROUP BY idempotency_key HAVING COUNT(*) > 1 ORDER BY 1")
                .fetch_all(&mut *reading.connection)
                .await?;
        let row = sqlx::query("SELECT COUNT(*) AS refunded FROM charges WHERE state = $1")
            .bind(REFUNDED)
            .fetch_one(&mut *reading.connection)
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
}

/// Enters a key in a state, unless it was seen before.
async fn take_key(writing: &mut Writing, key: &str, state: &str, charge: &str, now: i64) -> Result<bool, StoreError> {
    let taken = sqlx::query(
        "INSERT INTO charge_keys (idempotency_key, state, charge_id, at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (idempotency_key) DO NOTHING",
    )
    .bind(key)
    .bind(state)
    .bind(charge)
    .bind(now)
    .execute(&mut *writing.transaction)
    .await?;
    Ok(taken.rows_affected() > 0)
}

/// The row of a key, locked where the database knows finer locks than one writer.
async fn key_row(writing: &mut Writing, key: &str) -> Result<sqlx::any::AnyRow, StoreError> {
    // Writing the row as it is locks it, in either database.
    Ok(sqlx::query("UPDATE charge_keys SET at = at WHERE idempotency_key = $1 RETURNING state, charge_id")
        .bind(key)
        .fetch_one(&mut *writing.transaction)
        .await?)
}

async fn enter(writing: &mut Writing, charge: NewCharge<'_>, now: i64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO charges (id, idempotency_key, user_id, amount, state, at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(charge.id)
    .bind(charge.key)
    .bind(i64::from(charge.user_id))
    .bind(charge.amount)
    .bind(CHARGED)
    .bind(now)
    .execute(&mut *writing.transaction)
    .await?;
    Ok(())
}
