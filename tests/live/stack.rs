//! Two processes of the program, a Prometheus and an Alertmanager, and two static pages that stand for further
//! exporters.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use breakerbox::services::ServiceName;
use serde_json::Value;
use tokio::time::Instant;

use crate::kept::Kept;
use crate::pages;
use crate::process::{Process, Scratch, free_ports};
use crate::tools::Tools;

/// Time limit for the whole stack to start.
const START: Duration = Duration::from_secs(90);

/// What distinguishes a stack.
pub(crate) struct Setup<'a> {
    /// Name that distinguishes it from stacks that run at the same time.
    pub(crate) name: &'a str,
    /// Additional settings of the first process, in TOML.
    pub(crate) settings: &'a str,
}

/// Speed of scrapes, evaluations and waits.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// Scrapes and evaluations every second, a tenth of each `for`.
    Fast,
    /// As shipped; the README's table is measured at this pace.
    Shipped,
}

impl Pace {
    /// `BREAKERBOX_DRILLS=all` selects all drills, at the shipped pace.
    pub(crate) fn asked_for() -> Self {
        let all = std::env::var("BREAKERBOX_DRILLS").is_ok_and(|drills| drills == "all");
        if all { Self::Shipped } else { Self::Fast }
    }
}

/// A running stack. Fields are dropped in this order.
pub(crate) struct Stack {
    /// A second process of the program, which drills stop and restart.
    pub(crate) second: Kept,
    pub(crate) prometheus_process: Process,
    pub(crate) alertmanager_process: Process,
    _first: Process,
    pub(crate) client: reqwest::Client,
    pub(crate) admin: String,
    pub(crate) gateway: String,
    pub(crate) prometheus: String,
    alertmanager: String,
    pub(crate) pace: Pace,
    /// Name of the table in `target/drills`.
    name: String,
    pub(crate) scratch: Scratch,
}

/// Polls until the condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, longest: Duration, is: impl Fn() -> F) {
    let deadline = Instant::now() + longest;
    while !is().await {
        assert!(Instant::now() < deadline, "waited {longest:?} for {what}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository with these replacements; each must match, or the file has changed.
pub(crate) fn changed(file: &str, changes: &[(&str, &str)]) -> String {
    let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{file} no longer contains {from:?}");
        text.replace(from, to)
    })
}

impl Stack {
    pub(crate) async fn start(tools: &Tools, setup: Setup<'_>) -> Self {
        let (scratch, pace) = (Scratch::new(setup.name), Pace::asked_for());
        let ports = free_ports::<6>();
        let [admin, second, gateway, prometheus, alertmanager, page] = ports.map(|port| format!("127.0.0.1:{port}"));
        rules(&scratch, pace);
        pages::serve(scratch.path("pages"), &page).await;
        let program = |name: &str, settings: &str, arguments: &[&str]| {
            let config = scratch.write(&format!("{name}.toml"), settings);
            let mut command = Command::new(env!("CARGO_BIN_EXE_breakerbox"));
            command.arg("--config").arg(config).args(arguments);
            command
        };
        let own = settings(&admin, ports[2], pace) + setup.settings;
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
        let second_process = Kept::start(
            program("second", &settings(&second, 0, pace), &["serve", "recommendation"]),
            &scratch.path("second.log"),
        );
        let first =
            Process::start(program("first", &own, &["--no-scenario", "--log", "warn"]), &scratch.path("first.log"));
        let alertmanager_process = start_alertmanager(tools, &scratch, [&admin, &alertmanager], pace);
        // Prometheus and Alertmanager retry a failed delivery only later, so their receivers must be up first.
        for page in [format!("http://{admin}/readyz"), format!("http://{alertmanager}/-/ready")] {
            let there = || async { client.get(&page).send().await.is_ok_and(|answer| answer.status().is_success()) };
            until(&page, START, there).await;
        }
        let places = [&*admin, &second, &prometheus, &alertmanager, &page];
        let prometheus_process = start_prometheus(tools, &scratch, places, pace);
        let stack = Self {
            second: second_process,
            prometheus_process,
            alertmanager_process,
            _first: first,
            client,
            admin: format!("http://{admin}"),
            gateway: format!("http://{gateway}"),
            prometheus: format!("http://{prometheus}"),
            alertmanager: format!("http://{alertmanager}"),
            pace,
            name: setup.name.to_owned(),
            scratch,
        };
        stack.is_up().await;
        stack
    }

    /// The data of a Prometheus API response; null without a response.
    pub(crate) async fn ask(&self, path: &str) -> Value {
        let answer = self.client.get(format!("{}/api/v1/{path}", self.prometheus)).send().await;
        let Ok(answer) = answer else { return Value::Null };
        let body: Value = answer.json().await.unwrap_or_default();
        body["data"].clone()
    }

    /// Waits until all targets are up.
    pub(crate) async fn is_up(&self) {
        until("all targets to be up", START, || self.all_up()).await;
    }

    async fn all_up(&self) -> bool {
        let targets = self.ask("targets?state=active").await;
        let targets = targets["activeTargets"].as_array().cloned().unwrap_or_default();
        targets.len() == 8 && targets.iter().all(|target| target["health"] == "up")
    }

    /// Runs `breakerbox drill` and returns its report. Its output is passed through. At the shipped pace its table is
    /// kept in target/drills.
    pub(crate) async fn drill(&self, arguments: &[&str]) -> Value {
        let json = self.scratch.path("drill.json");
        let mut command = self.drill_command(arguments);
        command.arg("--json").arg(&json);
        if self.pace == Pace::Shipped {
            let folder = root().join("target/drills");
            std::fs::create_dir_all(&folder).unwrap();
            let first = arguments.first().map_or("all", |argument| argument.trim_start_matches('-'));
            command.arg("--markdown").arg(folder.join(format!("{}-{first}.md", self.name)));
        }
        let status = tokio::task::spawn_blocking(move || command.status()).await.unwrap().unwrap();
        assert_eq!(status.code().filter(|code| *code != 2), status.code(), "the drill was refused");
        serde_json::from_slice(&std::fs::read(json).expect("the drill writes its report")).unwrap()
    }

    fn drill_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_breakerbox"));
        command.arg("drill").args(["--admin", &self.admin, "--prometheus", &self.prometheus]);
        command.args(["--alertmanager", &self.alertmanager, "--require-notification"]);
        command.args(arguments).env_remove("BREAKERBOX_DRILLS");
        command
    }

    /// Waits until Prometheus has this much history of the program.
    pub(crate) async fn has_history_of(&self, long: Duration) {
        let query = format!("query?query=up%7Bjob=%22breakerbox%22%7D%20offset%20{}s", long.as_secs());
        let there = || async { self.ask(&query).await["result"].as_array().is_some_and(|found| !found.is_empty()) };
        until("enough history", long + START, there).await;
    }

    /// Interrupts a drill once it has set a fault.
    pub(crate) async fn stopped_by_hand(&self, alert: &str) {
        let mut drill = self.drill_command(&[alert, "--fast"]).spawn().unwrap();
        until("a fault", START, || async { !self.healthy().await }).await;
        let kill = Command::new("kill").args(["-INT", &drill.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let status = tokio::task::spawn_blocking(move || drill.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(1));
        assert!(self.healthy().await, "Ctrl-C left a fault behind");
    }

    /// Whether all targets are at their baseline.
    async fn healthy(&self) -> bool {
        let faults = self.client.get(format!("{}/faults", self.admin)).send().await.unwrap();
        let faults: Value = faults.json().await.unwrap();
        faults["targets"].as_array().unwrap().iter().all(|target| target["at_baseline"] == true)
    }

    /// Runs the dashboards' own test against this Prometheus.
    pub(crate) fn dashboards_have_data(&self) {
        let mut command = Command::new(env!("CARGO"));
        command.args(["test", "--quiet", "--package", "xtask", "--", "--ignored", "every_panel_has_data"]);
        let status = command.env("PROMETHEUS_URL", &self.prometheus).current_dir(root()).status().unwrap();
        assert!(status.success(), "a panel has no data");
    }
}

/// Settings with a free port for every service but the gateway.
fn settings(admin: &str, gateway: u16, pace: Pace) -> String {
    // The endpoint of spans is a closed port: exemplars need recorded spans, and a missing receiver must not do harm.
    let mut text = format!(
        "[admin]\nlisten = \"{admin}\"\n[traffic]\nrate = 10.0\n[telemetry]\notlp-endpoint = \"http://127.0.0.1:9\"\n[services]\n"
    );
    for service in ServiceName::ALL {
        let port = if *service == ServiceName::Gateway { gateway } else { 0 };
        writeln!(text, "{service} = {{ port = {port} }}").unwrap();
    }
    text.push_str("[store]\nurl = \"sqlite::memory:\"\n");
    if pace == Pace::Fast {
        // Short enough for cached pages to expire within a drill.
        text.push_str("[gateway]\nstale-after = \"25s\"\n");
    }
    text
}

/// Writes the repository's rules and alerts at this pace.
fn rules(scratch: &Scratch, pace: Pace) {
    for folder in ["prometheus/rules", "alerts", "alerts/expected"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // The minimal file repeats the same alerts, and the jobs of Docker Compose do not exist here.
            let left_out = ["minimal.yml", "compose.yml"].contains(&name.as_str());
            if path.extension().is_none_or(|extension| extension != "yml") || left_out {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let text = if pace == Pace::Fast { text.lines().map(shortened).collect() } else { text };
            if folder == "alerts/expected" {
                // The second process is expected as well.
                scratch.write("alerts/expected/second.yml", &text.replace("breakerbox", "breakerbox-second"));
            }
            scratch.write(&format!("{folder}/{name}"), &text);
        }
    }
}

fn shortened(line: &str) -> String {
    for key in ["        for: ", "        keep_firing_for: "] {
        if let Some(time) = line.strip_prefix(key) {
            let time = humantime::parse_duration(time).unwrap_or_else(|error| panic!("{line}: {error}"));
            return format!("{key}{}s\n", time.as_secs().div_ceil(10));
        }
    }
    format!("{line}\n")
}

fn start_prometheus(
    tools: &Tools,
    scratch: &Scratch,
    [admin, second, own, alertmanager, page]: [&str; 5],
    pace: Pace,
) -> Process {
    let mut changes = vec![
        ("127.0.0.1:8090", admin),
        ("127.0.0.1:9090", own),
        ("127.0.0.1:9093", alertmanager),
        ("- ../alerts/", "- alerts/"),
        ("- rules/", "- prometheus/rules/"),
        ("expected/local.yml", "expected/*.yml"),
    ];
    if pace == Pace::Fast {
        changes.extend([("interval: 5s", "interval: 1s"), ("scrape_timeout: 4s", "scrape_timeout: 1s")]);
    }
    let mut text = changed("prometheus/local.yml", &changes);
    for (job, path, target) in [
        ("breakerbox-second", "/metrics", second),
        ("breakerbox-page", "/state.prom", page),
        ("jaeger", "/jaeger.prom", page),
    ] {
        write!(
            text,
            "  - job_name: {job}\n    metrics_path: {path}\n    static_configs:\n      - targets: [{target}]\n"
        )
        .unwrap();
    }
    // Two addresses of one page stand for two discovered instances.
    let pair = scratch
        .write("pair.json", &format!(r#"[{{"targets": ["{page}", "{}"]}}]"#, page.replace("127.0.0.1", "localhost")));
    write!(
        text,
        "  - job_name: breakerbox-pair\n    metrics_path: /pair.prom\n    file_sd_configs:\n      - files: [{}]\n",
        pair.display()
    )
    .unwrap();
    let mut command = prometheus(tools, scratch, &text, own);
    command.arg("--enable-feature=exemplar-storage");
    if pace == Pace::Fast {
        // It discovers its Alertmanager only after its first alerts, which wait this long to be sent again.
        command.arg("--rules.alert.resend-delay=5s");
    }
    Process::start(command, &scratch.path("prometheus.log"))
}

/// A Prometheus with this configuration, listening at `own`.
pub(crate) fn prometheus(tools: &Tools, scratch: &Scratch, configuration: &str, own: &str) -> Command {
    let mut command = Command::new(&tools.prometheus);
    command.arg("--config.file").arg(scratch.write("prometheus.yml", configuration));
    command.arg("--storage.tsdb.path").arg(scratch.path("tsdb"));
    command.args(["--web.listen-address", own, "--log.level=warn"]);
    command
}

/// An Alertmanager with this configuration, listening at `own`.
pub(crate) fn alertmanager(tools: &Tools, scratch: &Scratch, configuration: &str, own: &str) -> Process {
    let mut command = Command::new(&tools.alertmanager);
    command.arg("--config.file").arg(scratch.write("alertmanager.yml", configuration));
    command.arg("--storage.path").arg(scratch.path("alertmanager"));
    command.args(["--web.listen-address", own, "--cluster.listen-address=", "--log.level=warn"]);
    Process::start(command, &scratch.path("alertmanager.log"))
}

pub(crate) fn start_alertmanager(tools: &Tools, scratch: &Scratch, [admin, own]: [&str; 2], pace: Pace) -> Process {
    let mut changes = vec![("127.0.0.1:8090", admin)];
    if pace == Pace::Fast {
        changes.extend([("group_wait: 10s", "group_wait: 1s"), ("group_interval: 15s", "group_interval: 2s")]);
    }
    alertmanager(tools, scratch, &changed("prometheus/alertmanager.local.yml", &changes), own)
}

/// Settings of a process with its own in-memory stores, in which only the admin port is known in advance.
pub(crate) fn isolated(admin: &str) -> String {
    let mut text = format!("[admin]\nlisten = \"{admin}\"\n[store]\nurl = \"sqlite::memory:\"\n[services]\n");
    for service in ServiceName::ALL {
        writeln!(text, "{service} = {{ port = 0 }}").unwrap();
    }
    text
}
