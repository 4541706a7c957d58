//! Settings from environment variables, as functions get them.

use std::str::FromStr;
use std::time::Duration;

use crate::breaker;
use crate::checkout::{Checkout, Guard, Limits};
use crate::dynamo::Dynamo;
use crate::payment::Payments;
use crate::queue::Queue;
use crate::stateless::{self, Stateless};

/// A variable that is missing or out of range.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct SettingsError {
    name: &'static str,
    reason: String,
}

/// What the functions are configured with.
#[derive(Clone, Debug)]
pub struct Settings {
    table: String,
    queue: String,
    dead_letters: String,
    payment_url: String,
    payment_timeout: Duration,
    breaker: breaker::Settings,
    /// Set when the breaker asks Prometheus.
    stateless: Option<stateless::Settings>,
    max_attempts: u32,
    lease: Duration,
    first_delay: Duration,
    /// An emulator's address instead of AWS'.
    endpoint: Option<String>,
}

impl Settings {
    /// Reads the variables through `get`.
    ///
    /// # Errors
    /// Names the variable that is missing, unreadable or out of range.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let text = |name: &'static str| {
            get(name).filter(|text| !text.is_empty()).ok_or(SettingsError { name, reason: "must be set".to_owned() })
        };
        let number = |name: &'static str, default: u64, range: std::ops::RangeInclusive<u64>| {
            within(name, get(name), default, &range)
        };
        let defaults = breaker::Settings::default();
        let percent = number("BREAKER_SUCCESS_PERCENT", 80, 1..=100)?;
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let breaker = breaker::Settings {
            failure_threshold: small(number("BREAKER_FAILURES", defaults.failure_threshold.into(), 1..=1_000)?),
            open_millis: number("BREAKER_OPEN_MILLIS", defaults.open_millis, 1..=86_400_000)?,
            permitted_calls: small(number("BREAKER_PROBES", defaults.permitted_calls.into(), 1..=1_000)?),
            success_rate: f64::from(small(percent)) / 100.0,
            probe_millis: number("BREAKER_PROBE_MILLIS", defaults.probe_millis, 1..=900_000)?,
        };
        let stateless = match get("BREAKER").as_deref() {
            None | Some("" | "stored") => None,
            Some("stateless") => Some(stateless::Settings {
                prometheus: text("PROMETHEUS_URL")?,
                query: text("BREAKER_QUERY")?,
                threshold: 0.5,
                retry_after: 60_000,
                timeout: Duration::from_millis(200),
            }),
            Some(other) => {
                let reason = format!("{other:?} is unknown; it may be stored or stateless");
                return Err(SettingsError { name: "BREAKER", reason });
            }
        };
        Ok(Self {
            table: text("TABLE")?,
            queue: text("QUEUE_URL")?,
            dead_letters: text("DEAD_LETTERS_URL")?,
            payment_url: text("PAYMENT_URL")?,
            payment_timeout: Duration::from_millis(number("PAYMENT_TIMEOUT_MILLIS", 3_000, 10..=60_000)?),
            breaker,
            stateless,
            max_attempts: small(number("MAX_ATTEMPTS", 10, 1..=100)?),
            lease: Duration::from_millis(number("LEASE_MILLIS", 30_000, 100..=900_000)?),
            first_delay: Duration::from_millis(number("FIRST_DELAY_MILLIS", 1_000, 1..=900_000)?),
            endpoint: get("AWS_ENDPOINT_URL").filter(|text| !text.is_empty()),
        })
    }

    /// The checkout that these describe, connected to AWS or to an emulator.
    ///
    /// # Errors
    /// When an HTTP client can't be made.
    pub async fn checkout(&self) -> Result<Checkout<Dynamo>, reqwest::Error> {
        let mut loader = aws_config::defaults(aws_config::BehaviorVersion::latest());
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let config = loader.load().await;
        let sqs = aws_sdk_sqs::Client::new(&config);
        let queues = [Queue::new(sqs.clone(), &self.queue), Queue::new(sqs, &self.dead_letters)];
        let guard = match &self.stateless {
            None => Guard::Stored(self.breaker),
            Some(settings) => Guard::Stateless(Stateless::new(settings.clone())?),
        };
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let limits = Limits {
            lease_millis: millis(self.lease),
            max_attempts: self.max_attempts,
            first_delay_millis: millis(self.first_delay),
        };
        let store = Dynamo::new(aws_sdk_dynamodb::Client::new(&config), &self.table);
        let payments = Payments::new(&self.payment_url, self.payment_timeout)?;
        Ok(Checkout::new(store, queues, payments, guard, limits))
    }
}

fn within(
    name: &'static str,
    given: Option<String>,
    default: u64,
    range: &std::ops::RangeInclusive<u64>,
) -> Result<u64, SettingsError> {
    let Some(text) = given.filter(|text| !text.is_empty()) else { return Ok(default) };
    let number = u64::from_str(&text).ok().filter(|number| range.contains(number));
    number.ok_or_else(|| SettingsError {
        name,
        reason: format!("{text:?} must be a whole number, {}–{}", range.start(), range.end()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(extra: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let needed = [("TABLE", "t"), ("QUEUE_URL", "q"), ("DEAD_LETTERS_URL", "d"), ("PAYMENT_URL", "p")];
        Settings::read(|name| {
            extra.iter().chain(&needed).find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn defaults_are_three_in_a_row_and_five_minutes() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.breaker, breaker::Settings::default());
        assert_eq!((settings.breaker.failure_threshold, settings.breaker.open_millis), (3, 300_000));
    }

    #[test]
    fn errors_name_the_variable_and_its_range() {
        let error = |extra: &[(&str, &str)]| read(extra).unwrap_err().to_string();
        assert_eq!(error(&[("BREAKER_FAILURES", "0")]), "BREAKER_FAILURES: \"0\" must be a whole number, 1–1000");
        assert_eq!(error(&[("BREAKER", "x")]), "BREAKER: \"x\" is unknown; it may be stored or stateless");
        assert_eq!(error(&[("BREAKER", "stateless")]), "PROMETHEUS_URL: must be set");
        assert_eq!(error(&[("TABLE", "")]), "TABLE: must be set");
    }
}
