//! Adaptive retry: learns which retries succeed.
//!
//! # Motivation
//!
//! Whether a retry helps depends on the error, the number of attempts, the state of the dependency and the
//! remaining time, and differs between dependencies. A table of retryable errors is a guess; the outcomes of
//! past retries are evidence.
//!
//! # Theory of operation
//!
//! Logistic regression, learned online: with one weight per feature, the probability of success is the
//! logistic function of the weighted sum, and each outcome of a retry moves the weights. A retry is not made
//! below a [minimum probability](AdaptiveSettings::min_chance_percent). The wait is scaled by the kind of error
//! (timeouts ×2, rate limits ×5, connection errors ÷2) and by the probability (above 0.5 ÷2, below 0.2 ×3).
//!
//! A model that stops retrying learns nothing more and would not detect a recovery. So a small share of the
//! retries that it would suppress is made nevertheless, withdrawn from the retry budget like every retry.
//!
//! The model is **advice under a budget**. In simulations of a metastable overload a learned gate alone did
//! not prevent the collapse; with a budget it did as well as a hand-written table.
//!
//! # How it fails
//!
//! It starts without knowledge, with a probability of one half for everything. It follows changes only as
//! fast as its learning rate. Its [calibration](Calibration) is exported: of the retries predicted at 70 %,
//! about 70 % should have succeeded.
//!
//! # When not to use it
//!
//! With little traffic it never learns; for a dependency that always fails in the same way a table is as
//! good and easier to explain.
//!
//! ```
//! use std::time::Instant;
//! use breakerbox_resilience::{
//!     policy::{Policy, PolicySettings},
//!     retry::{AdaptiveSettings, RetrySettings},
//! };
//!
//! let retry = RetrySettings { adaptive: Some(AdaptiveSettings::default()), ..RetrySettings::default() };
//! let settings = PolicySettings { retry: Some(retry), ..PolicySettings::default() };
//! let policy = Policy::new(settings, Instant::now(), 42)?;
//! let calibration = policy.calibration().expect("it is adaptive");
//! assert!(calibration.brier_score.is_nan(), "nothing was predicted yet");
//! # Ok::<(), breakerbox_resilience::SettingsError>(())
//! ```

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{ErrorKind, Failure};
use crate::{
    breaker::State,
    settings::{SettingsError, duration, within},
    sync::{Mutex, lock},
};

/// Learning rate and limits of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdaptiveSettings {
    /// A retry with a lower predicted probability than this percentage is not made.
    pub min_chance_percent: f64,
    /// Percentage of the suppressed retries that is made nevertheless, so that the model keeps learning.
    pub explore_percent: f64,
    /// Learning rate: how far one outcome moves the weights (0–1).
    pub learning_rate: f64,
    /// Maximum of a scaled wait.
    #[serde(with = "humantime_serde")]
    pub max_wait_duration: Duration,
}

impl Default for AdaptiveSettings {
    fn default() -> Self {
        Self {
            min_chance_percent: 10.0,
            explore_percent: 5.0,
            learning_rate: 0.1,
            max_wait_duration: Duration::from_secs(30),
        }
    }
}

impl AdaptiveSettings {
    /// Validates the settings.
    pub fn validate(&self) -> Result<(), SettingsError> {
        within("min-chance-percent", self.min_chance_percent, 0.0..=90.0, "0–90")?;
        within("explore-percent", self.explore_percent, 0.0..=100.0, "0–100")?;
        within("learning-rate", self.learning_rate, 0.000_1..=1.0, "0.0001–1")?;
        duration("max-wait-duration", self.max_wait_duration, Duration::from_millis(1))
    }
}

const KINDS: usize = ErrorKind::ALL.len();
const FEATURES: usize = KINDS + 6;
/// Decay of the weights, so that features that no longer occur lose their weight.
const FORGET: f64 = 1e-4;

/// A prediction and its features; passed back with the outcome.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Prediction {
    features: [f64; FEATURES],
    /// Predicted probability of success (0–1).
    pub(crate) chance: f64,
}

/// Calibration in one tenth of the probability range.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CalibrationBin {
    /// Retries predicted in this tenth.
    pub retries: u64,
    /// Mean predicted probability (0–1); `NaN` without predictions.
    pub predicted: f64,
    /// Share of them that succeeded (0–1); `NaN` without predictions.
    pub succeeded: f64,
}

/// Accuracy of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// The predictions by tenths of probability, lowest first.
    pub bins: [CalibrationBin; 10],
    /// Mean squared error of the predictions (Brier score): 0 is perfect, 0.25 a coin toss; `NaN` without
    /// predictions.
    pub brier_score: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    retries: u64,
    chances: f64,
    successes: u64,
}

#[derive(Debug)]
struct Learned {
    weights: [f64; FEATURES],
    bins: [Bin; 10],
    squared_error: f64,
}

/// The model of one policy. Its lock is taken only after failures.
#[derive(Debug)]
pub(crate) struct Model {
    settings: AdaptiveSettings,
    learned: Mutex<Learned>,
}

impl Model {
    pub(crate) fn new(settings: &AdaptiveSettings) -> Result<Self, SettingsError> {
        settings.validate()?;
        Ok(Self {
            settings: settings.clone(),
            learned: Mutex::new(Learned { weights: [0.0; FEATURES], bins: [Bin::default(); 10], squared_error: 0.0 }),
        })
    }

    /// Predicted probability of success after this failure, while `failing` (0–1) of recent first attempts
    /// failed.
    pub(super) fn predict(&self, failure: &Failure<'_>, failing: f64) -> Prediction {
        let features = features(failure, failing);
        let chance = chance(&lock(&self.learned).weights, &features);
        Prediction { features, chance }
    }

    /// Whether to make a retry with this prediction; `luck` is a random number 0 ≤ x < 1.
    pub(super) fn allows(&self, prediction: &Prediction, luck: f64) -> bool {
        prediction.chance * 100.0 >= self.settings.min_chance_percent || luck * 100.0 < self.settings.explore_percent
    }

    /// The wait, scaled by the kind of error and the probability.
    pub(super) fn scale(&self, wait: Duration, kind: ErrorKind, chance: f64) -> Duration {
        let by_kind = match kind {
            ErrorKind::Timeout => 2.0,
            ErrorKind::RateLimited => 5.0,
            ErrorKind::Connect => 0.5,
            _ => 1.0,
        };
        let by_chance = if chance > 0.5 {
            0.5
        } else if chance < 0.2 {
            3.0
        } else {
            1.0
        };
        wait.mul_f64(by_kind * by_chance).min(self.settings.max_wait_duration)
    }

    /// Maximum wait.
    pub(super) fn longest_wait(&self) -> Duration {
        self.settings.max_wait_duration
    }

    /// Learns from the outcome of a retry.
    pub(crate) fn learn(&self, prediction: &Prediction, succeeded: bool) {
        let mut learned = lock(&self.learned);
        let outcome = f64::from(u8::from(succeeded));
        let error = outcome - chance(&learned.weights, &prediction.features);
        let rate = self.settings.learning_rate;
        for (weight, feature) in learned.weights.iter_mut().zip(prediction.features) {
            *weight += rate * (error * feature - FORGET * *weight);
        }
        learned.squared_error += (outcome - prediction.chance).powi(2);
        let bin = &mut learned.bins[tenth(prediction.chance)];
        bin.retries += 1;
        bin.chances += prediction.chance;
        bin.successes += u64::from(succeeded);
    }

    pub(crate) fn calibration(&self) -> Calibration {
        let learned = lock(&self.learned);
        let retries: u64 = learned.bins.iter().map(|bin| bin.retries).sum();
        Calibration {
            bins: learned.bins.map(|bin| CalibrationBin {
                retries: bin.retries,
                predicted: bin.chances / bin.retries as f64,
                succeeded: bin.successes as f64 / bin.retries as f64,
            }),
            brier_score: learned.squared_error / retries as f64,
        }
    }
}

fn tenth(chance: f64) -> usize {
    (1_u8..10).rev().find(|tenth| chance * 10.0 >= f64::from(*tenth)).map_or(0, usize::from)
}

fn chance(weights: &[f64; FEATURES], features: &[f64; FEATURES]) -> f64 {
    let sum: f64 = weights.iter().zip(features).map(|(weight, feature)| weight * feature).sum();
    1.0 / (1.0 + (-sum).exp())
}

/// All between 0 and 1: the kind of error (one-hot); then a constant, attempts so far, recent failure
/// rate, a probing breaker, remaining time, and whether the dependency sent `Retry-After`.
fn features(failure: &Failure<'_>, failing: f64) -> [f64; FEATURES] {
    let mut features = [0.0; FEATURES];
    features[failure.verdict.kind as usize] = 1.0;
    let probing = failure.breaker.is_some_and(|breaker| breaker.state() == State::HalfOpen);
    let left = failure.deadline.map_or(1.0, |deadline| time_left(deadline, failure.now));
    let flag = |flag: bool| f64::from(u8::from(flag));
    features[KINDS..].copy_from_slice(&[
        1.0,
        (f64::from(failure.attempts) / 5.0).min(1.0),
        failing,
        flag(probing),
        left,
        flag(failure.verdict.retry_after.is_some()),
    ]);
    features
}

/// Remaining time as a share of ten seconds.
fn time_left(deadline: Instant, now: Instant) -> f64 {
    (deadline.saturating_duration_since(now).as_secs_f64() / 10.0).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        random::Rng,
        retry::{BudgetSettings, RetryBudget, Verdict},
    };

    fn predict(model: &Model, kind: ErrorKind, attempts: u32) -> Prediction {
        let now = Instant::now();
        let failure = Failure {
            attempts,
            verdict: Verdict::of(kind),
            idempotent: true,
            now,
            deadline: None,
            breaker: None,
            budget: &RetryBudget::new(&BudgetSettings::default(), now).unwrap(),
            rng: &Rng::new(1),
        };
        model.predict(&failure, 0.0)
    }

    fn model() -> Model {
        Model::new(&AdaptiveSettings::default()).unwrap()
    }

    #[test]
    fn it_learns_which_errors_go_away() {
        let model = model();
        let fresh = predict(&model, ErrorKind::Reset, 1).chance;
        assert!((fresh - 0.5).abs() < 1e-9);
        for _ in 0..300 {
            model.learn(&predict(&model, ErrorKind::Reset, 1), true);
            model.learn(&predict(&model, ErrorKind::ServerError, 1), false);
        }
        assert!(predict(&model, ErrorKind::Reset, 1).chance > 0.9);
        let hopeless = predict(&model, ErrorKind::ServerError, 1);
        assert!(hopeless.chance < 0.1, "{}", hopeless.chance);
        assert!(!model.allows(&hopeless, 0.99));
        assert!(model.allows(&hopeless, 0.04), "an exploration");
    }

    #[test]
    fn explorations_let_it_notice_a_recovery() {
        let model = model();
        for _ in 0..300 {
            model.learn(&predict(&model, ErrorKind::Timeout, 1), false);
        }
        let rng = Rng::new(3);
        let mut asked = 0;
        loop {
            asked += 1;
            let prediction = predict(&model, ErrorKind::Timeout, 1);
            if prediction.chance >= 0.1 {
                break;
            }
            if model.allows(&prediction, rng.uniform()) {
                model.learn(&prediction, true);
            }
            assert!(asked < 2_000, "still blind at {}", prediction.chance);
        }
    }

    #[test]
    fn waits_are_scaled_by_kind_and_chance_and_capped() {
        let model = model();
        let wait = Duration::from_secs(1);
        let scaled = |kind, chance| model.scale(wait, kind, chance).as_millis();
        assert_eq!(scaled(ErrorKind::Timeout, 0.3), 2_000);
        assert_eq!(scaled(ErrorKind::RateLimited, 0.3), 5_000);
        assert_eq!(scaled(ErrorKind::Connect, 0.3), 500);
        assert_eq!(scaled(ErrorKind::ServerError, 0.6), 500);
        assert_eq!(scaled(ErrorKind::ServerError, 0.1), 3_000);
        assert_eq!(model.scale(wait * 10, ErrorKind::RateLimited, 0.1).as_secs(), 30);
    }

    #[test]
    fn calibration_compares_what_was_said_with_what_happened() {
        let model = model();
        assert!(model.calibration().brier_score.is_nan());
        let rng = Rng::new(5);
        for _ in 0..20_000 {
            let prediction = predict(&model, ErrorKind::Reset, 1);
            model.learn(&prediction, rng.uniform() < 0.7);
        }
        let calibration = model.calibration();
        let bin = calibration.bins.iter().max_by_key(|bin| bin.retries).unwrap();
        assert!((bin.succeeded - 0.7).abs() < 0.05, "{bin:?}");
        assert!((bin.predicted - bin.succeeded).abs() < 0.1, "{bin:?}");
        assert!(calibration.brier_score < 0.25);
    }
}
