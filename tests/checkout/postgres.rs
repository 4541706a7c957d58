//! A PostgreSQL server of the test's own that may be killed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A cluster in its own directory; stopped and removed when dropped.
pub(crate) struct Postgres {
    bin: PathBuf,
    directory: PathBuf,
    port: u16,
}

impl Postgres {
    /// Starts one. Returns `None`, with a message on stderr, if PostgreSQL is not installed; in CI that is a failure.
    pub(crate) fn start(name: &str) -> Option<Self> {
        Self::start_in(std::env::temp_dir().join(format!("breakerbox-pg-{name}-{}", std::process::id())))
    }

    /// Starts one in this directory, which is emptied first.
    pub(crate) fn start_in(directory: PathBuf) -> Option<Self> {
        let Some(bin) = installed() else {
            assert!(std::env::var_os("CI").is_none(), "PostgreSQL is not installed, and CI must not skip this");
            let _ =
                writeln!(std::io::stderr(), "SKIPPED: PostgreSQL is not installed, so nothing was tested against it");
            return None;
        };
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let own = Self { bin, directory, port: free_port() };
        if is_root() {
            let chown = Command::new("chown").arg("postgres").arg(&own.directory).status().unwrap();
            assert!(chown.success(), "root needs a user `postgres` to run it as");
        }
        let data = own.directory.join("data");
        let data = data.to_str().unwrap();
        own.run("initdb", &["-D", data, "-U", "breakerbox", "--auth=trust", "-E", "UTF8", "--no-sync"]);
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\nmax_connections = 60\n\
             shared_buffers = 32MB\nmin_wal_size = 32MB\nmax_wal_size = 64MB\n",
            own.port
        );
        let file = own.directory.join("data/postgresql.conf");
        let mut all = std::fs::read_to_string(&file).unwrap();
        all.push_str(&settings);
        std::fs::write(&file, all).unwrap();
        own.launch();
        for database in ["shop", "ledger"] {
            own.run("createdb", &["-h", "127.0.0.1", "-p", &own.port.to_string(), "-U", "breakerbox", database]);
        }
        Some(own)
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://breakerbox@127.0.0.1:{}/{database}", self.port)
    }

    /// Kills the server with SIGKILL and restarts it.
    pub(crate) fn kill_and_restart(&self) {
        self.kill();
        self.launch();
    }

    /// Kills the server with SIGKILL.
    pub(crate) fn kill(&self) {
        let pid = std::fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap().to_owned();
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    }

    /// Restarts the server after it has ended by itself, as it does when it can't write its log.
    pub(crate) fn revive(&self) {
        let data = self.directory.join("data");
        if !self.command("pg_ctl", &["status", "-D", data.to_str().unwrap()]).status().unwrap().success() {
            self.launch();
        }
    }

    pub(crate) fn launch(&self) {
        // Its orphaned processes need a moment to notice that it has died.
        let deadline = Instant::now() + Duration::from_secs(20);
        let (data, log) = (self.directory.join("data"), self.directory.join("log"));
        let args = ["start", "-w", "-D", data.to_str().unwrap(), "-l", log.to_str().unwrap()];
        while !self.command("pg_ctl", &args).status().unwrap().success() {
            assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(&log).unwrap_or_default());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn run(&self, program: &str, args: &[&str]) {
        assert!(self.command(program, args).status().unwrap().success(), "{program} {args:?}");
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let path = self.bin.join(program);
        // PostgreSQL refuses to be run by root.
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.args(args).current_dir(&self.directory).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.directory.join("data");
        let _ = self.command("pg_ctl", &["stop", "-m", "immediate", "-D", data.to_str().unwrap()]).status();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// `POSTGRES_BIN` as set by `scripts/tools.sh`, else the newest version of Debian's packages.
fn installed() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("POSTGRES_BIN").map(PathBuf::from).filter(|bin| bin.join("initdb").exists()) {
        return Some(given);
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<_> = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect();
    found.sort();
    found.into_iter().rev().find(|bin| bin.join("initdb").exists())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(Path::new("/proc/self")).is_ok_and(|own| own.uid() == 0)
}

/// A port that is free at this moment.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
