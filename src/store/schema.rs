//! The tables, and how they come to be. Types are those that SQLite and PostgreSQL share.

use sqlx::Row;

use super::{Dialect, Store, StoreError};

/// Whose tables a store has. Each component has its own, so that they can share a database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Component {
    name: &'static str,
    /// Each a version, never changed once released; the next one is added at the end.
    migrations: &'static [&'static [&'static str]],
}

pub(super) const CHECKOUT: Component = Component { name: "checkout", migrations: &[CHECKOUT_1, CHECKOUT_2] };
pub(super) const INVENTORY: Component = Component { name: "inventory", migrations: &[INVENTORY_1] };
pub(super) const LEDGER: Component = Component { name: "ledger", migrations: &[LEDGER_1] };

const CHECKOUT_1: &[&str] = &[
    "CREATE TABLE orders (
        id TEXT PRIMARY KEY,
        user_id BIGINT NOT NULL,
        film_id BIGINT NOT NULL,
        kind TEXT NOT NULL,
        amount BIGINT NOT NULL,
        retry_later BIGINT NOT NULL,
        state TEXT NOT NULL,
        version BIGINT NOT NULL,
        charge_sent BIGINT NOT NULL,
        reason TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        updated_at BIGINT NOT NULL
    )",
    "CREATE INDEX orders_by_age ON orders (state, updated_at)",
    "CREATE TABLE saga_log (
        order_id TEXT NOT NULL,
        version BIGINT NOT NULL,
        step TEXT NOT NULL,
        outcome TEXT NOT NULL,
        detail TEXT NOT NULL,
        at BIGINT NOT NULL
    )",
    "CREATE INDEX saga_log_by_order ON saga_log (order_id, version)",
    "CREATE TABLE idempotency_keys (
        user_id BIGINT NOT NULL,
        idempotency_key TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        order_id TEXT NOT NULL,
        answer TEXT,
        expires_at BIGINT NOT NULL,
        PRIMARY KEY (user_id, idempotency_key)
    )",
    "CREATE INDEX idempotency_keys_by_order ON idempotency_keys (order_id)",
    "CREATE INDEX idempotency_keys_by_end ON idempotency_keys (expires_at)",
    "CREATE TABLE retry_queue (
        order_id TEXT PRIMARY KEY,
        parked BIGINT NOT NULL,
        dead BIGINT NOT NULL,
        attempts BIGINT NOT NULL,
        due_at BIGINT NOT NULL,
        enqueued_at BIGINT NOT NULL,
        last_error TEXT NOT NULL
    )",
    "CREATE INDEX retry_queue_by_due ON retry_queue (dead, due_at)",
    "CREATE TABLE breakers (
        name TEXT PRIMARY KEY,
        version BIGINT NOT NULL,
        state TEXT NOT NULL,
        open_until BIGINT NOT NULL,
        failures BIGINT NOT NULL,
        changed_by TEXT NOT NULL
    )",
];

/// Which items wait for the breaker alone.
const CHECKOUT_2: &[&str] = &["ALTER TABLE retry_queue ADD COLUMN blocked BIGINT NOT NULL DEFAULT 0"];

const INVENTORY_1: &[&str] = &[
    "CREATE TABLE stock (
        film_id BIGINT NOT NULL,
        kind TEXT NOT NULL,
        showing BIGINT NOT NULL,
        capacity BIGINT NOT NULL,
        taken BIGINT NOT NULL,
        PRIMARY KEY (film_id, kind, showing)
    )",
    "CREATE TABLE reservations (
        order_id TEXT PRIMARY KEY,
        film_id BIGINT NOT NULL,
        kind TEXT NOT NULL,
        showing BIGINT NOT NULL,
        state TEXT NOT NULL,
        at BIGINT NOT NULL
    )",
    "CREATE INDEX reservations_by_age ON reservations (at)",
];

const LEDGER_1: &[&str] = &[
    "CREATE TABLE charge_keys (
        idempotency_key TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        charge_id TEXT NOT NULL,
        at BIGINT NOT NULL
    )",
    "CREATE TABLE charges (
        id TEXT PRIMARY KEY,
        idempotency_key TEXT NOT NULL,
        user_id BIGINT NOT NULL,
        amount BIGINT NOT NULL,
        state TEXT NOT NULL,
        at BIGINT NOT NULL
    )",
    "CREATE INDEX charges_by_key ON charges (idempotency_key)",
    "CREATE INDEX charges_by_age ON charges (at)",
];

/// Any number that nothing else in the database locks.
const LOCK: i64 = 0x0062_6f78;

/// Brings a database up to date, once, whoever comes first.
pub(super) async fn migrate(store: &Store) -> Result<(), StoreError> {
    let Component { name, migrations } = store.inner.component;
    let mut writing = store.begin(None).await?;
    let transaction = &mut writing.transaction;
    if store.inner.dialect == Dialect::Postgres {
        // Two instances start at once; the second finds the tables made.
        sqlx::query("SELECT 1 AS locked FROM (SELECT pg_advisory_xact_lock($1)) AS lock")
            .bind(LOCK)
            .fetch_all(&mut **transaction)
            .await?;
    }
    sqlx::query("CREATE TABLE IF NOT EXISTS schema_versions (component TEXT PRIMARY KEY, version BIGINT NOT NULL)")
        .execute(&mut **transaction)
        .await?;
    let row = sqlx::query("SELECT version FROM schema_versions WHERE component = $1")
        .bind(name)
        .fetch_optional(&mut **transaction)
        .await?;
    let done: i64 = row.map(|row| row.try_get("version")).transpose()?.unwrap_or(0);
    for (version, statements) in (1_i64..).zip(migrations.iter()).filter(|(version, _)| *version > done) {
        for statement in *statements {
            sqlx::query(*statement).execute(&mut **transaction).await?;
        }
        sqlx::query(
            "INSERT INTO schema_versions (component, version) VALUES ($1, $2)
             ON CONFLICT (component) DO UPDATE SET version = excluded.version",
        )
        .bind(name)
        .bind(version)
        .execute(&mut **transaction)
        .await?;
    }
    writing.commit().await
}
