//! What is served when the live answer is missing.
//!
//! The chain itself stands at each call site, since only the site knows what can replace its answer:
//! a cached one, a popular one, a replica's, a place in a queue, or at least an honest notice. Here
//! are the parts: the words, the counters, and a bounded cache of last good answers.

use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use super::Telemetry;
use crate::telemetry::FallbackTelemetry;

/// What replaced the live answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallbackKind {
    /// The same answer, given earlier.
    Cache,
    /// What most viewers like.
    Popular,
    /// Another copy of the data.
    Replica,
    /// A promise to do it later.
    Queue,
    /// Words only.
    Notice,
}

impl FallbackKind {
    /// Spelled as the fallback metrics do.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Popular => "popular",
            Self::Replica => "replica",
            Self::Queue => "queue",
            Self::Notice => "notice",
        }
    }
}

/// Counts the fallbacks around one dependency.
#[derive(Clone)]
pub struct Fallbacks {
    telemetry: FallbackTelemetry,
}

impl Fallbacks {
    /// Fallbacks of these kinds for answers of `dependency`.
    #[must_use]
    pub fn new(service: &str, dependency: &str, kinds: &[FallbackKind], telemetry: &Telemetry) -> Self {
        let kinds: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
        Self { telemetry: FallbackTelemetry::new(&telemetry.metrics, service, dependency, &kinds) }
    }

    /// An answer of this kind was served because of `reason`; `age` says how old it was.
    pub fn served(&self, kind: FallbackKind, reason: &'static str, age: Option<Duration>) {
        self.telemetry.served(kind.as_str(), reason, age);
        tracing::debug!(kind = kind.as_str(), reason, ?age, "fallback served");
    }

    /// A fallback of this kind had nothing to give.
    pub fn failed(&self, kind: FallbackKind) {
        self.telemetry.failed(kind.as_str());
    }
}

/// Last good answers: bounded in number, and no older than a bound when served.
pub struct Cache<K: Hash + Eq, V> {
    entries: Mutex<LruCache<K, (Instant, V)>>,
    stale_after: Duration,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// At most `capacity` answers (at least one), none served when older than `stale_after`.
    #[must_use]
    pub fn new(capacity: usize, stale_after: Duration) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        // Grows with use: a cache that nobody fills costs nothing.
        let mut entries = LruCache::unbounded();
        entries.resize(capacity);
        Self { entries: Mutex::new(entries), stale_after }
    }

    /// Keeps a good answer.
    pub fn put(&self, key: K, value: V) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).put(key, (Instant::now(), value));
    }

    /// The last good answer and its age, unless it is too old.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<(V, Duration)> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, value) = entries.get(key)?;
        let age = since.elapsed();
        (age <= self.stale_after).then(|| (value.clone(), age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_too_old_is_not_served() {
        let cache = Cache::new(2, Duration::from_secs(10));
        cache.put("a", 1);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(cache.get(&"a"), Some((1, Duration::from_secs(10))));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(cache.get(&"a"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_cache_forgets_what_was_used_longest_ago() {
        let cache = Cache::new(2, Duration::from_secs(10));
        cache.put("a", 1);
        cache.put("b", 2);
        let _ = cache.get(&"a");
        cache.put("c", 3);
        assert!(cache.get(&"b").is_none() && cache.get(&"a").is_some() && cache.get(&"c").is_some());
    }
}
