//! Deployments and Services.

use breakerbox::export::Source;
use breakerbox::services::ServiceName;
use serde_json::{Value, json};

use super::{ADMIN_PORT, TRAFFIC, config, labels, processes, replicas, selector};

/// Where secrets are mounted, and the admin token's file.
pub const SECRETS: &str = "/run/secrets/breakerbox";
pub const TOKEN: &str = "admin-token";
pub const ADMIN_SECRET: &str = "breakerbox-admin";
pub const DATABASE_SECRET: &str = "breakerbox-database";
pub const INTERNAL_SECRET: &str = "breakerbox-internal";
pub const SIGNING_SECRET: &str = "breakerbox-signing";
/// The account of all pods, which is allowed nothing.
const ACCOUNT: &str = "breakerbox";
const USER: u32 = 65_532;
/// Seconds that a pod goes on before it is asked to stop, and until it is killed.
pub const PRE_STOP: u64 = 8;
pub const GRACE: u64 = 30;
/// The label of a Service that carries requests, by which the mesh's overlay gives it an address.
pub const COMPONENT: &str = "app.kubernetes.io/component";
pub const REQUESTS: &str = "requests";

pub fn all(source: &Source) -> Vec<Value> {
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": ACCOUNT},
        "automountServiceAccountToken": false,
    });
    let mut all = vec![account];
    for process in processes() {
        let service: Option<ServiceName> = process.parse().ok();
        let port = service.map(|service| source.port(service));
        all.push(deployment(process, port));
        all.extend(port.map(|port| requests(process, port)));
        all.push(admin(process));
    }
    all
}

fn deployment(process: &str, port: Option<u16>) -> Value {
    let mut ports = vec![json!({"name": "http-admin", "containerPort": ADMIN_PORT})];
    ports.extend(port.map(|port| json!({"name": "http", "containerPort": port})));
    let args = match process {
        TRAFFIC => json!(["traffic", "--rate", "10"]),
        service => json!(["serve", service]),
    };
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": "http-admin"}, "timeoutSeconds": 2});
    let with = |path: &str, period: u32, failures: u32| {
        let mut probe = probe(path);
        probe["periodSeconds"] = period.into();
        probe["failureThreshold"] = failures.into();
        probe
    };
    let container = json!({
        "name": "breakerbox",
        "image": "breakerbox:local",
        "imagePullPolicy": "IfNotPresent",
        "args": args,
        "ports": ports,
        "envFrom": [{"configMapRef": {"name": config::NAME}}],
        "env": environment(process),
        // A minute to start, which a database that is not there yet may take up.
        "startupProbe": with("/healthz", 2, 30),
        "readinessProbe": with("/readyz", 5, 2),
        "livenessProbe": with("/healthz", 10, 3),
        // Requests still come for as long as callers believe what the name last meant.
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP}}},
        "resources": {
            "requests": {"cpu": "25m", "memory": "24Mi"},
            "limits": {"cpu": "500m", "memory": "64Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": TOKEN, "mountPath": SECRETS, "readOnly": true}],
    });
    let pod = json!({
        "serviceAccountName": ACCOUNT,
        "automountServiceAccountToken": false,
        // Kubernetes would otherwise set a variable for every Service, and a name that begins with
        // BREAKERBOX_ would be refused as an unknown setting.
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": GRACE,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(process)},
        }],
        "containers": [container],
        "volumes": [{"name": TOKEN, "secret": {"secretName": ADMIN_SECRET, "defaultMode": 0o440}}],
    });
    let mut spec = json!({
        "selector": {"matchLabels": selector(process)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": {"labels": labels(process)}, "spec": pod},
    });
    // An autoscaler says how many there are of the others.
    if !super::scaling::scaled(process) {
        spec["replicas"] = replicas(process).into();
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": process, "labels": labels(process)},
        "spec": spec,
    })
}

/// What one process knows and others need not.
fn environment(process: &str) -> Value {
    let secret = |name: &str, secret: &str, key: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}});
    let store = secret("BREAKERBOX_STORE__URL", DATABASE_SECRET, "store-url");
    // Services answer their peers alone, who show it.
    let peers = secret("BREAKERBOX_INTERNAL__TOKEN", INTERNAL_SECRET, "internal-token");
    match process {
        // Instances share what they know of the payment gateway, as they share orders and queue.
        "checkout" => json!([peers, store, {"name": "BREAKERBOX_CHECKOUT__BREAKER", "value": "shared"}]),
        "inventory" => json!([peers, store]),
        "payment-gateway" => json!([peers, secret("BREAKERBOX_PAYMENT_GATEWAY__URL", DATABASE_SECRET, "ledger-url")]),
        // A token of one instance is checked by another.
        "user" => json!([peers, secret("BREAKERBOX_USER__TOKEN_KEY", SIGNING_SECRET, "token-key")]),
        _ => json!([peers]),
    }
}

/// The addresses of the pods that are ready, and none of its own: callers take the addresses of a name in turn, while
/// behind one address each keeps to the pod that its first connection reached.
fn requests(process: &str, port: u16) -> Value {
    let mut labels = labels(process);
    labels[COMPONENT] = REQUESTS.into();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": process, "labels": labels},
        "spec": {
            "clusterIP": "None",
            "selector": selector(process),
            "ports": [{"name": "http", "appProtocol": "http", "port": port, "targetPort": "http"}],
        },
    })
}

/// Every pod's address, also of those that are not ready: a fault must be cleared where it is.
fn admin(process: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": format!("{process}-admin"), "labels": labels(process)},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": selector(process),
            "ports": [{"name": "http-admin", "appProtocol": "http", "port": ADMIN_PORT, "targetPort": "http-admin"}],
        },
    })
}
