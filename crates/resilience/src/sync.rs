//! The synchronisation primitives the core is built on, in one place, so that a model checker can
//! stand in for them.
//!
//! With the `loom` feature they are loom's, and `tests/loom.rs` explores every interleaving of the
//! very code that ships. A feature rather than `--cfg loom`, which would reach into Tokio as well.

use std::{
    cell::Cell,
    sync::{OnceLock, PoisonError, atomic::AtomicUsize},
    thread,
};

#[cfg(not(feature = "loom"))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
};

#[cfg(feature = "loom")]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
};

/// Locks, also after a panic elsewhere: what the core guards stays consistent between statements,
/// and a breaker that is poisoned for ever would be worse than any half-finished count.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps what every call writes off the cache line that every call reads.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// Most shards of anything that threads count in.
const MOST_SHARDS: usize = 16;
const UNKNOWN: usize = usize::MAX;

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(UNKNOWN) };
}

/// The thread's number, in the order in which they first asked for one: which shard it counts in.
#[inline]
pub(crate) fn thread_number() -> usize {
    // A thread that is ending counts with the first.
    MINE.try_with(|mine| if mine.get() == UNKNOWN { number(mine) } else { mine.get() }).unwrap_or(0)
}

#[cold]
fn number(mine: &Cell<usize>) -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    mine.set(THREADS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) & (UNKNOWN >> 1));
    mine.get()
}

/// How many shards there are to count in: a power of two, for as many threads as can run at once.
pub(crate) fn shard_count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        thread::available_parallelism().map_or(1, usize::from).next_power_of_two().clamp(2, MOST_SHARDS)
    })
}
