//! The breaker's state in one atomic word, so that a single load decides about a call.
//!
//! ```text
//! bit 63            31 30                      3 2    0
//!     generation (33) │ payload (28)            │ state
//! ```
//! The payload depends on the state: the window's epoch while calls are recorded (closed, metrics only),
//! four counts of seven bits in half-open, nothing otherwise. Only the holder of the control lock writes the
//! word.

use super::types::State;

const STATE_BITS: u32 = 3;
const PAYLOAD_BITS: u32 = 28;
const COUNT_BITS: u32 = 7;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// A state, its generation and its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    pub(super) fn new(generation: u64, state: State, payload: u32) -> Self {
        let code = state as u64;
        Self((generation << (STATE_BITS + PAYLOAD_BITS)) | (u64::from(payload) << STATE_BITS) | code)
    }

    #[inline]
    pub(super) fn state(self) -> State {
        match self.0 & ((1 << STATE_BITS) - 1) {
            0 => State::Closed,
            1 => State::Open,
            2 => State::HalfOpen,
            3 => State::ForcedOpen,
            4 => State::Disabled,
            _ => State::MetricsOnly,
        }
    }

    #[inline]
    pub(super) fn generation(self) -> u64 {
        self.0 >> (STATE_BITS + PAYLOAD_BITS)
    }

    /// Epoch of the window that this state records in.
    #[inline]
    pub(super) fn epoch(self) -> u32 {
        u32::try_from((self.0 >> STATE_BITS) & ((1 << PAYLOAD_BITS) - 1)).expect("28 bits fit into 32")
    }

    /// Counts of half-open's probes.
    pub(super) fn probes(self) -> Probes {
        let field = |at: u32| {
            u32::try_from((self.0 >> (STATE_BITS + at * COUNT_BITS)) & COUNT_MASK).expect("seven bits fit into 32")
        };
        Probes { in_flight: field(0), succeeded: field(1), failed: field(2), slow: field(3) }
    }
}

/// Counts of one half-open state, or of one stage of a recovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Probes {
    /// Admitted and not finished.
    pub(super) in_flight: u32,
    /// Succeeded.
    pub(super) succeeded: u32,
    /// Failed.
    pub(super) failed: u32,
    /// Slow, whether succeeded or failed.
    pub(super) slow: u32,
}

impl Probes {
    /// Used permits: in flight or finished.
    pub(super) fn used(self) -> u32 {
        self.in_flight + self.finished()
    }

    pub(super) fn finished(self) -> u32 {
        self.succeeded + self.failed
    }

    pub(super) fn payload(self) -> u32 {
        let counts = [self.in_flight, self.succeeded, self.failed, self.slow];
        (0..).zip(counts).fold(0, |payload, (at, count)| {
            debug_assert!(u64::from(count) <= COUNT_MASK, "permitted probes are bounded");
            payload | (count << (at * COUNT_BITS))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_gives_back_what_was_packed() {
        for state in State::ALL {
            let word = Word::new(0x1_2345_6789, *state, 0x0abc_def1);
            assert_eq!(word.state(), *state);
            assert_eq!(word.generation(), 0x1_2345_6789);
            assert_eq!(word.epoch(), 0x0abc_def1);
        }
        let probes = Probes { in_flight: 100, succeeded: 1, failed: 99, slow: 64 };
        assert_eq!(Word::new(1, State::HalfOpen, probes.payload()).probes(), probes);
    }
}
