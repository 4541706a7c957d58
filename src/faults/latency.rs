//! Distributions of injected delays.

use std::time::Duration;

use rand::{Rng, RngExt};
use rand_distr::{Distribution, LogNormal, Pareto};
use serde::{Deserialize, Serialize};

use super::invalid::InvalidPlan;

/// Upper limit of a delay, because a heavy tail is unbounded.
const LONGEST: Duration = Duration::from_secs(600);

/// A distribution of delays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Latency {
    /// A constant delay.
    Fixed(#[serde(with = "humantime_serde")] Duration),
    /// Uniformly distributed.
    Uniform {
        /// Minimum.
        #[serde(with = "humantime_serde")]
        min: Duration,
        /// Maximum.
        #[serde(with = "humantime_serde")]
        max: Duration,
    },
    /// Exponentially distributed (memoryless), as queueing theory assumes of service times.
    Exponential {
        /// Mean.
        #[serde(with = "humantime_serde")]
        mean: Duration,
    },
    /// Log-normally distributed, like the response times of busy services: most near the median, some far above.
    #[serde(alias = "log-normal")]
    LogNormal {
        /// Median.
        #[serde(with = "humantime_serde")]
        median: Duration,
        /// Standard deviation of the logarithm, 0–5; with 1, one delay in a hundred exceeds ten times the median.
        sigma: f64,
    },
    /// A heavy tail: `P(delay > x) = (scale / x)^shape`.
    Pareto {
        /// Minimum.
        #[serde(with = "humantime_serde")]
        scale: Duration,
        /// 0.1–10; the smaller, the heavier the tail. At 1 and below it has no mean.
        shape: f64,
    },
}

/// A distribution of delays, in JSON.
#[derive(utoipa::ToSchema)]
#[schema(as = Latency)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "describes `Latency`, whose durations are texts in JSON")]
pub(super) enum LatencySchema {
    /// A constant delay, such as `2s`.
    Fixed(String),
    /// Uniformly distributed.
    Uniform {
        /// Minimum.
        min: String,
        /// Maximum.
        max: String,
    },
    /// Log-normally distributed: most near the median, some far above.
    LogNormal {
        /// Median.
        median: String,
        /// Standard deviation of the logarithm, 0–5.
        sigma: f64,
    },
    /// A heavy tail: `P(delay > x) = (scale / x)^shape`.
    Pareto {
        /// Minimum.
        scale: String,
        /// 0.1–10; the smaller, the heavier the tail.
        shape: f64,
    },
}

impl Latency {
    pub(super) fn validate(&self) -> Result<(), InvalidPlan> {
        let wrong = |why: &str| Err(InvalidPlan::new("latency", why));
        let long = |duration: Duration| duration > LONGEST;
        match *self {
            Self::Fixed(delay) if long(delay) => wrong("fixed must be at most 10m"),
            Self::Uniform { min, max } if min > max || long(max) => wrong("uniform needs min ≤ max ≤ 10m"),
            Self::Exponential { mean } if mean.is_zero() || long(mean) => {
                wrong("exponential.mean must be more than 0s and at most 10m")
            }
            Self::LogNormal { median, .. } if median.is_zero() || long(median) => {
                wrong("log_normal.median must be more than 0s and at most 10m")
            }
            Self::LogNormal { sigma, .. } if !(0.0..=5.0).contains(&sigma) => {
                wrong("log_normal.sigma must be within 0–5")
            }
            Self::Pareto { scale, .. } if scale.is_zero() || long(scale) => {
                wrong("pareto.scale must be more than 0s and at most 10m")
            }
            Self::Pareto { shape, .. } if !(0.1..=10.0).contains(&shape) => wrong("pareto.shape must be within 0.1–10"),
            _ => Ok(()),
        }
    }

    /// Draws a delay.
    pub fn sample(&self, random: &mut impl Rng) -> Duration {
        let seconds = match *self {
            Self::Fixed(delay) => return delay,
            Self::Uniform { min, max } => {
                min.as_secs_f64() + random.random::<f64>() * max.saturating_sub(min).as_secs_f64()
            }
            Self::Exponential { mean } => -mean.as_secs_f64() * (1.0 - random.random::<f64>()).ln(),
            // Both were validated; an invalid distribution gives no delay.
            Self::LogNormal { median, sigma } => {
                LogNormal::new(median.as_secs_f64().ln(), sigma).map_or(0.0, |d| d.sample(random))
            }
            Self::Pareto { scale, shape } => Pareto::new(scale.as_secs_f64(), shape).map_or(0.0, |d| d.sample(random)),
        };
        Duration::try_from_secs_f64(seconds).map_or(LONGEST, |delay| delay.min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// The `share` quantile of 20 000 draws, in seconds.
    fn quantile(latency: Latency, share: f64) -> f64 {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut draws: Vec<f64> = (0..20_000).map(|_| latency.sample(&mut random).as_secs_f64()).collect();
        draws.sort_by(f64::total_cmp);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below 20 000")]
        draws[(share * 19_999.0) as usize]
    }

    fn near(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 0.06, "{value} is not near {expected}");
    }

    #[test]
    fn delays_follow_their_distributions() {
        let second = Duration::from_secs(1);
        near(quantile(Latency::Fixed(second), 0.5), 1.0);
        let uniform = Latency::Uniform { min: second, max: 3 * second };
        near(quantile(uniform, 0.25), 1.5);
        near(quantile(uniform, 0.75), 2.5);
        near(quantile(Latency::Exponential { mean: second }, 0.5), 2.0_f64.ln());
        let log_normal = Latency::LogNormal { median: second, sigma: 0.5 };
        near(quantile(log_normal, 0.5), 1.0);
        // One standard deviation above the median: e^0.5.
        near(quantile(log_normal, 0.8413), 0.5_f64.exp());
        let pareto = Latency::Pareto { scale: second, shape: 2.0 };
        near(quantile(pareto, 0.5), 2.0_f64.sqrt());
        near(quantile(pareto, 0.99), 10.0);
    }

    #[test]
    fn no_delay_is_beyond_the_bound() {
        let heavy = Latency::Pareto { scale: Duration::from_secs(500), shape: 0.1 };
        let mut random = ChaCha8Rng::seed_from_u64(2);
        assert!((0..1000).all(|_| heavy.sample(&mut random) <= LONGEST));
    }

    #[test]
    fn the_same_seed_draws_the_same_delays() {
        let latency = Latency::LogNormal { median: Duration::from_millis(50), sigma: 1.0 };
        let draw = || {
            let mut random = ChaCha8Rng::seed_from_u64(3);
            (0..10).map(|_| latency.sample(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw());
    }
}
