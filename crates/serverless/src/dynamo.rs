//! The store in one `DynamoDB` table.
//!
//! | `pk` | attributes |
//! |---|---|
//! | `order#ID` | `version`, `body` (the order as JSON), `status` |
//! | `stock#TITLE` | `left` |
//! | `breaker#NAME` | `version`, `body` (the record as JSON), `state` |
//!
//! The body is one JSON attribute, because no query selects by its fields; attributes that conditions and
//! alarms need are separate. Reads are strongly consistent: a stale breaker would let calls pass.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::breaker::Record;
use crate::order::Order;
use crate::store::{Began, Store, StoreError};

/// Maximum number of attempts of a transaction that conflicts with others.
const TRIES: u32 = 8;

type Item = HashMap<String, AttributeValue>;

/// A client of the table.
#[derive(Clone, Debug)]
pub struct Dynamo {
    client: Client,
    table: String,
}

/// Result of a transaction.
enum Transaction {
    Done,
    /// The code of each item's failed condition, in order.
    Refused(Vec<Option<String>>),
}

impl Dynamo {
    /// Creates a store in `table`, which must have the string key `pk`.
    #[must_use]
    pub fn new(client: Client, table: &str) -> Self {
        Self { client, table: table.to_owned() }
    }

    async fn item(&self, pk: &str) -> Result<Option<Item>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).key("pk", string(pk)).consistent_read(true);
        Ok(request.send().await.map_err(|error| database(&error))?.item)
    }

    /// Writes an item if the stored one has the previous version, or, for version 1, if there is none.
    async fn replace(&self, item: Item, version: u64) -> Result<bool, StoreError> {
        let mut request = self.client.put_item().table_name(&self.table).set_item(Some(item));
        request = match version {
            1 => request.condition_expression("attribute_not_exists(pk)"),
            _ => request
                .condition_expression("#v = :before")
                .expression_attribute_names("#v", "version")
                .expression_attribute_values(":before", number(version - 1)),
        };
        match request.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if error.as_service_error().is_some_and(
                    aws_sdk_dynamodb::operation::put_item::PutItemError::is_conditional_check_failed_exception,
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(database(&error)),
        }
    }

    /// Runs a transaction; one that conflicts with another is retried.
    async fn transact(&self, items: Vec<TransactWriteItem>) -> Result<Transaction, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let request = self.client.transact_write_items().set_transact_items(Some(items.clone()));
            let Err(error) = request.send().await else { return Ok(Transaction::Done) };
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error()
            else {
                return Err(database(&error));
            };
            let codes: Vec<_> = cancelled
                .cancellation_reasons()
                .iter()
                .map(|reason| reason.code().filter(|code| *code != "None").map(str::to_owned))
                .collect();
            let collided = codes.iter().flatten().any(|code| code == "TransactionConflict");
            if !collided {
                return Ok(Transaction::Refused(codes));
            }
            if tries == TRIES {
                return Err(StoreError::Database("transactions keep colliding".to_owned()));
            }
        }
    }

    fn order_item(order: &Order) -> Result<Item, StoreError> {
        versioned(&format!("order#{}", order.id), order.version, order, ("status", order.status.as_str()))
    }

    fn put_order(&self, order: &Order) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder().table_name(&self.table).set_item(Some(Self::order_item(order)?));
        let put = match order.version {
            1 => put.condition_expression("attribute_not_exists(pk)"),
            _ => put
                .condition_expression("#v = :before")
                .expression_attribute_names("#v", "version")
                .expression_attribute_values(":before", number(order.version - 1)),
        };
        let put = put.build().map_err(|error| StoreError::Database(error.to_string()))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Changes the stock of a title by one.
    fn take(&self, title: &str, taken: bool) -> Result<TransactWriteItem, StoreError> {
        let update = Update::builder()
            .table_name(&self.table)
            .key("pk", string(&format!("stock#{title}")))
            .update_expression(if taken { "SET #l = #l - :one" } else { "SET #l = #l + :one" })
            .expression_attribute_names("#l", "left")
            .expression_attribute_values(":one", number(1));
        let update = if taken { update.condition_expression("#l >= :one") } else { update };
        let update = update.build().map_err(|error| StoreError::Database(error.to_string()))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

impl Store for Dynamo {
    async fn begin(&self, order: &Order) -> Result<Began, StoreError> {
        let items = vec![self.put_order(order)?, self.take(&order.title, true)?];
        let Transaction::Refused(codes) = self.transact(items).await? else { return Ok(Began::New) };
        let failed = |at: usize| codes.get(at).is_some_and(Option::is_some);
        if failed(0)
            && let Some(existing) = self.order(&order.id).await?
        {
            return Ok(Began::Existing(existing));
        }
        match self.left(&order.title).await? {
            None => Ok(Began::UnknownTitle),
            Some(_) if failed(1) => Ok(Began::SoldOut),
            Some(_) => Err(StoreError::Database(format!("the order was refused: {codes:?}"))),
        }
    }

    async fn order(&self, id: &str) -> Result<Option<Order>, StoreError> {
        let pk = format!("order#{id}");
        self.item(&pk).await?.map(|item| body(&item, &pk)).transpose()
    }

    async fn update(&self, order: &Order) -> Result<bool, StoreError> {
        self.replace(Self::order_item(order)?, order.version).await
    }

    async fn release(&self, order: &Order) -> Result<bool, StoreError> {
        let items = vec![self.put_order(order)?, self.take(&order.title, false)?];
        match self.transact(items).await? {
            Transaction::Done => Ok(true),
            Transaction::Refused(codes) if codes.first().is_some_and(Option::is_some) => Ok(false),
            Transaction::Refused(codes) => Err(StoreError::Database(format!("the release was refused: {codes:?}"))),
        }
    }

    async fn stock(&self, title: &str, left: u32) -> Result<(), StoreError> {
        let item = HashMap::from([
            ("pk".to_owned(), string(&format!("stock#{title}"))),
            ("left".to_owned(), number(u64::from(left))),
        ]);
        let request = self.client.put_item().table_name(&self.table).set_item(Some(item));
        request.send().await.map_err(|error| database(&error))?;
        Ok(())
    }

    async fn left(&self, title: &str) -> Result<Option<u32>, StoreError> {
        let pk = format!("stock#{title}");
        let Some(item) = self.item(&pk).await? else { return Ok(None) };
        let left = item.get("left").and_then(|value| value.as_n().ok()).and_then(|text| text.parse().ok());
        left.map(Some).ok_or(StoreError::Malformed(pk))
    }

    async fn breaker(&self, name: &str) -> Result<Record, StoreError> {
        let pk = format!("breaker#{name}");
        self.item(&pk).await?.map_or_else(|| Ok(Record::default()), |item| body(&item, &pk))
    }

    async fn write_breaker(&self, name: &str, record: &Record) -> Result<bool, StoreError> {
        let beside = ("state", record.state.as_str());
        let item = versioned(&format!("breaker#{name}"), record.version, record, beside)?;
        self.replace(item, record.version).await
    }
}

fn versioned<T: Serialize>(pk: &str, version: u64, body: &T, beside: (&str, &str)) -> Result<Item, StoreError> {
    let text = serde_json::to_string(body).map_err(|_| StoreError::Malformed(pk.to_owned()))?;
    Ok(HashMap::from([
        ("pk".to_owned(), string(pk)),
        ("version".to_owned(), number(version)),
        ("body".to_owned(), string(&text)),
        (beside.0.to_owned(), string(beside.1)),
    ]))
}

fn body<T: DeserializeOwned>(item: &Item, pk: &str) -> Result<T, StoreError> {
    let text = item.get("body").and_then(|value| value.as_s().ok());
    text.and_then(|text| serde_json::from_str(text).ok()).ok_or_else(|| StoreError::Malformed(pk.to_owned()))
}

fn string(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn database<E: ProvideErrorMetadata + std::error::Error + 'static, R: std::fmt::Debug>(
    error: &SdkError<E, R>,
) -> StoreError {
    let said = error
        .as_service_error()
        .map(|inner| format!("{}: {}", inner.code().unwrap_or("error"), inner.message().unwrap_or("no message")));
    StoreError::Database(said.unwrap_or_else(|| error.to_string()))
}
