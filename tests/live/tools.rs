//! The external programs that the stack needs.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// Paths of the programs.
pub(crate) struct Tools {
    pub(crate) prometheus: PathBuf,
    pub(crate) promtool: PathBuf,
    pub(crate) alertmanager: PathBuf,
}

impl Tools {
    /// Finds them. Returns `None`, with a message on stderr, if one is missing; in CI that is a failure.
    pub(crate) fn find() -> Option<Self> {
        Some(Self {
            prometheus: tool("PROMETHEUS", &["prometheus"])?,
            promtool: tool("PROMTOOL", &["promtool"])?,
            alertmanager: tool("ALERTMANAGER", &["alertmanager", "prometheus-alertmanager"])?,
        })
    }
}

fn tool(variable: &str, names: &[&str]) -> Option<PathBuf> {
    let given = std::env::var_os(variable).map(PathBuf::from);
    let runs = |path: &PathBuf| Command::new(path).arg("--version").output().is_ok_and(|out| out.status.success());
    let found = given.into_iter().chain(names.iter().map(PathBuf::from)).find(runs);
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{variable} is missing: scripts/tools.sh finds it");
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {variable} is missing, so no alert was seen to fire; scripts/tools.sh finds it"
        );
    }
    found
}
