//! The pods of the Kubernetes overlay as local processes: each gets its container's arguments, variables, mounted files
//! and ports as kustomize renders them, and must pass its own probes. Only hosts are replaced: each pod has its own
//! loopback address, and the database is a PostgreSQL of the test's.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::postgres::Postgres;
use crate::process::{breakerbox, within};
use crate::schema;

/// The output of kustomize for an overlay. Returns `None`, with a message on stderr, without kustomize; in CI that is a
/// failure.
fn rendered(overlay: &str) -> Option<Vec<Value>> {
    let Some(kustomize) = std::env::var_os("KUSTOMIZE") else {
        assert!(std::env::var_os("CI").is_none(), "KUSTOMIZE is missing: scripts/tools.sh finds it");
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: KUSTOMIZE is missing (scripts/tools.sh finds it), no pod was run");
        return None;
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes").join(overlay);
    let output = Command::new(kustomize).arg("build").arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(schema::documents(&String::from_utf8(output.stdout).unwrap()))
}

/// Decodes the base64 of a Secret's data.
fn decoded(text: &str) -> String {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0_u32);
    for c in text.bytes().filter(|c| !c.is_ascii_whitespace() && *c != b'=') {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        (bits, held) = ((bits << 6) | u32::from(value), held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).unwrap());
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// The overlay's documents, and the local addresses of its hosts.
struct Cluster {
    documents: Vec<Value>,
    addresses: BTreeMap<String, String>,
    database: Postgres,
    files: PathBuf,
}

impl Cluster {
    fn of(overlay: &str) -> Option<Self> {
        let documents = rendered(overlay)?;
        let database = Postgres::start("pods")?;
        let pid = std::process::id();
        let deployments = documents.iter().filter(|document| document["kind"] == "Deployment");
        // All of 127.0.0.0/8 is loopback; concurrent runs must not share addresses.
        let addresses = deployments.zip(1..).map(|(deployment, number)| {
            (name(deployment).to_owned(), format!("127.{}.{}.{number}", 64 + pid % 128, pid / 128 % 256))
        });
        let addresses = addresses.collect();
        let files = std::env::temp_dir().join(format!("breakerbox-pods-{pid}"));
        Some(Self { documents, addresses, database, files })
    }

    fn named(&self, kind: &str, wanted: &str) -> &Value {
        let fits = |document: &&Value| document["kind"] == kind && name(document) == wanted;
        self.documents.iter().find(fits).unwrap_or_else(|| panic!("there is no {kind} {wanted}"))
    }

    fn secret(&self, secret: &str, key: &str) -> String {
        let value = &self.named("Secret", secret)["data"][key];
        decoded(value.as_str().unwrap_or_else(|| panic!("{secret} has no {key}")))
    }

    /// The local address for a host and port: that of a pod, or of a Service, which must select the pod and target one
    /// of its ports.
    fn resolved(&self, host: &str, port: u16) -> String {
        let service = self.named("Service", host);
        let selected = &service["spec"]["selector"]["app.kubernetes.io/name"];
        let pod = &self.named("Deployment", selected.as_str().unwrap())["spec"]["template"];
        let open = service["spec"]["ports"].as_array().unwrap().iter();
        let leads = open.clone().find(|open| open["port"] == port);
        let target = &leads.unwrap_or_else(|| panic!("{host} has no port {port}"))["targetPort"];
        let ports = pod["spec"]["containers"][0]["ports"].as_array().unwrap();
        let own = ports.iter().find(|own| own["name"] == *target).unwrap_or_else(|| panic!("{host}: no {target}"));
        format!("{}:{}", self.addresses[selected.as_str().unwrap()], own["containerPort"])
    }

    /// A variable's value with hosts replaced by local addresses.
    fn here(&self, pod: &str, value: &str) -> String {
        let mounted = value.replace("/run/secrets/breakerbox", self.files.join(pod).to_str().unwrap());
        if let Some(rest) = value.strip_prefix("http://") {
            let (host, port) = rest.split_once(':').unwrap();
            return format!("http://{}", self.resolved(host, port.parse().unwrap()));
        }
        if value.starts_with("postgres://") {
            let (_, address) = value.split_once('@').unwrap();
            let (host, database) = address.split_once('/').unwrap();
            let ports = &self.named("Service", host)["spec"]["ports"];
            assert_eq!(ports[0]["port"], 5432, "a URL without a port means 5432");
            return self.database.url(if database == "ledger" { "ledger" } else { "shop" });
        }
        mounted.replace("0.0.0.0", &self.addresses[pod])
    }

    /// A container's environment variables as the kubelet resolves them.
    fn variables(&self, pod: &str, container: &Value) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for source in container["envFrom"].as_array().unwrap() {
            let map = self.named("ConfigMap", source["configMapRef"]["name"].as_str().unwrap());
            let data = map["data"].as_object().unwrap();
            all.extend(data.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())));
        }
        for own in container["env"].as_array().unwrap() {
            let reference = &own["valueFrom"]["secretKeyRef"];
            let value = own["value"].as_str().map_or_else(
                || self.secret(reference["name"].as_str().unwrap(), reference["key"].as_str().unwrap()),
                str::to_owned,
            );
            all.insert(own["name"].as_str().unwrap().to_owned(), value);
        }
        all.into_iter().map(|(key, value)| (key, self.here(pod, &value))).collect()
    }

    fn start(&self, deployment: &Value) -> Pod {
        let pod = name(deployment);
        let spec = &deployment["spec"]["template"]["spec"];
        let container = &spec["containers"][0];
        // Its mounted files.
        let mount = &container["volumeMounts"][0];
        assert_eq!(mount["mountPath"], "/run/secrets/breakerbox");
        let volumes = spec["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        let secret = self.named("Secret", volume["secret"]["secretName"].as_str().unwrap());
        let folder = self.files.join(pod);
        fs::create_dir_all(&folder).unwrap();
        for (key, value) in secret["data"].as_object().unwrap() {
            fs::write(folder.join(key), decoded(value.as_str().unwrap())).unwrap();
        }
        let log = folder.join("log");
        let out = File::create(&log).unwrap();
        let arguments = container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_breakerbox"))
            .args(arguments)
            .env_clear()
            .envs(self.variables(pod, container))
            // Its root is read-only.
            .env("HOME", "/nonexistent")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        Pod { name: pod.to_owned(), address: self.addresses[pod].clone(), child, log, container: container.clone() }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.files);
    }
}

fn name(document: &Value) -> &str {
    document["metadata"]["name"].as_str().unwrap_or_default()
}

/// A container running as a local process.
struct Pod {
    name: String,
    address: String,
    child: Child,
    log: PathBuf,
    container: Value,
}

impl Pod {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Sends one of its own probes, with the probe's timeout.
    fn answers(&mut self, probe: &str) {
        let probe = self.container[probe].clone();
        let get = &probe["httpGet"];
        let ports = self.container["ports"].as_array().unwrap();
        let port = ports.iter().find(|port| port["name"] == get["port"]).unwrap()["containerPort"].as_u64().unwrap();
        let url = format!("http://{}:{port}{}", self.address, get["path"].as_str().unwrap());
        let seconds = probe["periodSeconds"].as_u64().unwrap() * probe["failureThreshold"].as_u64().unwrap();
        within(Duration::from_secs(seconds), || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{} ended: {ended:?}\n{}", self.name, self.log());
            answer(reqwest::Method::GET, &url, &[], None).is_some_and(|(status, _)| status == 200)
        });
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and JSON of a response; `None` if there is none.
fn answer(method: reqwest::Method, url: &str, headers: &[(&str, &str)], body: Option<Value>) -> Option<(u16, Value)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut request = reqwest::Client::builder().no_proxy().build().unwrap().request(method, url);
        for (key, value) in headers {
            request = request.header(*key, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.json().await.unwrap_or_default()))
    })
}

/// Every pod of the overlay starts with its configuration, becomes ready, serves the other pods, and stops in time.
#[test]
fn every_pod_of_the_overlay_starts_and_serves() {
    let Some(cluster) = Cluster::of("minimal") else { return };
    let deployments = cluster.documents.iter().filter(|document| document["kind"] == "Deployment");
    let mut pods: Vec<_> = deployments.map(|deployment| cluster.start(deployment)).collect();
    assert_eq!(pods.len(), 11);
    for pod in &mut pods {
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            pod.answers(probe);
        }
    }
    for pod in &pods {
        let log = pod.log();
        assert!(!log.contains("\"level\":\"ERROR\"") && !log.contains("in memory"), "{}: {log}", pod.name);
    }

    // A viewer's path through the pods: each service accepts the gateway's secret and no other.
    let site = format!("http://{}", cluster.resolved("gateway", 8080));
    let credentials = json!({"username": "viewer7", "password": "popcorn"});
    let login = answer(reqwest::Method::POST, &format!("{site}/api/login"), &[], Some(credentials)).unwrap();
    assert_eq!(login.0, 200, "{login:?}");
    let token = format!("Bearer {}", login.1["token"].as_str().unwrap());
    let movies = answer(reqwest::Method::GET, &format!("{site}/api/movies"), &[], None).unwrap();
    assert_eq!((movies.0, &movies.1["source"]), (200, &json!("live")));
    let order = json!({"film_id": 3, "kind": "rent", "retry_later": true});
    let headers = [("authorization", token.as_str()), ("idempotency-key", "pods-1")];
    let placed = answer(reqwest::Method::POST, &format!("{site}/api/checkout"), &headers, Some(order)).unwrap();
    assert!([201, 202].contains(&placed.0), "{placed:?}");
    let users = format!("http://{}/users/7", cluster.resolved("user", 8082));
    assert_eq!(answer(reqwest::Method::GET, &users, &[], None).unwrap().0, 401);

    // The console's pod covers all the others when the token is given.
    let admin = format!("http://{}", cluster.resolved("traffic-admin", 8090));
    let secret = cluster.documents.iter().find(|d| d["kind"] == "Secret" && name(d).starts_with("breakerbox-admin"));
    let token = decoded(secret.unwrap()["data"]["admin-token"].as_str().unwrap());
    let variables = [("BREAKERBOX_ADMIN_URL", admin.as_str()), ("BREAKERBOX_ADMIN_TOKEN", &token)];
    let list = breakerbox(&["breaker", "list"], &variables);
    for breaker in ["gateway/user", "checkout/payment-gateway", "recommendation/ml-api"] {
        assert!(list.stdout.contains(breaker), "{}{}", list.stdout, list.stderr);
    }
    assert_eq!(list.stderr, "", "every peer answers");
    let fault = ["fault", "set", "notification", "--latency", "1ms", "--ttl", "5s"];
    assert_eq!(breakerbox(&fault, &variables).code, 0);
    assert_ne!(breakerbox(&fault, &variables[..1]).code, 0, "a fault needs the token");

    // Alertmanager delivers to the address that the documentation names.
    let manual = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/README.md")).unwrap();
    let webhook = manual.lines().find_map(|line| line.trim().strip_prefix("- url: http://")).unwrap();
    let (host, path) = webhook.split_once('/').unwrap();
    let authorization = format!("Bearer {token}");
    let headers = [("host", host), ("authorization", authorization.as_str())];
    let delivery = json!({"version": "4", "status": "firing", "alerts": []});
    let delivered = answer(reqwest::Method::POST, &format!("{admin}/{path}"), &headers, Some(delivery)).unwrap();
    assert_eq!(delivered.0, 204, "{webhook}: {delivered:?}");

    // SIGTERM ends them with exit code 0, within the grace period that the preStop hook leaves.
    for pod in &pods {
        assert!(Command::new("kill").args(["-TERM", &pod.child.id().to_string()]).status().unwrap().success());
    }
    for pod in &mut pods {
        let mut code = None;
        within(Duration::from_secs(12), || {
            code = pod.child.try_wait().unwrap();
            code.is_some()
        });
        assert_eq!(code.unwrap().code(), Some(0), "{}: {}", pod.name, pod.log());
    }
}
