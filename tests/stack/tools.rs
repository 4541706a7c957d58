//! The tools that check the files, as `scripts/tools.sh` finds them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The path of a tool, from its variable in `scripts/tools.sh`. Returns `None`, with a message on stderr, if it is
/// missing; in CI that is a failure.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    static FOUND: OnceLock<(BTreeMap<String, PathBuf>, String)> = OnceLock::new();
    let (found, words) = FOUND.get_or_init(look);
    let path = found.get(name).cloned();
    if path.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing:\n{words}");
        skipped(&format!("{name} is missing, so nothing was checked with it:\n{words}"));
    }
    path
}

/// Reports a skipped part of a test directly on stderr, because the harness hides the output of tests that pass.
pub(crate) fn skipped(why: &str) {
    // If stderr is closed there is nothing to write to.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

fn look() -> (BTreeMap<String, PathBuf>, String) {
    let output = Command::new("bash").arg(root().join("scripts/tools.sh")).output().expect("bash runs");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = lines.lines().filter_map(|line| line.split_once('=')).map(|(name, path)| (name.into(), path.into()));
    (found.collect(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Runs a tool; `Err` holds its whole output.
pub(crate) fn run<A: AsRef<std::ffi::OsStr>>(
    tool: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> Result<(), String> {
    let output = Command::new(tool).args(arguments).current_dir(root()).output().expect("the tool starts");
    let words = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(format!("{}:\n{words}", tool.display())) }
}
