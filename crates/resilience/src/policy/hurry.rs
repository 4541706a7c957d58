//! Evaluation of attempts that the caller's deadline cut short.
//!
//! If each of these attempts counted as a failure, callers with short deadlines would trip the breaker of a
//! healthy dependency. If none did, callers with short deadlines would hide a dependency that hangs.
//!
//! An attempt that had at least half of its timeout counts as timed out. A shorter one adds an estimate: the probability
//! that a healthy dependency would have answered in that time. By Cantelli's inequality this is at least
//! k² / (1 + k²) for a time k deviations above the mean of recent answers; at or below the mean it is taken as zero.
//! Before the first answer, the fraction of its timeout that the attempt had is used instead. Each answer resets the
//! sum. Once the sum reaches [`EXPECTED`] answers without an actual one, further cut attempts count as timeouts.
//!
//! It cannot work without data: if deadlines are so short that even a healthy dependency never answers in
//! time.

use std::time::Duration;

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Expected answers without an actual one: with five expected, none at all happens by chance in one of a
/// hundred and fifty cases.
const EXPECTED: u32 = 5;
/// Fractions of an expected answer.
const PARTS: u32 = 1_000;
/// Answers between two measurements; each measurement writes memory that all calls read.
const SAMPLED: u32 = 16;

/// Recent answers, and the cut attempts since the last one; on cache lines of its own, because calls write it.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Hurry {
    /// Mean and mean deviation of the answers, in microseconds: `[deviation: 32 | mean: 32]`; 0 before
    /// the first.
    answers: AtomicU64,
    /// Expected answers of the cut attempts since the last actual one, in thousandths.
    missed: AtomicU32,
}

impl Hurry {
    pub(super) fn new() -> Self {
        Self { answers: AtomicU64::new(0), missed: AtomicU32::new(0) }
    }

    /// Records an answer.
    #[inline]
    pub(super) fn answered(&self, took: Duration) {
        let answers = self.answers.load(Ordering::Relaxed);
        if self.missed.load(Ordering::Relaxed) != 0 {
            self.missed.store(0, Ordering::Relaxed);
        }
        // The low digits of a duration are as good as random. None at all come from a coarse clock, which has
        // not measured anything.
        let measured = !took.is_zero() && took.subsec_nanos().is_multiple_of(SAMPLED);
        if answers == 0 || measured {
            self.measure(answers, took);
        }
    }

    /// Jacobson and Karels' estimate, as TCP keeps it of its round trips. Two at once may lose one.
    #[cold]
    #[inline(never)]
    fn measure(&self, answers: u64, took: Duration) {
        let took = micros(took);
        let (mean, deviation) = unpack(answers);
        let (mean, deviation) = if answers == 0 {
            (took, took / 2)
        } else {
            let distance = took.abs_diff(mean);
            let mean = if took > mean { mean + distance / 8 } else { mean - distance / 8 };
            (mean, deviation - deviation / 4 + distance / 4)
        };
        self.answers.store((u64::from(deviation.max(1)) << 32) | u64::from(mean.max(1)), Ordering::Relaxed);
    }

    /// Whether an attempt that was cut after `had`, of its timeout `own`, counts as a timeout.
    pub(super) fn cut(&self, had: Duration, own: Duration) -> bool {
        if had >= own / 2 {
            return true;
        }
        let chance = self.chance(had, own);
        let missed = self.missed.load(Ordering::Relaxed);
        if chance > 0 && missed >= EXPECTED * PARTS {
            return true;
        }
        self.missed.fetch_add(chance, Ordering::Relaxed);
        false
    }

    /// Probability (in thousandths) that a healthy dependency answers within `had`.
    fn chance(&self, had: Duration, own: Duration) -> u32 {
        let answers = self.answers.load(Ordering::Relaxed);
        if answers == 0 {
            return thousandths(had.as_secs_f64() / own.as_secs_f64().max(f64::MIN_POSITIVE));
        }
        let (mean, deviation) = unpack(answers);
        let above = micros(had).saturating_sub(mean);
        // The mean deviation of a bell curve is 0.8 of its standard deviation; of others it is less.
        let squared = (f64::from(above) / (1.25 * f64::from(deviation))).powi(2);
        thousandths(squared / (1.0 + squared))
    }
}

fn unpack(answers: u64) -> (u32, u32) {
    let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).expect("masked to 32 bits");
    (half(answers), half(answers >> 32))
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX / 2)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0–1")]
fn thousandths(share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * f64::from(PARTS)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Duration = Duration::from_secs(2);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn measured(of: impl Iterator<Item = u64>) -> Hurry {
        let hurry = Hurry::new();
        of.for_each(|took| hurry.measure(hurry.answers.load(Ordering::Relaxed), millis(took)));
        hurry
    }

    #[test]
    fn a_hang_is_seen_through_deadlines_that_healthy_answers_meet() {
        let hurry = measured((0..100).map(|n| 40 + n % 20));
        let counted = (0..100).filter(|_| hurry.cut(millis(200), OWN)).count();
        assert!(counted >= 94, "{counted}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes hours in Miri")]
    fn deadlines_below_what_healthy_answers_take_say_nothing() {
        let hurry = measured((0..100).map(|n| 300 + n % 20));
        assert_eq!((0..100_000).filter(|_| hurry.cut(millis(50), OWN)).count(), 0);
    }

    #[test]
    fn half_of_the_own_timeout_is_a_chance() {
        assert!(Hurry::new().cut(OWN / 2, OWN));
    }

    #[test]
    fn any_answer_forgives_what_was_cut_before() {
        let hurry = measured((0..100).map(|n| 40 + n % 20));
        for _ in 0..1_000 {
            // Three cuts for each answer.
            assert_eq!((0..3).filter(|_| hurry.cut(millis(200), OWN)).count(), 0);
            hurry.answered(millis(50));
        }
    }

    #[test]
    fn before_the_first_answer_the_own_timeout_is_the_measure() {
        let hurry = Hurry::new();
        let first = (1..1_000).find(|_| hurry.cut(millis(500), OWN));
        assert_eq!(first, Some(21), "five of a quarter each");
    }
}
