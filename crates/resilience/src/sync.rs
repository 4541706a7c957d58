//! The synchronisation primitives the core is built on, in one place, so that a model checker can
//! stand in for them.
//!
//! With the `loom` feature they are loom's, and `tests/loom.rs` explores every interleaving of the
//! very code that ships. A feature rather than `--cfg loom`, which would reach into Tokio as well.

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

/// Locks, also after a panic elsewhere: what the core guards stays consistent between statements,
/// and a breaker that is poisoned for ever would be worse than any half-finished count.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps what every call writes off the cache line that every call reads.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);
