//! Persistent state in SQL: orders, their idempotency keys and saga log, the retry queue, the shared breaker, the
//! inventory's reservations and the payment gateway's ledger.
//!
//! ## Theory of operation
//!
//! One schema and one code path serve SQLite (embedded, one file) and PostgreSQL. Statements use plain SQL that both
//! accept; the two places where they differ are marked. Every change of an order is *conditional on the version on
//! which it was based*, so that two workers with the same order can not both succeed, in either database and even if a
//! process was declared dead too early.
//!
//! A store opens and migrates its database on first use, not when it is created: a service can start while its database
//! is unavailable, reports that, and works as soon as the database is back. `connect/mod.rs` describes how statements are
//! executed.
//!
//! Time is an argument, in Unix milliseconds. Times that instances share through the store (leases, due times,
//! expiries, trips) use the database's clock, which [`CheckoutStore::now`] returns, because the clocks of their
//! machines may be minutes apart.
//!
//! ## Under a paused clock
//!
//! A database works in real time on its own thread, of which Tokio's paused clock is unaware: the clock would regard a
//! test that waits for a row as idle, and jump to the next timeout. A store created with `hold_clock` stops the clock
//! while a statement runs.

mod breaker;
mod connect;
mod inventory;
mod ledger;
mod order;
mod orders;
mod outbox;
mod queue;
mod schema;
mod turns;
mod url;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::Row;

use self::url::with_password;
use crate::web::secret::Secret;

pub use breaker::{BreakerRecord, SharedBreakers};
pub use connect::Store as Database;
pub use inventory::{InventoryStore, Place, Reserved, StockAudit};
pub use ledger::{Charged, LedgerAudit, LedgerStore, NewCharge, Voided};
pub use order::{Change, Effect, Known, NewOrder, Opened, Order, OrderAudit, OrderKind, OrderState, Step, Tracked};
pub use orders::CheckoutStore;
pub use outbox::Message;
pub use queue::{DeadLetter, Job, Lane, QueueStats};
pub use turns::{Turn, Turns};
pub use url::DatabaseUrl;

use connect::{Dialect, End, Store};

/// Where databases are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct StoreSettings {
    /// `postgres://user:password@host/database`, `sqlite:///absolute/path.db` or `sqlite::memory:`.
    /// Empty: a SQLite file in `directory`.
    pub url: DatabaseUrl,
    /// A file with the password of every PostgreSQL URL here that has none, the form in which containers get secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Content of that file.
    #[serde(skip)]
    password: Option<Secret>,
    /// Directory of SQLite files. Empty: `breakerbox` in the user's state directory.
    pub directory: String,
    /// Maximum number of connections to PostgreSQL per service. SQLite always has one.
    pub connections: u32,
    /// Schedules changes; only in tests.
    #[serde(skip)]
    pub turns: Option<Turns>,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            url: DatabaseUrl::default(),
            password_file: None,
            password: None,
            directory: String::new(),
            connections: 4,
            turns: None,
        }
    }
}

impl StoreSettings {
    /// Reads the password file, if one is set.
    pub fn read_password(&mut self) -> Result<(), String> {
        if let Some(file) = &self.password_file {
            self.password = Some(Secret::read("store.password-file", file)?);
        }
        Ok(())
    }

    /// Validates the settings; an error names the field and its allowed values.
    pub fn validate(&self) -> Result<(), String> {
        if !(1..=64).contains(&self.connections) {
            return Err(format!("store.connections: {} is not within 1–64", self.connections));
        }
        check_url("store.url", &self.url)
    }

    /// The database URL of `component`: `own` if set, else `url`, else a separate file in the directory, which is
    /// created if needed.
    ///
    /// If the default directory is not writable, as in a read-only container, the result is a database in memory and a
    /// warning; for a configured directory it is an error.
    pub fn locate(&self, component: &str, own: &str) -> Result<String, String> {
        for url in [own, &*self.url] {
            if !url.is_empty() {
                return Ok(with_password(url, self.password.as_ref()));
            }
        }
        let asked_for = !self.directory.is_empty();
        let directory = if asked_for { self.directory.clone().into() } else { state_directory() };
        match std::fs::create_dir_all(&directory).and_then(|()| probe(&directory)) {
            Ok(()) => Ok(format!("sqlite://{}", directory.join(format!("{component}.db")).display())),
            Err(error) if asked_for => Err(format!("store.directory: {}: {error}", directory.display())),
            Err(error) => {
                tracing::warn!(
                    component,
                    directory = %directory.display(),
                    %error,
                    "state directory not writable; using in-memory SQLite, data is lost on exit (store.directory, store.url)"
                );
                Ok("sqlite::memory:".to_owned())
            }
        }
    }
}

/// Refuses a URL of an unsupported database; `field` is its setting.
pub fn check_url(field: &str, url: &str) -> Result<(), String> {
    match Dialect::of(url) {
        None if !url.is_empty() => {
            Err(format!("{field}: must begin with postgres://, sqlite:// or be sqlite::memory: (or empty)"))
        }
        _ => Ok(()),
    }
}

fn state_directory() -> std::path::PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(std::path::PathBuf::from);
    let state = from("XDG_STATE_HOME").or_else(|| from("HOME").map(|home| home.join(".local/state")));
    state.unwrap_or_else(std::env::temp_dir).join("breakerbox")
}

/// Whether files can be created here.
fn probe(directory: &Path) -> std::io::Result<()> {
    let file = directory.join(format!(".probe-{}", std::process::id()));
    std::fs::write(&file, b"")?;
    std::fs::remove_file(file)
}

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is unavailable, or refused a statement.
    #[error("the store is not available: {0}")]
    Database(#[from] sqlx::Error),
    /// A row has a value that no version of this program writes.
    #[error("the store contains an unknown value: {what} = {value:?}")]
    Unknown {
        /// The column.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// The database was migrated by a newer release.
    #[error(
        "the {component} database has schema version {found}, and this release knows up to {known}: \
         run the release that made it, or give it another database"
    )]
    Newer {
        /// The component that owns the tables.
        component: &'static str,
        /// The schema's version.
        found: i64,
        /// The latest version known to this release.
        known: i64,
    },
    /// The migration failed.
    #[error("the {component} database could not be migrated: {why}")]
    Migration {
        /// The component that owns the tables.
        component: &'static str,
        /// The cause.
        why: String,
    },
    /// The task ended without a result, because the program is ending or has a bug.
    #[error("the store operation was interrupted")]
    Interrupted,
}

impl StoreError {
    fn code(&self) -> Option<String> {
        let Self::Database(error) = self else { return None };
        error.as_database_error()?.code().map(std::borrow::Cow::into_owned)
    }

    /// Whether the database aborted this transaction because of a conflict with another one.
    fn is_conflict(&self) -> bool {
        // PostgreSQL: serialization failure, deadlock. SQLite: busy, by its three codes.
        self.code().is_some_and(|code| matches!(&*code, "40001" | "40P01" | "5" | "261" | "517"))
    }

    /// Whether the cause is the database and not the statement.
    fn is_outage(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(_)) => {
                // PostgreSQL's error classes: connection, read-only transaction, resources, operator, system, internal.
                let classes = ["08", "25006", "53", "57", "58", "XX"];
                let postgres =
                    |code: String| code.len() == 5 && classes.into_iter().any(|class| code.starts_with(class));
                self.breaks_connection() || self.code().is_some_and(postgres)
            }
            Self::Database(_) | Self::Newer { .. } | Self::Migration { .. } => true,
            Self::Unknown { .. } | Self::Interrupted => false,
        }
    }

    /// Whether the connection must not be reused.
    fn breaks_connection(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(_)) => {
                // SQLite's primary codes: out of memory, read-only, I/O, corrupt, full, can't open, no database.
                // PostgreSQL's codes have five characters; it closes broken connections itself.
                let code = self.code().filter(|code| code.len() < 5).and_then(|code| code.parse::<u32>().ok());
                code.is_some_and(|code| matches!(code & 0xff, 7 | 8 | 10 | 11 | 13 | 14 | 26))
            }
            Self::Database(sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed) => true,
            _ => false,
        }
    }
}

/// A text column.
fn text(row: &sqlx::any::AnyRow, column: &'static str) -> Result<String, StoreError> {
    Ok(row.try_get(column)?)
}

fn number(row: &sqlx::any::AnyRow, column: &'static str) -> Result<i64, StoreError> {
    Ok(row.try_get(column)?)
}

/// An id, which was checked to fit a `u32` when it was written.
fn id(row: &sqlx::any::AnyRow, column: &'static str) -> Result<u32, StoreError> {
    let value = number(row, column)?;
    u32::try_from(value).map_err(|_| StoreError::Unknown { what: column, value: value.to_string() })
}

/// A duration in milliseconds, for arithmetic with times.
#[must_use]
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
