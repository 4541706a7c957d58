//! What is served when the live answer is missing.
//!
//! The [`Chain`] itself stands at each call site, since only the site knows what can replace its
//! answer: a cached one, a popular one, a replica's, a place in a queue, or at least an honest notice.
//! Here are the parts around it: the words, the counters, and a bounded cache of last good answers.

use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quick_cache::unsync::Cache as Kept;
use tokio::time::Instant;

use super::Telemetry;
use breakerbox_resilience::fallback::{self, Aged, Exhausted, FallbackSettings};
use breakerbox_telemetry::{FallbackReason, FallbackTelemetry};

pub use breakerbox_telemetry::FallbackKind;

/// Steps by the kinds that are counted.
pub type Chain<T> = fallback::Chain<T, FallbackKind>;
/// What one of them came up with.
pub type Served<T> = fallback::Served<T, FallbackKind>;

/// Counts the fallbacks around one dependency.
#[derive(Clone)]
pub struct Fallbacks {
    telemetry: FallbackTelemetry,
}

impl Fallbacks {
    /// Fallbacks of these kinds for answers of `dependency`.
    #[must_use]
    pub fn new(service: &str, dependency: &str, kinds: &[FallbackKind], telemetry: &Telemetry) -> Self {
        Self { telemetry: FallbackTelemetry::new(&telemetry.metrics, service, dependency, kinds) }
    }

    /// What a chain came up with, counted: which step served it, and which had nothing to give.
    /// `reason` says why the live answer was missing.
    pub fn settle<T>(&self, chain: Chain<T>, reason: FallbackReason) -> Option<Served<T>> {
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

    /// An answer of this kind was served because of `reason`; `age` says how old it was.
    pub fn served(&self, kind: FallbackKind, reason: FallbackReason, age: Option<Duration>) {
        self.telemetry.served(kind, reason, age);
    }

    /// A fallback of this kind had nothing to give.
    pub fn failed(&self, kind: FallbackKind) {
        self.telemetry.failed(kind);
    }
}

/// Smallest capacity of a cache: with fewer entries it cannot distinguish often used ones from the rest.
const FEWEST: usize = 32;

/// Last good answers: bounded in number, and no older than a bound when a chain serves them.
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

    /// Keeps a good answer.
    pub fn put(&self, key: K, value: V) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // Looking it up counts as a use: answers are kept while all is well and needed when it is not.
        let _ = entries.get(&key);
        entries.insert(key, (Instant::now(), value));
    }

    /// The last good answer, however old it is.
    #[must_use]
    pub fn last(&self, key: &K) -> Option<Aged<V>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, value) = entries.get(key)?;
        Some(Aged::old(value.clone(), since.elapsed()))
    }

    /// Takes an answer away that is good no more, by this test.
    pub fn forget_if(&self, key: &K, over: impl FnOnce(&V) -> bool) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.peek(key).is_some_and(|(_, value)| over(value)) {
            entries.remove(key);
        }
    }

    /// A chain that begins with the last good answer, if it is not too old.
    pub async fn chain(&self, key: &K) -> Chain<V> {
        self.chain_with(key, |value| value).await
    }

    /// The same, with the answer made into what the chain is about.
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

    /// The flood comes before, between and after the uses, whichever is worst.
    #[tokio::test(start_paused = true)]
    async fn a_flood_of_keys_leaves_what_is_used_often() {
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
    async fn what_is_used_often_gets_in_after_a_flood() {
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
