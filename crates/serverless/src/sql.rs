//! The store in SQL, with one code path: PostgreSQL, or an SQLite file for functions on one machine.
//!
//! | table | columns |
//! |---|---|
//! | `function_orders` | `id`, `version`, `status`, `body` (the order as JSON) |
//! | `function_stock` | `title`, `remaining` |
//! | `function_breakers` | `name`, `version`, `state`, `body` (the record as JSON) |
//!
//! An order and its stock are written in one transaction; all other changes are single statements.
//!
//! # Connections
//!
//! An instance serves one event at a time and is frozen in between. A pool's idle connections and background work
//! would not survive that, so an instance has **one** connection, which is opened on first use:
//!
//! - A PostgreSQL connection may have died during the freeze, possibly without notice. It is used only if it answers a
//!   ping within a second; otherwise another one is opened.
//! - A connection is closed after any failure, because it is uncertain whether its transaction has ended; also if its
//!   caller has stopped waiting.
//! - No session settings are used, so that a pooler can share the server's connections between transactions.
//!
//! Conflicts that the database resolves by refusing one side (serialization failures, deadlocks, a busy SQLite file)
//! are retried, a bounded number of times.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::{AnyConnectOptions, install_default_drivers};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, ConnectOptions, Connection, Row, SqlStr};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::breaker::Record;
use crate::order::Order;
use crate::store::{Began, Store, StoreError};

/// Time limit of an operation, including connecting and retries. Shorter than a function's timeout.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time limit of the ping of an idle connection.
const PING: Duration = Duration::from_secs(1);
/// Number of attempts of an operation that lost a conflict, and the first pause between them, which doubles.
const TRIES: u32 = 8;
const PAUSE: Duration = Duration::from_millis(5);

/// Versions, names and statements. A released migration is never changed; new ones are added at the end.
const MIGRATIONS: [(i64, &str, &str); 1] = [(1, "checkout", include_str!("../migrations/0001_checkout.sql"))];
/// Table of applied migrations.
const MIGRATIONS_TABLE: &str = "function_migrations";
/// Key of the advisory lock; an arbitrary number.
const MIGRATION_LOCK: i64 = 0x0066_6e73;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Postgres,
    Sqlite,
}

/// Location of a SQL database.
#[derive(Clone)]
pub struct Location {
    dialect: Dialect,
    options: AnyConnectOptions,
}

impl Location {
    /// Parses `postgres://USER:PASSWORD@HOST/DATABASE` or `sqlite:///FILE`; `None` if it is neither.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let dialect = if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Dialect::Postgres
        } else if url.starts_with("sqlite:///") {
            Dialect::Sqlite
        } else {
            return None;
        };
        let mut options: AnyConnectOptions = url.parse().ok()?;
        if dialect == Dialect::Sqlite && !url.contains("mode=") {
            options.database_url.query_pairs_mut().append_pair("mode", "rwc");
        }
        Some(Self { dialect, options })
    }

    /// The same with a password. `None` if it already has one, or is not a PostgreSQL URL.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Option<Self> {
        let url = &mut self.options.database_url;
        let has_one = url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password");
        let takes_one = self.dialect == Dialect::Postgres && !has_one;
        // Every special character except `%` is encoded.
        (takes_one && url.set_password(Some(&password.replace('%', "%25"))).is_ok()).then_some(self)
    }
}

/// Omits the password, at any place in the URL.
impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.options.database_url;
        write!(f, "{}://{}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
    }
}

/// A client of the database. Clones share its connection.
#[derive(Clone, Debug)]
pub struct Sql {
    location: Location,
    held: Arc<Mutex<Held>>,
}

/// State between operations.
#[derive(Debug, Default)]
struct Held {
    /// `None` while an operation uses it, and after one has failed.
    connection: Option<AnyConnection>,
    migrated: bool,
}

/// An operation on a connection.
type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'c>>;
/// A function of a connection and of arguments that live until the last attempt.
type Job<A, T> = for<'c> fn(&'c mut AnyConnection, &'c A) -> Work<'c, T>;

/// Error of an operation.
#[derive(Debug)]
enum Failure {
    Sql(sqlx::Error),
    Store(StoreError),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Sql(error) => Self::Database(error.to_string()),
            Failure::Store(error) => error,
        }
    }
}

impl Failure {
    /// Whether the database refused the operation because of a conflict with another one.
    fn is_conflict(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        // PostgreSQL: serialization failure, deadlock. SQLite: busy, by its three codes.
        code.is_some_and(|code| matches!(&*code, "40001" | "40P01" | "5" | "261" | "517"))
    }
}

impl Sql {
    /// Creates a store at `location`; the database is opened, and its tables are created, on first use.
    #[must_use]
    pub fn new(location: Location) -> Self {
        install_default_drivers();
        Self { location, held: Arc::default() }
    }

    /// Runs an operation, and retries it after conflicts.
    async fn run<A: Sync, T>(&self, args: A, job: Job<A, T>) -> Result<T, StoreError> {
        let attempts = async {
            let mut held = self.held.lock().await;
            let mut tries = 1;
            loop {
                match self.attempt(&mut held, &args, job).await {
                    Err(failure) if tries < TRIES && failure.is_conflict() => {
                        sleep(PAUSE * 2_u32.pow(tries - 1)).await;
                        tries += 1;
                    }
                    done => return done.map_err(StoreError::from),
                }
            }
        };
        let late = |_| Err(StoreError::Database(format!("no answer within {} s", PATIENCE.as_secs())));
        timeout(PATIENCE, attempts).await.unwrap_or_else(late)
    }

    /// Runs an operation once. The connection is kept only if it succeeds.
    async fn attempt<A, T>(&self, held: &mut Held, args: &A, job: Job<A, T>) -> Result<T, Failure> {
        let mut connection = match self.alive(held.connection.take()).await {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        if !held.migrated {
            self.migrate(&mut connection).await?;
            held.migrated = true;
        }
        let done = job(&mut connection, args).await?;
        held.connection = Some(connection);
        Ok(done)
    }

    /// The connection, if it is usable.
    async fn alive(&self, connection: Option<AnyConnection>) -> Option<AnyConnection> {
        let mut connection = connection?;
        let alive = match self.location.dialect {
            Dialect::Sqlite => true,
            Dialect::Postgres => timeout(PING, connection.ping()).await.is_ok_and(|pong| pong.is_ok()),
        };
        alive.then_some(connection)
    }

    async fn connect(&self) -> Result<AnyConnection, Failure> {
        let mut connection = self.location.options.connect().await?;
        if self.location.dialect == Dialect::Sqlite {
            // In WAL mode, readers and the writer do not block each other.
            sqlx::query("PRAGMA journal_mode = WAL").fetch_all(&mut connection).await?;
        }
        Ok(connection)
    }

    /// How a transaction begins.
    fn begin(&self) -> &'static str {
        match self.location.dialect {
            // A deferred transaction that reads first can't become a writer once another process wrote.
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            // Required by the statements here, regardless of the database's default.
            Dialect::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }

    /// Brings the tables up to date. Of several instances that start at once one migrates and the others wait.
    async fn migrate(&self, connection: &mut AnyConnection) -> Result<(), Failure> {
        let mut transaction = connection.begin_with(self.begin()).await?;
        if self.location.dialect == Dialect::Postgres {
            // SQLite's transaction is the only writer from its beginning.
            sqlx::query("SELECT 1 AS locked FROM (SELECT pg_advisory_xact_lock($1)) AS lock")
                .bind(MIGRATION_LOCK)
                .fetch_all(&mut *transaction)
                .await?;
        }
        let migrations = MIGRATIONS.iter().map(|(version, name, statements)| {
            Migration::new(*version, (*name).into(), MigrationType::Simple, SqlStr::from_static(statements), false)
        });
        let mut migrator = Migrator::with_migrations(migrations.collect());
        // The statement's own lock is released at its end, before this transaction is committed.
        migrator.set_locking(false);
        migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
        migrator.run_direct(None, &mut *transaction, false).await.map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Failure::Sql(error),
            other => StoreError::Database(format!("this release cannot use the tables: {other}")).into(),
        })?;
        Ok(transaction.commit().await?)
    }
}

impl Store for Sql {
    async fn begin(&self, order: &Order) -> Result<Began, StoreError> {
        self.run((Item::order(order)?, order, self.begin()), |connection, (item, order, begin)| {
            Box::pin(async move {
                let mut transaction = connection.begin_with(*begin).await?;
                if !item.replace(&mut transaction).await? {
                    // PostgreSQL waited there for a transaction with the same key; what it committed is seen now.
                    let existing = body(&mut transaction, &ORDERS, &order.id).await?;
                    transaction.rollback().await?;
                    return existing.map(Began::Existing).ok_or(Failure::Sql(sqlx::Error::RowNotFound));
                }
                if add_stock(&mut transaction, &order.title, -1).await? {
                    transaction.commit().await?;
                    return Ok(Began::New);
                }
                transaction.rollback().await?;
                let left = left(connection, &order.title).await?;
                Ok(left.map_or(Began::UnknownTitle, |_| Began::SoldOut))
            })
        })
        .await
    }

    async fn order(&self, id: &str) -> Result<Option<Order>, StoreError> {
        self.run(id, |connection, id| Box::pin(body(connection, &ORDERS, id))).await
    }

    async fn update(&self, order: &Order) -> Result<bool, StoreError> {
        self.run(Item::order(order)?, |connection, item| Box::pin(item.replace(connection))).await
    }

    async fn release(&self, order: &Order) -> Result<bool, StoreError> {
        self.run((Item::order(order)?, order, self.begin()), |connection, (item, order, begin)| {
            Box::pin(async move {
                let mut transaction = connection.begin_with(*begin).await?;
                let replaced = item.replace(&mut transaction).await?;
                if replaced && !add_stock(&mut transaction, &order.title, 1).await? {
                    return Err(StoreError::Database(format!("{} has no stock to give back to", order.title)).into());
                }
                transaction.commit().await?;
                Ok(replaced)
            })
        })
        .await
    }

    async fn stock(&self, title: &str, left: u32) -> Result<(), StoreError> {
        self.run((title, left), |connection, (title, left)| {
            Box::pin(async move {
                let statement = "INSERT INTO function_stock (title, remaining) VALUES ($1, $2)
                    ON CONFLICT (title) DO UPDATE SET remaining = excluded.remaining";
                sqlx::query(statement).bind(*title).bind(i64::from(*left)).execute(connection).await?;
                Ok(())
            })
        })
        .await
    }

    async fn left(&self, title: &str) -> Result<Option<u32>, StoreError> {
        self.run(title, |connection, title| Box::pin(left(connection, title))).await
    }

    async fn breaker(&self, name: &str) -> Result<Record, StoreError> {
        let record = self.run(name, |connection, name| Box::pin(body(connection, &BREAKERS, name))).await?;
        Ok(record.unwrap_or_default())
    }

    async fn write_breaker(&self, name: &str, record: &Record) -> Result<bool, StoreError> {
        let item = Item::new(&BREAKERS, name, record.version, record.state.as_str(), record)?;
        self.run(item, |connection, item| Box::pin(item.replace(connection))).await
    }
}

/// Statements of a table whose rows are replaced on the condition of their version.
#[derive(Debug)]
struct Table {
    /// Name of its items in errors.
    item: &'static str,
    body: &'static str,
    insert: &'static str,
    update: &'static str,
}

static ORDERS: Table = Table {
    item: "order",
    body: "SELECT body FROM function_orders WHERE id = $1",
    insert: "INSERT INTO function_orders (id, version, status, body) VALUES ($1, $2, $3, $4)
             ON CONFLICT (id) DO NOTHING",
    update: "UPDATE function_orders SET version = $2, status = $3, body = $4 WHERE id = $1 AND version = $2 - 1",
};
static BREAKERS: Table = Table {
    item: "breaker",
    body: "SELECT body FROM function_breakers WHERE name = $1",
    insert: "INSERT INTO function_breakers (name, version, state, body) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO NOTHING",
    update: "UPDATE function_breakers SET version = $2, state = $3, body = $4 WHERE name = $1 AND version = $2 - 1",
};

/// A row to write.
#[derive(Debug)]
struct Item<'a> {
    table: &'static Table,
    key: &'a str,
    version: i64,
    /// Column by which operators select rows.
    word: &'static str,
    body: String,
}

impl<'a> Item<'a> {
    fn new<T: Serialize>(
        table: &'static Table,
        key: &'a str,
        version: u64,
        word: &'static str,
        body: &T,
    ) -> Result<Self, StoreError> {
        let malformed = || StoreError::Malformed(format!("{}#{key}", table.item));
        let version = i64::try_from(version).map_err(|_| malformed())?;
        let body = serde_json::to_string(body).map_err(|_| malformed())?;
        Ok(Self { table, key, version, word, body })
    }

    fn order(order: &'a Order) -> Result<Self, StoreError> {
        Self::new(&ORDERS, &order.id, order.version, order.status.as_str(), order)
    }

    /// Writes the row if the stored one has the previous version, or, for version 1, if there is none.
    async fn replace(&self, connection: &mut AnyConnection) -> Result<bool, Failure> {
        let statement = if self.version == 1 { self.table.insert } else { self.table.update };
        let query = sqlx::query(statement).bind(self.key).bind(self.version).bind(self.word).bind(self.body.as_str());
        Ok(query.execute(connection).await?.rows_affected() > 0)
    }
}

async fn body<T: DeserializeOwned>(
    connection: &mut AnyConnection,
    table: &Table,
    key: &str,
) -> Result<Option<T>, Failure> {
    let Some(row) = sqlx::query(table.body).bind(key).fetch_optional(connection).await? else { return Ok(None) };
    let text: String = row.try_get("body")?;
    let body = serde_json::from_str(&text).map_err(|_| StoreError::Malformed(format!("{}#{key}", table.item)))?;
    Ok(Some(body))
}

/// Changes a title's stock. False if there is too little, or no such title.
async fn add_stock(connection: &mut AnyConnection, title: &str, number: i64) -> Result<bool, Failure> {
    let statement = "UPDATE function_stock SET remaining = remaining + $2 WHERE title = $1 AND remaining + $2 >= 0";
    Ok(sqlx::query(statement).bind(title).bind(number).execute(connection).await?.rows_affected() > 0)
}

async fn left(connection: &mut AnyConnection, title: &str) -> Result<Option<u32>, Failure> {
    let query = sqlx::query("SELECT remaining FROM function_stock WHERE title = $1").bind(title);
    let Some(row) = query.fetch_optional(connection).await? else { return Ok(None) };
    let left: i64 = row.try_get("remaining")?;
    u32::try_from(left).map(Some).map_err(|_| StoreError::Malformed(format!("stock#{title}")).into())
}
