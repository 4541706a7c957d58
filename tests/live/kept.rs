//! A process that is restarted whenever it ends, as a container runtime would.

use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A supervised process. It ends with the test.
pub(crate) struct Kept {
    task: tokio::task::JoinHandle<()>,
    pid: PathBuf,
}

impl Kept {
    pub(crate) fn start(command: std::process::Command, output: &Path) -> Self {
        let mut command = tokio::process::Command::from(command);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BREAKERBOX_")) {
            command.env_remove(name);
        }
        let file = std::fs::File::create(output).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).kill_on_drop(true);
        let pid = output.with_extension("pid");
        let own = pid.clone();
        let task = tokio::spawn(async move {
            loop {
                let mut child = command.spawn().unwrap();
                std::fs::write(&own, child.id().expect("the supervisor has just started").to_string()).unwrap();
                child.wait().await.unwrap();
            }
        });
        Self { task, pid }
    }

    /// A shell expression for its current process id.
    pub(crate) fn pid(&self) -> String {
        format!("$(cat {})", self.pid.display())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}
