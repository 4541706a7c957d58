//! The number of consecutive failures.

use crate::sync::{AtomicU64, Ordering};

/// `[epoch: 32 | failures: 32]`: a writer of an earlier epoch has no effect.
#[derive(Debug)]
pub(super) struct Streak(AtomicU64);

impl Streak {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds a failure and returns the length of the run; `None` if the epoch has changed.
    pub(super) fn grow(&self, epoch: u32) -> Option<u32> {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                let (at, length) = unpack(word);
                (at == epoch).then(|| pack(epoch, length.saturating_add(1)))
            })
            .ok()
            .map(|before| unpack(before).1.saturating_add(1))
    }

    /// Carries the run over to another epoch, in one step, so that a concurrent failure is either part of it or
    /// sees the new epoch.
    pub(super) fn carry(&self, epoch: u32) {
        // Never fails: the closure always gives a word.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| Some(pack(epoch, unpack(word).1)));
    }

    /// Ends the run. A healthy dependency has none; then this is a single load.
    #[inline]
    pub(super) fn end(&self, epoch: u32) {
        let mut word = self.0.load(Ordering::Relaxed);
        while unpack(word).1 != 0 && unpack(word).0 == epoch {
            match self.0.compare_exchange_weak(word, pack(epoch, 0), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// Length of the run under `epoch`.
    pub(super) fn length(&self, epoch: u32) -> u32 {
        match unpack(self.0.load(Ordering::Acquire)) {
            (at, length) if at == epoch => length,
            _ => 0,
        }
    }

    pub(super) fn reset(&self, epoch: u32) {
        self.0.swap(pack(epoch, 0), Ordering::AcqRel);
    }
}

fn pack(epoch: u32, length: u32) -> u64 {
    (u64::from(epoch) << 32) | u64::from(length)
}

fn unpack(word: u64) -> (u32, u32) {
    let low = u32::try_from(word & u64::from(u32::MAX)).expect("masked to 32 bits");
    let high = u32::try_from(word >> 32).expect("32 bits are left");
    (high, low)
}
