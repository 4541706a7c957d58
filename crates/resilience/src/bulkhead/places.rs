//! Slots of a semaphore, and the queue of callers that wait for one.
//!
//! Without waiting callers, taking and returning a slot is one atomic exchange each. Only with waiting callers
//! there is a lock, and Tokio's semaphore as a FIFO queue, which handles waiters that are dropped.
//!
//! Invariant: a caller in the semaphore's queue is either counted in the word as waiting, or has a permit in
//! the semaphore. Both changes happen together under the lock, so that a waiter that is dropped knows which of
//! the two to undo.

use tokio::sync::Semaphore;

use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// Every call writes the word, so that it has cache lines of its own: otherwise two threads would also take turns at
/// the settings beside it.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Places {
    /// `[waiting: 32 | free: 32]`; while callers wait, no slot is free.
    word: AtomicU64,
    queue: Semaphore,
    /// Held while a caller joins the queue, leaves it, or gets a slot there.
    changing: Mutex<()>,
}

const WAITER: u64 = 1 << 32;
const FREE: u64 = WAITER - 1;

impl Places {
    pub(super) fn new(places: u32) -> Self {
        Self { word: AtomicU64::new(places.into()), queue: Semaphore::new(0), changing: Mutex::new(()) }
    }

    /// Free slots and waiting callers.
    pub(super) fn now(&self) -> (u32, u32) {
        let word = self.word.load(Ordering::Acquire);
        let half = |word: u64| u32::try_from(word & FREE).expect("masked to 32 bits");
        (half(word), half(word >> 32))
    }

    /// Takes a slot, if one is free.
    #[inline]
    pub(super) fn try_take(&self) -> bool {
        self.change(|word| (word & FREE > 0).then(|| word - 1)).is_some()
    }

    /// Returns a slot: to the longest waiting caller, or to the free ones.
    #[inline]
    pub(super) fn give_back(&self) {
        if self.change(|word| (word < WAITER).then(|| word + 1)).is_none() {
            self.hand_on();
        }
    }

    #[cold]
    fn hand_on(&self) {
        let _changing = lock(&self.changing);
        let before = self.change(|word| Some(if word < WAITER { word + 1 } else { word - WAITER }));
        if before.is_some_and(|word| word >= WAITER) {
            self.queue.add_permits(1);
        }
    }

    /// Waits for a slot. The future can be dropped at any time.
    pub(super) async fn take(&self) {
        if !self.join() {
            return;
        }
        let mut waiting = Waiting { places: self, served: false };
        // The semaphore is never closed.
        if let Ok(permit) = self.queue.acquire().await {
            permit.forget();
            waiting.served = true;
        }
    }

    /// Joins the queue, unless a slot is free by now, which is then taken.
    fn join(&self) -> bool {
        let _changing = lock(&self.changing);
        let before = self.change(|word| Some(if word & FREE > 0 { word - 1 } else { word + WAITER }));
        before.is_some_and(|word| word & FREE == 0)
    }

    /// Leaves the queue. A slot that has been handed over in between is returned.
    fn leave(&self) {
        let changing = lock(&self.changing);
        if self.change(|word| (word >= WAITER).then(|| word - WAITER)).is_some() {
            return;
        }
        // No caller is counted as waiting, so that all who are in the queue have a permit each, and there is
        // one more: this one's.
        if let Ok(permit) = self.queue.try_acquire() {
            permit.forget();
            drop(changing);
            self.give_back();
        }
    }

    /// Updates the word and returns the previous one; `None` if `next` refuses.
    #[inline]
    fn change(&self, next: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()
    }
}

/// A caller in the queue. It must be declared before the future that waits, to be dropped after it.
struct Waiting<'a> {
    places: &'a Places,
    served: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.served {
            self.places.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use super::*;

    /// Threads of their own, so that joining, serving and giving up do meet.
    #[test]
    fn no_place_is_lost_or_made_by_those_who_give_up() {
        let calls = if cfg!(miri) { 10 } else { 2_000_u32 };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
        runtime.block_on(async {
            let (places, inside) = (Arc::new(Places::new(3)), Arc::new(AtomicU32::new(0)));
            let tasks: Vec<_> = (0..16)
                .map(|task| {
                    let (places, inside) = (places.clone(), inside.clone());
                    tokio::spawn(async move {
                        for call in 0..calls {
                            // Polled a few times and then dropped, at another point each time.
                            let patience = (call + task) % 5;
                            let mut take = std::pin::pin!(places.take());
                            let mut polls = 0;
                            let taken = std::future::poll_fn(|context| {
                                if take.as_mut().poll(context).is_ready() {
                                    return std::task::Poll::Ready(true);
                                }
                                polls += 1;
                                if polls > patience {
                                    return std::task::Poll::Ready(false);
                                }
                                context.waker().wake_by_ref();
                                std::task::Poll::Pending
                            });
                            if taken.await {
                                assert!(inside.fetch_add(1, Ordering::SeqCst) < 3, "more inside than places");
                                tokio::task::yield_now().await;
                                inside.fetch_sub(1, Ordering::SeqCst);
                                places.give_back();
                            }
                        }
                    })
                })
                .collect();
            for task in tasks {
                tokio::time::timeout(Duration::from_mins(1), task).await.expect("nobody waits for ever").unwrap();
            }
            assert_eq!(places.now(), (3, 0));
            assert_eq!(places.queue.available_permits(), 0);
        });
    }
}
