//! The exported files, translated by a real istiod and run by a real Envoy.
//!
//! ```text
//! ISTIOD=…/pilot-discovery ISTIOCTL=…/istioctl cargo test -p breakerbox --test export istiod -- --ignored
//! ```
//!
//! istiod reads the committed policies from a file. A minimal API server in this process gives it the Services of the
//! overlay and their endpoints, which are stubs. A `Sidecar` resource binds the proxy's listeners to a loopback address;
//! in a pod, iptables redirects to them instead. Off are mTLS and the filters that only Istio's build of Envoy has (ALPN,
//! metadata exchange, statistics).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse as _;
use axum::{Json, Router};
use breakerbox::export::istio::{self, SERVICE_LABEL};
use breakerbox_resilience::policy::PolicySettings;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::numbers::duration;
use crate::schema::documents;
use crate::source;
use crate::tools::{root, tool};
use crate::world::{Child, Upstream};

const NAMESPACE: &str = "breakerbox";
const PATIENCE: Duration = Duration::from_secs(60);
/// Allowance for timers and a busy machine.
const LATE: Duration = Duration::from_millis(500);
/// A proxy's timers start from a clock that may be some milliseconds behind.
const EARLY: Duration = Duration::from_millis(20);

/// The Services for requests as in the mesh overlay, which gives them a cluster address. Here it is the address the
/// proxy listens on, so that a caller that knows only this address has its requests matched to their routes.
fn services(address: &str) -> Vec<Value> {
    let mut all = documents(&std::fs::read_to_string(root().join("deploy/kubernetes/base/services.yaml")).unwrap());
    all.retain(|one| {
        one["kind"] == "Service" && one["metadata"]["labels"]["app.kubernetes.io/component"] == "requests"
    });
    for service in &mut all {
        service["metadata"]["namespace"] = NAMESPACE.into();
        service["spec"]["clusterIP"] = address.into();
    }
    all
}

fn name_and_port(service: &Value) -> (String, u64) {
    (service["metadata"]["name"].as_str().unwrap().to_owned(), service["spec"]["ports"][0]["port"].as_u64().unwrap())
}

/// An API server that has only these Services and endpoints, and never reports a change.
async fn api_server(services: Vec<Value>, endpoints: Vec<Value>) -> u16 {
    let lists = Arc::new(BTreeMap::from([
        ("/api/v1/services", services),
        ("/apis/discovery.k8s.io/v1/endpointslices", endpoints),
    ]));
    let answer = move |uri: Uri, method: axum::http::Method| {
        let lists = Arc::clone(&lists);
        async move {
            let (path, query) = (uri.path(), uri.query().unwrap_or_default());
            let failed = |code: u16, reason: &str| {
                let body =
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code});
                (StatusCode::from_u16(code).unwrap(), Json(body)).into_response()
            };
            if method != axum::http::Method::GET {
                failed(403, "Forbidden")
            } else if path == "/version" {
                Json(json!({"major": "1", "minor": "33", "gitVersion": "v1.33.0"})).into_response()
            } else if query.contains("sendInitialEvents") {
                // The client then falls back to a list and a watch.
                failed(422, "Invalid")
            } else if query.contains("watch=true") {
                Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>()).into_response()
            } else if path.contains("/namespaces/") && !query.contains("limit=") {
                failed(404, "NotFound")
            } else {
                let items = lists.get(path).cloned().unwrap_or_default();
                let mut list = json!({"metadata": {"resourceVersion": "1"}, "items": items});
                if path.ends_with("/customresourcedefinitions") {
                    list["kind"] = "PartialObjectMetadataList".into();
                    list["apiVersion"] = "meta.k8s.io/v1".into();
                }
                Json(list).into_response()
            }
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    port
}

fn committed(file: &str) -> String {
    std::fs::read_to_string(root().join("deploy/istio").join(file)).unwrap()
}

/// The resources of these files; a later one replaces an earlier one of the same name, as `kubectl apply` does.
fn applied(files: &[String]) -> BTreeMap<(String, String), Value> {
    let key = |one: &Value| [&one["kind"], &one["metadata"]["name"]].map(|part| part.as_str().unwrap().to_owned());
    files.iter().flat_map(|file| documents(file)).map(|one| (key(&one).into(), one)).collect()
}

/// An Envoy configured by istiod as the sidecar of one caller, with stubs for the pods that it calls.
struct Mesh {
    pods: BTreeMap<String, Vec<Arc<Upstream>>>,
    ports: BTreeMap<String, u64>,
    address: String,
    admin: String,
    client: reqwest::Client,
    folder: PathBuf,
    _processes: [Child; 2],
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    text: String,
    after: Duration,
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

fn spawn(folder: &Path, name: &str, command: &mut Command) -> Child {
    let log = File::create(folder.join(format!("{name}.log"))).unwrap();
    command.current_dir(folder).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    Child(command.spawn().unwrap())
}

fn bootstrap(caller: &str, xds: u16, admin: u16) -> Value {
    let ads = json!({"ads": {}, "resource_api_version": "V3"});
    let at = |port| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let http2 = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    });
    json!({
        "node": {
            "id": format!("sidecar~127.0.0.1~{caller}-1.{NAMESPACE}~{NAMESPACE}.svc.cluster.local"),
            "cluster": format!("{caller}.{NAMESPACE}"),
            "metadata": {
                "NAMESPACE": NAMESPACE,
                "INTERCEPTION_MODE": "NONE",
                "ISTIO_VERSION": "1.31.0",
                "LABELS": {SERVICE_LABEL: caller},
            },
        },
        "admin": {"address": at(admin)},
        "dynamic_resources": {
            "ads_config": {"api_type": "GRPC", "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "istiod"}}]},
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {"clusters": [{
            "name": "istiod",
            "type": "STATIC",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
            "load_assignment": {"cluster_name": "istiod", "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": at(xds)}}]},
            ]},
        }]},
    })
}

impl Mesh {
    async fn start(files: &[String], caller: &str, pods_each: usize) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let istiod = std::env::var("ISTIOD").unwrap_or_else(|_| panic!("ISTIOD names no pilot-discovery"));
        let envoy = tool("ENVOY").unwrap();
        let (number, process) = (STARTED.fetch_add(1, Ordering::Relaxed), std::process::id());
        let folder = std::env::temp_dir().join(format!("breakerbox-istiod-{process}-{number}"));
        std::fs::create_dir_all(folder.join("config")).unwrap();
        let address = format!("127.{}.{}.{}", 64 + process % 64, process / 64 % 256, 1 + number);

        let services = services(&address);
        let ports: BTreeMap<_, _> = services.iter().map(name_and_port).collect();
        let mut pods: BTreeMap<String, Vec<Arc<Upstream>>> = BTreeMap::new();
        let mut slices = Vec::new();
        for service in ports.keys() {
            for number in 0..pods_each {
                // istiod identifies endpoints by address, so each pod has its own address and slice.
                let address = format!("127.0.0.{}", 2 + number);
                let pod = Upstream::start(&address).await;
                slices.push(json!({
                    "metadata": {
                        "name": format!("{service}-{number}"),
                        "namespace": NAMESPACE,
                        "labels": {"kubernetes.io/service-name": service},
                    },
                    "addressType": "IPv4",
                    "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
                    "ports": [{"name": "http", "port": pod.port, "protocol": "TCP"}],
                }));
                pods.entry(service.clone()).or_default().push(pod);
            }
        }
        let api = api_server(services, slices).await;
        let mut text = String::new();
        let mut add = |resource: &Value| writeln!(text, "---\n{resource}").unwrap();
        for mut resource in applied(files).into_values() {
            resource["metadata"]["namespace"] = NAMESPACE.into();
            add(&resource);
        }
        add(&json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "Sidecar",
            "metadata": {"name": "default", "namespace": NAMESPACE},
            "spec": {"egress": [{"bind": address, "captureMode": "NONE", "hosts": ["./*"]}]},
        }));
        std::fs::write(folder.join("config/all.yaml"), text).unwrap();
        let configuration = json!({
            "configSources": [{"address": format!("fs://{}", folder.join("config").display())}],
            "enableAutoMtls": false,
        });
        std::fs::write(folder.join("mesh.yaml"), configuration.to_string()).unwrap();
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "stub", "cluster": {"server": format!("http://127.0.0.1:{api}")}}],
            "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": "stub"}}],
            "users": [{"name": "stub", "user": {}}],
            "current-context": "stub",
        });
        std::fs::write(folder.join("kubeconfig"), kubeconfig.to_string()).unwrap();

        let [xds, http, monitoring, admin] =
            [free_port().await, free_port().await, free_port().await, free_port().await];
        let mut command = Command::new(istiod);
        command.env_clear().env("POD_NAMESPACE", "istio-system").env("ENABLE_CA_SERVER", "false");
        for off in ["INJECT_ENABLED", "PILOT_ENABLE_ALPN_FILTER", "PILOT_ENABLE_METADATA_EXCHANGE"] {
            command.env(off, "false");
        }
        command.args([
            "discovery",
            "--registries=Kubernetes",
            "--kubeconfig=kubeconfig",
            "--meshConfig=mesh.yaml",
            "--networksConfig=none",
        ]);
        command.args(["--httpsAddr=", "--secureGRPCAddr=", "--ctrlz_port=0"]);
        command.args(
            [("grpcAddr", xds), ("httpAddr", http), ("monitoringAddr", monitoring)]
                .map(|(flag, port)| format!("--{flag}=127.0.0.1:{port}")),
        );
        let istiod = spawn(&folder, "istiod", &mut command);
        std::fs::write(folder.join("bootstrap.json"), bootstrap(caller, xds, admin).to_string()).unwrap();
        let mut command = Command::new(envoy);
        command.args(["--use-dynamic-base-id", "--concurrency", "2", "--log-level", "warning", "-c", "bootstrap.json"]);
        let envoy = spawn(&folder, "envoy", &mut command);
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
        let own = Self {
            pods,
            ports,
            address,
            admin: format!("http://127.0.0.1:{admin}"),
            client,
            folder,
            _processes: [istiod, envoy],
        };
        own.until(&Method::GET, "catalog", 200).await;
        own.asked("catalog");
        own
    }

    fn request(&self, method: Method, service: &str) -> reqwest::RequestBuilder {
        let port = self.ports[service];
        let request = self.client.request(method, format!("http://{}:{port}/", self.address));
        request.header("host", format!("{service}:{port}"))
    }

    async fn ask(&self, method: &Method, service: &str) -> Answer {
        answer(self.request(method.clone(), service)).await
    }

    async fn status(&self, method: &Method, service: &str) -> u16 {
        self.ask(method, service).await.status
    }

    /// As many calls at once.
    async fn burst(&self, count: usize, method: &Method, service: &str) -> Vec<Answer> {
        let calls: JoinSet<_> = (0..count).map(|_| answer(self.request(method.clone(), service))).collect();
        calls.join_all().await
    }

    async fn until(&self, method: &Method, service: &str, wanted: u16) {
        let begun = Instant::now();
        while self.status(method, service).await != wanted {
            assert!(begun.elapsed() < PATIENCE, "no {wanted} within {PATIENCE:?}: {}", self.folder.display());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn answers(&self, service: &str, status: u64) {
        self.pods[service].iter().for_each(|pod| pod.answer(status));
    }

    fn takes(&self, service: &str, time: Duration) {
        self.pods[service].iter().for_each(|pod| pod.take(time));
    }

    fn asked(&self, service: &str) -> u64 {
        self.pods[service].iter().map(|pod| pod.asked()).sum()
    }

    async fn admin(&self, path: &str) -> String {
        self.client.get(format!("{}{path}", self.admin)).send().await.unwrap().text().await.unwrap()
    }

    /// The clusters, or else the virtual hosts, by the service's name.
    async fn dumped(&self, resource: &str, part: &str) -> Vec<Value> {
        let dump: Value =
            serde_json::from_str(&self.admin(&format!("/config_dump?resource={resource}")).await).unwrap();
        dump["configs"].as_array().unwrap().iter().map(|one| one[part].clone()).collect()
    }

    /// A counter of the proxy for calls of a service.
    async fn counted(&self, service: &str, counter: &str) -> u64 {
        let stats = self.admin(&format!("/stats?filter=outbound.*{service}\\..*{counter}$")).await;
        stats.lines().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let begun = Instant::now();
    let (status, text) = match request.send().await {
        Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
        Err(error) => (0, error.to_string()),
    };
    Answer { status, text, after: begun.elapsed() }
}

fn policy(caller: &str, dependency: &str) -> PolicySettings {
    let named = |key: &(_, _)| {
        let (from, to): &(breakerbox::services::ServiceName, breakerbox::services::ServiceName) = key;
        from.as_str() == caller && to.as_str() == dependency
    };
    source(&[]).policies.into_iter().find(|(key, _)| named(key)).unwrap().1
}

/// How often a read is repeated at most.
fn retries(policy: &PolicySettings) -> u64 {
    policy.retry.as_ref().map_or(0, |retry| u64::from(retry.max_attempts) - 1)
}

/// What a caller's proxy is given for a dependency: its routes and its cluster.
struct Given {
    routes: Vec<Value>,
    cluster: Value,
}

impl Mesh {
    async fn given(&self, service: &str) -> Given {
        let configs = self.dumped("dynamic_route_configs", "route_config").await;
        let hosts = configs.iter().flat_map(|config| config["virtual_hosts"].as_array().unwrap());
        let named = |host: &&Value| host["domains"].as_array().unwrap().contains(&json!(service));
        let host = hosts.clone().find(named).unwrap_or_else(|| panic!("no host {service}: {configs:?}"));
        let routes = host["routes"].as_array().unwrap().clone();
        let clusters = self.dumped("dynamic_active_clusters", "cluster").await;
        let wanted = &routes[0]["route"]["cluster"];
        let cluster = clusters.iter().find(|cluster| cluster["name"] == *wanted).unwrap();
        Given { routes, cluster: cluster.clone() }
    }
}

fn checked(policy: &PolicySettings, given: &Given, about: &str) {
    let limits = &policy.time_limiter;
    let Given { routes, cluster } = given;
    // GET, HEAD, any method. The route for callers without a policy would not be reached, and is left out.
    assert_eq!(routes.len(), if retries(policy) > 0 { 3 } else { 1 }, "{about}: {routes:#?}");
    let (plain, retried) = routes.split_last().unwrap();
    assert_eq!(duration(&plain["route"]["timeout"]), Some(limits.timeout_duration), "{about}");
    assert!(plain["route"]["retry_policy"].is_null(), "{about}: {plain}");
    for retried in retried {
        let route = &retried["route"];
        assert_eq!(duration(&route["timeout"]), limits.total_timeout.or(Some(Duration::ZERO)), "{about}");
        let again = &route["retry_policy"];
        assert_eq!(again["num_retries"].as_u64(), Some(retries(policy)), "{about}");
        assert_eq!(duration(&again["per_try_timeout"]), Some(limits.timeout_duration), "{about}");
        let wait = policy.retry.as_ref().unwrap().wait_duration;
        assert_eq!(duration(&again["retry_back_off"]["base_interval"]), Some(wait), "{about}");
        assert_eq!(again["retry_on"], "connect-failure,refused-stream,reset,retriable-status-codes", "{about}");
        assert_eq!(
            again["retriable_status_codes"],
            json!([408, 429, 500, 502, 503, 504, 506, 507, 508, 511]),
            "{about}"
        );
    }
    assert_eq!(duration(&cluster["connect_timeout"]), Some(limits.connect_timeout()), "{about}");
    let threshold = &cluster["circuit_breakers"]["thresholds"][0];
    let budget = policy.retry_budget.retry_percent;
    let budget = (retries(policy) > 0).then_some(budget);
    assert_eq!(threshold["retry_budget"]["budget_percent"]["value"].as_f64(), budget, "{about}");
    let breaker = policy.circuit_breaker.as_ref().unwrap();
    let outlier = &cluster["outlier_detection"];
    let in_a_row = breaker.consecutive_failure_threshold.unwrap();
    assert_eq!(outlier["consecutive_5xx"], in_a_row, "{about}");
    assert_eq!(outlier["enforcing_consecutive_5xx"], 100, "{about}");
    assert_eq!(outlier["enforcing_success_rate"], 0, "{about}");
    assert_eq!(duration(&outlier["base_ejection_time"]), Some(breaker.wait_duration_in_open_state), "{about}");
    assert_eq!(outlier["max_ejection_percent"], 100, "{about}");
    assert_eq!(cluster["common_lb_config"]["healthy_panic_threshold"], json!({}), "{about}: 0 is left out");
}

#[test]
#[ignore = "needs an istioctl, by ISTIOCTL"]
fn istioctl_finds_nothing_wrong() {
    let istioctl = std::env::var("ISTIOCTL").unwrap_or_else(|_| panic!("ISTIOCTL names no istioctl"));
    let built = Command::new(tool("KUSTOMIZE").unwrap())
        .args(["build", "deploy/kubernetes/mesh"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let overlay = std::env::temp_dir().join(format!("breakerbox-mesh-{}.yaml", std::process::id()));
    std::fs::write(&overlay, built.stdout).unwrap();
    let files = ["policies", "beside-library", "faults"].map(|name| root().join(format!("deploy/istio/{name}.yaml")));
    for file in files.iter().chain([&overlay]) {
        for words in [&["validate", "-f"][..], &["analyze", "--use-kube=false", "--failure-threshold=Info", "-A"]] {
            let mut command = Command::new(&istioctl);
            let done = command.args(words).arg(file).env("KUBECONFIG", "/dev/null").output().unwrap();
            let said = [done.stdout, done.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
            assert!(done.status.success() && !said.contains("may not"), "{words:?} {}: {said}", file.display());
        }
    }
    let _ = std::fs::remove_file(overlay);
}

#[tokio::test]
#[ignore = "needs an istiod, by ISTIOD"]
async fn istiod_gives_each_caller_its_policys_numbers() {
    let policies = source(&[]).policies;
    let callers: BTreeSet<_> = policies.keys().map(|(caller, _)| *caller).collect();
    for caller in callers {
        let mesh = Mesh::start(&[committed("policies.yaml")], caller.as_str(), 1).await;
        for ((_, dependency), policy) in policies.iter().filter(|((from, _), _)| *from == caller) {
            let about = format!("{caller} → {dependency}");
            checked(policy, &mesh.given(dependency.as_str()).await, &about);
        }
    }
}

#[tokio::test]
#[ignore = "needs an istiod, by ISTIOD"]
async fn istiod_gives_callers_without_a_policy_nothing() {
    let mesh = Mesh::start(&[committed("policies.yaml")], "gateway-bare", 1).await;
    let Given { routes, cluster } = mesh.given("catalog").await;
    assert_eq!(routes.len(), 1, "{routes:?}");
    assert!(routes[0]["route"]["retry_policy"].is_null() && routes[0]["route"]["timeout"] == "0s", "{routes:?}");
    assert!(cluster["outlier_detection"].is_null(), "{cluster}");
    mesh.answers("catalog", 500);
    assert_eq!((mesh.status(&Method::GET, "catalog").await, mesh.asked("catalog")), (500, 1));
}

#[tokio::test]
#[ignore = "needs an istiod, by ISTIOD"]
async fn a_read_is_retried_on_another_pod_and_a_write_is_not() {
    let mesh = Mesh::start(&[committed("policies.yaml")], "gateway", 2).await;
    let retries = retries(&policy("gateway", "catalog"));
    // Too few errors on a pod to eject it. 429 and 503 have a Retry-After, which a proxy ignores.
    for status in [408, 429, 500, 503] {
        mesh.answers("catalog", status);
        let status = u16::try_from(status).unwrap();
        assert_eq!((mesh.status(&Method::POST, "catalog").await, mesh.asked("catalog")), (status, 1));
        assert_eq!((mesh.status(&Method::GET, "catalog").await, mesh.asked("catalog")), (status, 1 + retries));
    }
    mesh.answers("catalog", 404);
    assert_eq!((mesh.status(&Method::GET, "catalog").await, mesh.asked("catalog")), (404, 1));

    mesh.answers("catalog", 429);
    for _ in 0..20 {
        mesh.status(&Method::GET, "catalog").await;
    }
    let each: Vec<_> = mesh.pods["catalog"].iter().map(|pod| pod.asked()).collect();
    println!("20 reads of two pods that answer 429 arrive as {each:?}");
    assert_eq!(each.iter().sum::<u64>(), 20 * (1 + retries));
    assert!(each[0].abs_diff(each[1]) <= 10, "a retry avoids the pod that was tried: {each:?}");
}

#[tokio::test]
#[ignore = "needs an istiod, by ISTIOD"]
async fn timeouts_hold_for_each_attempt_and_over_all() {
    for (caller, dependency) in [("recommendation", "ml-api"), ("gateway", "catalog")] {
        let policy = policy(caller, dependency);
        let (once, total) = (policy.time_limiter.timeout_duration, policy.time_limiter.total_timeout.unwrap());
        let mesh = Mesh::start(&[committed("policies.yaml")], caller, 1).await;
        mesh.takes(dependency, Duration::from_secs(9));
        let write = mesh.ask(&Method::POST, dependency).await;
        assert_eq!((write.status, mesh.asked(dependency)), (504, 1), "{write:?}");
        assert!(write.after + EARLY >= once && write.after < once + LATE, "{write:?}");
        let read = mesh.ask(&Method::GET, dependency).await;
        println!("{caller} → {dependency}: a write 504 after {:?}, a read after {:?}", write.after, read.after);
        assert_eq!((read.status, mesh.asked(dependency)), (504, 1 + retries(&policy)), "{read:?}");
        let all = total.min(once * (1 + u32::try_from(retries(&policy)).unwrap()));
        assert!(read.after + EARLY >= all && read.after < all + LATE, "{read:?}");
    }
}

#[tokio::test]
#[ignore = "needs an istiod, by ISTIOD"]
async fn timeouts_count_as_errors() {
    let policy = policy("gateway", "catalog");
    let in_a_row = policy.circuit_breaker.unwrap().consecutive_failure_threshold.unwrap();
    let mesh = Mesh::start(&[committed("policies.yaml")], "gateway", 1).await;
    mesh.takes("catalog", Duration::from_secs(9));
    for _ in 0..in_a_row {
        assert_eq!(mesh.status(&Method::POST, "catalog").await, 504);
    }
    mesh.until(&Method::POST, "catalog", 503).await;
    assert!(mesh.asked("catalog") <= u64::from(in_a_row) + 1);
}

/// How many were let through; the others had 503 at once.
fn let_through(answers: &[Answer]) -> u64 {
    let refused = |answer: &&Answer| answer.status == 503 && answer.text.contains("overflow");
    answers.iter().filter(|answer| !refused(answer)).count() as u64
}

#[tokio::test]
#[ignore = "needs an istiod, by ISTIOD"]
async fn a_bulkhead_has_its_places_even_in_a_burst() {
    let places = policy("gateway", "catalog").bulkhead.unwrap().max_concurrent_calls;
    let mesh = Mesh::start(&[committed("policies.yaml")], "gateway", 1).await;
    mesh.takes("catalog", Duration::from_millis(400));
    let (few, many) = (places as usize, 2 * places as usize);
    // The first finds hardly any connections.
    for count in [few, many, few, many] {
        let answers = mesh.burst(count, &Method::POST, "catalog").await;
        let (through, most) = (let_through(&answers), mesh.pods["catalog"][0].most_at_once());
        println!("bulkhead of {places}: of {count} calls at once {through} let through, {most} under way at once");
        // Two workers may each let one in at the same moment.
        let wanted = u64::from(places)..=u64::from(places) + 1;
        assert!(wanted.contains(&through) && wanted.contains(&most), "of {count} {through}, {most} at once");
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count() as u64, through);
    }
}

#[tokio::test]
#[ignore = "needs an istiod, by ISTIOD"]
async fn a_pool_has_its_places_and_its_queue() {
    let pool = policy("checkout", "notification").pool_bulkhead.unwrap();
    let (places, queue) = (u64::from(pool.max_size), u64::from(pool.queue_capacity));
    let mesh = Mesh::start(&[committed("policies.yaml")], "checkout", 1).await;
    mesh.takes("notification", Duration::from_millis(40));
    for _ in 0..3 {
        let count = places + queue + 10;
        let answers = mesh.burst(usize::try_from(count).unwrap(), &Method::POST, "notification").await;
        let (through, most) = (let_through(&answers), mesh.pods["notification"][0].most_at_once());
        println!(
            "pool of {places} and {queue}: of {count} calls at once {through} let through, {most} under way at once"
        );
        // A worker without a connection gets one beyond the limit.
        assert!((places..=places + 1).contains(&most), "{most} at once");
        assert!((queue..=places + queue + 1).contains(&through), "{through} let through");
    }
}

#[tokio::test]
#[ignore = "needs an istiod, by ISTIOD"]
async fn retries_of_a_burst_keep_to_the_budget() {
    let mesh = Mesh::start(&[committed("policies.yaml")], "gateway", 1).await;
    // Retried, and no reason to eject.
    mesh.answers("catalog", 429);
    mesh.takes("catalog", Duration::from_millis(300));
    mesh.burst(30, &Method::GET, "catalog").await;
    let asked = mesh.asked("catalog");
    println!("30 reads at once are {asked} calls");
    // 20 % of 30, and at least Envoy's three.
    assert!((33..=37).contains(&asked), "{asked}");
}

#[tokio::test]
#[ignore = "needs an istiod, by ISTIOD"]
async fn a_pod_is_out_for_the_policys_time_and_longer_again() {
    let policy = policy("gateway", "catalog");
    let breaker = policy.circuit_breaker.unwrap();
    let in_a_row = u64::from(breaker.consecutive_failure_threshold.unwrap());
    let mesh = Mesh::start(&[committed("policies.yaml")], "gateway", 1).await;
    for round in 1..=2 {
        mesh.answers("catalog", 500);
        mesh.asked("catalog");
        for _ in 0..in_a_row {
            assert_eq!((mesh.status(&Method::POST, "catalog").await, mesh.asked("catalog")), (500, 1));
        }
        // The thread that ejects is not the one that answers.
        mesh.until(&Method::POST, "catalog", 503).await;
        let begun = Instant::now();
        mesh.asked("catalog");
        let refused = mesh.ask(&Method::GET, "catalog").await;
        assert_eq!((refused.text.as_str(), mesh.asked("catalog")), ("no healthy upstream", 0), "{refused:?}");
        mesh.answers("catalog", 200);
        mesh.until(&Method::GET, "catalog", 200).await;
        let out = begun.elapsed();
        println!("ejection {round}: out for {out:?}");
        let wanted = round * breaker.wait_duration_in_open_state;
        // It is looked every second.
        assert!(out + Duration::from_secs(1) > wanted && out < wanted + Duration::from_secs(2) + LATE, "{out:?}");
    }
}

#[tokio::test]
#[ignore = "needs an istiod, by ISTIOD"]
async fn an_injected_status_is_not_retried_and_spares_the_rest() {
    let policy = policy("recommendation", "ml-api");
    let files = ["policies.yaml", "faults.yaml"].map(committed);
    let mesh = Mesh::start(&files, "recommendation", 1).await;
    let mut injected = 0;
    for _ in 0..1000 {
        let answer = mesh.ask(&Method::GET, "ml-api").await;
        injected += u64::from(answer.status == 503 && answer.text == "fault filter abort");
    }
    println!("{injected} of 1000 reads have the injected 503");
    assert_eq!(mesh.asked("ml-api"), 1000 - injected, "the dependency sees nothing of them");
    // Four standard deviations around 30 %.
    assert!((242..=358).contains(&injected), "{injected}");
    let spared = async || loop {
        let answer = mesh.ask(&Method::GET, "ml-api").await;
        if answer.text != "fault filter abort" {
            break answer;
        }
    };
    mesh.answers("ml-api", 500);
    assert_eq!((spared().await.status, mesh.asked("ml-api")), (500, 1 + retries(&policy)), "retried as ever");
    mesh.takes("ml-api", Duration::from_secs(9));
    let late = spared().await;
    let total = policy.time_limiter.total_timeout.unwrap();
    assert!(late.status == 504 && late.after + EARLY >= total && late.after < total + LATE, "{late:?}");
}

#[tokio::test]
#[ignore = "needs an istiod, by ISTIOD"]
async fn an_injected_delay_is_not_part_of_the_timeout() {
    let source =
        source(&[("BREAKERBOX_FAULTS__ML_API__ERROR_RATE", "0"), ("BREAKERBOX_FAULTS__ML_API__LATENCY__FIXED", "3s")]);
    let total = policy("recommendation", "ml-api").time_limiter.total_timeout.unwrap();
    let delay = Duration::from_secs(3);
    assert!(delay > total);
    let mesh = Mesh::start(&[istio::policies(&source), istio::faults(&source)], "recommendation", 1).await;
    let answer = mesh.ask(&Method::GET, "ml-api").await;
    println!("a delay of {delay:?} in front of a timeout of {total:?}: {answer:?}");
    assert!(answer.status == 200 && answer.after + EARLY >= delay && answer.after < delay + LATE, "{answer:?}");
}

#[tokio::test]
#[ignore = "needs an istiod, by ISTIOD"]
async fn beside_the_library_no_retry_and_half_of_the_pods() {
    let mesh = Mesh::start(&[committed("beside-library.yaml")], "gateway", 4).await;
    let out = async || mesh.counted("catalog", "ejections_active").await;
    let until_out = async |wanted: u64| {
        let begun = Instant::now();
        while out().await != wanted {
            assert_eq!((mesh.status(&Method::GET, "catalog").await / 100, mesh.asked("catalog")).1, 1, "no retry");
            assert!(begun.elapsed() < PATIENCE, "{} out, not {wanted}", out().await);
        }
    };
    mesh.pods["catalog"][0].answer(500);
    until_out(1).await;
    for _ in 0..40 {
        assert_eq!(mesh.status(&Method::GET, "catalog").await, 200, "the bad pod is out");
    }
    mesh.answers("catalog", 500);
    mesh.asked("catalog");
    until_out(2).await;
    for _ in 0..100 {
        assert_eq!(mesh.status(&Method::GET, "catalog").await, 500, "the breaker judges, not the mesh with 503");
    }
    assert_eq!(out().await, 2, "half of four");

    let mesh = Mesh::start(&[committed("beside-library.yaml")], "gateway", 1).await;
    mesh.answers("catalog", 500);
    for _ in 0..100 {
        assert_eq!(mesh.status(&Method::GET, "catalog").await, 500, "a single pod is never out");
    }
}

/// A gateway with the library on, whose calls go through the proxy.
struct Gateway {
    pages: String,
    metrics: String,
    client: reqwest::Client,
    _process: Child,
}

impl Gateway {
    async fn start(mesh: &Mesh) -> Self {
        let [port, admin] = [free_port().await, free_port().await];
        let mut command = Command::new(env!("CARGO_BIN_EXE_breakerbox"));
        command.args(["serve", "gateway"]);
        command.env("BREAKERBOX_ADMIN__LISTEN", format!("127.0.0.1:{admin}"));
        for (service, port) in &mesh.ports {
            let variable = format!("BREAKERBOX_SERVICES__{}__URL", service.to_uppercase().replace('-', "_"));
            command.env(variable, format!("http://{}:{port}", mesh.address));
        }
        command.env("BREAKERBOX_SERVICES__GATEWAY__PORT", port.to_string());
        let own = Self {
            pages: format!("http://127.0.0.1:{port}/api/movies?page=1"),
            metrics: format!("http://127.0.0.1:{admin}/metrics"),
            client: mesh.client.clone(),
            _process: spawn(&mesh.folder, "gateway", &mut command),
        };
        let begun = Instant::now();
        while own.page().await != 200 {
            assert!(begun.elapsed() < PATIENCE, "no page: {}", mesh.folder.display());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        own
    }

    async fn page(&self) -> u16 {
        self.client.get(&self.pages).send().await.map_or(0, |answer| answer.status().as_u16())
    }

    /// Whether the breaker of catalog is in this state.
    async fn breaker_is(&self, state: &str) -> bool {
        let text = self.client.get(&self.metrics).send().await.unwrap().text().await.unwrap();
        text.contains(&format!(
            "circuit_breaker_state{{breaker=\"catalog\",service=\"gateway\",state=\"{state}\"}} 1\n"
        ))
    }
}

#[tokio::test]
#[ignore = "needs an istiod, by ISTIOD"]
async fn attempts_of_library_and_mesh_multiply() {
    let attempts = 1 + retries(&policy("gateway", "catalog"));
    for (file, wanted) in [("policies.yaml", attempts * attempts), ("beside-library.yaml", attempts)] {
        let mesh = Mesh::start(&[committed(file)], "gateway", 1).await;
        let gateway = Gateway::start(&mesh).await;
        mesh.answers("catalog", 500);
        mesh.asked("catalog");
        assert_eq!((gateway.page().await, mesh.asked("catalog")), (200, wanted), "{file}");
    }
}

#[tokio::test]
#[ignore = "needs an istiod, by ISTIOD"]
async fn the_mesh_handles_a_bad_pod_and_the_breaker_all() {
    let mesh = Mesh::start(&[committed("beside-library.yaml")], "gateway", 4).await;
    let gateway = Gateway::start(&mesh).await;
    mesh.pods["catalog"][0].answer(500);
    let begun = Instant::now();
    while mesh.counted("catalog", "ejections_active").await == 0 {
        assert_eq!(gateway.page().await, 200);
        assert!(begun.elapsed() < PATIENCE, "the bad pod is not ejected");
    }
    assert!(gateway.breaker_is("closed").await, "one bad pod of four is not the breaker's");

    mesh.answers("catalog", 500);
    let begun = Instant::now();
    while !gateway.breaker_is("open").await {
        assert_eq!(gateway.page().await, 200, "an earlier answer");
        assert!(begun.elapsed() < PATIENCE, "the breaker does not open");
    }
    assert!(mesh.counted("catalog", "ejections_active").await <= 2, "half of four");
    mesh.asked("catalog");
    for _ in 0..100 {
        assert_eq!(gateway.page().await, 200, "an earlier answer");
    }
    assert_eq!(mesh.asked("catalog"), 0, "an open breaker lets no call through");

    mesh.answers("catalog", 200);
    let wait = policy("gateway", "catalog").circuit_breaker.unwrap().wait_duration_in_open_state;
    let begun = Instant::now();
    while !gateway.breaker_is("closed").await {
        assert_eq!(gateway.page().await, 200);
        assert!(begun.elapsed() < wait + Duration::from_secs(5), "ejections keep the breaker open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("the breaker closed {:?} after the dependency recovered", begun.elapsed());
}
