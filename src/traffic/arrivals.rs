//! Start times of journeys.

use std::f64::consts::TAU;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};
use serde::{Deserialize, Serialize};

/// Deviation of the busiest and the quietest hour from the mean, as a share of the mean.
const SWING: f64 = 0.8;

/// Upper limit of a gap: at a tiny rate it could exceed the range of the clock.
const LONGEST_GAP: Duration = Duration::from_hours(24 * 365);

/// How the rate changes over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Constant.
    #[default]
    Steady,
    /// Like a day: low at its beginning and end, high in its middle.
    Diurnal,
}

/// A Poisson process: gaps between journeys are exponential, so that several sometimes start almost at once, as with
/// real viewers.
#[derive(Clone, Debug)]
pub struct Arrivals {
    random: ChaCha8Rng,
    shape: Shape,
    day: Duration,
    at: Duration,
}

impl Arrivals {
    /// A process that starts at zero.
    #[must_use]
    pub fn new(shape: Shape, day: Duration, random: ChaCha8Rng) -> Self {
        Self { random, shape, day, at: Duration::ZERO }
    }

    /// Start of the next journey, relative to the start of the process, at `rate` journeys per second on average.
    /// `None` at a rate of zero.
    ///
    /// A changing rate is drawn by thinning (Lewis and Shedler, 1979): candidates are drawn at the maximum rate, and
    /// each is kept with a probability of the present rate divided by the maximum.
    pub fn next(&mut self, rate: f64) -> Option<Duration> {
        if rate <= 0.0 {
            return None;
        }
        let highest = match self.shape {
            Shape::Steady => rate,
            Shape::Diurnal => rate * (1.0 + SWING),
        };
        loop {
            let gap: f64 = Exp1.sample(&mut self.random);
            self.at += Duration::try_from_secs_f64(gap / highest).map_or(LONGEST_GAP, |gap| gap.min(LONGEST_GAP));
            if self.shape == Shape::Steady || self.random.random::<f64>() * highest < rate * self.swing() {
                return Some(self.at);
            }
        }
    }

    /// Draws again from `at` because the rate changed. A Poisson process has no memory, so the dropped gap does not
    /// affect the next one.
    pub fn resume_at(&mut self, at: Duration) {
        self.at = at;
    }

    /// The present rate as a multiple of the mean.
    fn swing(&self) -> f64 {
        let phase = self.at.as_secs_f64() / self.day.as_secs_f64();
        1.0 - SWING * (TAU * phase).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn arrivals(shape: Shape) -> Arrivals {
        Arrivals::new(shape, Duration::from_secs(600), ChaCha8Rng::seed_from_u64(5))
    }

    fn count(shape: Shape, from: u64, to: u64) -> usize {
        let mut process = arrivals(shape);
        let all = std::iter::from_fn(|| process.next(20.0)).take_while(|at| *at < Duration::from_secs(to));
        all.filter(|at| *at >= Duration::from_secs(from)).count()
    }

    #[test]
    fn a_steady_load_keeps_its_rate_and_a_poisson_spread() {
        let n = count(Shape::Steady, 0, 600);
        assert!((11_600..12_400).contains(&n), "{n} of 12000");
        // The variance equals the mean: counts per second have a standard deviation of √20.
        let mut process = arrivals(Shape::Steady);
        let mut per_second = [0_f64; 600];
        while let Some(at) = process.next(20.0).filter(|at| at.as_secs() < 600) {
            per_second[usize::try_from(at.as_secs()).unwrap()] += 1.0;
        }
        let mean = per_second.iter().sum::<f64>() / 600.0;
        let variance = per_second.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 599.0;
        assert!((variance / mean - 1.0).abs() < 0.2, "variance {variance}, mean {mean}");
    }

    #[test]
    fn a_day_is_quiet_at_its_ends_and_busy_in_its_middle() {
        let (night, noon) = (count(Shape::Diurnal, 0, 60), count(Shape::Diurnal, 270, 330));
        assert!(noon > 5 * night, "{noon} against {night}");
        let whole = count(Shape::Diurnal, 0, 600);
        assert!((11_400..12_600).contains(&whole), "{whole} of 12000");
    }

    #[test]
    fn no_arrivals_at_rate_zero_and_none_early_afterwards() {
        let mut process = arrivals(Shape::Steady);
        assert_eq!(process.next(0.0), None);
        process.resume_at(Duration::from_secs(100));
        assert!(process.next(20.0).unwrap() > Duration::from_secs(100));
    }
}
