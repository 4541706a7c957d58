//! What must outlive a process: orders, their idempotency keys and saga log, the retry queue, the
//! shared breaker, the inventory's reservations and the payment gateway's ledger, in SQL.
//!
//! ## Theory of operation
//!
//! One schema and one code path serve SQLite (embedded, one file) and PostgreSQL. Statements are
//! plain SQL that both understand; the two places where they differ say so. Every change of an order
//! is *conditional on the version it was decided on*, so that two workers that hold the same order can
//! not both win, for either database and even if a process was declared dead too early.
//!
//! A store opens and migrates its database when it is first used, not when it is made: a service
//! starts while its database is still away, answers that it is, and works as soon as it is back.
//! How work runs on it is in `connect.rs`.
//!
//! Time is an argument, in Unix milliseconds. What instances agree on through the store (leases, due
//! times, expiries, trips) they reckon in the database's time, which [`CheckoutStore::now`] tells: the
//! clocks of their machines may be minutes apart.
//!
//! ## Under a paused clock
//!
//! A database works in real time on a thread of its own, which Tokio's paused clock doesn't see: it
//! would take a test that waits for a row for idle, and jump to the next timeout. A store made with
//! `hold_clock` keeps the clock where it is while a statement is under way.

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

/// Where a store's database is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct StoreSettings {
    /// `postgres://user:password@host/database`, `sqlite:///absolute/path.db` or `sqlite::memory:`.
    /// Empty: a SQLite file in `directory`.
    pub url: DatabaseUrl,
    /// A file that holds the password of every PostgreSQL URL here that has none, as secrets are handed to
    /// containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// What it holds.
    #[serde(skip)]
    password: Option<Secret>,
    /// Where SQLite files are. Empty: `breakerbox` in the user's state directory.
    pub directory: String,
    /// Connections to PostgreSQL that a service holds at most. SQLite always has one.
    pub connections: u32,
    /// Schedules changes, in tests only.
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
    /// Reads the password file, when one is named.
    pub fn read_password(&mut self) -> Result<(), String> {
        if let Some(file) = &self.password_file {
            self.password = Some(Secret::read("store.password-file", file)?);
        }
        Ok(())
    }

    /// Says which field is wrong, and what it may be.
    pub fn validate(&self) -> Result<(), String> {
        if !(1..=64).contains(&self.connections) {
            return Err(format!("store.connections: {} is not within 1–64", self.connections));
        }
        check_url("store.url", &self.url)
    }

    /// Where the database of `component` is: `own` where that is set, else `url`, else a file of its
    /// own in the directory, which is made if it is not there yet.
    ///
    /// A default directory that can't be written to, as in a read-only container, gives a database in
    /// memory and a warning; one that was asked for gives an error.
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

/// Refuses a URL of a database that is not known; `field` is its setting.
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

/// Whether files can be made here.
fn probe(directory: &Path) -> std::io::Result<()> {
    let file = directory.join(format!(".probe-{}", std::process::id()));
    std::fs::write(&file, b"")?;
    std::fs::remove_file(file)
}

/// What went wrong below.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, or refuses.
    #[error("the store is not available: {0}")]
    Database(#[from] sqlx::Error),
    /// A row holds what no version of this program writes.
    #[error("the store contains an unknown value: {what} = {value:?}")]
    Unknown {
        /// The column.
        what: &'static str,
        /// What it holds.
        value: String,
    },
    /// A newer release has been here.
    #[error(
        "the {component} database has schema version {found}, and this release knows up to {known}: \
         run the release that made it, or give it another database"
    )]
    Newer {
        /// Whose tables.
        component: &'static str,
        /// The schema's version.
        found: i64,
        /// The latest version that this release knows.
        known: i64,
    },
    /// The tables can't be brought up to date.
    #[error("the {component} database could not be migrated: {why}")]
    Migration {
        /// Whose tables.
        component: &'static str,
        /// What is in the way.
        why: String,
    },
    /// The work ended without an answer, since the program ends or has a bug.
    #[error("the store operation was interrupted")]
    Interrupted,
}

impl StoreError {
    fn code(&self) -> Option<String> {
        let Self::Database(error) = self else { return None };
        error.as_database_error()?.code().map(std::borrow::Cow::into_owned)
    }

    /// Whether the database refused this one of two that were in each other's way.
    fn is_conflict(&self) -> bool {
        // PostgreSQL: serialization failure, deadlock. SQLite: busy, in its three ways to say so.
        self.code().is_some_and(|code| matches!(&*code, "40001" | "40P01" | "5" | "261" | "517"))
    }

    /// Whether the database, and not what it was asked, is the cause.
    fn is_outage(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(_)) => {
                // PostgreSQL's classes: connection, read-only transaction, resources, operator, system, internal.
                let classes = ["08", "25006", "53", "57", "58", "XX"];
                let postgres =
                    |code: String| code.len() == 5 && classes.into_iter().any(|class| code.starts_with(class));
                self.breaks_connection() || self.code().is_some_and(postgres)
            }
            Self::Database(_) | Self::Newer { .. } | Self::Migration { .. } => true,
            Self::Unknown { .. } | Self::Interrupted => false,
        }
    }

    /// Whether the connection it happened on may not be used again.
    fn breaks_connection(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(_)) => {
                // SQLite's primary codes: out of memory, read-only, I/O, corrupt, full, can't open, no database.
                // PostgreSQL's codes have five characters; it ends broken connections by itself.
                let code = self.code().filter(|code| code.len() < 5).and_then(|code| code.parse::<u32>().ok());
                code.is_some_and(|code| matches!(code & 0xff, 7 | 8 | 10 | 11 | 13 | 14 | 26))
            }
            Self::Database(sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed) => true,
            _ => false,
        }
    }
}

/// Reads a column that every statement here names.
fn text(row: &sqlx::any::AnyRow, column: &'static str) -> Result<String, StoreError> {
    Ok(row.try_get(column)?)
}

fn number(row: &sqlx::any::AnyRow, column: &'static str) -> Result<i64, StoreError> {
    Ok(row.try_get(column)?)
}

/// An id that fits a `u32`, as checked when it was written.
fn id(row: &sqlx::any::AnyRow, column: &'static str) -> Result<u32, StoreError> {
    let value = number(row, column)?;
    u32::try_from(value).map_err(|_| StoreError::Unknown { what: column, value: value.to_string() })
}

/// Milliseconds of a duration, for times that are reckoned with.
#[must_use]
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
