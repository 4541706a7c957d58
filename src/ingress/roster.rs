//! The connections of a port, and the selection of the one to displace when it is full.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::activity::Activity;
use crate::faults::Connection;

/// All connections of a port.
pub(super) struct Roster {
    places: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    held: HashMap<u64, Held>,
}

struct Held {
    client: IpAddr,
    activity: Arc<Activity>,
    displaced: Arc<Notify>,
    connection: Connection,
}

/// A connection's slot on a port, released on drop.
pub(super) struct Place {
    roster: Arc<Roster>,
    number: u64,
    /// Notified when the connection is displaced.
    pub(super) displaced: Arc<Notify>,
}

impl Roster {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places, inner: Mutex::default() })
    }

    /// A slot for a connection of `client`. On a full port another connection is displaced; `None` if all are being
    /// served.
    pub(super) fn admit(
        self: &Arc<Self>,
        client: IpAddr,
        activity: &Arc<Activity>,
        connection: &Connection,
        now: Instant,
    ) -> Option<Place> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.held.len() >= self.places {
            let number = inner.longest_waiting(now)?;
            if let Some(held) = inner.held.remove(&number) {
                held.displaced.notify_one();
            }
        }
        let number = inner.next;
        inner.next += 1;
        let displaced = Arc::new(Notify::new());
        let held = Held {
            client,
            activity: Arc::clone(activity),
            displaced: Arc::clone(&displaced),
            connection: connection.clone(),
        };
        inner.held.insert(number, held);
        Some(Place { roster: Arc::clone(self), number, displaced })
    }

    /// The number of connections.
    pub(super) fn len(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).held.len()
    }

    /// Resets every connection, as a crash does.
    pub(super) fn sever(&self) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.held.values().for_each(|held| held.connection.sever());
    }
}

impl Inner {
    /// Among the clients with a waiting connection, selects the one with most connections in total, and its connection
    /// that has been waiting longest.
    fn longest_waiting(&self, now: Instant) -> Option<u64> {
        let mut holds: HashMap<IpAddr, usize> = HashMap::new();
        for held in self.held.values() {
            *holds.entry(held.client).or_default() += 1;
        }
        let waiting = self.held.iter().filter_map(|(number, held)| {
            let since = held.activity.waiting_since(now)?;
            Some((holds.get(&held.client).copied().unwrap_or_default(), since, *number))
        });
        waiting.max_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)).then(b.2.cmp(&a.2))).map(|(_, _, number)| number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.roster.inner.lock().unwrap_or_else(PoisonError::into_inner).held.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const GREEDY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const MODEST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    struct Test {
        roster: Arc<Roster>,
        start: Instant,
    }

    impl Test {
        fn new() -> Self {
            Self { roster: Roster::new(3), start: Instant::now() }
        }

        fn admit(&self, client: IpAddr, second: u64) -> Option<(Place, Arc<Activity>)> {
            let now = self.start + Duration::from_secs(second);
            let activity = Arc::new(Activity::new(now));
            let place = self.roster.admit(client, &activity, &Connection::default(), now)?;
            Some((place, activity))
        }

        fn holds(&self, place: &Place) -> bool {
            self.roster.inner.lock().unwrap().held.contains_key(&place.number)
        }
    }

    #[test]
    fn the_client_with_most_connections_is_displaced() {
        let test = Test::new();
        let (modest, _) = test.admit(MODEST, 0).unwrap();
        let (first, _) = test.admit(GREEDY, 1).unwrap();
        let (second, _) = test.admit(GREEDY, 2).unwrap();
        let (third, _) = test.admit(GREEDY, 3).unwrap();
        assert!(test.holds(&modest) && !test.holds(&first) && test.holds(&second) && test.holds(&third));
        assert_eq!(test.roster.len(), 3);
    }

    #[test]
    fn a_request_in_flight_is_not_displaced() {
        let test = Test::new();
        let held: Vec<_> = (0..3).map(|second| test.admit(GREEDY, second).unwrap()).collect();
        for (_, activity) in &held {
            activity.head_done(false, test.start);
        }
        assert!(test.admit(MODEST, 5).is_none(), "a full port refuses");
        held[1].1.answered(test.start + Duration::from_secs(6));
        let (modest, _) = test.admit(MODEST, 7).unwrap();
        assert!(test.holds(&modest) && !test.holds(&held[1].0));
        drop(held);
        assert_eq!(test.roster.len(), 1);
    }
}
