//! Settings of checkout.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::store::{DatabaseUrl, check_url};
use breakerbox_resilience::SettingsError;

/// Settings of checkout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CheckoutSettings {
    /// Its database URL; if empty, the one in `store`.
    pub url: DatabaseUrl,
    /// Minimum time for which an idempotency key is stored; it is not deleted before its order is final.
    #[serde(with = "humantime_serde")]
    pub key_lifetime: Duration,
    /// How long a request may work on its order before a worker takes the order over.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// How long a duplicate waits for the first request's answer before it gets `Retry-After`.
    #[serde(with = "humantime_serde")]
    pub duplicate_wait: Duration,
    /// How long final orders are kept.
    #[serde(with = "humantime_serde")]
    pub keep_orders: Duration,
    /// The retry queue.
    pub queue: QueueSettings,
    /// Source of information of the breaker for the payment gateway.
    pub breaker: BreakerMode,
    /// Maximum age of the state that a shared breaker has read from the store.
    #[serde(with = "humantime_serde")]
    pub breaker_cache: Duration,
    /// Settings of a stateless breaker.
    pub stateless: StatelessSettings,
}

/// Source of information of the breaker for the payment gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BreakerMode {
    /// Calls of this process.
    #[default]
    Local,
    /// Calls of all instances, through the store.
    Shared,
    /// Metrics in Prometheus; the breaker keeps no state.
    Stateless,
}

/// Settings of the stateless breaker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct StatelessSettings {
    /// URL of Prometheus.
    pub prometheus_url: String,
    /// Labels of the series to evaluate, such as `cluster=eu,job=shop`, if this Prometheus also has series of other
    /// clusters. Empty: the calls of every checkout in it.
    pub labels: String,
    /// Failure ratio (0–1) from which calls are rejected.
    pub failure_ratio: f64,
    /// Minimum number of calls in the window.
    pub minimum_calls: u32,
    /// Length of the window.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Timeout of the query; without an answer calls are admitted.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Default for StatelessSettings {
    fn default() -> Self {
        Self {
            prometheus_url: "http://127.0.0.1:9090".to_owned(),
            labels: String::new(),
            failure_ratio: 0.5,
            minimum_calls: 5,
            window: Duration::from_mins(1),
            timeout: Duration::from_millis(200),
        }
    }
}

/// Labels that the query sets itself.
const OWN_LABELS: [&str; 4] = ["__name__", "service", "breaker", "outcome"];

/// Settings of the retry queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct QueueSettings {
    /// Maximum number of waiting orders; further ones are refused.
    pub capacity: u32,
    /// Attempts before an order becomes a dead letter.
    pub max_attempts: u32,
    /// Back-off after the first failed attempt; it doubles with each further one.
    #[serde(with = "humantime_serde")]
    pub first_delay: Duration,
    /// Upper limit of the back-off.
    #[serde(with = "humantime_serde")]
    pub max_delay: Duration,
    /// Lease of a worker on an item.
    #[serde(with = "humantime_serde")]
    pub visibility: Duration,
    /// Maximum number of concurrent charges per worker.
    pub concurrency: u32,
    /// Longest wait of an order before it is cancelled, unless its showing ends sooner.
    #[serde(with = "humantime_serde")]
    pub longest_wait: Duration,
    /// Polling interval of the queue when nothing is known to be due.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
}

impl Default for CheckoutSettings {
    fn default() -> Self {
        Self {
            url: DatabaseUrl::default(),
            key_lifetime: Duration::from_hours(24),
            lease: Duration::from_secs(15),
            duplicate_wait: Duration::from_secs(1),
            keep_orders: Duration::from_hours(72),
            queue: QueueSettings::default(),
            breaker: BreakerMode::default(),
            breaker_cache: Duration::from_secs(1),
            stateless: StatelessSettings::default(),
        }
    }
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            capacity: 10_000,
            max_attempts: 10,
            first_delay: Duration::from_secs(1),
            max_delay: Duration::from_mins(1),
            visibility: Duration::from_secs(30),
            concurrency: 16,
            longest_wait: Duration::from_hours(24),
            poll: Duration::from_secs(1),
        }
    }
}

impl CheckoutSettings {
    /// Validates the settings; an error names the field and its allowed values.
    pub fn validate(&self) -> Result<(), String> {
        check_url("checkout.url", &self.url)?;
        let queue = &self.queue;
        for (field, value, least) in [
            ("checkout.key-lifetime", self.key_lifetime, Duration::from_secs(1)),
            ("checkout.lease", self.lease, Duration::from_millis(100)),
            ("checkout.keep-orders", self.keep_orders, Duration::from_secs(1)),
            ("checkout.queue.first-delay", queue.first_delay, Duration::from_millis(1)),
            ("checkout.queue.max-delay", queue.max_delay, queue.first_delay),
            ("checkout.queue.longest-wait", queue.longest_wait, Duration::from_secs(1)),
            ("checkout.queue.visibility", queue.visibility, Duration::from_millis(100)),
            ("checkout.breaker-cache", self.breaker_cache, Duration::from_millis(10)),
            ("checkout.stateless.window", self.stateless.window, Duration::from_secs(10)),
            ("checkout.stateless.timeout", self.stateless.timeout, Duration::from_millis(1)),
            ("checkout.queue.poll", queue.poll, Duration::from_millis(10)),
        ] {
            if value < least || value > Duration::from_hours(24 * 365) {
                let (value, least) = (humantime::format_duration(value), humantime::format_duration(least));
                return Err(SettingsError::new(field, value, format!("from {least} to 1year")).to_string());
            }
        }
        let ratio = self.stateless.failure_ratio;
        if !(0.01..=1.0).contains(&ratio) {
            let field = "checkout.stateless.failure-ratio";
            return Err(SettingsError::new(field, ratio, "from 0.01 to 1").to_string());
        }
        self.stateless.matchers()?;
        for (field, value, most) in [
            ("checkout.queue.capacity", queue.capacity, 10_000_000),
            ("checkout.queue.max-attempts", queue.max_attempts, 10_000),
            ("checkout.queue.concurrency", queue.concurrency, 100),
        ] {
            if !(1..=most).contains(&value) {
                return Err(SettingsError::new(field, value, format!("from 1 to {most}")).to_string());
            }
        }
        Ok(())
    }
}

impl StatelessSettings {
    /// The labels as pairs of name and value.
    pub(super) fn matchers(&self) -> Result<Vec<(&str, &str)>, String> {
        let refused = |label: &str, why: &str| {
            SettingsError::new("checkout.stateless.labels", format!("{label:?}"), why.to_owned()).to_string()
        };
        let labels = self.labels.split(',').map(str::trim).filter(|label| !label.is_empty());
        let read = |label| {
            let (name, value) = str::split_once(label, '=').ok_or_else(|| refused(label, "name=value"))?;
            let (name, value) = (name.trim(), value.trim());
            let begins_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
            if !begins_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(refused(label, "a label's name: letters, digits and _, no digit first"));
            }
            if value.contains(char::is_control) {
                return Err(refused(label, "a value without control characters"));
            }
            if OWN_LABELS.contains(&name) {
                return Err(refused(label, "another label than service, breaker and outcome, which the query sets"));
            }
            Ok((name, value))
        };
        labels.map(read).collect()
    }
}

impl QueueSettings {
    /// Upper limit of any postponement: a due time further in the future was computed with a wrong clock.
    pub(super) fn longest_pause(&self) -> Duration {
        self.max_delay.max(Duration::from_mins(10))
    }

    /// The back-off after this many failed attempts.
    pub(super) fn delay(&self, attempts: i64) -> Duration {
        let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0).min(20);
        self.first_delay.saturating_mul(1 << doublings).min(self.max_delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_bound() {
        let queue = QueueSettings::default();
        let seconds = |attempts| queue.delay(attempts).as_secs();
        assert_eq!([0, 1, 2, 3, 6, 7, 1000].map(seconds), [1, 1, 2, 4, 32, 60, 60]);
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let refused = |text: &str| toml::from_str::<CheckoutSettings>(text).unwrap().validate().unwrap_err();
        assert_eq!(CheckoutSettings::default().validate(), Ok(()));
        assert!(refused("queue.capacity = 0").starts_with("checkout.queue.capacity = 0: must be from 1"));
        assert!(refused("lease = \"1ms\"").starts_with("checkout.lease = 1ms: must be from 100ms"));
        let labels = |text: &str| refused(&format!("stateless.labels = {text:?}"));
        assert_eq!(labels("eu"), "checkout.stateless.labels = \"eu\": must be name=value");
        assert!(labels("cluster=eu,1job=x").contains("\"1job=x\": must be a label's name"));
        assert!(labels("cluster\"}=eu").contains("must be a label's name"));
        assert!(labels("outcome=success").contains("another label than service, breaker and outcome"));
        assert!(refused("url = \"mysql://x\"").starts_with("checkout.url: must begin with"));
    }
}
