//! Tests of the trait's contract, with each store.

use breakerbox_serverless::any::AnyStore;
use breakerbox_serverless::breaker::{Record, State};
use breakerbox_serverless::order::{Order, Status};
use breakerbox_serverless::store::{Began, Store, StoreError};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep};

use crate::database::{Backend, Damage, Database};
use crate::world::DEADLINE;

/// Number of concurrent instances.
const INSTANCES: usize = 8;

fn order(id: &str, title: &str) -> Order {
    Order {
        id: id.to_owned(),
        version: 1,
        title: title.to_owned(),
        amount: 3_500,
        status: Status::Reserved,
        maybe_charged: false,
        attempts: 0,
        lease_until: 0,
    }
}

/// The next version of the order, with a change that identifies it.
fn next(order: &Order, status: Status) -> Order {
    Order { version: order.version + 1, status, attempts: order.attempts + 1, ..order.clone() }
}

/// Runs a function concurrently, each time with its own store.
pub(crate) async fn at_once<T: Send + 'static, R: Future<Output = T> + Send + 'static>(
    database: &Database,
    run: impl Fn(AnyStore, usize) -> R,
) -> Vec<T> {
    let mut tasks = JoinSet::new();
    for number in 0..INSTANCES {
        tasks.spawn(run(database.store(), number));
    }
    tasks.join_all().await
}

async fn an_order_takes_stock_once(backend: Backend) {
    let Some(database) = Database::new(backend).await else { return };
    let store = database.store();
    store.stock("parasite", 1).await.unwrap();
    let first = order("key-1", "parasite");
    assert_eq!(store.begin(&first).await.unwrap(), Began::New);
    assert_eq!(store.left("parasite").await.unwrap(), Some(0));
    assert_eq!(store.order("key-1").await.unwrap(), Some(first.clone()));
    // The key decides, even with another title or without stock.
    let paid = next(&first, Status::Paid);
    assert!(store.update(&paid).await.unwrap());
    for again in [&first, &order("key-1", "unknown")] {
        assert_eq!(store.begin(again).await.unwrap(), Began::Existing(paid.clone()));
    }
    assert_eq!(store.begin(&order("key-2", "parasite")).await.unwrap(), Began::SoldOut);
    assert_eq!(store.begin(&order("key-3", "unknown")).await.unwrap(), Began::UnknownTitle);
    for refused in ["key-2", "key-3"] {
        assert_eq!(store.order(refused).await.unwrap(), None, "{refused}");
    }
    assert_eq!((store.left("parasite").await.unwrap(), store.left("unknown").await.unwrap()), (Some(0), None));
    // The key of a refused order can be used again.
    store.stock("parasite", 1).await.unwrap();
    assert_eq!(store.begin(&order("key-2", "parasite")).await.unwrap(), Began::New);
}

async fn a_stale_version_changes_nothing(backend: Backend) {
    let Some(database) = Database::new(backend).await else { return };
    let store = database.store();
    store.stock("parasite", 1).await.unwrap();
    let first = order("key-1", "parasite");
    store.begin(&first).await.unwrap();
    let second = next(&first, Status::Charging);
    assert!(store.update(&second).await.unwrap());
    // Based on the first version, on a version that does not exist yet, and on none.
    for stale in [next(&first, Status::Queued), next(&next(&second, Status::Queued), Status::Paid), first.clone()] {
        assert!(!store.update(&stale).await.unwrap(), "{stale:?}");
        assert!(!store.release(&stale).await.unwrap(), "{stale:?}");
    }
    assert!(!store.update(&next(&order("key-2", "parasite"), Status::Paid)).await.unwrap(), "there is no such order");
    assert_eq!(store.order("key-1").await.unwrap(), Some(second));
    assert_eq!(store.order("key-2").await.unwrap(), None);
    assert_eq!(store.left("parasite").await.unwrap(), Some(0));
}

async fn stock_is_given_back_once(backend: Backend) {
    let Some(database) = Database::new(backend).await else { return };
    let store = database.store();
    store.stock("parasite", 1).await.unwrap();
    let first = order("key-1", "parasite");
    store.begin(&first).await.unwrap();
    let cancelled = next(&first, Status::Cancelled);
    let released = at_once(&database, |store, _| {
        let cancelled = cancelled.clone();
        async move { store.release(&cancelled).await.unwrap() }
    })
    .await;
    assert_eq!(released.iter().filter(|released| **released).count(), 1, "{released:?}");
    assert_eq!(store.left("parasite").await.unwrap(), Some(1));
    assert_eq!(store.order("key-1").await.unwrap(), Some(cancelled));
}

async fn nothing_is_released_without_its_stock(backend: Backend) {
    let Some(database) = Database::new(backend).await else { return };
    let store = database.store();
    store.stock("parasite", 1).await.unwrap();
    let first = order("key-1", "parasite");
    store.begin(&first).await.unwrap();
    database.damage(Damage::NoStock("parasite")).await;
    let error = store.release(&next(&first, Status::Cancelled)).await.unwrap_err();
    assert!(matches!(error, StoreError::Database(_)), "{error}");
    assert_eq!(store.order("key-1").await.unwrap(), Some(first));
    assert_eq!(store.left("parasite").await.unwrap(), None);
}

async fn a_breaker_has_one_writer_per_version(backend: Backend) {
    let Some(database) = Database::new(backend).await else { return };
    let store = database.store();
    assert_eq!(store.breaker("payment").await.unwrap(), Record::default());
    for (version, state) in [(1, State::Closed), (2, State::Open), (3, State::HalfOpen)] {
        let written = at_once(&database, |store, number| async move {
            let record = Record { version, state, open_until: number as u64, ..Record::default() };
            store.write_breaker("payment", &record).await.unwrap().then_some(record)
        })
        .await;
        let written: Vec<_> = written.into_iter().flatten().collect();
        assert_eq!(written.len(), 1, "{written:?}");
        assert_eq!(store.breaker("payment").await.unwrap(), written[0]);
    }
    let early = Record { version: 5, ..Record::default() };
    assert!(!store.write_breaker("payment", &early).await.unwrap());
    assert_eq!(store.breaker("another").await.unwrap(), Record::default());
}

async fn one_of_many_gets_the_last_copy(backend: Backend) {
    let Some(database) = Database::new(backend).await else { return };
    let store = database.store();
    store.stock("parasite", 1).await.unwrap();
    let began = at_once(&database, |store, number| async move {
        store.begin(&order(&format!("key-{number}"), "parasite")).await.unwrap()
    })
    .await;
    let new = began.iter().filter(|began| **began == Began::New).count();
    let sold_out = began.iter().filter(|began| **began == Began::SoldOut).count();
    assert_eq!((new, sold_out), (1, INSTANCES - 1), "{began:?}");
    assert_eq!(store.left("parasite").await.unwrap(), Some(0));
    let mut stored = 0;
    for number in 0..INSTANCES {
        stored += usize::from(store.order(&format!("key-{number}")).await.unwrap().is_some());
    }
    assert_eq!(stored, 1);
}

async fn one_of_many_with_the_same_key_places_it(backend: Backend) {
    let Some(database) = Database::new(backend).await else { return };
    let store = database.store();
    store.stock("parasite", 10).await.unwrap();
    let began =
        at_once(&database, |store, _| async move { store.begin(&order("key-1", "parasite")).await.unwrap() }).await;
    let new = began.iter().filter(|began| **began == Began::New).count();
    let existing = began.iter().filter(|began| **began == Began::Existing(order("key-1", "parasite"))).count();
    assert_eq!((new, existing), (1, INSTANCES - 1), "{began:?}");
    assert_eq!(store.left("parasite").await.unwrap(), Some(9));
}

/// If a caller disconnects at any point, the order and its stock are both stored or neither is; the store keeps
/// working.
async fn abandoned_calls_leave_no_half_order(backend: Backend) {
    const CALLS: u32 = 24;
    let Some(database) = Database::new(backend).await else { return };
    let store = database.store();
    store.stock("parasite", 100).await.unwrap();
    for number in 0..CALLS {
        let wanted = order(&format!("key-{number}"), "parasite");
        let patience = async {
            for _ in 0..number {
                yield_now().await;
            }
        };
        tokio::select! {
            biased;
            began = store.begin(&wanted) => assert_eq!(began.unwrap(), Began::New),
            () = patience => {}
        }
    }
    // The databases may still be processing the abandoned calls.
    let since = Instant::now();
    loop {
        let mut stored = 0;
        for number in 0..CALLS {
            stored += u32::from(store.order(&format!("key-{number}")).await.unwrap().is_some());
        }
        let left = store.left("parasite").await.unwrap();
        if left == Some(100 - stored) {
            break;
        }
        assert!(since.elapsed() < DEADLINE, "{stored} orders, and {left:?} left");
        sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(store.begin(&order("key-last", "parasite")).await.unwrap(), Began::New);
}

async fn unreadable_items_are_named(backend: Backend) {
    let Some(database) = Database::new(backend).await else { return };
    let store = database.store();
    store.stock("parasite", 1).await.unwrap();
    for damage in [Damage::Order("key-1"), Damage::Breaker("payment"), Damage::Stock("roma")] {
        database.damage(damage).await;
    }
    let said = |error: Option<StoreError>| match error {
        Some(StoreError::Malformed(item)) => item,
        other => panic!("{other:?}"),
    };
    assert_eq!(said(store.order("key-1").await.err()), "order#key-1");
    assert_eq!(said(store.begin(&order("key-1", "parasite")).await.err()), "order#key-1");
    assert_eq!(said(store.breaker("payment").await.err()), "breaker#payment");
    assert_eq!(said(store.left("roma").await.err()), "stock#roma");
    assert_eq!(store.left("parasite").await.unwrap(), Some(1), "the store works on");
}

over_each_store! {
    an_order_takes_stock_once,
    a_stale_version_changes_nothing,
    stock_is_given_back_once,
    nothing_is_released_without_its_stock,
    a_breaker_has_one_writer_per_version,
    one_of_many_gets_the_last_copy,
    one_of_many_with_the_same_key_places_it,
    abandoned_calls_leave_no_half_order,
    unreadable_items_are_named,
}
