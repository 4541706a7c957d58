//! The synchronisation primitives of the core, in one place, so that a model checker can replace them.
//!
//! With the `loom` feature they are loom's, and `tests/loom.rs` explores every interleaving of the released
//! code. It is a feature because `--cfg loom` would affect Tokio as well.

use std::sync::PoisonError;

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

/// A number that no other call of this process returned. The model checker does not need to see it: it orders nothing.
pub(crate) fn unique() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Locks, also after a panic elsewhere: the guarded data is consistent between statements, and a poisoned
/// breaker would be worse than an incomplete count.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps data written by every call off the cache lines that every call reads.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);
