//! The store that is selected by a setting.

use crate::breaker::Record;
use crate::dynamo::Dynamo;
use crate::order::Order;
use crate::sql::Sql;
use crate::store::{Began, Store, StoreError};

/// One of the stores.
#[derive(Clone, Debug)]
pub enum AnyStore {
    /// `DynamoDB`.
    Dynamo(Dynamo),
    /// PostgreSQL or SQLite.
    Sql(Sql),
}

macro_rules! chosen {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            Self::Dynamo($store) => $call.await,
            Self::Sql($store) => $call.await,
        }
    };
}

impl Store for AnyStore {
    async fn begin(&self, order: &Order) -> Result<Began, StoreError> {
        chosen!(self, store => store.begin(order))
    }

    async fn order(&self, id: &str) -> Result<Option<Order>, StoreError> {
        chosen!(self, store => store.order(id))
    }

    async fn update(&self, order: &Order) -> Result<bool, StoreError> {
        chosen!(self, store => store.update(order))
    }

    async fn release(&self, order: &Order) -> Result<bool, StoreError> {
        chosen!(self, store => store.release(order))
    }

    async fn stock(&self, title: &str, left: u32) -> Result<(), StoreError> {
        chosen!(self, store => store.stock(title, left))
    }

    async fn left(&self, title: &str) -> Result<Option<u32>, StoreError> {
        chosen!(self, store => store.left(title))
    }

    async fn breaker(&self, name: &str) -> Result<Record, StoreError> {
        chosen!(self, store => store.breaker(name))
    }

    async fn write_breaker(&self, name: &str, record: &Record) -> Result<bool, StoreError> {
        chosen!(self, store => store.write_breaker(name, record))
    }
}
