//! The databases that the tests run over: a `DynamoDB` table of the emulator, an SQLite file, and a database of a
//! PostgreSQL that the tests start.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use breakerbox_serverless::any::AnyStore;
use breakerbox_serverless::dynamo::Dynamo;
use breakerbox_serverless::sql::{Location, Sql};
use sqlx::{AnyConnection, Connection};
use tokio::sync::Mutex;

use crate::world::{emulated, unique};

#[allow(dead_code, reason = "the program's own tests use more of it")]
#[path = "../../../../tests/checkout/postgres.rs"]
pub(crate) mod postgres;

use postgres::Postgres;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Backend {
    DynamoDb,
    Postgres,
    Sqlite,
}

/// A separate database for a test.
pub(crate) enum Database {
    DynamoDb { client: aws_sdk_dynamodb::Client, table: String },
    Postgres { url: String, _server: Arc<Postgres> },
    Sqlite { directory: PathBuf },
}

/// An invalid item.
#[derive(Clone, Copy)]
pub(crate) enum Damage {
    /// An unreadable order.
    Order(&'static str),
    /// An unreadable breaker.
    Breaker(&'static str),
    /// Unreadable stock.
    Stock(&'static str),
    /// A title without a stock record.
    NoStock(&'static str),
}

/// The server that running tests share. It ends with the last of them.
static SERVER: Mutex<Weak<Postgres>> = Mutex::const_new(Weak::new());

impl Database {
    /// Creates an empty database; `None`, with a message, if a program is missing.
    pub(crate) async fn new(backend: Backend) -> Option<Self> {
        let name = unique();
        Some(match backend {
            Backend::DynamoDb => {
                let client = aws_sdk_dynamodb::Client::new(&emulated().await?);
                let key = AttributeDefinition::builder().attribute_name("pk").attribute_type(ScalarAttributeType::S);
                let schema = KeySchemaElement::builder().attribute_name("pk").key_type(KeyType::Hash);
                let create = client.create_table().table_name(&name).billing_mode(BillingMode::PayPerRequest);
                let create = create.attribute_definitions(key.build().unwrap()).key_schema(schema.build().unwrap());
                create.send().await.unwrap();
                Self::DynamoDb { client, table: name }
            }
            Backend::Postgres => {
                let mut present = SERVER.lock().await;
                let server = match present.upgrade() {
                    Some(server) => server,
                    None => {
                        let server = Arc::new(Postgres::start(&name)?);
                        *present = Arc::downgrade(&server);
                        server
                    }
                };
                execute(&server.url("shop"), &format!("CREATE DATABASE \"{name}\"")).await;
                Self::Postgres { url: server.url(&name), _server: server }
            }
            Backend::Sqlite => {
                let directory = std::env::temp_dir().join(name);
                std::fs::create_dir(&directory).unwrap();
                Self::Sqlite { directory }
            }
        })
    }

    /// Its address, in the format of `STORE`.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::DynamoDb { table, .. } => format!("dynamodb:{table}"),
            Self::Postgres { url, .. } => url.clone(),
            Self::Sqlite { directory } => format!("sqlite://{}/checkout.db", directory.display()),
        }
    }

    /// A unique name.
    pub(crate) fn name(&self) -> String {
        let address = self.address();
        address.rsplit(['/', ':']).next().unwrap_or_default().to_owned()
    }

    /// A store with its own connection, as another instance has.
    pub(crate) fn store(&self) -> AnyStore {
        match self {
            Self::DynamoDb { client, table } => AnyStore::Dynamo(Dynamo::new(client.clone(), table)),
            _ => AnyStore::Sql(Sql::new(Location::parse(&self.address()).unwrap())),
        }
    }

    pub(crate) async fn damage(&self, damage: Damage) {
        if let Self::DynamoDb { client, table } = self {
            let (pk, attribute) = match damage {
                Damage::Order(key) => (format!("order#{key}"), "body"),
                Damage::Breaker(name) => (format!("breaker#{name}"), "body"),
                Damage::Stock(title) => (format!("stock#{title}"), "left"),
                Damage::NoStock(title) => {
                    let key = AttributeValue::S(format!("stock#{title}"));
                    client.delete_item().table_name(table).key("pk", key).send().await.unwrap();
                    return;
                }
            };
            let put = client.put_item().table_name(table).item("pk", AttributeValue::S(pk));
            put.item(attribute, AttributeValue::S("{".to_owned())).send().await.unwrap();
            return;
        }
        let statement = match damage {
            Damage::Order(key) => format!("INSERT INTO function_orders VALUES ('{key}', 1, 'reserved', '{{')"),
            Damage::Breaker(name) => format!("INSERT INTO function_breakers VALUES ('{name}', 1, 'OPEN', '{{')"),
            Damage::Stock(title) => format!("INSERT INTO function_stock VALUES ('{title}', 5000000000)"),
            Damage::NoStock(title) => format!("DELETE FROM function_stock WHERE title = '{title}'"),
        };
        execute(&self.address(), &statement).await;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Self::Sqlite { directory } = self {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// Runs a statement on a SQL database.
pub(crate) async fn execute(url: &str, statement: &str) {
    let mut connection = connect(url).await;
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// A connection that is independent of the functions.
pub(crate) async fn connect(url: &str) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(url).await.unwrap()
}
