//! The error type of all settings, and their common validation.

use std::{fmt::Display, ops::RangeBounds, time::Duration};

/// An invalid setting: names the field, the value and the allowed values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value}: must be {allowed}")]
pub struct SettingsError {
    /// Name of the setting as written in a settings file.
    pub field: String,
    /// The rejected value.
    pub value: String,
    /// The allowed values.
    pub allowed: String,
}

impl SettingsError {
    /// Creates an error about one field.
    pub fn new(field: impl Into<String>, value: impl Display, allowed: impl Into<String>) -> Self {
        Self { field: field.into(), value: value.to_string(), allowed: allowed.into() }
    }

    /// Adds the name of the enclosing settings.
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

/// Fails unless `value` is in `range`; `allowed` describes it.
pub(crate) fn within<T: PartialOrd + Display + Copy>(
    field: &str,
    value: T,
    range: impl RangeBounds<T>,
    allowed: &str,
) -> Result<(), SettingsError> {
    ensure(range.contains(&value), field, value, allowed)
}

/// Fails unless `duration` is between `least` and one day. Longer values are treated as mistakes; the
/// bound keeps arithmetic on instants far from overflow.
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

/// Deserializes a threshold that can be disabled: a number, `false`, or null in formats that have it. TOML
/// has no null, and could otherwise not disable a default.
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
