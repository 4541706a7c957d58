//! Seeded, reproducible randomness as an argument, shared without a lock.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::sync::{AtomicU64, Ordering};

/// A random seed, where results need not be reproducible.
#[must_use]
pub fn entropy() -> u64 {
    // Every state of the standard library's hash maps is keyed from the system's entropy.
    RandomState::new().build_hasher().finish()
}

/// A source of random numbers, shared between threads.
///
/// Each draw hashes the seed and a counter (`SplitMix64`), so that concurrent draws contend on a single
/// addition. Good enough for jitter and sampling; not for secrets.
#[derive(Debug)]
pub struct Rng {
    seed: u64,
    drawn: AtomicU64,
}

impl Rng {
    /// Creates a source that is reproducible by its seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: AtomicU64::new(0) }
    }

    /// Creates a source with a random seed.
    #[must_use]
    pub fn from_entropy() -> Self {
        Self::new(entropy())
    }

    /// Next number, 0 ≤ x < 1.
    #[must_use]
    pub fn uniform(&self) -> f64 {
        // 53 bits are what an f64 holds exactly.
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn bits(&self) -> u64 {
        let step = self.drawn.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let mut z = self.seed.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn the_same_seed_rolls_the_same_numbers_again() {
        let (a, b) = (Rng::new(7), Rng::new(7));
        assert!((0..100).all(|_| a.uniform().to_bits() == b.uniform().to_bits()));
    }

    #[test]
    fn without_a_seed_no_two_sources_agree() {
        let (a, b) = (Rng::from_entropy(), Rng::from_entropy());
        assert!((0..4).any(|_| a.uniform().to_bits() != b.uniform().to_bits()));
    }

    #[test]
    fn rolls_fill_the_unit_interval_evenly() {
        let rng = Rng::new(1);
        let draws: Vec<f64> = (0..10_000).map(|_| rng.uniform()).collect();
        assert!(draws.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = draws.iter().sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "mean {mean}");
    }
}
