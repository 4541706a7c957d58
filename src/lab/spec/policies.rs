//! The policies of a variant: the case's base with the variant's settings over it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Case, Variant};
use crate::settings::policies;
use breakerbox_resilience::policy::PolicySettings;

impl Case {
    /// The policies of a variant with one setting changed (`path`, `value`); a dependency without a policy is called
    /// without protection.
    pub fn policies(
        &self,
        variant: &Variant,
        changes: &[(&str, &Value)],
    ) -> Result<BTreeMap<String, PolicySettings>, String> {
        let mut written = BTreeMap::new();
        for (dependency, over) in &variant.policy {
            let mut policy =
                self.base.get(dependency).cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
            if let Value::Object(over) = over {
                for (part, value) in over {
                    lay_over(&mut policy, &[part], value);
                }
            }
            written.insert(dependency.clone(), policy);
        }
        for (path, value) in changes {
            let steps: Vec<&str> = path.split('.').collect();
            let Some((dependency, rest)) = steps.split_first() else { continue };
            if let Some(policy) = written.get_mut(*dependency) {
                lay_over(policy, rest, value);
            }
        }
        let resolve = |(dependency, policy): (String, Value)| {
            let settings = policies::resolve(Some(&policy)).map_err(|error| format!("policy.{dependency}.{error}"))?;
            settings.validate().map_err(|error| format!("policy.{dependency}.{error}"))?;
            Ok((dependency, settings))
        };
        written.into_iter().map(resolve).collect()
    }
}

/// Sets the value at a path; tables are merged, other values are replaced.
fn lay_over(base: &mut Value, path: &[&str], value: &Value) {
    if !base.is_object() {
        *base = Value::Object(serde_json::Map::new());
    }
    let Value::Object(table) = base else { return };
    let Some((first, rest)) = path.split_first() else { return };
    let place = table.entry((*first).to_owned()).or_insert(Value::Null);
    match (rest.is_empty(), value) {
        (false, _) => lay_over(place, rest, value),
        (true, Value::Object(over)) => {
            for (key, value) in over {
                lay_over(place, &[key], value);
            }
            if over.is_empty() && place.is_null() {
                *place = Value::Object(serde_json::Map::new());
            }
        }
        (true, other) => *place = other.clone(),
    }
}
