//! A policy as written in the settings: the name of a preset, and overrides.
//!
//! ```toml
//! [policies.gateway.catalog]
//! preset = "database"
//! circuit-breaker.failure-rate-threshold = 40
//! retry = false          # a part that is false is off
//! ```

use serde_json::{Map, Value};

use crate::client::{pool_preset, pool_preset_names, preset, preset_names};
use breakerbox_resilience::policy::PolicySettings;

/// Applies overrides to their preset; without any settings the result is the default policy.
pub(crate) fn resolve(written: Option<&Value>) -> Result<PolicySettings, String> {
    let mut written = match written {
        None => Map::new(),
        Some(Value::Object(table)) => table.clone(),
        Some(other) => return Err(format!("{other} is not a table")),
    };
    let base = match written.remove("preset") {
        None => PolicySettings::default(),
        Some(Value::String(name)) => preset(&name)
            .ok_or_else(|| format!("preset: {name:?} is unknown; there are {}", preset_names().join(", ")))?,
        Some(other) => {
            return Err(format!("preset: unknown preset {other}; must be one of {}", preset_names().join(", ")));
        }
    };
    if let Some(Value::Object(pool)) = written.get_mut("pool-bulkhead") {
        from_pool_preset(pool)?;
    }
    let mut merged = serde_json::to_value(&base).map_err(|error| error.to_string())?;
    lay_over(&mut merged, Value::Object(written));
    serde_path_to_error::deserialize(merged).map_err(|error| format!("{}: {}", error.path(), error.inner()))
}

/// Replaces the name of a pool preset by its settings.
fn from_pool_preset(pool: &mut Map<String, Value>) -> Result<(), String> {
    let Some(name) = pool.remove("preset") else { return Ok(()) };
    let preset = name.as_str().and_then(pool_preset).ok_or_else(|| {
        format!("pool-bulkhead.preset: {name} is unknown; there are {}", pool_preset_names().join(", "))
    })?;
    let mut base = serde_json::to_value(&preset).map_err(|error| error.to_string())?;
    lay_over(&mut base, Value::Object(std::mem::take(pool)));
    if let Value::Object(laid) = base {
        *pool = laid;
    }
    Ok(())
}

fn lay_over(base: &mut Value, over: Value) {
    match (base, over) {
        (base, Value::Bool(false)) if !base.is_boolean() => *base = Value::Null,
        // A part that the preset lacks starts from its own defaults.
        (base @ Value::Null, over @ Value::Object(_)) => {
            *base = Value::Object(Map::new());
            lay_over(base, over);
        }
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                lay_over(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn overrides_win_over_the_preset_and_leave_the_rest() {
        let written = json!({"preset": "database", "circuit-breaker": {"failure-rate-threshold": 40.0}});
        let policy = resolve(Some(&written)).unwrap();
        let database = preset("database").unwrap();
        let (own, base) = (policy.circuit_breaker.unwrap(), database.circuit_breaker.unwrap());
        assert_eq!(own.failure_rate_threshold, Some(40.0));
        assert_eq!(own.wait_duration_in_open_state, base.wait_duration_in_open_state);
    }

    #[test]
    fn a_part_can_be_off() {
        let written = json!({"preset": "database", "circuit-breaker": false});
        assert_eq!(resolve(Some(&written)).unwrap().circuit_breaker, None);
    }

    #[test]
    fn a_field_of_a_part_without_preset_can_be_off() {
        let written = json!({"circuit-breaker": {"failure-rate-threshold": false, "consecutive-failure-threshold": 3}});
        let breaker = resolve(Some(&written)).unwrap().circuit_breaker.unwrap();
        assert_eq!((breaker.failure_rate_threshold, breaker.consecutive_failure_threshold), (None, Some(3)));
    }

    #[test]
    fn a_pool_begins_with_its_preset() {
        let written = json!({"pool-bulkhead": {"preset": "notification", "when-full": "reject"}});
        let pool = resolve(Some(&written)).unwrap().pool_bulkhead.unwrap();
        assert_eq!((pool.core_size, pool.max_size, pool.queue_capacity), (2, 5, 20));
        assert_eq!(pool.when_full, breakerbox_resilience::bulkhead::WhenFull::Reject);
        let error = resolve(Some(&json!({"pool-bulkhead": {"preset": "returns"}}))).unwrap_err();
        assert_eq!(
            error,
            "pool-bulkhead.preset: \"returns\" is unknown; there are payment, inventory, shipping, notification"
        );
    }

    #[test]
    fn an_unknown_word_is_named() {
        let error = resolve(Some(&json!({"circuit-breaker": {"sliding-window-sise": 3}}))).unwrap_err();
        assert!(error.contains("sliding-window-sise"), "{error}");
    }
}
