//! A Prometheus of the test's own, stopped when dropped.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::process::within;
use crate::scratch::Scratch;
use crate::tools::{skipped, tool};

pub(crate) struct Prometheus {
    child: Child,
    pub(crate) url: String,
    files: Scratch,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Prometheus {
    /// Starts one with this configuration and these files beside it. `None` if Prometheus is not installed.
    pub(crate) fn start(name: &str, config: &str, files: &[(&str, String)], arguments: &[&str]) -> Option<Self> {
        let program = tool("PROMETHEUS")?;
        let scratch = Scratch::new(name);
        for (file, text) in files {
            std::fs::write(scratch.path().join(file), text).unwrap();
        }
        std::fs::write(scratch.path().join("prometheus.yml"), config).unwrap();
        let port = free_port();
        let child = Command::new(program)
            .arg(format!("--config.file={}", scratch.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", scratch.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Self { child, url: format!("http://127.0.0.1:{port}"), files: scratch };
        within(Duration::from_secs(60), || started.get("status/runtimeinfo").is_some());
        Some(started)
    }

    /// Starts one with the OTLP receiver and a job for each of these names, whose targets [`scrape`](Self::scrape)
    /// sets. `None` if the program was built without the receiver, as Debian's is.
    pub(crate) fn with_otlp_receiver(name: &str, jobs: &[&str]) -> Option<Self> {
        let help = Command::new(tool("PROMETHEUS")?).arg("--help").output().unwrap();
        let help = [help.stdout, help.stderr].concat();
        // The help prints it as `--[no-]web.enable-otlp-receiver`.
        if !String::from_utf8_lossy(&help).contains("web.enable-otlp-receiver") {
            skipped("this Prometheus was built without its OTLP receiver; one from prometheus.io has it");
            return None;
        }
        let job = |job: &&str| {
            format!(
                "  - {{job_name: {job}, scrape_interval: 1s, file_sd_configs: [{{files: [{job}.json], refresh_interval: 1s}}]}}\n"
            )
        };
        let config = format!("scrape_configs:\n{}", jobs.iter().map(job).collect::<String>());
        Self::start(name, &config, &[], &["--web.enable-otlp-receiver"])
    }

    /// Sets the target of a job.
    pub(crate) fn scrape(&self, job: &str, address: &str) {
        let targets = serde_json::json!([{"targets": [address]}]).to_string();
        std::fs::write(self.files.path().join(format!("{job}.json")), targets).unwrap();
    }

    /// The response of its API; `None` while it does not answer.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let url = format!("{}/api/v1/{path}", self.url);
        let page: Value = runtime.block_on(async { reqwest::get(&url).await.ok()?.json().await.ok() })?;
        (page["status"] == "success").then(|| page["data"].clone())
    }
}
