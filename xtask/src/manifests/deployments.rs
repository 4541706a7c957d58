//! Deployments and Services.

use breakerbox::export::Source;
use breakerbox::services::ServiceName;
use serde_json::{Value, json};

use super::{ADMIN_PORT, TRAFFIC, config, labels, processes, replicas, selector};

/// Mount path of secrets, and the file of the admin token.
pub const SECRETS: &str = "/run/secrets/breakerbox";
pub const TOKEN: &str = "admin-token";
pub const ADMIN_SECRET: &str = "breakerbox-admin";
pub const DATABASE_SECRET: &str = "breakerbox-database";
pub const INTERNAL_SECRET: &str = "breakerbox-internal";
pub const SIGNING_SECRET: &str = "breakerbox-signing";
/// The service account of all pods, which has no permissions.
const ACCOUNT: &str = "breakerbox";
const USER: u32 = 65_532;
/// Seconds that a pod keeps serving before it gets SIGTERM, and its grace period.
pub const PRE_STOP: u64 = 8;
pub const GRACE: u64 = 30;
/// The label that marks a Service for requests; the mesh's overlay gives such a Service a cluster IP.
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
        // A minute to start, which includes waiting for the database.
        "startupProbe": with("/healthz", 2, 30),
        "readinessProbe": with("/readyz", 5, 2),
        "livenessProbe": with("/healthz", 10, 3),
        // Requests keep arriving until callers resolve the name again.
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
        // Otherwise Kubernetes sets variables for every Service, and the program refuses those that begin with
        // BREAKERBOX_ as unknown settings.
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
    // For the others an autoscaler sets the number of replicas.
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

/// Variables that only one process needs.
fn environment(process: &str) -> Value {
    let secret = |name: &str, secret: &str, key: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}});
    let store = secret("BREAKERBOX_STORE__URL", DATABASE_SECRET, "store-url");
    // Services only accept requests that carry this secret.
    let peers = secret("BREAKERBOX_INTERNAL__TOKEN", INTERNAL_SECRET, "internal-token");
    match process {
        // Instances share the breaker for the payment gateway, as they share orders and queue.
        "checkout" => json!([peers, store, {"name": "BREAKERBOX_CHECKOUT__BREAKER", "value": "shared"}]),
        "inventory" => json!([peers, store]),
        "payment-gateway" => json!([peers, secret("BREAKERBOX_PAYMENT_GATEWAY__URL", DATABASE_SECRET, "ledger-url")]),
        // A token issued by one instance is verified by another.
        "user" => json!([peers, secret("BREAKERBOX_USER__TOKEN_KEY", SIGNING_SECRET, "token-key")]),
        _ => json!([peers]),
    }
}

/// A headless Service with the addresses of the ready pods: callers use the addresses of a name in turn, while a
/// cluster IP binds each connection to one pod.
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

/// The addresses of all pods, ready or not, because a fault must be cleared on a pod that is not ready, too.
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
