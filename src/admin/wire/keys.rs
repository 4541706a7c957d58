//! Spellings of settings' keys: hyphens in the settings file, underscores in JSON.

use serde_json::{Map, Value};

/// Spelling of settings' keys in JSON.
pub(super) fn with_underscores(settings: Value) -> Value {
    renamed(settings, '-', '_').unwrap_or_default()
}

/// Spelling of settings' keys in the settings file; an error names a key that is given in both.
pub(in crate::admin) fn with_hyphens(settings: Value) -> Result<Value, String> {
    renamed(settings, '_', '-')
}

fn renamed(settings: Value, from: char, to: char) -> Result<Value, String> {
    let Value::Object(table) = settings else { return Ok(settings) };
    let mut own = Map::new();
    for (key, value) in table {
        if own.insert(key.replace(from, &to.to_string()), value).is_some() {
            return Err(format!("{key} is set twice, with hyphens and with underscores"));
        }
    }
    Ok(Value::Object(own))
}
