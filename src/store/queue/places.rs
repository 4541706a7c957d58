//! Places of the queue, which bound it: counted in a few rows, the shards.

use sqlx::AnyConnection;

use crate::store::{CheckoutStore, StoreError, number};

/// Maximum number of orders counted in one row, until the maximum number of rows is reached.
const SHARD: u32 = 1000;
const MOST_SHARDS: u32 = 16;

impl CheckoutStore {
    /// Taken places, and items that have a place, for audits.
    pub async fn places(&self) -> Result<(i64, i64), StoreError> {
        self.store
            .read((), |connection, ()| {
                Box::pin(async move {
                    let row = sqlx::query(
                        "SELECT CAST(COALESCE((SELECT SUM(taken) FROM queue_places), 0) AS BIGINT) AS taken,
                         (SELECT COUNT(*) FROM retry_queue WHERE place >= 0) AS items",
                    )
                    .fetch_one(&mut *connection)
                    .await?;
                    Ok((number(&row, "taken")?, number(&row, "items")?))
                })
            })
            .await
    }
}

/// Takes a place and returns its shard; `None` if the queue is full.
pub(super) async fn take_place(
    connection: &mut AnyConnection,
    order: &str,
    capacity: u32,
) -> Result<Option<i64>, StoreError> {
    let shards = (capacity / SHARD).clamp(1, MOST_SHARDS);
    let first = order.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % shards;
    for shard in (first..shards).chain(0..first) {
        let own = capacity / shards + u32::from(shard < capacity % shards);
        if own == 0 {
            continue;
        }
        let taken = sqlx::query(
            "INSERT INTO queue_places (shard, taken) VALUES ($1, 1)
             ON CONFLICT (shard) DO UPDATE SET taken = queue_places.taken + 1 WHERE queue_places.taken < $2",
        )
        .bind(i64::from(shard))
        .bind(i64::from(own))
        .execute(&mut *connection)
        .await?;
        if taken.rows_affected() > 0 {
            return Ok(Some(shard.into()));
        }
    }
    Ok(None)
}

pub(super) async fn free_place(connection: &mut AnyConnection, order: &str) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE queue_places SET taken = taken - 1
         WHERE shard >= 0 AND shard = (SELECT place FROM retry_queue WHERE order_id = $1)",
    )
    .bind(order)
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE retry_queue SET place = -1 WHERE order_id = $1 AND place >= 0")
        .bind(order)
        .execute(&mut *connection)
        .await?;
    Ok(())
}
