//! Processes of the program that tests kill, pause and restart.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::postgres::free_port;

/// How one process is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Role {
    pub(crate) name: &'static str,
    pub(crate) services: &'static [&'static str],
    /// Flags before the command.
    pub(crate) flags: Vec<String>,
    pub(crate) variables: Vec<(String, String)>,
    /// A wrapper program and its arguments.
    pub(crate) through: Vec<String>,
}

struct Process {
    role: Role,
    child: Child,
}

/// Processes with one settings file, in a directory. Dropping it ends the processes and removes the directory.
pub(crate) struct Site {
    directory: PathBuf,
    processes: Mutex<BTreeMap<&'static str, Process>>,
}

impl Site {
    pub(crate) fn new(name: &str, settings: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("breakerbox-site-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("breakerbox.toml"), settings).unwrap();
        Self { directory, processes: Mutex::default() }
    }

    pub(crate) fn start(&self, role: Role) {
        let child = self.spawn(&role);
        self.processes.lock().unwrap().insert(role.name, Process { role, child });
    }

    fn spawn(&self, role: &Role) -> Child {
        let log = File::options().create(true).append(true).open(self.directory.join(role.name)).unwrap();
        // Another build can be tested as well.
        let program = std::env::var("BREAKERBOX_TEST_PROGRAM").unwrap_or(env!("CARGO_BIN_EXE_breakerbox").to_owned());
        let words: Vec<_> = role.through.iter().cloned().chain([program]).collect();
        Command::new(&words[0])
            .args(&words[1..])
            .args(&role.flags)
            .arg("--config")
            .arg(self.directory.join("breakerbox.toml"))
            .arg("serve")
            .args(role.services)
            // Removed because the program refuses them as unknown settings.
            .env_remove("BREAKERBOX_TEST_SEED")
            .env_remove("BREAKERBOX_TEST_PROGRAM")
            .envs(role.variables.iter().cloned())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Kills a process with SIGKILL and restarts it.
    pub(crate) fn kill(&self, name: &'static str) {
        let mut processes = self.processes.lock().unwrap();
        let Process { role, child } = processes.get_mut(name).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        *child = self.spawn(role);
    }

    pub(crate) fn pid(&self, name: &'static str) -> u32 {
        self.processes.lock().unwrap()[name].child.id()
    }

    /// Suspends a process at whatever point it has reached; `resume` continues it.
    pub(crate) fn pause(&self, name: &'static str) {
        self.signal(name, "-STOP");
    }

    pub(crate) fn resume(&self, name: &'static str) {
        self.signal(name, "-CONT");
    }

    fn signal(&self, name: &'static str, signal: &str) {
        let pid = self.pid(name).to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join(name)).unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let processes = self.processes.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        for Process { child, .. } in processes.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the logs are in {}", self.directory.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// A different port for each of these services, also as settings.
pub(crate) fn ports(services: &[&'static str]) -> (BTreeMap<&'static str, u16>, String) {
    let ports: BTreeMap<_, _> = services.iter().map(|service| (*service, free_port())).collect();
    let lines: Vec<_> = ports.iter().map(|(service, port)| format!("[services.{service}]\nport = {port}\n")).collect();
    (ports, lines.concat())
}

pub(crate) fn client(timeout: Duration) -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(timeout).build().unwrap()
}

/// Polls until the condition holds.
pub(crate) async fn until(what: &str, patience: Duration, mut reached: impl AsyncFnMut() -> bool) -> Duration {
    let since = Instant::now();
    while !reached().await {
        assert!(since.elapsed() < patience, "timed out after {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    since.elapsed()
}
