//! The time that all instances on a database agree on.

use std::sync::PoisonError;
use std::time::Duration;

use sqlx::Row;
use tokio::time::Instant;

use super::{Dialect, Inner, Store};
use crate::store::{self, StoreError};

/// Maximum age of the database's time. In between it is extrapolated on the monotonic clock.
const CLOCK_LIFETIME: Duration = Duration::from_secs(5);

/// A slower answer about the database's time says nothing about this machine's clock.
const PRECISE_ANSWER: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
pub(super) struct Asked {
    at: Instant,
    millis: i64,
    /// Offset of this machine's clock from the database's.
    ahead: i64,
}

impl Store {
    /// The time that all instances on this database agree on, Unix milliseconds: the database's own. With SQLite it
    /// is this machine's.
    pub(in crate::store) async fn now(&self) -> Result<i64, StoreError> {
        let Inner { dialect, clock, .. } = &*self.inner;
        if *dialect == Dialect::Sqlite {
            return Ok(clock.unix_millis());
        }
        let asked = self.asked();
        if let Some(asked) = asked
            && asked.at.elapsed() < CLOCK_LIFETIME
        {
            return Ok(asked.now());
        }
        let (began, wall) = (Instant::now(), clock.unix_millis());
        let answer = self
            .read((), |connection, ()| {
                Box::pin(async move {
                    let now = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) AS now";
                    Ok(sqlx::query(now).fetch_one(&mut *connection).await?.try_get("now")?)
                })
            })
            .await;
        match (answer, asked) {
            (Ok(millis), _) => {
                let took = began.elapsed();
                // The database read its clock at some time in between, so a slow answer is imprecise.
                let ahead = if took <= PRECISE_ANSWER {
                    wall + store::millis(took / 2) - millis
                } else {
                    asked.map_or(0, |asked| asked.ahead)
                };
                let asked = Asked { at: Instant::now(), millis, ahead };
                *self.inner.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
                Ok(millis)
            }
            // The database is unavailable: its time is extrapolated.
            (Err(_), Some(asked)) => Ok(asked.now()),
            (Err(error), None) => Err(error),
        }
    }

    /// Offset of this machine's clock from the database's; `None` before the first query, or if both are the same.
    #[must_use]
    pub fn skew(&self) -> Option<i64> {
        self.asked().map(|asked| asked.ahead)
    }

    fn asked(&self) -> Option<Asked> {
        *self.inner.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    fn now(&self) -> i64 {
        self.millis + store::millis(self.at.elapsed())
    }
}
