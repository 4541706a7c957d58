//! State that the functions share: [`Dynamo`](crate::dynamo::Dynamo), or [`Sql`](crate::sql::Sql) for PostgreSQL and
//! SQLite. Every write is conditional on the version that it was based on. `tests/serverless/contract.rs` tests this
//! contract with each store.

use std::future::Future;

use crate::breaker::Record;
use crate::order::Order;

/// Error of a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not answer, or refused the operation.
    #[error("database: {0}")]
    Database(String),
    /// An item does not have the format of this version of the program.
    #[error("item {0} cannot be read")]
    Malformed(String),
}

/// Result of placing a new order.
#[derive(Debug, PartialEq)]
pub enum Began {
    /// The order is stored, and its stock reserved.
    New,
    /// The order that was placed with the same key before.
    Existing(Order),
    /// The title is sold out.
    SoldOut,
    /// Unknown title.
    UnknownTitle,
}

/// Orders, stock, and the breaker's item.
pub trait Store: Clone + Send + Sync + 'static {
    /// Stores a new order and takes one item of its title's stock, atomically.
    fn begin(&self, order: &Order) -> impl Future<Output = Result<Began, StoreError>> + Send;

    /// The order with this id.
    fn order(&self, id: &str) -> impl Future<Output = Result<Option<Order>, StoreError>> + Send;

    /// Replaces the order if its version is `order.version - 1`; false otherwise.
    fn update(&self, order: &Order) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Like [`update`](Self::update), and returns the reserved item to the stock, atomically. An error if the title has
    /// no stock record.
    fn release(&self, order: &Order) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Sets the remaining stock of a title.
    fn stock(&self, title: &str, left: u32) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Remaining stock of a title.
    fn left(&self, title: &str) -> impl Future<Output = Result<Option<u32>, StoreError>> + Send;

    /// The breaker's item; the default if there is none yet.
    fn breaker(&self, name: &str) -> impl Future<Output = Result<Record, StoreError>> + Send;

    /// Replaces the breaker's item if its version is `record.version - 1`; false otherwise.
    fn write_breaker(&self, name: &str, record: &Record) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
