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

mod beside;
mod cluster;
mod mesh;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use breakerbox::export::istio;
use breakerbox_resilience::policy::PolicySettings;
use reqwest::Method;
use serde_json::json;

use crate::numbers::duration;
use crate::source;
use crate::tools::{root, tool};
use mesh::{Answer, Given, Mesh};

const NAMESPACE: &str = "breakerbox";
const PATIENCE: Duration = Duration::from_secs(60);
/// Allowance for timers and a busy machine.
const LATE: Duration = Duration::from_millis(500);
/// A proxy's timers start from a clock that may be some milliseconds behind.
const EARLY: Duration = Duration::from_millis(20);

fn committed(file: &str) -> String {
    std::fs::read_to_string(root().join("deploy/istio").join(file)).unwrap()
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
