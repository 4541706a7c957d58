//! What is kept about viewers: their taste and what they watched, in memory.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::accounts::username;
use crate::services::data::{Histories, VIEWERS};
use crate::services::wire::{History, HistoryEntry, Profile};

/// Entries kept of one viewer; the oldest make way.
pub(super) const LONGEST_HISTORY: usize = 500;
/// Seconds between two films of a seeded history: a film every other evening or so.
const SEEDED_INTERVAL: u64 = 37 * 3600;

/// Profiles and histories of every viewer.
pub(super) struct Viewers {
    seeded: Histories,
    /// The latest first. By id, from 1.
    histories: Mutex<Vec<VecDeque<HistoryEntry>>>,
}

impl Viewers {
    /// The viewers of a seed, who watched their last seeded film some time before `now` (Unix seconds).
    pub(super) fn seeded(seed: u64, now: u64) -> Self {
        let seeded = Histories::seeded(seed);
        let dated = |watched: &[u32]| -> VecDeque<HistoryEntry> {
            let at = (1..).map(|place| now.saturating_sub(place * SEEDED_INTERVAL));
            watched.iter().zip(at).map(|(film_id, watched_at)| HistoryEntry { film_id: *film_id, watched_at }).collect()
        };
        let histories = Mutex::new(seeded.iter().map(dated).collect());
        Self { seeded, histories }
    }

    pub(super) fn profile(&self, id: u32) -> Option<Profile> {
        let favourite_genres = self.seeded.taste(id)?.to_vec();
        let films_watched = self.with_history(id, |history| history.len())?;
        Some(Profile { id, username: username(id), favourite_genres, films_watched })
    }

    /// The latest `limit` entries; none for an unknown viewer.
    pub(super) fn history(&self, id: u32, limit: usize) -> Option<History> {
        self.with_history(id, |history| History {
            items: history.iter().take(limit).copied().collect(),
            total: history.len(),
        })
    }

    /// Adds an entry. False for an unknown viewer.
    pub(super) fn watched(&self, id: u32, entry: HistoryEntry) -> bool {
        let added = self.with_history(id, |history| {
            history.truncate(LONGEST_HISTORY - 1);
            history.push_front(entry);
        });
        added.is_some()
    }

    fn with_history<T>(&self, id: u32, act: impl FnOnce(&mut VecDeque<HistoryEntry>) -> T) -> Option<T> {
        if !(1..=VIEWERS).contains(&id) {
            return None;
        }
        let mut histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        histories.get_mut(id as usize - 1).map(act)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_bounded_and_forgets_its_oldest_entries() {
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
