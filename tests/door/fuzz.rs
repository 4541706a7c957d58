//! Malformed input of every kind gets an error response with a message, never a panic.
//!
//! ```text
//! BREAKERBOX_FUZZ_CASES=1000000 cargo test --release --test door fuzz      long form
//! ```

use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use breakerbox::faults::FaultPlan;
use breakerbox::settings::Settings;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::process::Process;
use crate::raw::{ask, connect};

fn cases(short: u32) -> ProptestConfig {
    let long = std::env::var("BREAKERBOX_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: long.unwrap_or(short), failure_persistence: None, ..ProptestConfig::default() }
}

/// Values at and beyond the limits of a field.
fn value() -> impl Strategy<Value = Value> {
    let texts = ["", "1s", "-1s", "1000000000000y", "18446744073709551615s", "0", "NaN", "가", "\0", "../..", "true"];
    let numbers = [json!(0), json!(-1), json!(1.5), json!(1e308), json!(u64::MAX), json!(i64::MIN), json!(0.999_999)];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        select(numbers.to_vec()),
        select(texts.to_vec()).prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map("[a-z_]{1,12}", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn table(fields: &'static [&'static str]) -> impl Strategy<Value = Value> {
    btree_map(select(fields), value(), 0..4)
        .prop_map(|map| Value::Object(map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()))
}

const PLAN: &[&str] = &[
    "error_rate",
    "error-rate",
    "status",
    "latency",
    "latency_rate",
    "hang_rate",
    "reset_rate",
    "slow_body",
    "malformed_body_rate",
    "lost_answer_rate",
    "late_answer_rate",
    "late_by",
    "handled_twice_rate",
    "crash",
    "ttl",
    "other",
];

#[test]
fn no_fault_plan_panics() {
    let mut runner = TestRunner::new(cases(4_000));
    let plans = prop_oneof![table(PLAN).prop_map(|plan| plan.to_string().into_bytes()), vec(any::<u8>(), 0..80)];
    let done = runner.run(&plans, |bytes| {
        if let Ok(plan) = serde_json::from_slice::<FaultPlan>(&bytes) {
            let _ = plan.validate();
        }
        Ok(())
    });
    done.unwrap();
}

#[test]
fn no_setting_panics() {
    let sections =
        ["SEED", "HOST", "ADMIN", "GATEWAY", "TRAFFIC", "CHECKOUT", "POLICIES", "FAULTS", "CONNECTIONS", "STORE"];
    let fields = [
        "",
        "LISTEN",
        "PEERS__X",
        "PAGE_BUDGET",
        "CACHED_ANSWERS",
        "RATE",
        "VIEWERS",
        "DAY",
        "QUEUE__CAPACITY",
        "DUPLICATE_WAIT",
        "GATEWAY__USER__RETRY__MAX_ATTEMPTS",
        "GATEWAY__CATALOG__CIRCUIT_BREAKER__SLIDING_WINDOW_SIZE",
        "CATALOG__LATENCY",
        "URL",
        "HEAD_TIMEOUT",
        "RATE_LIMIT__LIMIT_REFRESH_PERIOD",
        "_",
        "__",
    ];
    let texts = [
        "",
        "1",
        "-1",
        "1.5",
        "1e400",
        "500000000000y",
        "yes",
        "{}",
        "[",
        "가",
        "18446744073709551616",
        "0.0.0.0",
        "1s",
    ];
    let text = prop_oneof![select(texts.to_vec()).prop_map(str::to_owned), ".{0,16}"];
    let name = (select(sections.to_vec()), select(fields.to_vec())).prop_map(|(section, field)| {
        format!("BREAKERBOX_{section}{}{field}", if field.is_empty() { "" } else { "__" })
    });
    let mut runner = TestRunner::new(cases(600));
    let done = runner.run(&vec((name, text), 1..3), |variables| {
        if let Ok(settings) = Settings::load(None, variables.into_iter()) {
            let _ = settings.validate();
        }
        Ok(())
    });
    done.unwrap();
}

/// Raw heads, bodies and queries on a socket that closes after them.
#[test]
fn no_bytes_on_a_port_end_the_process() {
    let process = Process::start(
        &["--no-scenario", "--no-traffic"],
        &[("BREAKERBOX_GATEWAY__CLIENT_LIMIT__LIMIT_FOR_PERIOD", "1000000")],
    );
    let ports = [process.site.trim_start_matches("http://").to_owned(), process.admin_address().to_owned()];
    let lines = [
        "GET /api/home HTTP/1.1",
        "GET /api/movies?page=%FF&q=%00 HTTP/1.1",
        "GET /api/movies/99999999999 HTTP/1.1",
        "POST /api/login HTTP/1.1",
        "POST /api/checkout HTTP/1.1",
        "GET /api/orders/%2e%2e HTTP/1.1",
        "GET /metrics HTTP/1.1",
        "PUT /faults/catalog HTTP/1.1",
        "POST /alerts/webhook HTTP/1.1",
        "PATCH /breakers/gateway/user HTTP/1.1",
        "POST /queue/replay HTTP/1.1",
        "DELETE /faults/\u{0} HTTP/1.1",
        "GET  HTTP/1.1",
        "get / http/1.1",
        "PRI * HTTP/2.0",
    ];
    let headers = [
        "Host: x",
        "Host: 127.0.0.1",
        "Content-Length: 5",
        "Content-Length: -1",
        "Content-Length: 18446744073709551616",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Content-Type: application/json",
        "Authorization: Bearer v1.7.9999999999.AAAA",
        "Authorization: \u{e9}",
        "traceparent: 00-0-0-0",
        "Accept-Encoding: gzip;q=",
        "x-deadline-ms: 99999999999999999999",
        "Idempotency-Key: \t",
        "X-Internal-Token: ",
        ": empty",
        "Expect: 100-continue",
        " folded",
    ];
    let bodies = [&b""[..], b"{}", b"{\"username\":1}", b"5\r\n{", b"0\r\n\r\n", b"\xff\xfe", b"[[[[[[[["];
    let request = (
        0..2_usize,
        select(lines.to_vec()),
        vec(select(headers.to_vec()), 0..5),
        select(bodies.to_vec()),
        vec(any::<u8>(), 0..12),
    );
    let mut runner = TestRunner::new(ProptestConfig { cases: cases(500).cases.min(20_000), ..cases(500) });
    let done = runner.run(&request, |(port, line, headers, body, noise)| {
        let Some(mut stream) = connect(&ports[port]) else { return Err(TestCaseError::fail("no listener")) };
        let mut bytes = format!("{line}\r\n{}\r\n\r\n", headers.join("\r\n")).into_bytes();
        bytes.extend(body);
        bytes.extend(noise);
        // The server may reject the request before everything was sent.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let status = String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        prop_assert!(status.is_none_or(|status| status != 500), "{}", String::from_utf8_lossy(&answer));
        Ok(())
    });
    done.unwrap();
    for port in &ports {
        assert!(ask(port, "GET /nowhere", &[], "").is_some_and(|answer| answer.status == 404));
    }
    assert!(!process.logs().contains("panicked"), "{}", process.logs());
}
