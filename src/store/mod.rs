//! What must outlive a process: orders, their idempotency keys and saga log, the retry queue, the
//! shared breaker, the inventory's reservations and the payment gateway's ledger, in SQL.
//!
//! ## Theory of operation
//!
//! One schema and one code path serve SQLite (embedded, one file) and PostgreSQL. Statements are
//! plain SQL that both understand; the two places where they differ say so. Every change of an order
//! is *conditional on the version it was decided on*, so that two workers that hold the same order can
//! not both win, whichever database is below and whoever was declared dead too early.
//!
//! A store opens and migrates its database when it is first used, not when it is made: a service
//! starts while its database is still away, answers that it is, and works as soon as it is back.
//!
//! Time is an argument, in Unix milliseconds; the caller's clock decides, not the database's.
//!
//! ## Under a paused clock
//!
//! A database works in real time on a thread of its own, which Tokio's paused clock doesn't see: it
//! would take a test that waits for a row for idle, and jump to the next timeout. A store made with
//! `hold_clock` keeps the clock where it is while a statement is under way.

mod breaker;
mod inventory;
mod ledger;
mod order;
mod orders;
mod queue;
mod schema;
mod url;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyPool, Row, Transaction};
use tokio::sync::OnceCell;

use self::url::with_password;
use crate::web::secret::Secret;

pub use breaker::{BreakerRecord, SharedBreakers};
pub use inventory::{InventoryStore, Place, Reserved, StockAudit};
pub use ledger::{Charged, LedgerAudit, LedgerStore, NewCharge, Voided};
pub use order::{Change, Effect, NewOrder, Opened, Order, OrderAudit, OrderKind, OrderState, Step, Tracked};
pub use orders::CheckoutStore;
pub use queue::{DeadLetter, Job, QueueStats};
pub use url::DatabaseUrl;

/// How long a call waits for a connection, and SQLite for another process's write to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often, and how long apart, a file is asked for WAL while somebody else is opening it.
const WAL_TRIES: u32 = 200;
const WAL_PAUSE: Duration = Duration::from_millis(5);

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
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            url: DatabaseUrl::default(),
            password_file: None,
            password: None,
            directory: String::new(),
            connections: 4,
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
                    "no place for a database; it is kept in memory and ends with this process (store.directory, store.url)"
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
    #[error("the store holds {what} = {value:?}, which is not understood")]
    Unknown {
        /// The column.
        what: &'static str,
        /// What it holds.
        value: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    fn of(url: &str) -> Option<Self> {
        if url.starts_with("sqlite:") {
            Some(Self::Sqlite)
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Some(Self::Postgres)
        } else {
            None
        }
    }
}

/// One database. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    pool: AnyPool,
    dialect: Dialect,
    component: schema::Component,
    ready: OnceCell<()>,
    hold_clock: bool,
}

impl Store {
    /// The database at `url`, opened when it is first used.
    fn new(url: &str, connections: u32, component: schema::Component, hold_clock: bool) -> Result<Self, String> {
        install_default_drivers();
        let dialect = Dialect::of(url).ok_or_else(|| format!("{url:?} is no database that is known"))?;
        let options = AnyPoolOptions::new().acquire_timeout(PATIENCE).idle_timeout(None).max_lifetime(None);
        let (options, url) = match dialect {
            Dialect::Sqlite => {
                // One connection: SQLite has one writer anyway, and a second one only waits for it.
                let url = if url.contains(":memory:") || url.contains("mode=") {
                    url.to_owned()
                } else {
                    format!("{url}{}mode=rwc", if url.contains('?') { '&' } else { '?' })
                };
                let options = options.max_connections(1).test_before_acquire(false);
                (options.after_connect(|connection, _| Box::pin(prepare_sqlite(connection))), url)
            }
            Dialect::Postgres => (options.max_connections(connections), url.to_owned()),
        };
        // The password stays out of the message.
        let pool = options.connect_lazy(&url).map_err(|error| format!("the store's URL: {error}"))?;
        let inner = Inner { pool, dialect, component, ready: OnceCell::new(), hold_clock };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes the tables that are not there yet.
    async fn ready(&self) -> Result<(), StoreError> {
        self.inner.ready.get_or_try_init(|| schema::migrate(self)).await.copied()
    }

    /// A connection to read with.
    async fn read(&self) -> Result<Reading, StoreError> {
        let hold = self.hold();
        self.ready().await?;
        Ok(Reading { connection: self.inner.pool.acquire().await?, _hold: hold })
    }

    /// A transaction to write in. Dropped without [`Writing::commit`], it changes nothing.
    async fn write(&self) -> Result<Writing, StoreError> {
        let hold = self.hold();
        self.ready().await?;
        self.begin(hold).await
    }

    async fn begin(&self, hold: Option<Hold>) -> Result<Writing, StoreError> {
        let transaction = match self.inner.dialect {
            // A deferred transaction that reads first can't become a writer once another process wrote.
            Dialect::Sqlite => self.inner.pool.begin_with("BEGIN IMMEDIATE").await?,
            Dialect::Postgres => self.inner.pool.begin().await?,
        };
        Ok(Writing { transaction, _hold: hold })
    }

    fn hold(&self) -> Option<Hold> {
        self.inner.hold_clock.then(Hold::new)
    }

    fn pick(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self.inner.dialect {
            Dialect::Sqlite => sqlite,
            Dialect::Postgres => postgres,
        }
    }

    /// Lets go of every connection.
    async fn close(&self) {
        self.inner.pool.close().await;
    }
}

struct Reading {
    connection: PoolConnection<Any>,
    _hold: Option<Hold>,
}

struct Writing {
    transaction: Transaction<'static, Any>,
    _hold: Option<Hold>,
}

impl Writing {
    async fn commit(self) -> Result<(), StoreError> {
        Ok(self.transaction.commit().await?)
    }
}

/// Keeps a paused clock from jumping: it doesn't while a blocking task runs.
struct Hold {
    _until_dropped: mpsc::Sender<()>,
}

impl Hold {
    fn new() -> Self {
        let (sender, dropped) = mpsc::channel();
        // Ends with the error that says that the sender is gone.
        tokio::task::spawn_blocking(move || dropped.recv().is_ok());
        Self { _until_dropped: sender }
    }
}

async fn prepare_sqlite(connection: &mut sqlx::AnyConnection) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA busy_timeout = 5000").fetch_all(&mut *connection).await?;
    // When two open a new file at the same moment, one change to WAL is refused at once: SQLite has no
    // patience for that one. Handing the error to the pool would make it wait by Tokio's clock, which a
    // paused test holds still meanwhile.
    for attempt in 1..=WAL_TRIES {
        match sqlx::query("PRAGMA journal_mode = WAL").fetch_all(&mut *connection).await {
            Err(error) if is_busy(&error) && attempt < WAL_TRIES => {
                let pause = tokio::task::spawn_blocking(|| std::thread::sleep(WAL_PAUSE));
                // Ends with an error only when the whole program does.
                let _ = pause.await;
            }
            done => {
                done?;
                break;
            }
        }
    }
    for pragma in [
        // Every commit reaches the disk: what was said to be paid stays paid after a power cut.
        "PRAGMA synchronous = FULL",
        // Kibibytes. The working set is the open orders, which are few.
        "PRAGMA cache_size = -512",
    ] {
        sqlx::query(pragma).fetch_all(&mut *connection).await?;
    }
    Ok(())
}

/// Whether SQLite found somebody else at work, in any of its three ways to say so.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| matches!(&*code, "5" | "261" | "517"))
}

/// Reads a column that every statement here names.
fn text(row: &sqlx::any::AnyRow, column: &'static str) -> Result<String, StoreError> {
    Ok(row.try_get(column)?)
}

fn number(row: &sqlx::any::AnyRow, column: &'static str) -> Result<i64, StoreError> {
    Ok(row.try_get(column)?)
}

/// An id that fits a `u32` by the checks of whoever wrote it.
fn id(row: &sqlx::any::AnyRow, column: &'static str) -> Result<u32, StoreError> {
    let value = number(row, column)?;
    u32::try_from(value).map_err(|_| StoreError::Unknown { what: column, value: value.to_string() })
}

/// Milliseconds of a duration, for times that are reckoned with.
#[must_use]
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
