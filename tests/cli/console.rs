//! The console, read by a browser that runs its script.

use std::process::Command;

use serde_json::json;

use super::process::Process;

/// `None`, said aloud, when there is no Chromium; in CI that is a failure.
fn chromium() -> Option<String> {
    let given = std::env::var("CHROMIUM").ok();
    let names = ["chromium", "chromium-browser", "google-chrome"].map(str::to_owned);
    let runs = |name: &String| Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success());
    let found = given.into_iter().chain(names).find(runs);
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CHROMIUM is missing: install Debian's package chromium");
        eprintln!("SKIPPED: CHROMIUM is missing, so nobody looked at the console; install Debian's package chromium");
    }
    found
}

/// The page once its script has read what it shows.
fn looked_at(browser: &str, url: &str) -> String {
    let profile = std::env::temp_dir().join(format!("breakerbox-chromium-{}", std::process::id()));
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    let output = command.args(["--virtual-time-budget=6000", "--dump-dom", url]).output().unwrap();
    let _ = std::fs::remove_dir_all(profile);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn deliver(process: &Process, alerts: &serde_json::Value) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url = format!("{}/alerts/webhook", process.admin);
    let delivery = json!({"version": "4", "alerts": alerts});
    let answer =
        runtime.block_on(async { reqwest::Client::new().post(url).json(&delivery).send().await.unwrap().status() });
    assert!(answer.is_success(), "{answer}");
}

#[test]
fn the_console_shows_alerts_breakers_and_faults_and_takes_no_label_for_markup() {
    let Some(browser) = chromium() else { return };
    let process = Process::start(&["--no-scenario", "--no-traffic"], &[]);
    let alert = |name: &str, status: &str, ends_at: &str, service: &str| {
        json!({
            "status": status, "startsAt": "2026-01-01T00:00:00Z", "endsAt": ends_at, "fingerprint": name,
            "labels": {"alertname": name, "severity": "critical", "service": service},
            "annotations": {"runbook_url": "javascript:alert(1)", "dashboard_url": "http://127.0.0.1:3000/d/x"},
        })
    };
    deliver(
        &process,
        &json!([
            alert("Watchdog", "firing", "", "none"),
            alert("TargetDown", "firing", "", "<img src=x onerror=alert(1)>"),
            alert("NoTraffic", "resolved", "2026-01-01T00:01:30Z", "gateway"),
        ]),
    );
    let page = looked_at(&browser, &format!("{}/console", process.admin));
    for shown in [
        ">TargetDown</td>",
        "<td class=\"bad\">critical</td>",
        "<td class=\"good\">resolved</td>",
        "<td>90 s</td>",
        "alert pipeline alive since",
        "gateway → catalog",
        "checkout → payment-gateway",
        "<td class=\"good\">closed</td>",
        "<td class=\"fault\">error</td>",
        "healthy",
        "http://127.0.0.1:3000/d/x",
        "&lt;img src=x onerror=alert(1)&gt;",
    ] {
        assert!(page.contains(shown), "no {shown} in {page}");
    }
    for refused in ["<img", "javascript:", ">Watchdog</td>"] {
        assert!(!page.contains(refused), "{refused} in {page}");
    }
}

#[test]
fn a_browser_is_led_to_the_console_and_a_command_line_to_a_list() {
    let process = Process::start(&["--no-scenario", "--no-traffic"], &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ask = |path: &str, accept: &'static str| {
        let url = format!("{}{path}", process.admin);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        runtime.block_on(async { client.get(url).header("accept", accept).send().await.unwrap() })
    };
    let page = ask("/", "text/html,application/xhtml+xml");
    assert_eq!(page.url().path(), "/console");
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
    assert_eq!(ask("/", "*/*").headers()["content-type"], "application/json");
    for (file, kind) in [("console.js", "text/javascript"), ("console.css", "text/css")] {
        let answer = ask(&format!("/console/{file}"), "*/*");
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with(kind), "{file}");
    }
}
