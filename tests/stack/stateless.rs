//! The breaker that queries a real Prometheus: its decisions and the age of its data are exported.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::time::{Duration, Instant};

use serde_json::json;

use crate::process::Process;
use crate::prometheus::{Prometheus, free_port};

/// Long enough for a busy machine; usually takes some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn the_stateless_breaker_decides_from_a_real_prometheus() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    // Chosen before either process starts, because each needs the other's port.
    let (checkout, admin) = (free_port(), free_port());
    let config = format!(
        "scrape_configs:\n  - {{job_name: breakerbox, scrape_interval: 1s, static_configs: [{{targets: ['127.0.0.1:{admin}']}}]}}\n"
    );
    let Some(prometheus) = Prometheus::start("stateless", &config, &[], &[]) else { return };
    let process = Process::start(
        &["--no-scenario", "--no-traffic"],
        &[
            ("BREAKERBOX_ADMIN__LISTEN", &format!("127.0.0.1:{admin}")),
            ("BREAKERBOX_SERVICES__CHECKOUT__PORT", &checkout.to_string()),
            ("BREAKERBOX_CHECKOUT__BREAKER", "stateless"),
            ("BREAKERBOX_CHECKOUT__STATELESS__PROMETHEUS_URL", &prometheus.url),
            ("BREAKERBOX_CHECKOUT__STATELESS__TIMEOUT", "2s"),
            ("BREAKERBOX_FAULTS__PAYMENT_GATEWAY__ERROR_RATE", "1.0"),
        ],
    );
    let client = reqwest::Client::new();
    let order = |n: u32| {
        let body = json!({"user_id": 7, "film_id": 3, "kind": "buy", "retry_later": false});
        let request = client.post(format!("http://127.0.0.1:{checkout}/orders")).json(&body);
        let request = request.header("idempotency-key", format!("k{n}"));
        runtime.block_on(async { request.send().await.unwrap().text().await })
    };
    let page = || {
        let url = format!("http://{}/metrics", process.admin_address());
        runtime.block_on(async { reqwest::get(&url).await.unwrap().text().await.unwrap() })
    };
    let of = |page: &str, name: &str| -> Option<f64> {
        page.lines().find_map(|line| line.strip_prefix(name)?.rsplit_once(' ')?.1.parse().ok())
    };
    let decided = |page: &str, outcome: &str| {
        let labels = format!(r#"{{breaker="payment-gateway",outcome="{outcome}",service="checkout"}}"#);
        of(page, &format!("stateless_breaker_decisions_total{labels}")).unwrap()
    };
    assert!(decided(&page(), "rejected") < 1.0);
    let deadline = Instant::now() + PATIENCE;
    let mut keys = 0..;
    let mut until = |what: &str, reached: &dyn Fn(&str) -> bool| {
        for n in &mut keys {
            let answer = order(n);
            let page = page();
            if reached(&page) {
                break;
            }
            assert!(Instant::now() < deadline, "timed out: {what}; {answer:?}\n{}", process.logs());
            std::thread::park_timeout(Duration::from_millis(300));
        }
    };
    until("calls are turned away by samples of a moment ago", &|page| {
        let gauge = |name: &str| of(page, &format!("stateless_breaker_{name}{{")).unwrap();
        decided(page, "rejected") > 0.0
            && (gauge("rejecting_active") - 1.0).abs() < 0.5
            && gauge("failure_ratio") >= 0.5
            && (0.0..10.0).contains(&gauge("source_age_seconds"))
    });
    drop(prometheus);
    let before = decided(&page(), "unanswered");
    until("without Prometheus calls pass", &|page| decided(page, "unanswered") > before);
}
