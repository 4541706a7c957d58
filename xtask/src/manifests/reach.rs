//! Evaluates an overlay's network policies as a cluster does: a connection needs a policy that allows it out of one pod
//! and one that allows it into the other, unless no policy selects that pod.

use breakerbox::export::Source;
use breakerbox::services::ServiceName;
use serde_json::{Map, Value};

use super::policy::{OVERLAYS, built, name, of_kind};
use super::{ADMIN_PORT, TRAFFIC, processes};

/// One end of a connection: a pod's labels and namespace.
struct End {
    labels: Map<String, Value>,
    namespace: &'static str,
}

fn within_site(labels: &Value) -> End {
    End { labels: labels.as_object().cloned().unwrap_or_default(), namespace: "breakerbox" }
}

fn outside(namespace: &'static str) -> End {
    End { labels: Map::new(), namespace }
}

/// Whether a selector matches these labels.
fn selects(selector: &Value, labels: &Map<String, Value>) -> bool {
    let equal = selector["matchLabels"].as_object().into_iter().flatten();
    let listed = selector["matchExpressions"].as_array().into_iter().flatten();
    equal.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && listed.into_iter().all(|expression| {
            assert_eq!(expression["operator"], "In", "no other is used here");
            let own = labels.get(expression["key"].as_str().unwrap());
            own.is_some_and(|own| expression["values"].as_array().unwrap().contains(own))
        })
}

/// Whether a peer of a rule matches this end.
fn is_peer(peer: &Value, end: &End) -> bool {
    let namespace = &peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"];
    if namespace.is_string() {
        *namespace == end.namespace
    } else {
        end.namespace == "breakerbox" && selects(&peer["podSelector"], &end.labels)
    }
}

/// Whether a policy allows `own` to connect with `other` in this direction, or no policy selects `own`.
fn passes(policies: &[&Value], direction: &str, own: &End, other: &End, port: u16) -> bool {
    let applies = |policy: &&&Value| {
        policy["spec"]["policyTypes"].as_array().unwrap().iter().any(|kind| kind == direction)
            && selects(&policy["spec"]["podSelector"], &own.labels)
    };
    let applying: Vec<_> = policies.iter().filter(applies).collect();
    let (rules, peers) = if direction == "Ingress" { ("ingress", "from") } else { ("egress", "to") };
    let lets = |rule: &Value| {
        let ports = rule["ports"].as_array();
        let open = ports.is_none_or(|ports| ports.iter().any(|open| open["port"] == port));
        open && rule[peers].as_array().is_none_or(|peers| peers.iter().any(|peer| is_peer(peer, other)))
    };
    own.namespace != "breakerbox"
        || applying.is_empty()
        || applying.iter().any(|policy| policy["spec"][rules].as_array().into_iter().flatten().any(lets))
}

fn connects(policies: &[&Value], from: &End, to: &End, port: u16) -> bool {
    passes(policies, "Egress", from, to, port) && passes(policies, "Ingress", to, from, port)
}

#[test]
fn network_policies_allow_only_what_is_needed() {
    let source: Source = super::source();
    for overlay in OVERLAYS {
        let Some(all) = built(overlay) else { return };
        let policies = of_kind(&all, "NetworkPolicy");
        let pod = |process: &str| {
            let workloads = all.iter().filter(|document| document["spec"]["template"].is_object());
            let found = workloads.into_iter().find(|workload| name(workload) == process).unwrap();
            within_site(&found["spec"]["template"]["metadata"]["labels"])
        };
        let calls = |from: &str, to: ServiceName| {
            from.parse::<ServiceName>().map_or_else(
                |_| from == TRAFFIC && matches!(to, ServiceName::Gateway | ServiceName::GatewayBare),
                |caller| caller.dependencies().contains(&to),
            )
        };
        for from in processes() {
            for to in ServiceName::ALL {
                // Both gateways accept connections from the whole cluster, although none of our services calls them.
                let allowed = connects(&policies, &pod(from), &pod(to.as_str()), source.port(*to));
                assert_eq!(allowed, calls(from, *to), "{overlay}: {from} → {to}");
            }
            for to in processes() {
                assert!(connects(&policies, &pod(from), &pod(to), ADMIN_PORT), "{overlay}: {from} → admin of {to}");
            }
            let stores = ["checkout", "inventory", "payment-gateway"].contains(&from);
            assert_eq!(connects(&policies, &pod(from), &pod("postgres"), 5432), stores, "{overlay}: {from} → postgres");
            let scraped = connects(&policies, &outside("monitoring"), &pod(from), ADMIN_PORT);
            assert_eq!(scraped, *overlay == "monitored", "{overlay}: scrapes of {from}");
            let asks = connects(&policies, &pod(from), &outside("monitoring"), 9090);
            assert_eq!(asks, *overlay == "monitored" && from == TRAFFIC, "{overlay}: {from} → Prometheus");
            assert!(!connects(&policies, &outside("default"), &pod(from), ADMIN_PORT), "{overlay}: admin of {from}");
            let configured = connects(&policies, &pod(from), &outside("istio-system"), 15_012);
            assert_eq!(configured, *overlay == "mesh", "{overlay}: {from} → istiod");
        }
        assert!(connects(&policies, &outside("ingress"), &pod("gateway"), 8080), "{overlay}: viewers");
        assert!(!connects(&policies, &outside("ingress"), &pod("checkout"), 8086), "{overlay}: checkout is inside");
    }
}

/// The containers that `tests/cli/pods.rs` runs are those of every overlay.
#[test]
fn every_overlay_runs_the_same_containers() {
    let containers = |overlay: &str| {
        let all = built(overlay)?;
        let own = of_kind(&all, "Deployment").into_iter().map(|deployment| {
            let pod = &deployment["spec"]["template"]["spec"];
            (name(deployment).to_owned(), pod["containers"].clone(), pod["volumes"].clone())
        });
        Some(own.collect::<Vec<_>>())
    };
    let Some(minimal) = containers("minimal") else { return };
    assert_eq!(minimal.len(), processes().count());
    for overlay in OVERLAYS {
        assert_eq!(containers(overlay).unwrap(), minimal, "{overlay}");
    }
}
