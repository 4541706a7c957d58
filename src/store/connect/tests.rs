use super::*;
use crate::store::{CheckoutStore, NewOrder, OrderKind};

fn new(id: &str) -> NewOrder<'_> {
    NewOrder {
        id,
        user_id: 7,
        film_id: 3,
        kind: OrderKind::Rent,
        amount: 4_500,
        retry_later: false,
        key: id,
        fingerprint: "f",
        key_lifetime: Duration::from_hours(1),
        lease: Duration::from_mins(1),
        capacity: 0,
    }
}

/// A size limit on this one connection simulates the disk: `SQLite` answers `SQLITE_FULL` and rolls back by itself.
/// The affected connection is closed, and the limit with it: there is space again.
#[tokio::test]
async fn a_full_disk_is_over_when_there_is_room_again() {
    let file = std::env::temp_dir().join(format!("breakerbox-full-{}.db", std::process::id()));
    let _ = std::fs::remove_file(&file);
    let url = format!("sqlite://{}", file.display());
    let store = CheckoutStore::new(&url, &StoreSettings::default(), false).unwrap();
    store.open(&new("before"), 0).await.unwrap();
    let mut connection = store.store.inner.pool.acquire().await.unwrap();
    sqlx::query("PRAGMA max_page_count = 1").fetch_all(&mut *connection).await.unwrap();
    drop(connection);
    let mut failed = None;
    for n in 0..500 {
        if let Err(error) = store.open(&new(&format!("ord_{n}")), 0).await {
            failed = Some(error);
            break;
        }
    }
    let failed = failed.expect("the disk is full");
    assert_eq!(failed.code().as_deref(), Some("13"), "{failed}");
    let writable = || store.store.inner.writable.load(Ordering::Relaxed);
    assert!(!writable());
    store.store.probe().await.unwrap();
    assert!(writable());
    store.open(&new("afterwards"), 0).await.unwrap();
    store.close().await;
    std::fs::remove_file(&file).unwrap();
}
