//! Maps in shards with a lock each, for a bounded number of keys.

use std::hash::{BuildHasher, Hash, RandomState};

use lru::LruCache;

use crate::sync::{Mutex, MutexGuard, lock};

/// Keys from which on there is more than one shard: a few keys are better bounded exactly.
const SHARDED_FROM: usize = 1_024;
const SHARDS: usize = 16;
/// Keys that are looked at to find one that can make way.
const LOOKED_AT: usize = 8;

/// Shards of a map. A key belongs to one of them.
#[derive(Debug)]
pub(crate) struct Shards<T> {
    maps: Box<[Mutex<T>]>,
    /// Keys of each shard.
    capacity: usize,
    hasher: RandomState,
}

impl<T> Shards<T> {
    /// Shards for at most `max_keys` keys in all.
    pub(crate) fn new(max_keys: usize, shard: impl Fn() -> T) -> Self {
        let count = if max_keys < SHARDED_FROM { 1 } else { SHARDS };
        Self {
            maps: (0..count).map(|_| Mutex::new(shard())).collect(),
            capacity: max_keys / count,
            hasher: RandomState::new(),
        }
    }

    /// The shard of a key, locked, and how many keys it may hold.
    pub(crate) fn of<Q: Hash + ?Sized>(&self, key: &Q) -> (MutexGuard<'_, T>, usize) {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).expect("32 bits");
        (lock(&self.maps[hash % self.maps.len()]), self.capacity)
    }

    /// All shards, locked one after the other.
    pub(crate) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        self.maps.iter().map(lock)
    }
}

/// Removes one of the values that were not used for longest, if it is one that may go. Those that may
/// not are looked at last the next time.
pub(crate) fn make_way<K: Eq + Hash, V>(map: &mut LruCache<K, V>, may_go: impl Fn(&V) -> bool) -> bool {
    for _ in 0..LOOKED_AT.min(map.len()) {
        let Some((key, value)) = map.pop_lru() else { return false };
        if may_go(&value) {
            return true;
        }
        map.put(key, value);
    }
    false
}
