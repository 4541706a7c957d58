//! Network policies, generated from the callers of each service.

use breakerbox::export::Source;
use breakerbox::services::ServiceName;
use serde_json::{Value, json};

use super::{ADMIN_PORT, TRAFFIC, selector};

/// The database's label.
const POSTGRES: &str = "postgres";
const POSTGRES_PORT: u16 = 5432;

pub fn all(source: &Source) -> Vec<Value> {
    let mut all = vec![nothing(), names(), admin()];
    for service in ServiceName::ALL {
        all.push(ingress(source, *service));
    }
    for caller in ServiceName::ALL.iter().filter(|service| !service.dependencies().is_empty()) {
        all.push(egress(caller.as_str(), &calls(source, caller.dependencies())));
    }
    all.push(egress(TRAFFIC, &calls(source, &[ServiceName::Gateway, ServiceName::GatewayBare])));
    all.extend(database());
    all
}

fn policy(name: &str, pods: &Value, spec: &Value) -> Value {
    let mut all = json!({"podSelector": pods});
    all.as_object_mut().expect("it is a table").extend(spec.as_object().cloned().unwrap_or_default());
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": all,
    })
}

fn pods(process: &str) -> Value {
    json!({"podSelector": {"matchLabels": selector(process)}})
}

fn tcp(port: u16) -> Value {
    json!([{"protocol": "TCP", "port": port}])
}

fn nothing() -> Value {
    policy("default-deny", &json!({}), &json!({"policyTypes": ["Ingress", "Egress"]}))
}

/// To any destination, because a node-local DNS cache has the node's address.
fn names() -> Value {
    let ports = json!([{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]);
    policy("dns", &json!({}), &json!({"policyTypes": ["Egress"], "egress": [{"ports": ports}]}))
}

/// Admin ports are open between the pods, which forward commands to each other. Kubernetes' probes come from the node.
fn admin() -> Value {
    let ours = json!({"matchLabels": {"app.kubernetes.io/part-of": "breakerbox"}});
    let peers = json!([{"podSelector": ours}]);
    let rules = json!({
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": peers, "ports": tcp(ADMIN_PORT)}],
        "egress": [{"to": peers, "ports": tcp(ADMIN_PORT)}],
    });
    policy("admin-ports", &ours, &rules)
}

fn ingress(source: &Source, service: ServiceName) -> Value {
    let callers = ServiceName::ALL.iter().filter(|caller| caller.dependencies().contains(&service));
    let from: Vec<_> = callers.map(|caller| pods(caller.as_str())).collect();
    let mut rule = json!({"ports": tcp(source.port(service))});
    // A process that no service calls is the site's edge, open to the whole cluster.
    if !from.is_empty() {
        rule["from"] = from.into();
    }
    let name = format!("{service}-callers");
    policy(
        &name,
        &json!({"matchLabels": selector(service.as_str())}),
        &json!({"policyTypes": ["Ingress"], "ingress": [rule]}),
    )
}

fn calls(source: &Source, dependencies: &[ServiceName]) -> Vec<Value> {
    let rule = |to: &ServiceName| json!({"to": [pods(to.as_str())], "ports": tcp(source.port(*to))});
    dependencies.iter().map(rule).collect()
}

fn egress(process: &str, rules: &[Value]) -> Value {
    let name = format!("{process}-dependencies");
    policy(&name, &json!({"matchLabels": selector(process)}), &json!({"policyTypes": ["Egress"], "egress": rules}))
}

/// The database, inside or outside of the namespace.
fn database() -> Vec<Value> {
    let clients = json!({"matchExpressions": [{
        "key": "app.kubernetes.io/name",
        "operator": "In",
        "values": ["checkout", "inventory", "payment-gateway"],
    }]});
    let database = json!({"matchLabels": {"app.kubernetes.io/name": POSTGRES}});
    vec![
        policy(
            "database-clients",
            &clients,
            &json!({
                "policyTypes": ["Egress"],
                "egress": [{"ports": tcp(POSTGRES_PORT)}],
            }),
        ),
        policy(
            "database",
            &database,
            &json!({
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": clients}], "ports": tcp(POSTGRES_PORT)}],
            }),
        ),
    ]
}
