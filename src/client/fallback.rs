//! Fallbacks: what is served when the live answer is missing.
//!
//! Each call site builds its own [`Chain`], because only the site knows what can replace its answer: a cached one, a
//! popular one, that of a replica, a place in a queue, or at least a notice. This module has the shared parts: types,
//! counters, and a bounded cache of the last good answers.

use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quick_cache::unsync::Cache as Kept;
use tokio::time::Instant;

use super::Telemetry;
use breakerbox_resilience::fallback::{self, Aged, Exhausted, FallbackSettings};
use breakerbox_telemetry::{FallbackReason, FallbackTelemetry};

pub use breakerbox_telemetry::FallbackKind;

/// A fallback chain whose steps are labelled with the counted kinds.
pub type Chain<T> = fallback::Chain<T, FallbackKind>;
/// The result of such a chain.
pub type Served<T> = fallback::Served<T, FallbackKind>;

/// Counts the fallbacks around one dependency.
#[derive(Clone)]
pub struct Fallbacks {
    telemetry: FallbackTelemetry,
}

impl Fallbacks {
    /// Fallbacks of these kinds for `dependency`.
    #[must_use]
    pub fn new(service: &str, dependency: &str, kinds: &[FallbackKind], telemetry: &Telemetry) -> Self {
        Self { telemetry: FallbackTelemetry::new(&telemetry.metrics, service, dependency, kinds) }
    }

    /// Counts and returns the result of a chain: the step that served it, and the steps that failed before. `reason`
    /// says why the live answer was missing.
    pub fn finish<T>(&self, chain: Chain<T>, reason: FallbackReason) -> Option<Served<T>> {
        let (served, failed) = match chain.finish() {
            Ok(served) => {
                let failed = served.failed.clone();
                (Some(served), failed)
            }
            Err(Exhausted { failed }) => (None, failed),
        };
        for step in failed {
            self.telemetry.failed(step.kind);
        }
        if let Some(Served { kind, age, .. }) = &served {
            self.telemetry.served(*kind, reason, *age);
        }
        served
    }

    /// Counts an answer of this kind, served because of `reason`; `age` is its age.
    pub fn served(&self, kind: FallbackKind, reason: FallbackReason, age: Option<Duration>) {
        self.telemetry.served(kind, reason, age);
    }

    /// Counts a fallback of this kind that failed.
    pub fn failed(&self, kind: FallbackKind) {
        self.telemetry.failed(kind);
    }
}

/// Minimum capacity of a cache: with fewer entries it cannot distinguish frequently used ones from the rest.
const FEWEST: usize = 32;

/// Last good answers: bounded in number, and in age when a chain serves them.
///
/// Entries requested once are evicted before those requested often, so that no client can evict
/// popular pages by requesting many rare ones.
pub struct Cache<K: Hash + Eq, V> {
    entries: Mutex<Kept<K, (Instant, V)>>,
    bound: FallbackSettings,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// At most `capacity` answers (or 32, if that is more), none served when older than `stale_after`.
    #[must_use]
    pub fn new(capacity: usize, stale_after: Duration) -> Self {
        let entries = Kept::new(capacity.max(FEWEST));
        let bound = FallbackSettings { max_staleness: stale_after, ..FallbackSettings::default() };
        Self { entries: Mutex::new(entries), bound }
    }

    /// Stores a good answer.
    pub fn put(&self, key: K, value: V) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // Reading counts as a use: answers are stored while the dependency is healthy and read when it is not.
        let _ = entries.get(&key);
        entries.insert(key, (Instant::now(), value));
    }

    /// The last good answer, whatever its age.
    #[must_use]
    pub fn last(&self, key: &K) -> Option<Aged<V>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, value) = entries.get(key)?;
        Some(Aged::old(value.clone(), since.elapsed()))
    }

    /// Removes an answer that is no longer valid according to `over`.
    pub fn forget_if(&self, key: &K, over: impl FnOnce(&V) -> bool) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.peek(key).is_some_and(|(_, value)| over(value)) {
            entries.remove(key);
        }
    }

    /// A chain that starts with the last good answer, unless that is too old.
    pub async fn chain(&self, key: &K) -> Chain<V> {
        self.chain_with(key, |value| value).await
    }

    /// Like [`chain`](Self::chain), with the answer converted by `make`.
    pub async fn chain_with<T>(&self, key: &K, make: impl FnOnce(V) -> T) -> Chain<T> {
        let last = self.last(key).map(|Aged { value, age }| Aged { value: make(value), age });
        Chain::new(&self.bound).or(FallbackKind::Cache, std::future::ready(last)).await
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
        let served = cache.chain(&"a").await.finish().unwrap();
        assert_eq!((served.value, served.age), (1, Some(Duration::from_secs(10))));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(cache.chain(&"a").await.finish().is_err());
    }

    /// The flood comes before, between and after the uses; each case is tested.
    #[tokio::test(start_paused = true)]
    async fn a_flood_of_keys_evicts_no_frequent_entries() {
        let cache = Cache::new(512, Duration::from_secs(10));
        for key in 0..300 {
            cache.put(format!("early {key}"), 0);
        }
        for _ in 0..3 {
            for page in 0..12 {
                cache.put(format!("page {page}"), page);
            }
        }
        for key in 0..5_000 {
            cache.put(format!("flood {key}"), 0);
        }
        let kept = (0..12).filter(|page| cache.last(&format!("page {page}")).is_some()).count();
        assert_eq!(kept, 12);
        let count = cache.entries.lock().unwrap().len();
        assert!(count <= 512, "{count}");
    }

    #[tokio::test(start_paused = true)]
    async fn frequent_entries_are_cached_after_a_flood() {
        let cache = Cache::new(512, Duration::from_secs(10));
        for key in 0..5_000 {
            cache.put(format!("flood {key}"), 0);
        }
        for round in 0..20 {
            for page in 0..12 {
                cache.put(format!("page {page}"), page);
            }
            cache.put(format!("late {round}"), 0);
        }
        let kept = (0..12).filter(|page| cache.last(&format!("page {page}")).is_some()).count();
        assert_eq!(kept, 12);
    }
}
