//! Mutation tests for the promises: a deliberate break of the program makes the test of each promise fail.
//!
//! `breaks.toml` lists the breaks. Every test run checks the list against the sources and the promises; the long form
//! builds a copy of the sources and applies the breaks to it:
//!
//! ```text
//! cargo test --test checkout long_form_every_break -- --ignored --nocapture
//! ```
//!
//! All switchable breaks are compiled together, each behind a condition on its name, so the copy is built only twice:
//! once with the switches and once with the changed constants. `BREAKERBOX_BREAKS_TARGET` names a target directory to
//! reuse between runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::promises::{promises, root};

/// Placeholder in `breaks.toml` for the condition that switches a break on.
const BROKEN: &str = "BROKEN";
/// Environment variable that names the active break. It has no `BREAKERBOX_` prefix, because the program refuses
/// unknown variables.
const SWITCH: &str = "CHECKOUT_BREAK";
const SWITCHES: &str = r#"
/// Whether a deliberate break is on.
pub mod broken {
    /// Whether this one is.
    #[must_use]
    pub fn is(name: &str) -> bool {
        std::env::var("CHECKOUT_BREAK").is_ok_and(|on| on == name)
    }
}
"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Breaks {
    #[serde(rename = "break")]
    all: Vec<Break>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Break {
    test: String,
    #[serde(default)]
    target: Target,
    file: String,
    code: String,
    with: String,
    #[serde(default)]
    always: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Target {
    #[default]
    Checkout,
    Lib,
    Xtask,
}

impl Target {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Checkout => &["-p", "breakerbox", "--test", "checkout"],
            Self::Lib => &["-p", "breakerbox", "--lib"],
            Self::Xtask => &["-p", "xtask"],
        }
    }
}

fn breaks() -> Vec<Break> {
    let text = fs::read_to_string(root().join("tests/checkout/breaks.toml")).unwrap();
    toml::from_str::<Breaks>(&text).unwrap().all
}

#[test]
fn every_promise_has_a_break_that_still_applies() {
    let breaks = breaks();
    for own in &breaks {
        let text = fs::read_to_string(root().join(&own.file)).unwrap_or_else(|error| panic!("{}: {error}", own.file));
        assert_eq!(text.matches(&own.code).count(), 1, "{}: {:?} must occur exactly once", own.file, own.code);
        assert_ne!(own.code, own.with, "{}", own.test);
        assert_eq!(own.with.contains(BROKEN), !own.always, "{}: a break needs either BROKEN or `always`", own.test);
    }
    let broken: BTreeSet<_> = breaks.iter().map(|own| own.test.as_str()).collect();
    assert_eq!(broken.len(), breaks.len(), "one break per test");
    let promises = promises();
    for (promise, tests) in &promises {
        assert!(tests.iter().any(|test| broken.contains(test.as_str())), "no break for the promise: {promise}");
    }
    let promised: BTreeSet<_> = promises.iter().flat_map(|(_, tests)| tests).map(String::as_str).collect();
    let other: Vec<_> = broken.difference(&promised).collect();
    assert!(other.is_empty(), "breaks for tests of no promise: {other:?}");
}

/// A copy of the working tree, uncommitted changes included.
struct Copy {
    path: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("breakerbox-breaks-{}", std::process::id()));
        let target = std::env::var_os("BREAKERBOX_BREAKS_TARGET").map_or_else(|| path.join("target"), PathBuf::from);
        let listed = Command::new("git").args(["ls-files", "-co", "--exclude-standard"]).current_dir(root()).output();
        for file in String::from_utf8(listed.unwrap().stdout).unwrap().lines() {
            // `git ls-files` still lists a deleted file until the deletion is committed.
            if let Ok(text) = fs::read(root().join(file)) {
                let to = path.join(file);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::write(to, text).unwrap();
            }
        }
        Self { path, target }
    }

    fn change(&self, file: &str, change: impl FnOnce(String) -> String) {
        let path = self.path.join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, change(text)).unwrap();
    }

    /// Builds the tests of a target and returns the paths of the test executables.
    fn build(&self, target: Target) -> Result<Vec<PathBuf>, String> {
        let mut command = Command::new(env!("CARGO"));
        command.arg("test").args(target.arguments()).args(["--no-run", "--message-format=json"]);
        // Variables that cargo set for this test run belong to another package.
        command.current_dir(&self.path).env("CARGO_TARGET_DIR", &self.target).env_remove("CARGO_MANIFEST_DIR");
        let done = command.env_remove("BREAKERBOX_BREAKS_TARGET").output().unwrap();
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).lines().rev().take(20).collect::<Vec<_>>().join("\n"));
        }
        let text = String::from_utf8_lossy(&done.stdout);
        let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let tests = messages.filter(|message| message["profile"]["test"] == true);
        Ok(tests.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).collect())
    }

    /// Runs tests with this break and returns which passed and which failed.
    fn run(&self, programs: &[PathBuf], tests: &[&str], on: Option<&str>) -> BTreeMap<String, bool> {
        let mut results = BTreeMap::new();
        for program in programs {
            let mut command = Command::new(program);
            command.args(tests).arg("--test-threads=1").current_dir(&self.path).env_remove("BREAKERBOX_BREAKS_TARGET");
            match on {
                Some(on) => command.env(SWITCH, on),
                None => command.env_remove(SWITCH),
            };
            let done = command.output().unwrap();
            results.extend(String::from_utf8_lossy(&done.stdout).lines().filter_map(result));
        }
        results
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The name of a test without its modules, and whether it passed. Output of the test may appear between the two.
fn result(line: &str) -> Option<(String, bool)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let passed = rest.ends_with("ok");
    (passed || rest.ends_with("FAILED")).then(|| (name.rsplit("::").next().unwrap_or(name).to_owned(), passed))
}

/// Runs the tests of these breaks: all of them without a break, then each with its own. Appends what is wrong to
/// `wrong`.
fn noticed(copy: &Copy, breaks: &[Break], wrong: &mut Vec<String>) {
    for target in [Target::Checkout, Target::Lib, Target::Xtask] {
        let own: Vec<_> = breaks.iter().filter(|own| own.target == target).collect();
        let switched: Vec<_> = own.iter().filter(|own| !own.always).map(|own| own.test.as_str()).collect();
        if own.is_empty() {
            continue;
        }
        let programs = match copy.build(target) {
            Ok(programs) => programs,
            Err(why) => {
                wrong.push(format!("{target:?} can't be built: {why}"));
                continue;
            }
        };
        if !switched.is_empty() {
            let results = copy.run(&programs, &switched, None);
            let failed = switched.iter().filter(|test| results.get(**test) != Some(&true));
            wrong.extend(failed.map(|test| format!("{test} doesn't pass without a break")));
        }
        for Break { test, .. } in own {
            if copy.run(&programs, &[test], Some(test)).get(test) == Some(&false) {
                eprintln!("noticed: {test}");
            } else {
                eprintln!("NOT NOTICED: {test}");
                wrong.push(format!("{test} doesn't notice its break"));
            }
        }
    }
}

#[test]
#[ignore = "the long form: builds the program twice"]
fn long_form_every_break_is_noticed() {
    let copy = Copy::new();
    let (always, switched): (Vec<_>, Vec<_>) = breaks().into_iter().partition(|own| own.always);
    copy.change("crates/resilience/src/lib.rs", |text| text + SWITCHES);
    for own in &switched {
        let on = format!("breakerbox_resilience::broken::is({:?})", own.test);
        copy.change(&own.file, |text| text.replacen(&own.code, &own.with.replace(BROKEN, &on), 1));
    }
    let mut wrong = Vec::new();
    noticed(&copy, &switched, &mut wrong);
    for own in &always {
        copy.change(&own.file, |text| text.replacen(&own.code, &own.with, 1));
    }
    noticed(&copy, &always, &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn results_of_tests_are_read() {
    assert_eq!(result("test kill::books_agree ... ok"), Some(("books_agree".to_owned(), true)));
    assert_eq!(result("test top ... FAILED"), Some(("top".to_owned(), false)));
    assert_eq!(result("test kill::books_agree has been running for over 60 seconds"), None);
    assert!(Path::new(&root().join("Cargo.toml")).is_file());
}
