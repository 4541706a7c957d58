//! Runs the browser tests of the storefront and the console in `web/tests`.

use std::io::Write as _;
use std::process::Command;

/// The program that `variable` names, or else the first of `names` that runs. Returns `None`, with a message on stderr,
/// if there is none; in CI that is a failure.
fn program(variable: &str, names: &[&str], package: &str) -> Option<String> {
    let given = std::env::var(variable).ok();
    let names = names.iter().map(|name| (*name).to_owned());
    let runs = |name: &String| Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success());
    let found = given.into_iter().chain(names).find(runs);
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{variable} is missing: install Debian's package {package}");
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {variable} is missing, so the pages were not used; install Debian's package {package}"
        );
    }
    found
}

/// Checks that the embedded pages are what `web/` builds, and how they behave: trips and recoveries, faults and
/// switches by click, each notice, orders, accessibility, escaping of foreign markup, the token, a restart, the tour.
#[test]
fn the_pages_do_what_they_say() {
    let Some(chromium) = program("CHROMIUM", &["chromium", "chromium-browser", "google-chrome"], "chromium") else {
        return;
    };
    let Some(node) = program("NODE", &["node"], "nodejs") else { return };
    let root = env!("CARGO_MANIFEST_DIR");
    let built = Command::new(format!("{root}/scripts/pages.sh")).arg("--check").env("NODE", &node).status().unwrap();
    assert!(built.success(), "src/pages/dist is not what web/ builds");
    let used = Command::new(node)
        .args(["--test", "--test-concurrency=1", "--test-reporter=spec"])
        .arg("tests/pages.test.mjs")
        .current_dir(format!("{root}/web"))
        .env("CHROMIUM", chromium)
        .env("BREAKERBOX", env!("CARGO_BIN_EXE_breakerbox"))
        .status()
        .unwrap();
    assert!(used.success(), "see the report above");
}
