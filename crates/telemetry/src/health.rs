//! A dependency's health in points.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Points for success and for speed, as dashboards of services show them; nothing known is full points.
pub(super) fn health_points(failure_ratio: f64, response_seconds: f64) -> f64 {
    let success = if failure_ratio.is_nan() { 1.0 } else { 1.0 - failure_ratio };
    let speed = ((5.0 - response_seconds) / 4.0).clamp(0.0, 1.0);
    70.0 * success + 30.0 * speed
}

/// Mean response time, in which each call weighs a twentieth of what is known: about the last forty.
#[derive(Default)]
pub(super) struct RecentMean {
    seconds: AtomicU64,
}

impl RecentMean {
    const WEIGHT: f64 = 0.05;

    pub(super) fn add(&self, elapsed: Duration) {
        // Two calls that end at once may lose one of them, which a mean can bear.
        let mean = self.seconds();
        let next = mean + (elapsed.as_secs_f64() - mean) * Self::WEIGHT;
        self.seconds.store(next.to_bits(), Ordering::Relaxed);
    }

    pub(super) fn seconds(&self) -> f64 {
        f64::from_bits(self.seconds.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_points_are_seventy_for_success_and_thirty_for_speed() {
        for (failures, seconds, points) in [
            (f64::NAN, 0.0, 100.0),
            (0.0, 1.0, 100.0),
            (0.5, 1.0, 65.0),
            (0.0, 3.0, 85.0),
            (0.0, 5.0, 70.0),
            (1.0, 9.0, 0.0),
        ] {
            assert!((health_points(failures, seconds) - points).abs() < 1e-9, "{failures} {seconds}");
        }
    }

    #[test]
    fn the_recent_mean_follows_a_change() {
        let mean = RecentMean::default();
        for _ in 0..100 {
            mean.add(Duration::from_secs(2));
        }
        assert!((mean.seconds() - 2.0).abs() < 0.02);
    }
}
