//! Sharded maps with a lock each, for a bounded number of keys.

use std::hash::{BuildHasher, Hash, RandomState};

use lru::LruCache;

use crate::sync::{Mutex, MutexGuard, lock};

/// Number of keys from which there is more than one shard: few keys are better bounded exactly.
const SHARDED_FROM: usize = 1_024;
const SHARDS: usize = 16;
/// Number of keys examined to find one to evict.
const LOOKED_AT: usize = 8;

/// Shards of a map. Each key belongs to one of them.
#[derive(Debug)]
pub(crate) struct Shards<T> {
    maps: Box<[Mutex<T>]>,
    /// Number of keys in each shard.
    capacity: usize,
    hasher: RandomState,
}

impl<T> Shards<T> {
    /// Creates shards for at most `max_keys` keys in total.
    pub(crate) fn new(max_keys: usize, shard: impl Fn() -> T) -> Self {
        let count = if max_keys < SHARDED_FROM { 1 } else { SHARDS };
        Self {
            maps: (0..count).map(|_| Mutex::new(shard())).collect(),
            capacity: max_keys / count,
            hasher: RandomState::new(),
        }
    }

    /// Locks the shard of a key; also returns the number of keys it may hold.
    pub(crate) fn of<Q: Hash + ?Sized>(&self, key: &Q) -> (MutexGuard<'_, T>, usize) {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).expect("32 bits");
        (lock(&self.maps[hash % self.maps.len()]), self.capacity)
    }

    /// Locks all shards, one after the other.
    pub(crate) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        self.maps.iter().map(lock)
    }
}

/// Evicts one of the least recently used values, if it may be evicted. Those that may not are examined last
/// the next time.
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
