//! What the functions share: [`Dynamo`](crate::dynamo::Dynamo), or [`Sql`](crate::sql::Sql) for PostgreSQL and SQLite.
//! Every write is conditional: it names the version it was decided on. `tests/serverless/contract.rs` holds the
//! stores to what is said here.

use std::future::Future;

use crate::breaker::Record;
use crate::order::Order;

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not answer, or refused.
    #[error("database: {0}")]
    Database(String),
    /// An item is not as this version of the program writes it.
    #[error("item {0} cannot be read")]
    Malformed(String),
}

/// Result of placing a new order.
#[derive(Debug, PartialEq)]
pub enum Began {
    /// It is stored, and its stock reserved.
    New,
    /// The key was used before: the order it made.
    Existing(Order),
    /// Nothing left of this title.
    SoldOut,
    /// No such title.
    UnknownTitle,
}

/// Orders, stock, and the breaker's item.
pub trait Store: Clone + Send + Sync + 'static {
    /// Stores a new order and takes one of its title's stock, both or neither.
    fn begin(&self, order: &Order) -> impl Future<Output = Result<Began, StoreError>> + Send;

    /// The order with this id.
    fn order(&self, id: &str) -> impl Future<Output = Result<Option<Order>, StoreError>> + Send;

    /// Replaces the order of `order.version - 1`. False when it has another version by now.
    fn update(&self, order: &Order) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Like [`update`](Self::update), and gives the reserved stock back, both or neither. An error when the title
    /// has no stock to give back to.
    fn release(&self, order: &Order) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Sets the remaining stock of a title.
    fn stock(&self, title: &str, left: u32) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Remaining stock of a title.
    fn left(&self, title: &str) -> impl Future<Output = Result<Option<u32>, StoreError>> + Send;

    /// The breaker's item; the default one when none was written yet.
    fn breaker(&self, name: &str) -> impl Future<Output = Result<Record, StoreError>> + Send;

    /// Replaces the breaker's item of `record.version - 1`. False when it has another version by now.
    fn write_breaker(&self, name: &str, record: &Record) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
