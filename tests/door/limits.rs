//! Resources that one client can use up.

use serde_json::json;

use crate::process::{Process, breakerbox};
use crate::raw::{ask, resident};

fn login(site: &str, name: &str, password: &str) -> crate::raw::Answer {
    let body = json!({"username": name, "password": password}).to_string();
    ask(site, "POST /api/login", &[], &body).unwrap()
}

#[test]
fn passwords_cannot_be_tried_for_long() {
    let process = Process::start(&["--no-scenario", "--no-traffic"], &[]);
    let site = process.site.trim_start_matches("http://");
    let statuses: Vec<_> = (0..30).map(|try_| login(site, "viewer7", &format!("wrong {try_}")).status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 20, "{statuses:?}");
    let refused = login(site, "viewer7", "popcorn");
    assert_eq!(refused.status, 429);
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(login(site, "viewer8", "popcorn").status, 200, "another account has its own limit");
    let many = (0..60).filter(|number| login(site, &format!("viewer{number}"), "x").status == 429).count();
    assert!(many >= 30, "one address tries {} accounts in a row", 60 - many);
}

/// Searches do not evict the pages that other viewers need as a fallback while the catalog is down.
#[test]
fn a_flood_of_searches_leaves_the_fallbacks_armed() {
    let process = Process::start(
        &["--no-scenario", "--no-traffic"],
        &[("BREAKERBOX_GATEWAY__CLIENT_LIMIT__LIMIT_FOR_PERIOD", "100000")],
    );
    let site = process.site.trim_start_matches("http://");
    let page = |path: &str| {
        let answer = ask(site, &format!("GET {path}"), &[], "").unwrap();
        let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        json["source"].as_str().unwrap_or_default().to_owned()
    };
    let needed: Vec<_> = (1..=10).map(|number| format!("/api/movies?page={number}")).collect();
    for _ in 0..2 {
        for path in &needed {
            assert_eq!(page(path), "live");
        }
    }
    for number in 0..600 {
        page(&format!("/api/movies?q=nothing{number}"));
        page(&format!("/api/movies?page={}&per_page=7", number + 1));
    }
    let admin = [("BREAKERBOX_ADMIN_URL", process.admin.as_str())];
    assert_eq!(breakerbox(&["fault", "set", "catalog", "--crash"], &admin).code, 0);
    for path in &needed {
        assert_eq!(page(path), "cache", "{path}");
    }
}

#[test]
fn a_flood_of_requests_is_limited_by_client() {
    let process = Process::start(
        &["--no-scenario", "--no-traffic"],
        &[
            ("BREAKERBOX_GATEWAY__CLIENT_LIMIT__LIMIT_FOR_PERIOD", "5"),
            ("BREAKERBOX_GATEWAY__CLIENT_LIMIT__LIMIT_REFRESH_PERIOD", "60s"),
        ],
    );
    let site = process.site.trim_start_matches("http://");
    let statuses: Vec<_> = (0..10).map(|_| ask(site, "GET /api/home", &[], "").unwrap().status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 5, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 5, "{statuses:?}");
}

/// Memory stays bounded under many alerts, faults and commands.
#[test]
fn floods_of_alerts_and_faults_are_bounded() {
    let process = Process::start(&["serve", "notification"], &[]);
    let admin = process.admin_address();
    let before = resident(process.pid());
    for number in 0..400 {
        let labels: serde_json::Map<_, _> = (0..60).map(|key| (format!("l{key}"), json!("가".repeat(1000)))).collect();
        let alert = json!({"status": "firing", "labels": labels, "annotations": {}, "fingerprint": number.to_string()});
        let answer = ask(admin, "POST /alerts/webhook", &[], &json!({"alerts": [alert]}).to_string()).unwrap();
        assert_eq!(answer.status, 204);
        if number % 4 == 0 {
            assert_eq!(ask(admin, "PUT /faults/notification", &[], r#"{"error_rate": 0.5}"#).unwrap().status, 200);
            assert_eq!(ask(admin, "DELETE /faults", &[], "").unwrap().status, 200);
        }
    }
    let after = resident(process.pid());
    assert!(after < before + 24 * 1024, "{before} KiB grew to {after} KiB");
    let answer = ask(admin, "GET /alerts", &[], "").unwrap();
    assert!(answer.status == 200 && answer.body.len() < 2 * 1024 * 1024, "{}", answer.body.len());
}
