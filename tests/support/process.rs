//! Runs the program. Each test binary uses part of this.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub, reason = "shared by tests that need different parts")]

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_breakerbox");
const SERVICES: [&str; 10] = [
    "GATEWAY",
    "GATEWAY_BARE",
    "USER",
    "CATALOG",
    "RECOMMENDATION",
    "ML_API",
    "CHECKOUT",
    "INVENTORY",
    "PAYMENT_GATEWAY",
    "NOTIFICATION",
];

/// Result of a finished command.
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to completion.
pub fn breakerbox(arguments: &[&str], variables: &[(&str, &str)]) -> Done {
    let output = Command::new(PROGRAM).args(arguments).envs(variables.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The running program, on free ports.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// The site's URL, such as `http://127.0.0.1:43210`; empty without a gateway.
    pub site: String,
    /// The admin port's URL.
    pub admin: String,
}

impl Process {
    pub fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_limited("", arguments, variables)
    }

    /// Starts it under a shell's `ulimit` with these arguments, such as `-Sn 1024`.
    pub fn start_limited(limit: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let log = std::env::temp_dir().join(format!("breakerbox-cli-{}-{number}.log", std::process::id()));
        let out = File::create(&log).unwrap();
        let ports = SERVICES.map(|service| (format!("BREAKERBOX_SERVICES__{service}__PORT"), "0"));
        let mut command = if limit.is_empty() {
            Command::new(PROGRAM)
        } else {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\""), PROGRAM]);
            shell
        };
        let child = command
            .args(arguments)
            .envs(ports)
            .env("BREAKERBOX_ADMIN__LISTEN", "127.0.0.1:0")
            .env("BREAKERBOX_STORE__URL", "sqlite::memory:")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        let mut process = Self { child, log, site: String::new(), admin: String::new() };
        // All in one, it prints its address; a single service logs it.
        let logged =
            |logs: &str| logs.split_whitespace().find_map(|word| word.strip_prefix("admin=").map(str::to_owned));
        within(Duration::from_secs(20), || process.logs().contains("/metrics") || logged(&process.logs()).is_some());
        process.site = process.address_before("/api/home");
        process.admin = process.address_before("/metrics");
        if process.admin.is_empty() {
            process.admin = format!("http://{}", logged(&process.logs()).unwrap());
        }
        process
    }

    /// The first address in its output that is followed by `path`.
    fn address_before(&self, path: &str) -> String {
        let logs = self.logs();
        let word = logs.split_whitespace().find(|word| word.ends_with(path));
        word.map(|word| word.trim_end_matches(path).to_owned()).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn logs(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The JSON of a page of the admin port.
    pub fn get(&self, path: &str) -> Value {
        fetch(&format!("{}{path}", self.admin))
    }

    /// The text of a page of the admin port, such as `/metrics`.
    pub fn text(&self, path: &str) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { reqwest::get(format!("{}{path}", self.admin)).await.unwrap().text().await.unwrap() })
    }

    /// The JSON of a page of the site.
    pub fn get_site(&self, path: &str) -> Value {
        fetch(&format!("{}{path}", self.site))
    }

    /// The admin port's address, such as `127.0.0.1:43211`.
    pub fn admin_address(&self) -> &str {
        self.admin.trim_start_matches("http://")
    }

    /// Interrupts it as Ctrl-C does, and returns its exit code.
    pub fn interrupt(mut self) -> i32 {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let mut code = None;
        within(Duration::from_secs(10), || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.log);
    }
}

fn fetch(url: &str) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { reqwest::get(url).await.unwrap().json().await.unwrap() })
}

/// Polls until `done` returns true; fails after `limit`.
pub fn within(limit: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "timed out after {limit:?}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
