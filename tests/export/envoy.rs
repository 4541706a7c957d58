//! A real Envoy behaves as the exported configuration says.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::numbers::duration;
use crate::schema::documents;
use crate::tools::{root, tool};
use crate::world::{Child, Upstream, Written};

/// Longer than an ejection plus the interval at which Envoy ends it.
const PATIENCE: Duration = Duration::from_secs(60);

fn exported() -> Value {
    documents(&std::fs::read_to_string(root().join("deploy/envoy/envoy.yaml")).unwrap()).remove(0)
}

/// The virtual hosts and clusters of one caller, as in its sidecar proxy.
fn of_caller(caller: &str) -> (Vec<Value>, Vec<Value>) {
    let all = exported();
    let own = |key: &str| -> Vec<Value> {
        let named = |value: &&Value| value["name"].as_str().is_some_and(|name| name.starts_with(&format!("{caller}-")));
        all[key].as_array().unwrap().iter().filter(named).cloned().collect()
    };
    (own("virtual_hosts"), own("clusters"))
}

/// A bootstrap configuration that serves them on one port.
fn bootstrap(hosts: &[Value], clusters: &[Value], port: u16) -> Value {
    let extensions = "type.googleapis.com/envoy.extensions.filters";
    let router = json!({"name": "envoy.filters.http.router",
        "typed_config": {"@type": format!("{extensions}.http.router.v3.Router")}});
    let manager = json!({
        "@type": format!("{extensions}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "out",
        "route_config": {"virtual_hosts": hosts},
        "http_filters": [router],
    });
    json!({"static_resources": {
        "clusters": clusters,
        "listeners": [{
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
            ]}],
        }],
    }})
}

#[test]
fn envoy_accepts_what_each_caller_gets() {
    let Some(envoy) = tool("ENVOY") else { return };
    let mut seen = 0;
    for caller in ["gateway", "recommendation", "checkout"] {
        let (hosts, clusters) = of_caller(caller);
        seen += hosts.len();
        let file = Written::new(caller, &bootstrap(&hosts, &clusters, 1));
        let done = Command::new(&envoy).args(["--mode", "validate", "-c"]).arg(&file.0).output().unwrap();
        assert!(done.status.success(), "{caller}: {}", String::from_utf8_lossy(&done.stderr));
    }
    assert_eq!(seen, exported()["virtual_hosts"].as_array().unwrap().len(), "each relation belongs to a caller");
}

/// Envoy retries reads as often as the policy does, ejects after as many consecutive errors and for as long, and
/// accepts a burst of as many calls as the bulkhead has places.
#[tokio::test]
async fn envoy_retries_and_ejects_as_the_policy_says() {
    let Some(program) = tool("ENVOY") else { return };
    let upstream = Upstream::start("127.0.0.1").await;
    let (hosts, mut clusters) = of_caller("gateway");
    let own = clusters.iter_mut().find(|cluster| cluster["name"] == "gateway-catalog").unwrap();
    let address = &mut own["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"];
    *address = json!({"socket_address": {"address": "127.0.0.1", "port_value": upstream.port}});
    let outlier = own["outlier_detection"].clone();
    let in_a_row = outlier["consecutive_5xx"].as_u64().unwrap();
    let places = own["circuit_breakers"]["thresholds"][0]["max_requests"].as_u64().unwrap();
    let host = hosts.iter().find(|host| host["name"] == "gateway-catalog").unwrap();
    let retries = host["routes"][0]["route"]["retry_policy"]["num_retries"].as_u64().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let file = Written::new("run", &bootstrap(&hosts, &clusters, port));
    let mut command = Command::new(program);
    command.args(["--use-dynamic-base-id", "--log-level", "off", "-c"]).arg(&file.0);
    let _envoy = Child(command.spawn().unwrap());

    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
    let ask = async |method: reqwest::Method| {
        let request = client.request(method, format!("http://127.0.0.1:{port}/movies")).header("host", "catalog");
        request.send().await.map_or(0, |answer| answer.status().as_u16())
    };
    let until = async |wanted: u16| {
        let begun = Instant::now();
        while ask(reqwest::Method::GET).await != wanted {
            assert!(begun.elapsed() < PATIENCE, "no {wanted} within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let asked = || upstream.asked();

    until(200).await;
    asked();
    upstream.answer(500);
    assert_eq!((ask(reqwest::Method::POST).await, asked()), (500, 1), "a write is not retried");
    assert_eq!((ask(reqwest::Method::GET).await, asked()), (500, 1 + retries), "a read is retried");
    let mut errors = 2 + retries;
    while errors < in_a_row {
        assert_eq!((ask(reqwest::Method::POST).await, asked()), (500, 1), "after {errors} errors in a row");
        errors += 1;
    }
    // Envoy ejects in another thread than the one that answers.
    until(503).await;
    let ejected = Instant::now();
    asked();
    assert_eq!((ask(reqwest::Method::GET).await, asked()), (503, 0), "ejected after {in_a_row} errors in a row");
    upstream.answer(200);
    until(200).await;
    let [base, interval] = ["base_ejection_time", "interval"].map(|key| duration(&outlier[key]).unwrap());
    let out = ejected.elapsed();
    assert!(out + Duration::from_secs(1) > base, "ejected for {out:?} only");
    assert!(out < base + 2 * interval + Duration::from_secs(5), "ejected for {out:?}");

    // A burst opens its connections at the same moment.
    upstream.take(Duration::from_millis(200));
    let answers = futures_util::future::join_all((0..places).map(|_| ask(reqwest::Method::POST))).await;
    assert!(answers.iter().all(|status| *status == 200), "{places} calls at once: {answers:?}");

    upstream.answer(500);
    upstream.take(Duration::ZERO);
    let mut errors = 0;
    while ask(reqwest::Method::POST).await != 503 {
        errors += 1;
        assert!(errors < 150, "a host that fails right after its return keeps its calls");
    }
}
