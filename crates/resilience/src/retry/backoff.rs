//! The wait before the next attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Jitter of a wait, so that callers that failed together do not retry together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Jitter {
    /// No jitter.
    None,
    /// Between zero and the wait: the widest spread.
    Full,
    /// Between half the wait and the wait.
    Equal,
    /// Between the first wait and three times the previous one.
    Decorrelated,
}

/// Exponential backoff with a cap and jitter, after AWS's "Exponential Backoff And Jitter".
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Wait before the second attempt.
    pub first: Duration,
    /// Factor by which each wait grows.
    pub multiplier: f64,
    /// Maximum wait.
    pub cap: Duration,
    /// Jitter of the waits.
    pub jitter: Jitter,
}

impl Backoff {
    /// The wait after `failures` failed attempts; `previous` is the last wait and `luck` a random number
    /// 0 ≤ x < 1.
    #[must_use]
    pub fn wait(&self, failures: u32, previous: Option<Duration>, luck: f64) -> Duration {
        let base = self.first.as_secs_f64();
        let cap = self.cap.as_secs_f64();
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = (base * self.multiplier.powi(exponent)).min(cap);
        let seconds = match self.jitter {
            Jitter::None => grown,
            Jitter::Full => grown * luck,
            Jitter::Equal => grown * (0.5 + luck / 2.0),
            Jitter::Decorrelated => {
                let most = previous.unwrap_or(self.first).as_secs_f64() * 3.0;
                (base + (most - base) * luck).min(cap)
            }
        };
        Duration::from_secs_f64(seconds)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_seeds_backoff_is_one_two_four_eight_seconds() {
        let backoff = Backoff {
            first: Duration::from_secs(1),
            multiplier: 2.0,
            cap: Duration::from_secs(10),
            jitter: Jitter::None,
        };
        let waits: Vec<u64> = (1..=4).map(|n| backoff.wait(n, None, 0.9).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8]);
    }

    fn jitters() -> impl Strategy<Value = Jitter> {
        prop_oneof![Just(Jitter::None), Just(Jitter::Full), Just(Jitter::Equal), Just(Jitter::Decorrelated)]
    }

    proptest! {
        #[test]
        fn waits_stay_between_jitter_and_cap(
            base in 1_u64..5_000, factor in 1_u64..50, multiplier in 1.0..10.0_f64,
            jitter in jitters(), failures in 1_u32..1_000, luck in 0.0..1.0_f64,
        ) {
            let backoff = Backoff {
                first: Duration::from_millis(base),
                multiplier,
                cap: Duration::from_millis(base * factor),
                jitter,
            };
            let mut previous = None;
            for n in failures..failures + 4 {
                let wait = backoff.wait(n, previous, luck);
                prop_assert!(wait <= backoff.cap);
                let exact = Backoff { jitter: Jitter::None, ..backoff }
                    .wait(n, None, 0.0);
                match jitter {
                    Jitter::None => prop_assert_eq!(wait, exact),
                    Jitter::Full => prop_assert!(wait <= exact),
                    Jitter::Equal => prop_assert!(wait <= exact && wait * 2 + Duration::from_nanos(2) >= exact),
                    Jitter::Decorrelated => prop_assert!(wait >= backoff.first.min(backoff.cap)),
                }
                previous = Some(wait);
            }
        }
    }
}
