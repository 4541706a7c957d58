//! The tables and their migrations: the numbered files in `migrations/`, embedded in the program.
//!
//! `sqlx::migrate!` would do the same, but compiles every driver a second time for the macro.
//!
//! A database whose schema is newer than the program is refused: an older release must not change tables whose
//! rules it does not know.

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, SqlStr};

use super::StoreError;
use super::connect::Dialect;

/// The tables of one component. Each has its own migrations, so that they can share a database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Component {
    pub(super) name: &'static str,
    /// Table of applied migrations.
    table: &'static str,
    /// Table to which the readiness probe writes.
    pub(super) room: &'static str,
    /// Version, name and statements. None is ever changed once released; the next one is added at the end.
    migrations: &'static [(i64, &'static str, &'static str)],
}

/// A file of `migrations/`, whose name begins with its version.
macro_rules! migration {
    ($component:literal, $version:literal, $file:literal) => {
        ($version, $file, include_str!(concat!("../../migrations/", $component, "/", $file, ".sql")))
    };
}

pub(super) const CHECKOUT: Component = Component {
    name: "checkout",
    table: "checkout_migrations",
    room: "checkout_room",
    migrations: &[
        migration!("checkout", 1, "0001_orders"),
        migration!("checkout", 2, "0002_constraints"),
        migration!("checkout", 3, "0003_room"),
    ],
};
pub(super) const INVENTORY: Component = Component {
    name: "inventory",
    table: "inventory_migrations",
    room: "inventory_room",
    migrations: &[
        migration!("inventory", 1, "0001_stock"),
        migration!("inventory", 2, "0002_constraints"),
        migration!("inventory", 3, "0003_room"),
    ],
};
pub(super) const LEDGER: Component = Component {
    name: "ledger",
    table: "ledger_migrations",
    room: "ledger_room",
    migrations: &[
        migration!("ledger", 1, "0001_charges"),
        migration!("ledger", 2, "0002_constraints"),
        migration!("ledger", 3, "0003_room"),
    ],
};

/// An arbitrary number that is used for no other lock in the database.
const LOCK: i64 = 0x0062_6f78;

/// Migrates a database in the connection's transaction. If several instances start at once, one migrates and the
/// others wait.
pub(super) async fn migrate(
    connection: &mut AnyConnection,
    dialect: Dialect,
    component: Component,
) -> Result<(), StoreError> {
    if dialect == Dialect::Postgres {
        // A SQLite transaction is the only writer from its beginning.
        sqlx::query("SELECT 1 AS locked FROM (SELECT pg_advisory_xact_lock($1)) AS lock")
            .bind(LOCK)
            .fetch_all(&mut *connection)
            .await?;
    }
    let migrations = component.migrations.iter().map(|(version, name, statements)| {
        Migration::new(*version, (*name).into(), MigrationType::Simple, SqlStr::from_static(statements), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    // The migrator's own lock would be released before this transaction commits.
    migrator.set_locking(false);
    migrator.dangerous_set_table_name(component.table);
    let known = migrator.iter().map(|migration| migration.version).max().unwrap_or_default();
    migrator.run_direct(None, connection, false).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) if found > known => {
            StoreError::Newer { component: component.name, found, known }
        }
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => StoreError::Database(error),
        other => StoreError::Migration { component: component.name, why: other.to_string() },
    })
}
