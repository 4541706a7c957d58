//! Autoscaling and disruption budgets.

use breakerbox::export::Source;
use breakerbox::services::ServiceName;
use breakerbox_telemetry::names;
use serde_json::{Value, json};

use super::{processes, replicas, selector};

/// Whether an autoscaler sets the replicas of a process: true for processes with several pods, except those that write
/// to the database, where more pods mean more connections and no more capacity.
pub fn scaled(process: &str) -> bool {
    replicas(process) > 1 && !matches!(process, "checkout" | "inventory")
}

pub fn all() -> Vec<Value> {
    let several = || processes().filter(|process| replicas(process) > 1);
    several().map(budget).chain(several().filter(|process| scaled(process)).map(autoscaler)).collect()
}

fn budget(process: &str) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": process},
        "spec": {
            "minAvailable": 1,
            // A pod that never became ready must not block a drain.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(process)},
        },
    })
}

fn autoscaler(process: &str) -> Value {
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": process},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": process},
            "minReplicas": replicas(process),
            "maxReplicas": 6,
            "metrics": [cpu()],
            // The breakers of a new pod have no history, so scaling is slow.
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
        },
    })
}

fn cpu() -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": 70});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

/// A quarter of the gateway's total bulkhead capacity: more calls in flight over a longer time mean that calls take
/// longer, and a full bulkhead rejects them.
pub fn in_flight_patch(source: &Source) -> Value {
    let own = source.relations().filter(|relation| relation.caller == ServiceName::Gateway);
    let places: u32 = own.filter_map(|relation| Some(relation.policy.bulkhead.as_ref()?.max_concurrent_calls)).sum();
    let target = json!({"type": "AverageValue", "averageValue": (places / 4).to_string()});
    let mut patched = autoscaler(ServiceName::Gateway.as_str());
    let metric =
        json!({"type": "Pods", "pods": {"metric": {"name": names::BULKHEAD_IN_FLIGHT.name}, "target": target}});
    patched["spec"] = json!({"metrics": [cpu(), metric]});
    patched
}

pub fn adapter_rules() -> Value {
    let series = names::BULKHEAD_IN_FLIGHT.name;
    json!({
        "rules": {
            "custom": [{
                "seriesQuery": format!("{series}{{namespace!=\"\"}}"),
                // `instance` is the pod's name, set by the PodMonitor.
                "resources": {"overrides": {"namespace": {"resource": "namespace"}, "instance": {"resource": "pod"}}},
                "name": {"as": series},
                "metricsQuery": "sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)",
            }],
        },
    })
}
