//! Settings from environment variables.

use std::str::FromStr;
use std::time::Duration;

use crate::any::AnyStore;
use crate::breaker;
use crate::checkout::{Checkout, Guard, Limits};
use crate::dynamo::Dynamo;
use crate::payment::Payments;
use crate::queue::Queue;
use crate::sql::{Location, Sql};
use crate::stateless::{self, Stateless};

/// A variable that is missing or out of range.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct SettingsError {
    name: &'static str,
    reason: String,
}

/// Location of the functions' state.
#[derive(Clone, Debug)]
enum Place {
    Dynamo { table: String },
    Sql(Location),
}

/// Settings of the functions.
#[derive(Clone, Debug)]
pub struct Settings {
    store: Place,
    queue: String,
    dead_letters: String,
    payment_url: String,
    payment_timeout: Duration,
    breaker: breaker::Settings,
    /// Set if the breaker queries Prometheus.
    stateless: Option<stateless::Settings>,
    max_attempts: u32,
    lease: Duration,
    first_delay: Duration,
    /// Address of an emulator, instead of AWS.
    endpoint: Option<String>,
}

impl Settings {
    /// Reads the variables through `get`.
    ///
    /// # Errors
    /// If a variable is missing, unreadable or out of range; the error names it.
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
            store: place(&get)?,
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

    /// Creates the checkout with these settings, connected to AWS or to an emulator. A SQL database is opened on first
    /// use.
    ///
    /// # Errors
    /// If an HTTP client cannot be created.
    pub async fn checkout(&self) -> Result<Checkout<AnyStore>, reqwest::Error> {
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
        let store = match &self.store {
            Place::Dynamo { table } => AnyStore::Dynamo(Dynamo::new(aws_sdk_dynamodb::Client::new(&config), table)),
            Place::Sql(location) => AnyStore::Sql(Sql::new(location.clone())),
        };
        let payments = Payments::new(&self.payment_url, self.payment_timeout)?;
        Ok(Checkout::new(store, queues, payments, guard, limits))
    }
}

/// The store of `STORE`, or of `TABLE`, which names a `DynamoDB` table. Errors do not contain the value, because it may
/// include a password.
fn place(get: &impl Fn(&str) -> Option<String>) -> Result<Place, SettingsError> {
    const ONLY_POSTGRES: &str = "may only be set beside a postgres:// STORE that has no password itself";
    const STORES: &str = "dynamodb:TABLE, postgres://USER@HOST/DATABASE or sqlite:///FILE";
    let given = |name| get(name).filter(|text| !text.is_empty());
    let wrong = |name, reason: String| Err(SettingsError { name, reason });
    let place = match (given("STORE"), given("TABLE")) {
        (Some(_), Some(_)) => return wrong("STORE", "TABLE is set, too; set one of them".to_owned()),
        (None, None) => return wrong("STORE", format!("must be set to {STORES} (or TABLE to a DynamoDB table)")),
        (None, Some(table)) => Place::Dynamo { table },
        (Some(store), None) => {
            let table = store.strip_prefix("dynamodb:").filter(|table| !table.is_empty());
            let place = table.map(|table| Place::Dynamo { table: table.to_owned() });
            match place.or_else(|| Location::parse(&store).map(Place::Sql)) {
                Some(place) => place,
                None => return wrong("STORE", format!("must be {STORES}")),
            }
        }
    };
    let Some(file) = given("STORE_PASSWORD_FILE") else { return Ok(place) };
    let password = match std::fs::read_to_string(&file) {
        Ok(password) => password.trim().to_owned(),
        Err(error) => return wrong("STORE_PASSWORD_FILE", format!("{file}: {error}")),
    };
    if password.is_empty() {
        return wrong("STORE_PASSWORD_FILE", format!("{file} is empty"));
    }
    let place = match place {
        Place::Dynamo { .. } => None,
        Place::Sql(location) => location.with_password(&password).map(Place::Sql),
    };
    place.map_or_else(|| wrong("STORE_PASSWORD_FILE", ONLY_POSTGRES.to_owned()), Ok)
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

    /// Settings with a file that holds this password.
    fn with_password(store: &str, password: &str) -> Result<Settings, SettingsError> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("breakerbox-password-{}-{number}", std::process::id()));
        std::fs::write(&file, password).unwrap();
        let settings = read(&[("TABLE", ""), ("STORE", store), ("STORE_PASSWORD_FILE", file.to_str().unwrap())]);
        std::fs::remove_file(file).unwrap();
        settings
    }

    #[test]
    fn the_store_is_chosen_by_its_address() {
        let store = |extra: &[(&str, &str)]| format!("{:?}", read(extra).unwrap().store);
        assert_eq!(store(&[]), r#"Dynamo { table: "t" }"#);
        let of = |address| store(&[("TABLE", ""), ("STORE", address)]);
        assert_eq!(of("dynamodb:orders"), r#"Dynamo { table: "orders" }"#);
        assert_eq!(of("postgres://shop@db:5432/orders"), "Sql(postgres://db/orders)");
        assert_eq!(of("sqlite:///var/lib/orders.db"), "Sql(sqlite:///var/lib/orders.db)");
    }

    #[test]
    fn errors_about_the_store_name_what_it_may_be() {
        let error = |extra: &[(&str, &str)]| read(extra).unwrap_err().to_string();
        let stores = "dynamodb:TABLE, postgres://USER@HOST/DATABASE or sqlite:///FILE";
        for unknown in ["orders", "dynamodb:", "sqlite::memory:", "mysql://db/orders", "postgres://shop:hu sh@db:x/o"] {
            assert_eq!(error(&[("TABLE", ""), ("STORE", unknown)]), format!("STORE: must be {stores}"), "{unknown}");
        }
        assert_eq!(error(&[("STORE", "dynamodb:t")]), "STORE: TABLE is set, too; set one of them");
        let missing = error(&[("TABLE", "")]);
        assert_eq!(missing, format!("STORE: must be set to {stores} (or TABLE to a DynamoDB table)"));
        assert!(error(&[("STORE_PASSWORD_FILE", "/missing/file")]).starts_with("STORE_PASSWORD_FILE: /missing/file: "));
        let empty = with_password("postgres://shop@db/orders", "\n").unwrap_err().to_string();
        assert!(empty.ends_with("is empty"), "{empty}");
        for store in [
            "postgres://shop:own@db/orders",
            "postgres://shop@db/orders?password=own",
            "sqlite:///orders.db",
            "dynamodb:orders",
        ] {
            let refused = with_password(store, "hush").unwrap_err().to_string();
            assert!(
                refused.starts_with("STORE_PASSWORD_FILE: may only be set beside a postgres:// STORE"),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for settings in [
            with_password("postgres://shop@db/orders", "hush\n").unwrap(),
            read(&[("TABLE", ""), ("STORE", "postgres://shop:hush@db/orders")]).unwrap(),
            read(&[("TABLE", ""), ("STORE", "postgres://shop@db/orders?password=hush")]).unwrap(),
        ] {
            let shown = format!("{settings:?}");
            assert!(shown.contains("postgres://db/orders") && !shown.contains("hush"), "{shown}");
        }
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
        assert_eq!(error(&[("QUEUE_URL", "")]), "QUEUE_URL: must be set");
    }
}
