//! The stores on their own.

use std::time::Duration;

use breakerbox::store::{
    Change, CheckoutStore, Effect, InventoryStore, Known, Lane, NewOrder, Opened, OrderKind, OrderState, Place, Step,
    StoreSettings,
};

use crate::postgres::Postgres;

/// A directory for databases that is removed with the test.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("breakerbox-stores-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn url(&self, file: &str) -> String {
        format!("sqlite://{}", self.0.join(file).display())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(start_paused = true)]
async fn two_may_open_a_new_file_at_the_same_moment() {
    let directory = Directory::new("open");
    for round in 0..40 {
        let url = directory.url(&format!("{round}.db"));
        let store = || CheckoutStore::new(&url, &StoreSettings::default(), true).unwrap();
        let (one, other) = (store(), store());
        let (first, second) = tokio::join!(one.queue(), other.queue());
        assert_eq!((first.unwrap().depth, second.unwrap().depth), (0, 0));
    }
}

const HOUR: i64 = 3_600_000;
const DAY: Duration = Duration::from_hours(24);

fn order<'a>(id: &'a str, key: &'a str) -> NewOrder<'a> {
    NewOrder {
        id,
        user_id: 7,
        film_id: 3,
        kind: OrderKind::Rent,
        amount: 4_500,
        retry_later: true,
        key,
        fingerprint: "f",
        key_lifetime: DAY,
        lease: Duration::from_mins(1),
        capacity: 100,
    }
}

/// Stores an order with a key of the same name and brings it to a state, all within the first second.
async fn bring(store: &CheckoutStore, id: &str, state: OrderState) {
    let Opened::New(taken, _) = store.open(&order(id, id), 0).await.unwrap() else { panic!("{id} is taken") };
    let effect = match state {
        OrderState::Queued => Effect::Park { due_at: 0, attempts: 1, error: "away".to_owned(), blocked: false },
        OrderState::Dead => Effect::Bury { error: "away".to_owned() },
        _ => Effect::Remove,
    };
    let steps = vec![Step { step: "charge", outcome: "done", detail: String::new() }];
    let change = Change {
        state,
        charge_sent: Some(state == OrderState::Paid),
        reason: String::new(),
        deadline: None,
        steps,
        effect,
        answer: None,
    };
    store.change(&taken, &change, 1000).await.unwrap().unwrap();
}

async fn orders_are_forgotten(store: &CheckoutStore) {
    for (id, state) in [("paid", OrderState::Paid), ("queued", OrderState::Queued), ("dead", OrderState::Dead)] {
        bring(store, id, state).await;
    }
    let (now, before) = (100 * HOUR, 28 * HOUR);
    assert_eq!(store.prune(0, HOUR, 100).await.unwrap(), 0, "nothing is old enough yet");
    assert_eq!(store.prune(before, now, 100).await.unwrap(), 1);
    assert_eq!(store.order("paid").await.unwrap(), None);
    assert!(store.steps("paid").await.unwrap().is_empty());
    for id in ["queued", "dead"] {
        assert!(store.order(id).await.unwrap().is_some());
        assert_eq!(store.steps(id).await.unwrap().len(), 2);
        // Days after its key expired, repeating the request finds the order that is still waiting.
        let again = store.open(&order("another", id), now).await.unwrap();
        assert!(matches!(again, Opened::Known(Known { same: true, order: Some(found), .. }) if found.id == id), "{id}");
    }
    assert!(
        !store.replay(vec!["dead".to_owned()], now).await.unwrap().is_empty(),
        "dead letters can still be replayed"
    );
    assert!(matches!(store.open(&order("new", "paid"), now).await.unwrap(), Opened::New(..)), "its key is free");

    // A limited number of rows at a time.
    for n in 0..5 {
        bring(store, &format!("old-{n}"), OrderState::Cancelled).await;
    }
    for gone in [2, 2, 1, 0] {
        assert_eq!(store.prune(before, now, 2).await.unwrap(), gone);
    }
}

async fn seats_are_forgotten(store: &InventoryStore) {
    let place = |showing| Place { film_id: 1, kind: OrderKind::Premiere, showing, capacity: 20 };
    store.reserve("over", place(1), 0).await.unwrap();
    store.reserve("over and given back", place(1), 0).await.unwrap();
    store.release("over and given back", 0).await.unwrap();
    store.release("never reserved", 0).await.unwrap();
    store.reserve("lately over", place(2), 90 * HOUR).await.unwrap();
    store.reserve("old, and still to come", place(9), 0).await.unwrap();
    assert_eq!(store.prune(28 * HOUR, 9, 2).await.unwrap(), 2);
    assert_eq!(store.prune(28 * HOUR, 9, 2).await.unwrap(), 1);
    let audit = store.audit().await.unwrap();
    assert_eq!((audit.held, audit.taken), (vec!["lately over".to_owned(), "old, and still to come".to_owned()], 2));
    assert!(store.release("old, and still to come", 100 * HOUR).await.unwrap());
    // Releasing an order whose seat was already pruned takes no seat from another order.
    assert!(!store.release("over", 100 * HOUR).await.unwrap());
    assert_eq!(store.audit().await.unwrap().taken, 1);
}

#[tokio::test]
async fn old_rows_are_pruned_and_needed_ones_kept() {
    let settings = StoreSettings::default();
    orders_are_forgotten(&CheckoutStore::new("sqlite::memory:", &settings, false).unwrap()).await;
    seats_are_forgotten(&InventoryStore::new("sqlite::memory:", &settings, false).unwrap()).await;
    let Some(postgres) = Postgres::start("prune") else { return };
    orders_are_forgotten(&CheckoutStore::new(&postgres.url("shop"), &settings, false).unwrap()).await;
    seats_are_forgotten(&InventoryStore::new(&postgres.url("shop"), &settings, false).unwrap()).await;
}

/// A lease of another worker is not ended, and a failed attempt keeps its back-off.
#[tokio::test(start_paused = true)]
async fn unblocking_makes_due_only_what_the_breaker_rejected() {
    let directory = Directory::new("unblock");
    let store = CheckoutStore::new(&directory.url("checkout.db"), &StoreSettings::default(), true).unwrap();
    for id in ["failed", "turned-away", "leased"] {
        bring(&store, id, OrderState::Queued).await;
    }
    let park = async |id: &str, blocked| {
        let order = store.order(id).await.unwrap().unwrap();
        let effect = Effect::Park { due_at: 2 * HOUR, attempts: 1, error: "away".to_owned(), blocked };
        let steps = Vec::new();
        let (state, reason) = (OrderState::Queued, String::new());
        let change = Change { state, charge_sent: None, reason, deadline: None, steps, effect, answer: None };
        store.change(&order, &change, HOUR).await.unwrap().unwrap();
    };
    park("failed", false).await;
    park("turned-away", true).await;
    let minute = Duration::from_mins(1);
    assert_eq!(store.claim(Lane::Charge, 9, minute, HOUR).await.unwrap().len(), 1, "leased");
    assert_eq!(store.unblock(HOUR + 1).await.unwrap(), 1);
    let due = store.claim(Lane::Charge, 9, minute, HOUR + 1).await.unwrap();
    assert_eq!(due.iter().map(|job| job.order_id.as_str()).collect::<Vec<_>>(), ["turned-away"]);
    assert_eq!(store.unblock(HOUR + 2).await.unwrap(), 0);
    // The previous holder of the lease can't put it back.
    let earlier = breakerbox::store::Job { leased_until: 1, ..due[0].clone() };
    store.postpone(&earlier, 0, "late").await.unwrap();
    assert_eq!(store.claim(Lane::Charge, 9, minute, HOUR + 3).await.unwrap(), []);
}
