//! Preset policies, with the numbers of the project's source texts.
//!
//! Presets are starting points: the duration of a call and the normal failure ratio depend on the dependency, and no
//! preset knows them.

use std::time::Duration;

use breakerbox_resilience::breaker::{BreakerSettings, WindowType};
use breakerbox_resilience::bulkhead::{BulkheadSettings, PoolSettings, WhenFull};
use breakerbox_resilience::deadline::TimeLimiterSettings;
use breakerbox_resilience::policy::PolicySettings;
use breakerbox_resilience::retry::{Jitter, RetrySettings};

/// The names of all presets.
#[must_use]
pub fn preset_names() -> &'static [&'static str] {
    &[
        "payment",
        "payment-gateway",
        "order-payment",
        "recommendation",
        "log-shipping",
        "database",
        "external-api",
        "critical-service",
        "primary-database",
        "replica-database",
    ]
}

/// The preset with this name.
#[must_use]
pub fn preset(name: &str) -> Option<PolicySettings> {
    let seconds = Duration::from_secs;
    Some(match name {
        // Consecutive failures, and the wait before the next probe: strict, lenient, very lenient.
        "payment" => in_a_row(3, seconds(60)),
        "recommendation" => in_a_row(10, seconds(30)),
        "log-shipping" => in_a_row(20, seconds(300)),
        "payment-gateway" => payment_gateway(),
        "order-payment" => order_payment(),
        // Consecutive failures or failure rate, timeout, and wait.
        "database" => either(3, 30.0, seconds(2), seconds(30)),
        "external-api" => either(5, 60.0, seconds(10), seconds(60)),
        "critical-service" => either(2, 20.0, seconds(1), seconds(15)),
        // A database with a replica: a number of consecutive failures and a rate.
        "primary-database" => either(5, 50.0, seconds(3), seconds(60)),
        "replica-database" => either(3, 70.0, seconds(2), seconds(30)),
        _ => return None,
    })
}

/// The names of all pool presets.
#[must_use]
pub fn pool_preset_names() -> &'static [&'static str] {
    &["payment", "inventory", "shipping", "notification"]
}

/// The preset of a thread-pool bulkhead with this name, for a part of a shop.
#[must_use]
pub fn pool_preset(name: &str) -> Option<PoolSettings> {
    let (core_size, max_size, queue_capacity) = match name {
        "payment" => (10, 20, 100),
        "inventory" | "shipping" => (5, 10, 50),
        "notification" => (2, 5, 20),
        _ => return None,
    };
    Some(PoolSettings { core_size, max_size, queue_capacity, when_full: WhenFull::CallerRuns })
}

/// Trips on consecutive failures only.
fn in_a_row(failures: u32, wait: Duration) -> PolicySettings {
    PolicySettings {
        circuit_breaker: Some(BreakerSettings {
            failure_rate_threshold: None,
            consecutive_failure_threshold: Some(failures),
            wait_duration_in_open_state: wait,
            permitted_number_of_calls_in_half_open_state: 1,
            half_open_success_rate_threshold: 100.0,
            ..BreakerSettings::default()
        }),
        ..PolicySettings::default()
    }
}

/// Three consecutive failures block an unreliable payment provider for five minutes; it closes after four successes of
/// five probes.
fn payment_gateway() -> PolicySettings {
    let strict = in_a_row(3, Duration::from_mins(5));
    PolicySettings {
        circuit_breaker: strict.circuit_breaker.map(|breaker| BreakerSettings {
            permitted_number_of_calls_in_half_open_state: 5,
            half_open_success_rate_threshold: 80.0,
            ..breaker
        }),
        bulkhead: Some(BulkheadSettings { max_concurrent_calls: 10, ..BulkheadSettings::default() }),
        time_limiter: TimeLimiterSettings {
            timeout_duration: Duration::from_secs(3),
            ..TimeLimiterSettings::default()
        },
        ..PolicySettings::default()
    }
}

/// The Resilience4j configuration of an order service's payment client.
fn order_payment() -> PolicySettings {
    PolicySettings {
        circuit_breaker: Some(BreakerSettings {
            failure_rate_threshold: Some(50.0),
            wait_duration_in_open_state: Duration::from_secs(30),
            sliding_window_size: 10,
            minimum_number_of_calls: 10,
            ..BreakerSettings::default()
        }),
        retry: Some(RetrySettings {
            max_attempts: 3,
            wait_duration: Duration::from_millis(500),
            jitter: Jitter::Equal,
            ..RetrySettings::default()
        }),
        time_limiter: TimeLimiterSettings {
            timeout_duration: Duration::from_secs(3),
            ..TimeLimiterSettings::default()
        },
        ..PolicySettings::default()
    }
}

/// Trips on consecutive failures, or on the failure rate over the last minute.
fn either(failures: u32, rate: f64, timeout: Duration, wait: Duration) -> PolicySettings {
    PolicySettings {
        circuit_breaker: Some(BreakerSettings {
            failure_rate_threshold: Some(rate),
            consecutive_failure_threshold: Some(failures),
            sliding_window_type: WindowType::TimeBased,
            sliding_window_size: 60,
            minimum_number_of_calls: 10,
            wait_duration_in_open_state: wait,
            permitted_number_of_calls_in_half_open_state: 3,
            // One failed probe reopens the breaker.
            half_open_success_rate_threshold: 100.0,
            ..BreakerSettings::default()
        }),
        time_limiter: TimeLimiterSettings { timeout_duration: timeout, ..TimeLimiterSettings::default() },
        ..PolicySettings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid_and_no_other_name_is_known() {
        for name in preset_names() {
            preset(name).expect(name).validate().expect(name);
        }
        assert_eq!(preset("unknown"), None);
    }

    #[test]
    fn the_pools_have_the_sizes_of_their_source() {
        let sizes = |name| {
            let pool = pool_preset(name)?;
            pool.validate().unwrap();
            Some((pool.core_size, pool.max_size, pool.queue_capacity))
        };
        assert_eq!(sizes("payment"), Some((10, 20, 100)));
        assert_eq!(sizes("inventory"), Some((5, 10, 50)));
        assert_eq!(sizes("shipping"), Some((5, 10, 50)));
        assert_eq!(sizes("notification"), Some((2, 5, 20)));
        assert_eq!(sizes("other"), None);
    }

    #[test]
    fn the_presets_have_the_numbers_of_their_sources() {
        let breaker = |name: &str| preset(name).unwrap().circuit_breaker.unwrap();
        let table = [
            ("payment", Some(3), 60),
            ("recommendation", Some(10), 30),
            ("log-shipping", Some(20), 300),
            ("payment-gateway", Some(3), 300),
            ("database", Some(3), 30),
            ("external-api", Some(5), 60),
            ("critical-service", Some(2), 15),
            ("order-payment", None, 30),
            ("primary-database", Some(5), 60),
            ("replica-database", Some(3), 30),
        ];
        for (name, failures, wait) in table {
            let breaker = breaker(name);
            assert_eq!(breaker.consecutive_failure_threshold, failures, "{name}");
            assert_eq!(breaker.wait_duration_in_open_state.as_secs(), wait, "{name}");
        }
        for (name, rate, timeout) in [
            ("database", 30.0, 2),
            ("external-api", 60.0, 10),
            ("critical-service", 20.0, 1),
            ("primary-database", 50.0, 3),
            ("replica-database", 70.0, 2),
            ("order-payment", 50.0, 3),
        ] {
            assert_eq!(breaker(name).failure_rate_threshold, Some(rate), "{name}");
            let limiter = preset(name).unwrap().time_limiter;
            assert_eq!(limiter.timeout_duration.as_secs(), timeout, "{name}");
        }
        for name in ["database", "external-api", "critical-service", "primary-database", "replica-database"] {
            let breaker = breaker(name);
            assert_eq!(breaker.permitted_number_of_calls_in_half_open_state, 3, "{name}");
            let all = breaker.half_open_success_rate_threshold;
            assert!((all - 100.0).abs() < f64::EPSILON, "{name}: one failed probe reopens");
        }
        let gateway = breaker("payment-gateway");
        assert!((gateway.half_open_success_rate_threshold - 80.0).abs() < f64::EPSILON);
    }
}
