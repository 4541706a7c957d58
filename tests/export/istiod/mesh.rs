//! An Envoy that istiod configures as a sidecar, and the stubs that it calls.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use breakerbox::export::istio::SERVICE_LABEL;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::cluster::{api_server, name_and_port, services};
use super::{NAMESPACE, PATIENCE};
use crate::schema::documents;
use crate::tools::tool;
use crate::world::{Child, Upstream};

/// The resources of these files; a later one replaces an earlier one of the same name, as `kubectl apply` does.
fn applied(files: &[String]) -> BTreeMap<(String, String), Value> {
    let key = |one: &Value| [&one["kind"], &one["metadata"]["name"]].map(|part| part.as_str().unwrap().to_owned());
    files.iter().flat_map(|file| documents(file)).map(|one| (key(&one).into(), one)).collect()
}

/// An Envoy configured by istiod as the sidecar of one caller, with stubs for the pods that it calls.
pub(super) struct Mesh {
    pub(super) pods: BTreeMap<String, Vec<Arc<Upstream>>>,
    pub(super) ports: BTreeMap<String, u64>,
    pub(super) address: String,
    admin: String,
    pub(super) client: reqwest::Client,
    pub(super) folder: PathBuf,
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
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
    pub(super) after: Duration,
}

/// What a caller's proxy is given for a dependency: its routes and its cluster.
pub(super) struct Given {
    pub(super) routes: Vec<Value>,
    pub(super) cluster: Value,
}

pub(super) async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

pub(super) fn spawn(folder: &Path, name: &str, command: &mut Command) -> Child {
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
    pub(super) async fn start(files: &[String], caller: &str, pods_each: usize) -> Self {
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

    pub(super) fn request(&self, method: Method, service: &str) -> reqwest::RequestBuilder {
        let port = self.ports[service];
        let request = self.client.request(method, format!("http://{}:{port}/", self.address));
        request.header("host", format!("{service}:{port}"))
    }

    pub(super) async fn ask(&self, method: &Method, service: &str) -> Answer {
        answer(self.request(method.clone(), service)).await
    }

    pub(super) async fn status(&self, method: &Method, service: &str) -> u16 {
        self.ask(method, service).await.status
    }

    /// As many calls at once.
    pub(super) async fn burst(&self, count: usize, method: &Method, service: &str) -> Vec<Answer> {
        let calls: JoinSet<_> = (0..count).map(|_| answer(self.request(method.clone(), service))).collect();
        calls.join_all().await
    }

    pub(super) async fn until(&self, method: &Method, service: &str, wanted: u16) {
        let begun = Instant::now();
        while self.status(method, service).await != wanted {
            assert!(begun.elapsed() < PATIENCE, "no {wanted} within {PATIENCE:?}: {}", self.folder.display());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) fn answers(&self, service: &str, status: u64) {
        self.pods[service].iter().for_each(|pod| pod.answer(status));
    }

    pub(super) fn takes(&self, service: &str, time: Duration) {
        self.pods[service].iter().for_each(|pod| pod.take(time));
    }

    pub(super) fn asked(&self, service: &str) -> u64 {
        self.pods[service].iter().map(|pod| pod.asked()).sum()
    }

    pub(super) async fn admin(&self, path: &str) -> String {
        self.client.get(format!("{}{path}", self.admin)).send().await.unwrap().text().await.unwrap()
    }

    /// The clusters, or else the virtual hosts, by the service's name.
    pub(super) async fn dumped(&self, resource: &str, part: &str) -> Vec<Value> {
        let dump: Value =
            serde_json::from_str(&self.admin(&format!("/config_dump?resource={resource}")).await).unwrap();
        dump["configs"].as_array().unwrap().iter().map(|one| one[part].clone()).collect()
    }

    /// A counter of the proxy for calls of a service.
    pub(super) async fn counted(&self, service: &str, counter: &str) -> u64 {
        let stats = self.admin(&format!("/stats?filter=outbound.*{service}\\..*{counter}$")).await;
        stats.lines().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    pub(super) async fn given(&self, service: &str) -> Given {
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

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let begun = Instant::now();
    let (status, text) = match request.send().await {
        Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
        Err(error) => (0, error.to_string()),
    };
    Answer { status, text, after: begun.elapsed() }
}
