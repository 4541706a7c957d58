//! What is common to all settings: one error that says exactly what was wrong.

use std::{fmt::Display, ops::RangeBounds, time::Duration};

/// A setting that cannot work, named so that the reader can mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value}: must be {allowed}")]
pub struct SettingsError {
    /// The setting's name as it is written in a settings file.
    pub field: String,
    /// The value that was refused.
    pub value: String,
    /// What would be accepted.
    pub allowed: String,
}

impl SettingsError {
    /// An error about one field.
    pub fn new(field: impl Into<String>, value: impl Display, allowed: impl Into<String>) -> Self {
        Self { field: field.into(), value: value.to_string(), allowed: allowed.into() }
    }

    /// The same error, seen from the settings that contain these under `parent`.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }
}

/// Fails unless `ok`.
pub(crate) fn ensure(ok: bool, field: &str, value: impl Display, allowed: &str) -> Result<(), SettingsError> {
    if ok { Ok(()) } else { Err(SettingsError::new(field, value, allowed)) }
}

/// Fails unless `value` lies in `range`, which `allowed` spells out.
pub(crate) fn within<T: PartialOrd + Display + Copy>(
    field: &str,
    value: T,
    range: impl RangeBounds<T>,
    allowed: &str,
) -> Result<(), SettingsError> {
    ensure(range.contains(&value), field, value, allowed)
}

/// Fails unless `duration` is between `least` and a day: longer is always a slip of the pen, and
/// the bound keeps arithmetic on instants far from overflow.
pub(crate) fn duration(field: &str, duration: Duration, least: Duration) -> Result<(), SettingsError> {
    const DAY: Duration = Duration::from_hours(24);
    ensure(
        (least..=DAY).contains(&duration),
        field,
        humantime::format_duration(duration),
        &format!("between {} and 24h", humantime::format_duration(least)),
    )
}

/// Fails unless `percent` is a percentage above 0.
pub(crate) fn percentage(field: &str, percent: f64) -> Result<(), SettingsError> {
    ensure(percent > 0.0 && percent <= 100.0, field, percent, "a percentage above 0, up to 100")
}

/// Reads a threshold that can be switched off: a number, `false`, or null where there is one. TOML,
/// which has none, could not say otherwise that a default does not apply.
pub(crate) mod threshold {
    use std::{fmt, marker::PhantomData};

    use serde::{
        Deserialize, Deserializer, Serialize, Serializer,
        de::{Error, IntoDeserializer, Unexpected, Visitor},
    };

    #[allow(clippy::ref_option, reason = "the signature that serde calls")]
    pub(crate) fn serialize<T: Serialize, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        deserializer.deserialize_any(Threshold(PhantomData))
    }

    struct Threshold<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Threshold<T> {
        type Value = Option<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a number, or false to switch it off")
        }

        fn visit_bool<E: Error>(self, on: bool) -> Result<Self::Value, E> {
            if on { Err(E::invalid_type(Unexpected::Bool(true), &self)) } else { Ok(None) }
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
            T::deserialize(number.into_deserializer()).map(Some)
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
            T::deserialize(number.into_deserializer()).map(Some)
        }

        fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
            T::deserialize(number.into_deserializer()).map(Some)
        }
    }
}
