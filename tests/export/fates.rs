//! No setting is lost silently: changing a setting marked as exported changes the output, and changing one marked as
//! lost does not.

use std::collections::{BTreeMap, BTreeSet};

use breakerbox::client::{preset, preset_names};
use breakerbox::export::{Fate, Source, envoy, istio, resilience4j, settings};
use breakerbox_resilience::policy::PolicySettings;
use serde_json::{Value, json};

use crate::source;

type Exporter = (&'static str, fn(&Source) -> String, fn(&PolicySettings, &str) -> Fate);

const EXPORTERS: &[Exporter] = &[
    ("istio", istio::policies, istio::fate),
    ("envoy", envoy::policies, envoy::fate),
    ("resilience4j", resilience4j::policies, resilience4j::fate),
];

/// Every policy of the program, every preset, and one policy with everything that can be combined.
fn policies() -> Vec<PolicySettings> {
    let mut all: Vec<_> = source(&[]).policies.into_values().collect();
    all.extend(preset_names().iter().filter_map(|name| preset(name)));
    let everything = json!({
        "circuit-breaker": {
            "consecutive-failure-threshold": 7, "slow-call-rate-threshold": 40.0, "open-wait-multiplier": 2.0,
            "open-wait-jitter": 0.2, "recovery-stages": [10.0, 50.0], "sliding-window-type": "time-based",
        },
        "pool-bulkhead": {"core-size": 3, "max-size": 9, "queue-capacity": 11, "when-full": "reject"},
        "time-limiter": {"timeout-multiplier": 1.5, "total-timeout": "9s"},
        "retry": {"max-attempts": 4, "jitter": "equal", "exponential-backoff-multiplier": 3.0, "adaptive": {}},
        "hedge": {"delay": "30ms"},
    });
    all.push(serde_json::from_value(everything).unwrap());
    all
}

/// The policy with another value for one setting; `None` if no other value is valid.
fn changed(policy: &PolicySettings, setting: &str, value: &Value) -> Option<PolicySettings> {
    let others = match value {
        Value::Bool(on) => vec![json!(!on)],
        Value::Number(number) => vec![json!(number.as_f64()? + 1.0), json!(number.as_f64()? / 2.0)],
        Value::Array(_) => vec![json!([5.0])],
        Value::String(text)
            if text.ends_with(char::is_alphabetic) && text.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            vec![json!("4321ms"), json!("77ms"), json!("3h")]
        }
        Value::String(_) => {
            ["time-based", "count-based", "equal", "full", "reject", "caller-runs"].map(Value::from).to_vec()
        }
        _ => return None,
    };
    others.into_iter().filter(|other| other != value).find_map(|other| {
        let mut all = serde_json::to_value(policy).unwrap();
        let other = if let (Some(whole), true) = (other.as_f64(), value.is_u64()) {
            #[allow(clippy::cast_possible_truncation)]
            let whole = whole as i64;
            json!(whole)
        } else {
            other
        };
        *all.pointer_mut(&format!("/{}", setting.replace('.', "/")))? = other;
        let policy: PolicySettings = serde_json::from_value(all).ok()?;
        policy.validate().ok().map(|()| policy)
    })
}

/// The output without its comments, which list what is lost.
fn body(source: &Source, export: fn(&Source) -> String, policy: &PolicySettings) -> String {
    let mut source = source.clone();
    let relation = *source.policies.keys().next().unwrap();
    source.policies = BTreeMap::from([(relation, policy.clone())]);
    export(&source).lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_setting_is_exported_or_reported_as_lost() {
    let base = source(&[]);
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for (name, export, fate) in EXPORTERS {
        for policy in policies() {
            let before = body(&base, *export, &policy);
            for (setting, value) in settings(&policy) {
                let Some(other) = changed(&policy, &setting, &value) else { continue };
                // Envoy's form is the same for a window of ten calls and one of ten seconds.
                let breaker = policy.circuit_breaker.as_ref();
                if setting.ends_with("sliding-window-type") && breaker.is_some_and(|b| b.sliding_window_size == 10) {
                    continue;
                }
                let changes = body(&base, *export, &other) != before;
                match fate(&policy, &setting) {
                    Fate::Exported(_) if !changes => wrong.push(format!("{name}: {setting} = {value} is not exported")),
                    Fate::Lost(why) if changes => wrong.push(format!("{name}: {setting} = {value} is not lost: {why}")),
                    // A setting that has no effect at its present value may have one at another.
                    _ => {}
                }
                seen.insert((*name, setting));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen.len() > 100, "too few settings were changed: {seen:?}");
}
