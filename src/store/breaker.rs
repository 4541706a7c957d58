//! The state of a breaker that several instances share: a row changed by conditional writes.

use super::{CheckoutStore, End, StoreError, number, text};

/// The shared state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerRecord {
    /// Incremented by each write.
    pub version: i64,
    /// `closed`, `open` or `forced_open`.
    pub state: String,
    /// End of the open state, Unix milliseconds.
    pub open_until: i64,
    /// Consecutive failures over all instances.
    pub failures: i64,
    /// The instance that wrote it.
    pub changed_by: String,
}

/// The rows of shared breakers.
#[derive(Clone)]
pub struct SharedBreakers {
    store: super::Store,
}

impl CheckoutStore {
    /// The rows of shared breakers.
    #[must_use]
    pub fn breakers(&self) -> SharedBreakers {
        SharedBreakers { store: self.store.clone() }
    }
}

impl SharedBreakers {
    /// The shared state; `None` if no instance has written it yet.
    pub async fn read(&self, name: &str) -> Result<Option<BreakerRecord>, StoreError> {
        self.store
            .read(name.to_owned(), |connection, name| {
                Box::pin(async move {
                    let statement =
                        "SELECT version, state, open_until, failures, changed_by FROM breakers WHERE name = $1";
                    let row = sqlx::query(statement).bind(name.as_str()).fetch_optional(&mut *connection).await?;
                    row.as_ref().map(record).transpose()
                })
            })
            .await
    }

    /// Writes a record if the stored one still has the preceding version. Returns false if another instance was faster.
    pub async fn write(&self, name: &str, record: &BreakerRecord) -> Result<bool, StoreError> {
        self.store
            .write((name.to_owned(), record.clone()), |connection, (name, record)| {
                Box::pin(async move {
                    let statement = if record.version == 1 {
                        "INSERT INTO breakers (name, version, state, open_until, failures, changed_by)
                         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO NOTHING"
                    } else {
                        "UPDATE breakers SET version = $2, state = $3, open_until = $4, failures = $5,
                         changed_by = $6 WHERE name = $1 AND version = $2 - 1"
                    };
                    let done = sqlx::query(statement)
                        .bind(name.as_str())
                        .bind(record.version)
                        .bind(record.state.as_str())
                        .bind(record.open_until)
                        .bind(record.failures)
                        .bind(record.changed_by.as_str())
                        .execute(&mut *connection)
                        .await?;
                    Ok(End::Commit(done.rows_affected() > 0))
                })
            })
            .await
    }

    /// The time that all instances agree on, Unix milliseconds.
    pub async fn now(&self) -> Result<i64, StoreError> {
        self.store.now().await
    }
}

fn record(row: &sqlx::any::AnyRow) -> Result<BreakerRecord, StoreError> {
    Ok(BreakerRecord {
        version: number(row, "version")?,
        state: text(row, "state")?,
        open_until: number(row, "open_until")?,
        failures: number(row, "failures")?,
        changed_by: text(row, "changed_by")?,
    })
}
