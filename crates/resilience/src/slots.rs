//! Cells that only one thread writes, so that counting needs no atomic addition.
//!
//! An atomic addition locks a cache line, which costs more than the rest of a breaker's work for a success. A
//! thread that is the only writer of its cell needs a load and a store, and never waits for another thread.
//!
//! A thread takes a slot when it first counts anything, and returns it when it ends; the next thread with that
//! slot sees all previous writes. All counters share the same slots. Threads beyond their number have none, and
//! use atomic operations on a shared cell.

use std::{
    cell::Cell,
    sync::{OnceLock, atomic::AtomicUsize},
};

use crate::sync::{AtomicU64, Ordering, Padded};

/// Number of threads that can have a slot at the same time.
/// The model checker gets fewer slots than a model has threads, so that it sees both kinds.
const SLOTS: usize = if cfg!(feature = "loom") { 1 } else { 32 };
/// Index of a thread without a slot: beyond all of them.
const NONE: usize = SLOTS;

/// One bit per slot in use.
#[cfg(not(feature = "loom"))]
type Taken = &'static AtomicU64;
/// The model checker ends its statics before the locals of the first thread.
#[cfg(feature = "loom")]
type Taken = std::sync::Arc<AtomicU64>;

#[cfg(not(feature = "loom"))]
fn taken() -> Taken {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    &TAKEN
}

#[cfg(feature = "loom")]
fn taken() -> Taken {
    loom::lazy_static! {
        static ref TAKEN: Taken = Taken::new(AtomicU64::new(0));
    }
    Taken::clone(&TAKEN)
}

/// Slot of a thread, or [`NONE`].
struct Slot {
    number: usize,
    taken: Taken,
}

impl Slot {
    #[cold]
    fn take() -> Self {
        let taken = taken();
        let free = |taken: u64| (0..SLOTS).find(|slot| taken & (1 << slot) == 0);
        // Acquire: the thread that had the slot before has written its cells.
        let before = taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| free(taken).map(|slot| taken | (1 << slot)));
        Self { number: before.ok().and_then(free).unwrap_or(NONE), taken }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let _ = NUMBER.try_with(|mine| mine.set(NONE));
        if self.number != NONE {
            self.taken.fetch_and(!(1 << self.number), Ordering::AcqRel);
        }
    }
}

#[cfg(not(feature = "loom"))]
thread_local! {
    static MINE: Slot = Slot::take();
    /// The number of `MINE`, or [`NONE`] before that was taken and after it was returned. A constant without
    /// a destructor is read without asking whether it is initialised.
    static NUMBER: Cell<usize> = const { Cell::new(NONE) };
}

#[cfg(feature = "loom")]
loom::thread_local! {
    static MINE: Slot = Slot::take();
    static NUMBER: Cell<usize> = Cell::new(NONE);
}

/// Slot of this thread if it has counted before; [`NONE`] also while it is ending.
#[inline]
fn mine() -> usize {
    NUMBER.try_with(Cell::get).unwrap_or(NONE)
}

/// Slot of this thread, taken if it has none; [`NONE`] if all are in use, and while it is ending.
fn mine_or_new() -> usize {
    let number = MINE.try_with(|slot| slot.number).unwrap_or(NONE);
    // Fails while the thread is ending: then its slot is no longer its own.
    let _ = NUMBER.try_with(|mine| mine.set(number));
    number
}

/// One cell per thread that has counted, each on its own cache lines.
#[derive(Debug)]
pub(crate) struct PerThread<T> {
    cells: [OnceLock<Box<Padded<T>>>; SLOTS],
    /// Slots below this one may have cells. Threads take the lowest free one, so that they are few.
    used: AtomicUsize,
    make: fn() -> T,
}

impl<T> PerThread<T> {
    pub(crate) fn new(make: fn() -> T) -> Self {
        let new = Self { cells: [const { OnceLock::new() }; SLOTS], used: AtomicUsize::new(0), make };
        if cfg!(feature = "loom") {
            // The model checker does not know that `OnceLock` publishes what it holds.
            for slot in 0..SLOTS {
                let _ = new.at(slot);
            }
        }
        new
    }

    /// This thread's cell, if it has one. No other thread writes to it, since every thread writes only to the
    /// cell that it gets from here.
    #[inline]
    pub(crate) fn mine(&self) -> Option<&T> {
        Some(&self.cells.get(mine())?.get()?.0)
    }

    /// This thread's cell, created if needed; `None` if the thread has no slot.
    pub(crate) fn mine_or_new(&self) -> Option<&T> {
        self.at(mine_or_new())
    }

    fn at(&self, slot: usize) -> Option<&T> {
        let cell = self.cells.get(slot)?.get_or_init(|| Box::new(Padded((self.make)())));
        self.used.fetch_max(slot + 1, std::sync::atomic::Ordering::AcqRel);
        Some(&cell.0)
    }

    /// Cells of all threads.
    pub(crate) fn each(&self) -> impl Iterator<Item = &T> {
        let used = self.used.load(std::sync::atomic::Ordering::Acquire);
        self.cells.iter().take(used).filter_map(|cell| cell.get().map(|cell| &cell.0))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::Barrier, thread};

    use super::*;

    #[test]
    fn threads_at_work_never_share_a_slot() {
        let threads = 2 * SLOTS;
        let all_have_one = Barrier::new(threads);
        let slots: Vec<usize> = thread::scope(|scope| {
            let one = || {
                let slot = mine_or_new();
                all_have_one.wait();
                slot
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let own: Vec<usize> = slots.into_iter().filter(|slot| *slot != NONE).collect();
        // Other tests of this process have slots, too.
        assert!(!own.is_empty());
        assert_eq!(own.iter().collect::<HashSet<_>>().len(), own.len());
    }

    #[test]
    fn a_slot_outlives_any_number_of_threads() {
        for _ in 0..10 * SLOTS {
            assert!(thread::spawn(mine_or_new).join().unwrap() <= NONE);
        }
        assert!((0..100).any(|_| thread::spawn(mine_or_new).join().unwrap() != NONE), "slots come back");
    }
}
