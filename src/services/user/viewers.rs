//! The viewers' data in memory: taste and history.
//!
//! A replica is a separate copy that applies the primary's log after a delay. It does so when it is read, so that no
//! background task is needed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::accounts::username;
use crate::services::data::{Histories, VIEWERS};
use crate::services::wire::{History, HistoryEntry, Profile};

/// Maximum number of entries per viewer; the oldest are dropped.
pub(super) const LONGEST_HISTORY: usize = 500;
/// Seconds between two films of a seeded history: about one film every other evening.
const SEEDED_INTERVAL: u64 = 37 * 3600;

/// Maximum number of writes by which a replica may lag; one that lags more copies everything.
const LONGEST_LOG: usize = 10_000;

/// Profiles and histories of every viewer.
pub(super) struct Viewers {
    seeded: Histories,
    copy: Mutex<Copy>,
    /// For a replica: its primary and its lag.
    follows: Option<(Arc<Viewers>, Duration)>,
}

/// One copy of the histories.
struct Copy {
    /// By id, from 1; the latest entry first.
    histories: Vec<VecDeque<HistoryEntry>>,
    /// The latest writes, for replicas, oldest first.
    log: VecDeque<(Instant, u32, HistoryEntry)>,
    /// Number of writes made or, in a replica, applied.
    writes: u64,
}

impl Viewers {
    /// The viewers of a seed, whose last seeded film was watched some time before `now` (Unix seconds).
    pub(super) fn seeded(seed: u64, now: u64) -> Self {
        let seeded = Histories::seeded(seed);
        let dated = |watched: &[u32]| -> VecDeque<HistoryEntry> {
            let at = (1..).map(|place| now.saturating_sub(place * SEEDED_INTERVAL));
            watched.iter().zip(at).map(|(film_id, watched_at)| HistoryEntry { film_id: *film_id, watched_at }).collect()
        };
        let copy = Copy { histories: seeded.iter().map(dated).collect(), log: VecDeque::new(), writes: 0 };
        Self { seeded, copy: Mutex::new(copy), follows: None }
    }

    /// A copy to which each write is applied with this delay.
    pub(super) fn replica(primary: &Arc<Self>, lag: Duration) -> Self {
        let seeded = primary.seeded.clone();
        let copy = {
            let original = lock(&primary.copy);
            Copy { histories: original.histories.clone(), log: VecDeque::new(), writes: original.writes }
        };
        Self { seeded, copy: Mutex::new(copy), follows: Some((Arc::clone(primary), lag)) }
    }

    pub(super) fn profile(&self, id: u32) -> Option<Profile> {
        let favourite_genres = self.seeded.taste(id)?.to_vec();
        let films_watched = self.with_history(id, VecDeque::len)?;
        Some(Profile { id, username: username(id), favourite_genres, films_watched })
    }

    /// The latest `limit` entries; none for an unknown viewer.
    pub(super) fn history(&self, id: u32, limit: usize) -> Option<History> {
        self.with_history(id, |history| History {
            items: history.iter().take(limit).copied().collect(),
            total: history.len(),
        })
    }

    /// Adds an entry. Returns false for an unknown viewer.
    pub(super) fn watched(&self, id: u32, entry: HistoryEntry) -> bool {
        if !(1..=VIEWERS).contains(&id) {
            return false;
        }
        let mut copy = lock(&self.copy);
        copy.apply(id, entry);
        if copy.log.len() >= LONGEST_LOG {
            copy.log.pop_front();
        }
        copy.log.push_back((Instant::now(), id, entry));
        true
    }

    fn with_history<T>(&self, id: u32, read: impl FnOnce(&VecDeque<HistoryEntry>) -> T) -> Option<T> {
        if !(1..=VIEWERS).contains(&id) {
            return None;
        }
        let mut copy = lock(&self.copy);
        if let Some((primary, lag)) = &self.follows {
            copy.follow(&lock(&primary.copy), *lag);
        }
        copy.histories.get(id as usize - 1).map(read)
    }
}

impl Copy {
    fn apply(&mut self, id: u32, entry: HistoryEntry) {
        if let Some(history) = self.histories.get_mut(id as usize - 1) {
            history.truncate(LONGEST_HISTORY - 1);
            history.push_front(entry);
        }
        self.writes += 1;
    }

    fn follow(&mut self, primary: &Self, lag: Duration) {
        let logged_from = primary.writes - primary.log.len() as u64;
        let Some(known) = self.writes.checked_sub(logged_from) else {
            // The replica lags by more than the length of the log.
            self.histories.clone_from(&primary.histories);
            self.writes = primary.writes;
            return;
        };
        for (at, id, entry) in primary.log.iter().skip(usize::try_from(known).unwrap_or(usize::MAX)) {
            if at.elapsed() < lag {
                break;
            }
            self.apply(*id, *entry);
        }
    }
}

fn lock(copy: &Mutex<Copy>) -> MutexGuard<'_, Copy> {
    copy.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_replica_is_behind_by_its_lag() {
        let primary = Arc::new(Viewers::seeded(1, 10_000_000));
        let replica = Viewers::replica(&primary, Duration::from_secs(1));
        let latest = |viewers: &Viewers| viewers.history(7, 1).unwrap().items[0].watched_at;
        for watched_at in [20_000_000, 20_000_001] {
            assert!(primary.watched(7, HistoryEntry { film_id: 1, watched_at }));
            tokio::time::advance(Duration::from_millis(600)).await;
        }
        assert_eq!((latest(&primary), latest(&replica)), (20_000_001, 20_000_000));
        tokio::time::advance(Duration::from_millis(400)).await;
        assert_eq!(latest(&replica), 20_000_001);
        assert_eq!(primary.history(7, 500).unwrap(), replica.history(7, 500).unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_is_far_behind_copies_all() {
        let primary = Arc::new(Viewers::seeded(1, 10_000_000));
        let replica = Viewers::replica(&primary, Duration::from_secs(1));
        for write in 0..LONGEST_LOG as u64 + 2 {
            assert!(
                primary.watched(u32::try_from(write).unwrap() % 5 + 1, HistoryEntry { film_id: 1, watched_at: write })
            );
        }
        assert_eq!(lock(&primary.copy).log.len(), LONGEST_LOG);
        for id in 1..=5 {
            assert_eq!(primary.history(id, 500).unwrap(), replica.history(id, 500).unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_history_is_bounded_and_forgets_its_oldest_entries() {
        let viewers = Viewers::seeded(1, 10_000_000);
        for watched_at in 0..2_000 {
            assert!(viewers.watched(7, HistoryEntry { film_id: 1, watched_at }));
        }
        let history = viewers.history(7, usize::MAX).unwrap();
        assert_eq!((history.total, history.items.len()), (LONGEST_HISTORY, LONGEST_HISTORY));
        assert_eq!(history.items[0].watched_at, 1_999);
        assert_eq!(viewers.history(8, 3).unwrap().items.len(), 3);
    }

    #[test]
    fn seeded_histories_lie_in_the_past_and_run_backwards() {
        let viewers = Viewers::seeded(1, 10_000_000);
        let items = viewers.history(7, 100).unwrap().items;
        assert!(items[0].watched_at < 10_000_000 && items.is_sorted_by(|a, b| a.watched_at > b.watched_at));
    }

    #[test]
    fn unknown_viewers_have_nothing() {
        let viewers = Viewers::seeded(1, 0);
        for id in [0, VIEWERS + 1, u32::MAX] {
            assert!(viewers.profile(id).is_none() && viewers.history(id, 1).is_none());
            assert!(!viewers.watched(id, HistoryEntry { film_id: 1, watched_at: 0 }));
        }
    }
}
