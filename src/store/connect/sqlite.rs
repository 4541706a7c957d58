//! Settings of a connection to SQLite.

use std::time::Duration;

use sqlx::AnyConnection;

use super::pause;

/// Number and interval of attempts to switch a file to WAL while another process opens it.
const WAL_TRIES: u32 = 200;
const WAL_PAUSE: Duration = Duration::from_millis(5);

pub(super) async fn prepare(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA busy_timeout = 5000").fetch_all(&mut *connection).await?;
    // If two processes open a new file at the same moment, one of the changes to WAL fails at once: SQLite's busy
    // timeout does not apply to it. If the pool handled the error, it would wait by Tokio's clock, which a paused test
    // holds in the meantime.
    for attempt in 1..=WAL_TRIES {
        match sqlx::query("PRAGMA journal_mode = WAL").fetch_all(&mut *connection).await {
            Err(error) if is_busy(&error) && attempt < WAL_TRIES => pause(WAL_PAUSE).await,
            done => {
                done?;
                break;
            }
        }
    }
    for pragma in [
        // Every commit is synced to disk: an order reported as paid stays paid after a power failure.
        "PRAGMA synchronous = FULL",
        // In KiB. The working set is the open orders, which are few.
        "PRAGMA cache_size = -512",
    ] {
        sqlx::query(pragma).fetch_all(&mut *connection).await?;
    }
    Ok(())
}

/// Whether SQLite reported a conflict with another process by any of its three codes.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| matches!(&*code, "5" | "261" | "517"))
}
