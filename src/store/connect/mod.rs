//! Connections and transactions of the store.
//!
//! ## Theory of operation
//!
//! Work on the database is a function of a connection and its arguments, run in its own task. A caller that
//! disconnects abandons the answer, not the transaction: an incomplete transaction on a pooled connection would
//! become part of the next caller's. [`Store::drained`] waits for running tasks.
//!
//! A transaction is committed, rolled back, or its connection is closed. The latter applies whenever the end of a
//! transaction is uncertain. For example, SQLite rolls back by itself when the disk is full, and a connection that
//! still counts the transaction as open never begins another one.
//!
//! PostgreSQL's transactions are `READ COMMITTED` regardless of the database's default, as the statements here
//! require. Conflicts that the database resolves by refusing one side (serialization failures, deadlocks) are
//! retried, a bounded number of times.

mod sqlite;
#[cfg(test)]
mod tests;
mod time;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Connection};
use tokio::sync::OnceCell;
use tokio_util::task::TaskTracker;

use super::{StoreError, StoreSettings, Turns, schema};
use crate::clock::Clock;
use time::Asked;

/// How long a call waits for a connection, and SQLite for another process's write.
const PATIENCE: Duration = Duration::from_secs(5);
/// Number of attempts of a transaction that lost a conflict.
const CONFLICT_TRIES: u32 = 10;
/// Longest pause before a retry; a random part of it is waited.
const CONFLICT_PAUSE: Duration = Duration::from_millis(40);
/// Data of the write that checks for free disk space.
const PROBE_BYTES: usize = 128 * 1024;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    pub(super) fn of(url: &str) -> Option<Self> {
        if url.starts_with("sqlite:") {
            Some(Self::Sqlite)
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Some(Self::Postgres)
        } else {
            None
        }
    }
}

/// Result of a transaction's function.
pub(super) enum End<T> {
    Commit(T),
    /// Roll back, with this error.
    Rollback(T),
}

/// A function to run on a connection.
pub(super) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'c>>;
/// A function of a connection and of arguments that live until the last attempt.
type Job<A, T> = for<'c> fn(&'c mut AnyConnection, &'c A) -> Work<'c, T>;

/// One database. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    pool: AnyPool,
    dialect: Dialect,
    component: schema::Component,
    /// The database is lost when its connection closes.
    in_memory: bool,
    ready: OnceCell<()>,
    hold_clock: bool,
    turns: Option<Turns>,
    tasks: TaskTracker,
    clock: Clock,
    /// The database's time at the last query.
    asked: Mutex<Option<Asked>>,
    /// Whether the last writing transaction succeeded.
    writable: AtomicBool,
    /// Whether the last reads and writes succeeded.
    answers: AtomicBool,
    takes: AtomicBool,
}

impl Store {
    /// Creates a store for `url`; the database is opened on first use.
    pub(super) fn new(
        url: &str,
        settings: &StoreSettings,
        component: schema::Component,
        hold_clock: bool,
    ) -> Result<Self, String> {
        install_default_drivers();
        let dialect = Dialect::of(url).ok_or_else(|| format!("{url:?} is not the URL of a supported database"))?;
        let options = AnyPoolOptions::new().acquire_timeout(PATIENCE).idle_timeout(None).max_lifetime(None);
        let in_memory = dialect == Dialect::Sqlite && url.contains(":memory:");
        let (options, url) = match dialect {
            Dialect::Sqlite => {
                // One connection: SQLite allows one writer anyway, and a second one would only wait.
                let url = if in_memory || url.contains("mode=") {
                    url.to_owned()
                } else {
                    format!("{url}{}mode=rwc", if url.contains('?') { '&' } else { '?' })
                };
                let options = options.max_connections(1).test_before_acquire(false);
                (options.after_connect(|connection, _| Box::pin(sqlite::prepare(connection))), url)
            }
            Dialect::Postgres => (options.max_connections(settings.connections), url.to_owned()),
        };
        // The error must not contain the password.
        let pool = options.connect_lazy(&url).map_err(|error| format!("the store's URL: {error}"))?;
        let inner = Inner {
            pool,
            dialect,
            component,
            in_memory,
            ready: OnceCell::new(),
            hold_clock,
            turns: settings.turns.clone(),
            tasks: TaskTracker::new(),
            clock: Clock::of_a_store(hold_clock),
            asked: Mutex::new(None),
            writable: AtomicBool::new(true),
            answers: AtomicBool::new(true),
            takes: AtomicBool::new(true),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs a read in its own transaction.
    pub(super) async fn read<A, T>(&self, args: A, job: Job<A, T>) -> Result<T, StoreError>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        let args = Arc::new(args);
        let done = self
            .run(None, move |store| {
                let args = Arc::clone(&args);
                async move { store.try_read(&*args, job).await }
            })
            .await;
        self.saw(&self.inner.answers, &done);
        done
    }

    /// Runs a change atomically.
    pub(super) async fn write<A, T>(&self, args: A, job: Job<A, End<T>>) -> Result<T, StoreError>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        let args = Arc::new(args);
        let done = self
            .run(self.inner.turns.clone(), move |store| {
                let args = Arc::clone(&args);
                async move { store.try_write(&*args, job).await }
            })
            .await;
        self.inner.writable.store(done.is_ok(), Ordering::Relaxed);
        self.saw(&self.inner.takes, &done);
        done
    }

    fn saw<T>(&self, what: &AtomicBool, done: &Result<T, StoreError>) {
        match done {
            Err(error) => what.store(!error.is_outage() && what.load(Ordering::Relaxed), Ordering::Relaxed),
            Ok(_) => {
                what.store(true, Ordering::Relaxed);
                self.inner.answers.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Whether the last reads and writes succeeded.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.inner.answers.load(Ordering::Relaxed) && self.inner.takes.load(Ordering::Relaxed)
    }

    /// Checks that changes can be stored: a read, and a write if the last change failed. It writes as much as a few
    /// orders: a full disk often has space for a row, but not for an order.
    pub async fn probe(&self) -> Result<(), StoreError> {
        if self.inner.writable.load(Ordering::Relaxed) {
            return self.read((), |_, ()| Box::pin(async { Ok(()) })).await;
        }
        for length in [PROBE_BYTES, 0] {
            self.write((self.inner.component.room, length), |connection, (table, length)| {
                Box::pin(async move {
                    let statement = format!(
                        "INSERT INTO {table} (id, filler) VALUES (1, $1)
                         ON CONFLICT (id) DO UPDATE SET filler = excluded.filler"
                    );
                    let filler = "x".repeat(*length);
                    sqlx::query(sqlx::AssertSqlSafe(statement)).bind(filler).execute(&mut *connection).await?;
                    Ok(End::Commit(()))
                })
            })
            .await?;
        }
        Ok(())
    }

    /// Runs a function in its own task, again after conflicts.
    async fn run<T, F, R>(&self, turns: Option<Turns>, attempt: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(Self) -> R + Send + 'static,
        R: Future<Output = Result<T, StoreError>> + Send,
    {
        let own = self.clone();
        let task = self.inner.tasks.spawn(async move {
            if let Some(turns) = turns
                && !turns.next(own.inner.component.name).await
            {
                return Err(StoreError::Interrupted);
            }
            let _hold = own.hold();
            let mut tries = 1;
            loop {
                match attempt(own.clone()).await {
                    Err(error) if tries < CONFLICT_TRIES && error.is_conflict() => {
                        let part = f64::from(rand::random::<u16>()) / f64::from(u16::MAX);
                        pause(CONFLICT_PAUSE.mul_f64(part)).await;
                        tries += 1;
                    }
                    done => return done,
                }
            }
        });
        // A task that ended without a result has panicked, or the program is ending.
        task.await.unwrap_or(Err(StoreError::Interrupted))
    }

    async fn try_read<A, T>(&self, args: &A, job: Job<A, T>) -> Result<T, StoreError> {
        self.ready().await?;
        let mut connection = self.inner.pool.acquire().await?;
        let done = job(&mut connection, args).await;
        if done.as_ref().is_err_and(StoreError::breaks_connection) {
            self.discard(connection).await;
        }
        done
    }

    async fn try_write<A, T>(&self, args: &A, job: Job<A, End<T>>) -> Result<T, StoreError> {
        self.ready().await?;
        let mut connection = self.inner.pool.acquire().await?;
        let (done, ended) = transact(&mut connection, self.begin(), args, job).await;
        if !ended {
            self.discard(connection).await;
        }
        done
    }

    /// How a transaction begins.
    fn begin(&self) -> &'static str {
        match self.inner.dialect {
            // A deferred transaction that reads first can't become a writer after another process has written.
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }

    /// Migrates the schema, once.
    async fn ready(&self) -> Result<(), StoreError> {
        let migrate = || async {
            let mut connection = self.inner.pool.acquire().await?;
            let (dialect, component) = (self.inner.dialect, self.inner.component);
            let job: Job<(Dialect, schema::Component), End<()>> = |connection, (dialect, component)| {
                Box::pin(async move { schema::migrate(connection, *dialect, *component).await.map(End::Commit) })
            };
            let (done, ended) = transact(&mut connection, self.begin(), &(dialect, component), job).await;
            if !ended {
                self.discard(connection).await;
            }
            done
        };
        self.inner.ready.get_or_try_init(migrate).await.copied()
    }

    /// Opens the database; fails if its schema is too new for this program. An unavailable database is not an
    /// error: it is opened when it is back.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        match self.read((), |_, ()| Box::pin(async { Ok(()) })).await {
            Err(error @ (StoreError::Newer { .. } | StoreError::Migration { .. })) => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether it is lost when this process ends, and is not shared.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.inner.in_memory
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.inner.dialect
    }

    /// Closes a connection whose state is uncertain; the pool opens another one.
    async fn discard(&self, connection: PoolConnection<Any>) {
        if self.inner.in_memory {
            // In memory there is no other connection, whatever the state of this one.
            return;
        }
        if let Err(error) = connection.close().await {
            tracing::debug!(%error, "an abandoned connection cannot be closed gracefully");
        }
    }

    /// Waits for running tasks.
    pub async fn drained(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Finishes running tasks, then closes all connections.
    pub(super) async fn close(&self) {
        self.drained().await;
        self.inner.pool.close().await;
    }

    fn hold(&self) -> Option<Hold> {
        self.inner.hold_clock.then(Hold::new)
    }
}

/// Runs a function in a transaction. Also returns whether the transaction has certainly ended.
async fn transact<A, T>(
    connection: &mut AnyConnection,
    begin: &'static str,
    args: &A,
    job: Job<A, End<T>>,
) -> (Result<T, StoreError>, bool) {
    let mut transaction = match connection.begin_with(begin).await {
        Ok(transaction) => transaction,
        Err(error) => return (Err(error.into()), false),
    };
    match job(&mut transaction, args).await {
        Ok(End::Commit(value)) => match transaction.commit().await {
            Ok(()) => (Ok(value), true),
            Err(error) => (Err(error.into()), false),
        },
        Ok(End::Rollback(value)) => {
            let ended = transaction.rollback().await.is_ok();
            (Ok(value), ended)
        }
        Err(error) => {
            let ended = transaction.rollback().await.is_ok();
            let usable = ended && !error.breaks_connection();
            (Err(error), usable)
        }
    }
}

/// Keeps a paused clock from advancing, which it doesn't while a blocking task runs.
struct Hold {
    _until_dropped: mpsc::Sender<()>,
}

impl Hold {
    fn new() -> Self {
        let (sender, dropped) = mpsc::channel();
        // Ends with an error when the sender is dropped.
        tokio::task::spawn_blocking(move || dropped.recv().is_ok());
        Self { _until_dropped: sender }
    }
}

/// Sleeps in real time, which a paused clock does not skip.
async fn pause(wait: Duration) {
    // Fails only while the program is ending.
    let _ = tokio::task::spawn_blocking(move || std::thread::sleep(wait)).await;
}
