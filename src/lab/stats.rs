//! Estimates over seeds, with confidence intervals.
//!
//! The run of each seed is an independent observation; an interval is Student's t over them, at 95 %. With the same
//! seed two variants get the same arrivals and random numbers, so their difference is computed seed by seed (a paired
//! interval), which gives a much narrower interval.

use serde::Serialize;

/// A mean over seeds with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Mean; NaN without observations.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Runs with a value.
    pub runs: usize,
}

impl Estimate {
    /// The estimate from these observations, ignoring NaN.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        let runs = values.len();
        if runs == 0 {
            return Self { mean: f64::NAN, low: f64::NAN, high: f64::NAN, runs };
        }
        let mean = values.iter().sum::<f64>() / runs as f64;
        if runs == 1 {
            return Self { mean, low: f64::NAN, high: f64::NAN, runs };
        }
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (runs - 1) as f64;
        let half = student(runs - 1) * (variance / runs as f64).sqrt();
        Self { mean, low: mean - half, high: mean + half, runs }
    }

    /// The estimate of the difference between two variants, paired by seed.
    #[must_use]
    pub fn paired(one: &[f64], other: &[f64]) -> Self {
        let differences: Vec<f64> = one.iter().zip(other).map(|(one, other)| one - other).collect();
        Self::of(&differences)
    }

    /// Half of the interval's width.
    #[must_use]
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }
}

/// The 97.5 % quantile of Student's t.
fn student(degrees: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
        2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    ];
    match degrees {
        0 => f64::NAN,
        // Cornish and Fisher's expansion around the normal quantile, which is accurate to three digits from here on.
        31.. => 1.96 + 2.372 / degrees as f64,
        _ => TABLE[degrees - 1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_students_t() {
        let estimate = Estimate::of(&[1.0, 2.0, 3.0, 4.0, 5.0, f64::NAN]);
        assert_eq!(estimate.runs, 5);
        assert!((estimate.mean - 3.0).abs() < 1e-12);
        // s = 1.5811, t(4) = 2.776, s/√5 = 0.7071.
        assert!((estimate.half_width() - 1.963).abs() < 1e-3, "{}", estimate.half_width());
        assert!((student(60) - 2.000).abs() < 1e-3);
    }

    #[test]
    fn a_paired_interval_sees_what_two_single_ones_do_not() {
        let one = [10.0, 20.0, 30.0, 40.0];
        let other = [9.0, 19.1, 29.0, 38.9];
        let paired = Estimate::paired(&one, &other);
        assert!(paired.low > 0.8 && paired.high < 1.2, "{paired:?}");
        assert!(Estimate::of(&one).low < Estimate::of(&other).high);
    }

    #[test]
    fn an_estimate_without_values_is_nan() {
        assert!(Estimate::of(&[f64::NAN]).mean.is_nan());
        assert!(Estimate::of(&[1.0]).low.is_nan());
    }
}
