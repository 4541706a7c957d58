//! The bulkhead as a pool: a core size, a maximum, and a bounded queue.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::Instant};

use super::{BulkheadFull, BulkheadSnapshot};
use crate::{
    settings::{SettingsError, within},
    sync::{Mutex, lock},
};

/// Handling of a call when pool and queue are full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// The caller runs it, outside the pool.
    CallerRuns,
    /// It is rejected.
    #[default]
    Reject,
}

/// Sizes of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PoolSettings {
    /// Number of calls that run before any is queued.
    pub core_size: u32,
    /// Number of calls that run when the queue is full.
    pub max_size: u32,
    /// Length of the queue.
    pub queue_capacity: u32,
    /// Handling of further calls.
    pub when_full: WhenFull,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { core_size: 10, max_size: 20, queue_capacity: 100, when_full: WhenFull::default() }
    }
}

impl PoolSettings {
    /// Validates the settings.
    pub fn validate(&self) -> Result<(), SettingsError> {
        within("core-size", self.core_size, 1..=100_000, "1–100000")?;
        within("max-size", self.max_size, self.core_size..=100_000, "between core-size and 100000")?;
        within("queue-capacity", self.queue_capacity, 0..=100_000, "0–100000")
    }
}

/// State of a pool at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSnapshot {
    /// The figures that it shares with other bulkheads.
    pub bulkhead: BulkheadSnapshot,
    /// Calls run by their callers, outside the pool.
    pub caller_runs: u32,
    /// Whether the queue is full.
    pub saturated: bool,
    /// Number of calls that have run in the pool.
    pub completed: u64,
}

/// A bulkhead with a core size, a maximum, and a bounded queue. Clones share the pool.
///
/// It decides like a Java `ThreadPoolExecutor`, but without threads: calls are futures and run where they are
/// awaited. Up to `core` calls run at once. Further ones are queued. When the queue is full, more run, up to
/// `max`. When that is reached, too, a call is rejected or, with [`WhenFull::CallerRuns`], run by its caller
/// outside the pool: a caller that makes one call at a time is then busy and sends no more, which is
/// back-pressure. A service with a task per request has no such caller, so that this would limit nothing: it
/// uses [`WhenFull::Reject`], the default.
///
/// The queue is FIFO. A caller that stops waiting leaves it at once.
///
/// ```
/// use breakerbox_resilience::bulkhead::{PoolBulkhead, PoolSettings};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let pool = PoolBulkhead::new(&PoolSettings::default())?;
/// let place = pool.enter().await.expect("the pool is empty");
/// assert_eq!(pool.snapshot().bulkhead.in_flight, 1);
/// drop(place);
/// # Ok::<(), breakerbox_resilience::SettingsError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct PoolBulkhead {
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    settings: PoolSettings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: u32,
    queue: VecDeque<Waiter>,
    joined: u64,
    caller_runs: u32,
    rejected: u64,
    completed: u64,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    turn: oneshot::Sender<PoolPlace>,
}

/// Decision about a call that wants to enter.
enum Entrance {
    Run,
    Wait(u64, oneshot::Receiver<PoolPlace>),
    CallerRuns,
    Full,
}

/// A running call; its slot is returned on drop.
#[derive(Debug)]
#[must_use = "the place is free again as soon as this is dropped"]
pub struct PoolPlace {
    /// `None` once it has been handed over.
    pool: Option<Arc<Pool>>,
    /// Whether it runs outside the pool.
    caller_runs: bool,
}

impl PoolPlace {
    /// Whether the call runs outside the pool, by its caller.
    #[must_use]
    pub fn caller_runs(&self) -> bool {
        self.caller_runs
    }
}

impl PoolBulkhead {
    /// Creates an empty pool.
    pub fn new(settings: &PoolSettings) -> Result<Self, SettingsError> {
        settings.validate()?;
        let pool = Pool { settings: settings.clone(), state: Mutex::new(State::default()) };
        Ok(Self { pool: Arc::new(pool) })
    }

    /// Waits for a slot, in the queue if it has capacity.
    pub async fn enter(&self) -> Result<PoolPlace, BulkheadFull> {
        match self.pool.admit() {
            Entrance::Run => Ok(self.place(false)),
            Entrance::CallerRuns => Ok(self.place(true)),
            Entrance::Full => Err(self.full()),
            Entrance::Wait(id, turn) => {
                let _queued = Queued { pool: &self.pool, id };
                // The sender lives in the queue until it is used, and the queue as long as `self`.
                turn.await.map_err(|_| self.full())
            }
        }
    }

    /// Waits for a slot, for at most this long. A caller that stops waiting counts as rejected.
    pub async fn enter_within(&self, limit: Duration) -> Result<PoolPlace, BulkheadFull> {
        let began = Instant::now();
        match tokio::time::timeout(limit, self.enter()).await {
            Ok(place) => place,
            Err(_) => {
                lock(&self.pool.state).rejected += 1;
                Err(BulkheadFull { waited: began.elapsed(), ..self.full() })
            }
        }
    }

    /// Takes a slot if the call can run at once. A failure does not count as a rejection.
    #[must_use]
    pub fn try_enter(&self) -> Option<PoolPlace> {
        let mut state = lock(&self.pool.state);
        let free = state.queue.is_empty() && state.running < self.pool.settings.core_size;
        free.then(|| {
            state.running += 1;
            self.place(false)
        })
    }

    /// Snapshot of the pool.
    #[must_use]
    pub fn snapshot(&self) -> PoolSnapshot {
        let state = lock(&self.pool.state);
        let queued = u32::try_from(state.queue.len()).unwrap_or(u32::MAX);
        PoolSnapshot {
            bulkhead: BulkheadSnapshot {
                in_flight: state.running,
                capacity: self.pool.settings.max_size,
                queued,
                rejected: state.rejected,
            },
            caller_runs: state.caller_runs,
            saturated: queued >= self.pool.settings.queue_capacity,
            completed: state.completed,
        }
    }

    fn place(&self, caller_runs: bool) -> PoolPlace {
        PoolPlace { pool: Some(self.pool.clone()), caller_runs }
    }

    fn full(&self) -> BulkheadFull {
        BulkheadFull { capacity: self.pool.settings.max_size, waited: Duration::ZERO }
    }
}

impl Pool {
    fn admit(&self) -> Entrance {
        let mut state = lock(&self.state);
        if state.running < self.settings.core_size && state.queue.is_empty() {
            state.running += 1;
            Entrance::Run
        } else if state.queue.len() < self.settings.queue_capacity as usize {
            let (turn, wait) = oneshot::channel();
            state.joined += 1;
            let id = state.joined;
            state.queue.push_back(Waiter { id, turn });
            Entrance::Wait(id, wait)
        } else if state.running < self.settings.max_size {
            state.running += 1;
            Entrance::Run
        } else if self.settings.when_full == WhenFull::CallerRuns {
            state.caller_runs += 1;
            Entrance::CallerRuns
        } else {
            state.rejected += 1;
            Entrance::Full
        }
    }

    /// Hands the slot of a finished call to the longest waiting one.
    fn hand_on(self: Arc<Self>) {
        lock(&self.state).completed += 1;
        loop {
            let waiter = {
                let mut state = lock(&self.state);
                let Some(waiter) = state.queue.pop_front() else {
                    state.running -= 1;
                    return;
                };
                waiter
            };
            let place = PoolPlace { pool: Some(self.clone()), caller_runs: false };
            match waiter.turn.send(place) {
                Ok(()) => return,
                // It has just stopped waiting: the next one, then.
                Err(mut place) => place.pool = None,
            }
        }
    }
}

impl Drop for PoolPlace {
    fn drop(&mut self) {
        let Some(pool) = self.pool.take() else {
            return;
        };
        if self.caller_runs {
            lock(&pool.state).caller_runs -= 1;
        } else {
            pool.hand_on();
        }
    }
}

/// Leaves the queue when the wait ends, in any way.
struct Queued<'a> {
    pool: &'a Pool,
    id: u64,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.pool.state);
        let left = state.queue.iter().position(|waiter| waiter.id == self.id);
        let waiter = left.and_then(|at| state.queue.remove(at));
        // Its sender is dropped without the lock, should that ever wake a task.
        drop(state);
        drop(waiter);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn pool(core: u32, max: u32, queue: u32, when_full: WhenFull) -> PoolBulkhead {
        let settings = PoolSettings { core_size: core, max_size: max, queue_capacity: queue, when_full };
        PoolBulkhead::new(&settings).unwrap()
    }

    #[tokio::test]
    async fn core_then_queue_then_maximum_then_rejection() {
        let pool = pool(1, 2, 1, WhenFull::Reject);
        let core = pool.enter().await.unwrap();
        let mut queued = Box::pin(pool.enter());
        assert!(queued.as_mut().now_or_never().is_none());
        let grown = pool.enter().await.unwrap();
        assert!(pool.snapshot().saturated);
        assert!(pool.enter().await.is_err());
        assert_eq!(pool.snapshot().bulkhead.rejected, 1);
        drop(core);
        let served = queued.await.unwrap();
        assert_eq!(pool.snapshot().bulkhead.in_flight, 2);
        drop((grown, served));
        let snapshot = pool.snapshot();
        assert_eq!((snapshot.bulkhead.in_flight, snapshot.completed), (0, 3));
    }

    #[tokio::test]
    async fn a_full_pool_lets_the_caller_run_its_call() {
        let pool = pool(1, 1, 0, WhenFull::CallerRuns);
        let inside = pool.enter().await.unwrap();
        let outside = pool.enter().await.unwrap();
        assert!(outside.caller_runs() && !inside.caller_runs());
        assert_eq!(pool.snapshot().caller_runs, 1);
        drop((inside, outside));
        let snapshot = pool.snapshot();
        assert_eq!((snapshot.caller_runs, snapshot.bulkhead.in_flight), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_gives_up_frees_its_place_in_the_queue() {
        let pool = pool(1, 1, 1, WhenFull::Reject);
        let inside = pool.enter().await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(5), pool.enter()).await.is_err());
        assert_eq!(pool.snapshot().bulkhead.queued, 0);
        let mut waiting = Box::pin(pool.enter());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(inside);
        // The place has been handed over but not been received when the waiter goes away.
        drop(waiting);
        assert_eq!(pool.snapshot().bulkhead.in_flight, 0);
        assert!(pool.try_enter().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_longer_than_one_may_is_a_rejection() {
        let pool = pool(1, 1, 1, WhenFull::Reject);
        let _inside = pool.enter().await.unwrap();
        let full = pool.enter_within(Duration::from_millis(5)).await.unwrap_err();
        assert_eq!((full.capacity, full.waited), (1, Duration::from_millis(5)));
        let snapshot = pool.snapshot().bulkhead;
        assert_eq!((snapshot.queued, snapshot.rejected), (0, 1));
    }
}
