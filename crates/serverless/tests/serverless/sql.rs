//! Tests that only apply to the SQL stores: connections that die, creation of tables, passwords and certificates.

use std::sync::Arc;
use std::time::Duration;

use breakerbox_serverless::breaker::Record;
use breakerbox_serverless::order::Status;
use breakerbox_serverless::settings::Settings;
use breakerbox_serverless::sql::{Location, Sql};
use breakerbox_serverless::store::Store;
use sqlx::{AnyConnection, Connection, Row};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::contract::at_once;
use crate::database::postgres::Postgres;
use crate::database::{Backend, Database, connect, execute};
use crate::world::{DEADLINE, World, place, unique};

fn sql(url: &str) -> Sql {
    Sql::new(Location::parse(url).unwrap())
}

/// The result of a query, a number.
async fn number(url: &str, query: &'static str) -> i64 {
    sqlx::query(query).fetch_one(&mut connect(url).await).await.unwrap().get(0)
}

#[tokio::test]
async fn an_instance_has_one_connection() {
    let Some(database) = Database::new(Backend::Postgres).await else { return };
    let store = database.store();
    let left = || store.left("parasite");
    let (a, b, c, d) = tokio::join!(left(), left(), left(), left());
    assert!([a, b, c, d].into_iter().all(|left| left.unwrap().is_none()));
    let others = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    assert_eq!(number(&database.address(), others).await, 1);
}

/// PostgreSQL, or a pooler in front of it, closes connections after a long idle time.
#[tokio::test]
async fn a_connection_that_died_in_a_freeze_is_replaced() {
    let Some(world) = World::new(Backend::Postgres, &[]).await else { return };
    let api = world.api().await;
    assert_eq!(place(&api, "before-freeze").await.0, 200);
    api.freeze();
    let address = world.database.address();
    let ended = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    assert_eq!(number(&address, ended).await, 2, "the instance's and the test's own");
    api.thaw();
    assert_eq!(place(&api, "after-freeze").await.0, 200);
    assert!(world.is("after-freeze", Status::Paid).await);
    world.books_agree(&["before-freeze".to_owned(), "after-freeze".to_owned()]).await;
}

/// A network component that has dropped a connection does not answer, not even with a reset.
#[tokio::test]
async fn a_connection_that_went_silent_is_replaced() {
    let Some(database) = Database::new(Backend::Postgres).await else { return };
    let url = database.address();
    let behind = url.split_once('@').unwrap().1.split_once('/').unwrap().0.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = sql(&url.replace(&behind, &listener.local_addr().unwrap().to_string()));
    let forget = Arc::new(Notify::new());
    let forgotten = Arc::clone(&forget);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let (behind, forgotten) = (behind.clone(), Arc::clone(&forgotten));
            tokio::spawn(async move {
                let mut server = TcpStream::connect(behind).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    // Both stay open.
                    () = forgotten.notified() => std::future::pending().await,
                }
            });
        }
    });
    store.stock("parasite", 3).await.unwrap();
    forget.notify_waiters();
    let since = Instant::now();
    assert_eq!(store.left("parasite").await.unwrap(), Some(3));
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

/// Instances that start at the same time create the tables once.
async fn the_tables_are_made_once(backend: Backend) {
    let Some(database) = Database::new(backend).await else { return };
    for left in at_once(&database, |store, _| async move { store.left("parasite").await }).await {
        assert_eq!(left.unwrap(), None);
    }
    assert_eq!(number(&database.address(), "SELECT COUNT(*) FROM function_migrations").await, 1);
}

#[tokio::test]
async fn postgres_tables_are_made_once() {
    the_tables_are_made_once(Backend::Postgres).await;
}

#[tokio::test]
async fn sqlite_tables_are_made_once() {
    the_tables_are_made_once(Backend::Sqlite).await;
}

/// A database whose default is the strictest isolation refuses one of two concurrent writes; that is no error here.
#[tokio::test]
async fn conflicts_of_strict_isolation_are_retried() {
    let Some(database) = Database::new(Backend::Postgres).await else { return };
    let strict = format!("ALTER DATABASE \"{}\" SET default_transaction_isolation = 'serializable'", database.name());
    execute(&database.address(), &strict).await;
    for version in 1..=20 {
        let written = at_once(&database, |store, _| async move {
            store.write_breaker("payment", &Record { version, ..Record::default() }).await.unwrap()
        })
        .await;
        assert_eq!(written.iter().filter(|written| **written).count(), 1, "{version}");
    }
}

/// An older release must not change tables whose rules it does not know.
#[tokio::test]
async fn tables_of_a_newer_release_are_refused() {
    let database = Database::new(Backend::Sqlite).await.unwrap();
    database.store().stock("parasite", 3).await.unwrap();
    let newer = "INSERT INTO function_migrations (version, description, success, checksum, execution_time)
        VALUES (99, 'later', TRUE, x'00', 0)";
    execute(&database.address(), newer).await;
    let error = database.store().left("parasite").await.unwrap_err().to_string();
    assert!(error.contains("this release cannot use") && error.contains("99"), "{error}");
}

#[tokio::test]
async fn a_database_that_is_away_is_an_error_until_it_is_back() {
    let database = Database::new(Backend::Sqlite).await.unwrap();
    let Database::Sqlite { directory } = &database else { unreachable!() };
    let store = database.store();
    store.stock("parasite", 3).await.unwrap();
    let away = directory.with_extension("away");
    std::fs::rename(directory, &away).unwrap();
    // A new instance; the old one has the file open.
    let other = database.store();
    other.left("parasite").await.unwrap_err();
    std::fs::rename(&away, directory).unwrap();
    assert_eq!(other.left("parasite").await.unwrap(), Some(3));
}

/// As RDS requires: a password, here from `STORE_PASSWORD_FILE`, and TLS with a certificate that is verified.
#[tokio::test]
async fn a_password_and_a_certificate_open_the_database() {
    const PASSWORD: &str = "hu sh@/%41";
    let Some(server) = Postgres::start(&unique()) else { return };
    let url = server.url("shop");
    execute(&url, &format!("ALTER ROLE breakerbox PASSWORD '{PASSWORD}'")).await;
    // Runs in the data directory, as the server's user; those are the default names.
    let certificate = "COPY (SELECT 1) TO PROGRAM 'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
        -subj /CN=test -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
        -keyout server.key -out server.crt 2>&1'";
    execute(&url, certificate).await;
    execute(&url, "ALTER SYSTEM SET ssl = on").await;
    let mut connection = connect(&url).await;
    let data: String = sqlx::query("SHOW data_directory").fetch_one(&mut connection).await.unwrap().get(0);
    std::fs::write(format!("{data}/pg_hba.conf"), "hostssl all all 127.0.0.1/32 scram-sha-256\n").unwrap();
    sqlx::query("SELECT pg_reload_conf()").execute(&mut connection).await.unwrap();
    let since = Instant::now();
    while AnyConnection::connect(&url).await.is_ok() {
        assert!(since.elapsed() < DEADLINE, "the rules are not in force");
    }
    let file = std::env::temp_dir().join(unique());
    let opened = async |url: &str, password: &str| {
        std::fs::write(&file, password).unwrap();
        let settings = Settings::read(|name| match name {
            "STORE" => Some(url.to_owned()),
            "STORE_PASSWORD_FILE" => Some(file.display().to_string()),
            "QUEUE_URL" | "DEAD_LETTERS_URL" | "PAYMENT_URL" => Some("http://127.0.0.1:1".to_owned()),
            _ => None,
        });
        let found = settings.unwrap().checkout().await.unwrap().order("key-1").await;
        found.map_err(|error| error.to_string())
    };
    let verified = format!("{url}?sslmode=verify-full&sslrootcert={data}/server.crt");
    assert_eq!(opened(&verified, &format!("{PASSWORD}\n")).await, Ok(None));
    for (url, password, cause) in [
        (verified.clone(), "another", "password authentication failed"),
        (format!("{url}?sslmode=disable"), PASSWORD, "no encryption"),
        (format!("{url}?sslmode=verify-full"), PASSWORD, "certificate"),
        (verified.replace("127.0.0.1", "localhost"), PASSWORD, "certificate"),
    ] {
        let error = opened(&url, password).await.unwrap_err();
        assert!(error.contains(cause) && !error.contains(password), "{error}");
    }
    std::fs::remove_file(&file).unwrap();
}
