//! Drills with the rules of every profile, and with Prometheus configurations that users may have.
//!
//! Prometheus and Alertmanager run at their own pace, so this takes as long as the longest drill at the longest
//! interval, twenty-five minutes. The table is printed, and kept in target/profiles.md:
//!
//! ```sh
//! cargo test --test live -- --ignored --nocapture profiles
//! ```

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use crate::process::{Process, Scratch, free_ports};
use crate::stack::{Pace, isolated, prometheus, start_alertmanager, until};
use crate::tools::Tools;

/// One alert on a cause, one on what viewers experience and one on checkout.
const DRILLS: &[&str] = &["CircuitBreakerOpen", "PlaybackErrorsHigh", "CheckoutUnavailable"];

/// A configuration of Prometheus.
struct Case {
    name: &'static str,
    /// A profile in alerts/profiles/, or the interval of the repository's own configurations.
    interval: &'static str,
    job: &'static str,
    /// More settings of the scrape job: labels of targets.
    job_has: &'static str,
    /// Selects the target to drill if there are several.
    matchers: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case { name: "5 s", interval: "5s", job: "breakerbox", job_has: "", matchers: &[] },
    Case { name: "15 s", interval: "15s", job: "breakerbox", job_has: "", matchers: &[] },
    Case { name: "30 s", interval: "30s", job: "breakerbox", job_has: "", matchers: &[] },
    Case { name: "60 s, another job", interval: "60s", job: "video/prod", job_has: "", matchers: &[] },
    Case {
        name: "15 s, labels of Kubernetes",
        interval: "15s",
        job: "breakerbox",
        job_has: "{namespace: shop, pod: breakerbox-6c9f, service: breakerbox, container: breakerbox, endpoint: admin}",
        matchers: &[],
    },
    Case {
        name: "15 s, one of two clusters",
        interval: "15s",
        job: "breakerbox",
        job_has: "{cluster: one}",
        matchers: &[r#"cluster="one""#],
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "twenty-five minutes, in real time"]
async fn drills_pass_with_every_profile_and_foreign_configuration() {
    let Some(tools) = Tools::find() else { return };
    let only = std::env::var("BREAKERBOX_PROFILE").ok();
    let asked = CASES.iter().filter(|case| only.as_ref().is_none_or(|only| case.interval == only));
    let done = join_all(asked.map(async |case| (case, drilled(&tools, case).await))).await;
    let mut table = "| configuration | alert | fires after | notified after | resolved after \
         |\n|---|---|---:|---:|---:|\n"
        .to_owned();
    let mut wrong = Vec::new();
    for (case, report) in &done {
        for drill in report["drills"].as_array().unwrap() {
            let time = |what: &str| drill["seconds"][what].as_f64().map_or("–".to_owned(), |at| format!("{at:.0} s"));
            let (fires, notified, resolved) = (time("firing"), time("notified"), time("resolved"));
            writeln!(
                table,
                "| {} | {} | {fires} | {notified} | {resolved} |",
                case.name,
                drill["alert"].as_str().unwrap()
            )
            .unwrap();
            if drill["outcome"] != "passed" {
                wrong.push(format!("{}: {drill:#}", case.name));
            }
        }
    }
    println!("{table}");
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/profiles.md"), &table).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn drilled(tools: &Tools, case: &Case) -> Value {
    let scratch = Scratch::new(&format!("profile-{}", case.name.replace([' ', ','], "-")));
    let [admin, other, prometheus, alertmanager] = free_ports::<4>().map(|port| format!("127.0.0.1:{port}"));
    let mut processes = vec![
        program(&scratch, "own", &admin),
        start_alertmanager(tools, &scratch, [&admin, &alertmanager], Pace::Shipped),
        start_prometheus(tools, &scratch, case, [&admin, &other, &prometheus, &alertmanager]),
    ];
    if !case.matchers.is_empty() {
        processes.push(program(&scratch, "other", &other));
    }
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
    let url = format!("http://{prometheus}/api/v1/query?query=count(breakerbox_build_info)");
    let expected = if case.matchers.is_empty() { "1" } else { "2" };
    let scraped = || async {
        let Ok(answer) = client.get(&url).send().await else { return false };
        answer.json::<Value>().await.is_ok_and(|body| body["data"]["result"][0]["value"][1] == expected)
    };
    until(&format!("{}: scraped", case.name), Duration::from_secs(200), scraped).await;
    let json = scratch.path("drill.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_breakerbox"));
    command.arg("drill").args(DRILLS);
    command.args(["--admin", &format!("http://{admin}"), "--prometheus", &format!("http://{prometheus}")]);
    command.args(["--alertmanager", &format!("http://{alertmanager}"), "--require-notification"]);
    command.args(case.matchers.iter().flat_map(|matcher| ["--matcher", matcher]));
    command.arg("--json").arg(&json);
    let status = tokio::task::spawn_blocking(move || command.status()).await.unwrap().unwrap();
    assert_ne!(status.code(), Some(2), "{}: the drill was refused", case.name);
    drop(processes);
    serde_json::from_slice(&std::fs::read(json).expect("the drill writes its report")).unwrap()
}

fn program(scratch: &Scratch, name: &str, admin: &str) -> Process {
    let settings = isolated(admin) + "[traffic]\nrate = 5.0\n";
    let mut command = Command::new(env!("CARGO_BIN_EXE_breakerbox"));
    command.arg("--config").arg(scratch.write(&format!("{name}.toml"), &settings));
    command.args(["--no-scenario", "--log", "warn"]);
    Process::start(command, &scratch.path(&format!("{name}.log")))
}

fn start_prometheus(
    tools: &Tools,
    scratch: &Scratch,
    case: &Case,
    [admin, other, own, alertmanager]: [&str; 4],
) -> Process {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = if case.interval == "5s" {
        let alerts = ["breakers", "resilience", "slo", "checkout", "targets", "pipeline"];
        let alerts = alerts.map(|name| format!("  - {}/alerts/{name}.yml\n", root.display())).concat();
        format!("  - {}/prometheus/rules/*.yml\n{alerts}", root.display())
    } else {
        format!("  - {}/alerts/profiles/{}/*.yml\n", root.display(), case.interval)
    };
    let labels = if case.job_has.is_empty() { String::new() } else { format!(", labels: {}", case.job_has) };
    let mut targets = format!("      - {{targets: ['{admin}']{labels}}}\n");
    if !case.matchers.is_empty() {
        writeln!(targets, "      - {{targets: ['{other}'], labels: {{cluster: two}}}}").unwrap();
    }
    let text = format!(
        "global:\n  scrape_interval: {interval}\n  scrape_timeout: 4s\n  evaluation_interval: {interval}\n\
         rule_files:\n{files}alerting:\n  alertmanagers:\n    - static_configs:\n        - targets: \
         ['{alertmanager}']\n\
         scrape_configs:\n  - job_name: {job}\n    honor_labels: true\n    static_configs:\n{targets}",
        interval = case.interval,
        job = case.job,
    );
    Process::start(prometheus(tools, scratch, &text, own), &scratch.path("prometheus.log"))
}
