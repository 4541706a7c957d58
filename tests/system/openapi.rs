//! The admin port's `OpenAPI` document, compared with the port's responses.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::site::TestSite;

fn document() -> Value {
    serde_json::from_str(&breakerbox::app::openapi()).unwrap()
}

async fn ask(site: &TestSite, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let response = site.admin().oneshot(request.body(body).unwrap()).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// Why `value` violates `schema`, or `None`.
fn misfit(document: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#')).expect("the reference resolves");
        return misfit(document, target, value, at);
    }
    if let Some(options) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        let fits = options.iter().any(|option| misfit(document, option, value, at).is_none());
        return (!fits).then(|| format!("{at}: {value} is none of {}", schema["oneOf"]));
    }
    let kinds: Vec<_> = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return Some(format!("{at}: the schema {schema} has no type")),
    };
    let is = |kind: &&str| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("unsupported type: {other}"),
    };
    if !kinds.iter().any(is) {
        return Some(format!("{at}: {value} is not {kinds:?}"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Some(format!("{at}: {value} is not in {allowed:?}"));
    }
    if let Some(items) = value.as_array() {
        return items.iter().find_map(|item| misfit(document, &schema["items"], item, &format!("{at}[]")));
    }
    let (Some(own), Some(properties)) = (value.as_object(), schema["properties"].as_object()) else { return None };
    let missing = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = missing.into_iter().find(|key| !own.contains_key(*key)) {
        return Some(format!("{at}.{missing}: is required and not there"));
    }
    own.iter().find_map(|(key, value)| match properties.get(key) {
        Some(schema) => misfit(document, schema, value, &format!("{at}.{key}")),
        None => Some(format!("{at}.{key}: is not documented")),
    })
}

fn answer_schema<'a>(document: &'a Value, path: &str, method: &str) -> &'a Value {
    let operation = &document["paths"][path][method];
    &operation["responses"]["200"]["content"]["application/json"]["schema"]
}

#[test]
fn the_committed_document_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&file, breakerbox::app::openapi()).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == breakerbox::app::openapi(), "docs/openapi.json is out of date: run with UPDATE_SNAPSHOTS=1");
}

#[tokio::test(start_paused = true)]
async fn every_page_answers_as_documented() {
    let site = TestSite::start(&[("BREAKERBOX_SCENARIO__ENABLED", "true")]);
    site.run_traffic(10.0, Duration::from_secs(60)).await;
    let webhook = json!({"alerts": [{"status": "firing", "labels": {"alertname": "A"}, "fingerprint": "f"}]});
    assert_eq!(ask(&site, Method::POST, "/alerts/webhook", Some(webhook)).await.0, StatusCode::NO_CONTENT);
    let document = document();
    let mut checked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let schema = answer_schema(&document, path, "get");
        if operations["get"].is_null() || schema.is_null() {
            continue;
        }
        for path in [path.clone(), format!("{path}?everywhere=true")] {
            if path.contains('?') && operations["get"]["parameters"].is_null() {
                continue;
            }
            let (status, answer) = ask(&site, Method::GET, &path, None).await;
            assert_eq!(status, StatusCode::OK, "{path}: {answer}");
            assert_eq!(misfit(&document, schema, &answer, &path), None);
            checked += 1;
        }
    }
    assert!(checked >= 14, "{checked} pages");
    for list in ["/breakers", "/transitions", "/faults", "/alerts"] {
        let (_, page) = ask(&site, Method::GET, list, None).await;
        let items = page.as_object().unwrap().values().find_map(Value::as_array).unwrap();
        assert!(!items.is_empty(), "{list} is empty, so nothing was checked");
    }
}

#[tokio::test(start_paused = true)]
async fn the_index_and_the_document_name_the_same() {
    let site = TestSite::start(&[]);
    let (_, index) = ask(&site, Method::GET, "/", None).await;
    let texts = |list: &str| index[list].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned());
    let scenario = "POST /scenario/{start,pause,stop,skip}";
    let listed: BTreeSet<_> = texts("read")
        .filter(|page| !["/console", "/runbook"].contains(&page.as_str()))
        .map(|page| format!("GET {page}"))
        .chain(
            texts("change")
                .map(|change| if change == scenario { "POST /scenario/{command}".to_owned() } else { change }),
        )
        .collect();
    let document = document();
    let documented: BTreeSet<_> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |m| format!("{} {path}", m.to_uppercase()))
        })
        .filter(|operation| operation != "GET /")
        .collect();
    assert_eq!(listed, documented);
}

#[tokio::test(start_paused = true)]
async fn commands_answer_as_documented() {
    let site = TestSite::start(&[]);
    let document = document();
    let breaker = "/breakers/{service}/{name}";
    for change in [
        json!({"state": "forced_open"}),
        json!({"settings": {"failure_rate_threshold": 40.0}}),
        json!({"state": "reset", "settings": {"failure-rate-threshold": 45.0}}),
    ] {
        let (status, answer) = ask(&site, Method::PATCH, "/breakers/gateway/user", Some(change)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(misfit(&document, answer_schema(&document, breaker, "patch"), &answer, breaker), None);
    }
    let (_, answer) = ask(&site, Method::PATCH, "/breakers/gateway/user", Some(json!({"state": "closed"}))).await;
    assert_eq!(answer["settings"]["failure_rate_threshold"], 45.0);
    let plan = json!({"latency": {"log_normal": {"median": "1s", "sigma": 0.5}}, "ttl": "60s"});
    let (status, answer) = ask(&site, Method::PUT, "/faults/user", Some(plan)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(misfit(&document, answer_schema(&document, "/faults/{target}", "put"), &answer, "/faults"), None);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_a_documented_problem() {
    let site = TestSite::start(&[]);
    let document = document();
    let schema = &document["components"]["schemas"]["Problem"];
    for (method, path, body, field) in [
        (Method::PATCH, "/breakers/gateway/user", json!({"state": "ajar"}), "state"),
        (Method::PATCH, "/breakers/gateway/user", json!({"settings": {"size": 1}}), "settings"),
        (Method::PATCH, "/breakers/gateway/user", json!({}), "state"),
        (Method::PUT, "/faults/user", json!({"error_rate": 2}), "error_rate"),
    ] {
        let (status, problem) = ask(&site, method, path, Some(body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
        assert_eq!(misfit(&document, schema, &problem, path), None);
        assert_eq!(problem["field"], field, "{problem}");
    }
    let (_, problem) = ask(&site, Method::PATCH, "/breakers/gateway/user", Some(json!({"state": "ajar"}))).await;
    assert!(problem["detail"].as_str().unwrap().contains("`metrics_only`"), "{problem}");
}

#[test]
fn a_mismatch_with_the_schema_is_found() {
    let document = document();
    let schema = &document["components"]["schemas"]["TargetGroup"];
    let wrong = |value: Value| misfit(&document, schema, &value, "").is_some();
    assert!(!wrong(json!({"targets": ["a"], "labels": {}})));
    assert!(wrong(json!({"targets": ["a"]})));
    assert!(wrong(json!({"targets": [1], "labels": {}})));
    assert!(wrong(json!({"targets": ["a"], "labels": {}, "more": 1})));
}
