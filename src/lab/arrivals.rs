//! Start times of journeys: an open loop, a Poisson process whose rate may change over time.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::spec::Load;

/// Draws the event times of a Poisson process one by one.
pub(super) struct Arrivals {
    random: ChaCha8Rng,
    load: Load,
    at: f64,
    end: f64,
}

impl Arrivals {
    pub(super) fn new(load: &Load, length: Duration, seed: u64) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), load: load.clone(), at: 0.0, end: length.as_secs_f64() }
    }

    /// The rate at a time, and the time of its next change.
    fn rate(&self, at: f64) -> (f64, f64) {
        let mut until = f64::INFINITY;
        for step in &self.load.step {
            let (from, to) = (step.at.as_secs_f64(), (step.at + step.lasts).as_secs_f64());
            if (from..to).contains(&at) {
                return (step.rate, to);
            }
            if from > at {
                until = until.min(from);
            }
        }
        (self.load.rate, until)
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // An exponential variate is consumed at the current rate, which is exact for a piecewise constant rate.
        let luck: f64 = self.random.random();
        let mut left = -(1.0 - luck).ln();
        loop {
            let (rate, until) = self.rate(self.at);
            let needed = left / rate;
            if self.at + needed <= until {
                self.at += needed;
                break;
            }
            left -= (until - self.at) * rate;
            self.at = until;
        }
        (self.at < self.end).then(|| Duration::from_secs_f64(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::RateStep;
    use super::*;

    #[test]
    fn arrivals_follow_the_rate_and_its_steps() {
        let step = RateStep { at: Duration::from_secs(1000), lasts: Duration::from_secs(1000), rate: 50.0 };
        let load = Load { rate: 10.0, step: vec![step], ..Load::default() };
        let all: Vec<_> = Arrivals::new(&load, Duration::from_secs(3000), 1).collect();
        let within = |from: u64, to: u64| {
            all.iter().filter(|at| (from..to).contains(&at.as_secs())).count() as f64 / (to - from) as f64
        };
        for (from, to, rate) in [(0, 1000, 10.0), (1000, 2000, 50.0), (2000, 3000, 10.0)] {
            assert!((within(from, to) / rate - 1.0).abs() < 0.05, "{from}: {}", within(from, to));
        }
        assert!(all.is_sorted());
    }

    #[test]
    fn a_rate_of_zero_lasts_until_it_changes() {
        let step = RateStep { at: Duration::ZERO, lasts: Duration::from_secs(10), rate: 0.0 };
        let load = Load { rate: 10.0, step: vec![step], ..Load::default() };
        let first = Arrivals::new(&load, Duration::from_secs(100), 1).next().unwrap();
        assert!(first >= Duration::from_secs(10), "{first:?}");
    }
}
