//! The layer rule: imports point down only.
#![allow(clippy::unwrap_used, reason = "a test that can't read its input fails")]

use std::fs;
use std::path::{Path, PathBuf};

/// Modules from the top down; modules of one row may not import each other either, unless
/// [`SIDEWAYS`] says so.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["settings"],
    &["lab", "drill", "console"],
    &["scenario", "traffic"],
    &["server"],
    &["services"],
    &["client", "store"],
    &["faults"],
];

/// Modules of one row that may import each other.
const SIDEWAYS: &[(&str, &str)] = &[];

/// What the core may not do: I/O, tasks, metrics, logging, reading a wall clock.
const FORBIDDEN_IN_CORE: &[&str] = &[
    "prometheus",
    "tracing",
    "reqwest",
    "axum",
    "hyper",
    "opentelemetry",
    "tokio::spawn",
    "tokio::net",
    "tokio::task",
    "std::net",
    "std::fs",
    "std::thread::spawn",
    "SystemTime",
    "println!",
    "eprintln!",
];

#[test]
fn imports_point_down_only() {
    let mut wrong = Vec::new();
    for file in sources(Path::new("src")) {
        let Some(own) = module_of(&file) else { continue };
        for (number, line) in code_lines(&file) {
            for other in imported_modules(&line) {
                if !may_import(&own, &other) {
                    wrong.push(format!("{}:{number}: `{own}` imports `{other}`", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_has_its_layer() {
    for entry in fs::read_dir("src").unwrap() {
        let path = entry.unwrap().path();
        let Some(module) = module_of(&path.join("mod.rs")).filter(|_| path.is_dir()) else { continue };
        assert!(rank(&module).is_some(), "src/{module} is in no layer");
    }
}

#[test]
fn the_core_is_pure() {
    let mut wrong = Vec::new();
    // Its tests may start tasks; the core itself may not.
    for file in sources(Path::new("crates/resilience/src")).iter().filter(|file| !file.ends_with("tests.rs")) {
        let lines = code_lines(file);
        for (number, line) in lines.iter().take_while(|(_, line)| line.trim() != "mod tests {") {
            for word in FORBIDDEN_IN_CORE.iter().filter(|word| line.contains(*word)) {
                wrong.push(format!("{}:{number}: {word}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn services_and_core_name_no_metric() {
    let names: Vec<_> = breakerbox_telemetry::names::ALL.iter().map(|family| family.name).collect();
    for folder in ["src/services", "crates/resilience/src", "src/client", "src/store"] {
        for file in sources(Path::new(folder)) {
            for (number, line) in code_lines(&file) {
                let named = names.iter().find(|name| line.contains(&format!("\"{name}\"")));
                assert_eq!(named, None, "{}:{number}", file.display());
            }
        }
    }
}

#[test]
fn the_rule_is_not_blind() {
    assert!(!may_import("services", "server"));
    assert!(!may_import("client", "settings"));
    assert!(may_import("services", "client"));
    assert_eq!(imported_modules("use crate::server::Edge;"), ["server"]);
    assert_eq!(imported_modules("    let x = crate::faults::Faults::new();"), ["faults"]);
    assert_eq!(imported_modules("use crate::{faults, client::Client};"), ["faults", "client"]);
}

fn may_import(own: &str, other: &str) -> bool {
    if own == other || SIDEWAYS.contains(&(own, other)) {
        return true;
    }
    match (rank(own), rank(other)) {
        (Some(own), Some(other)) => own < other,
        // Not a module of ours.
        _ => true,
    }
}

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The top-level module a file belongs to; none for `lib.rs` and `main.rs`, which see everything.
fn module_of(file: &Path) -> Option<String> {
    let mut parts = file.strip_prefix("src").ok()?.components();
    let first = parts.next()?.as_os_str().to_str()?.trim_end_matches(".rs").to_owned();
    (first != "lib" && first != "main").then_some(first)
}

fn imported_modules(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            found.extend(group.split(['}', ',']).map(first_word).filter(|word| !word.is_empty()));
        } else {
            found.push(first_word(rest));
        }
    }
    found
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Lines of code with their numbers, comments left out. Tests inside `src` obey the rule as well.
fn code_lines(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).unwrap();
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    text.lines().map(code).enumerate().map(|(index, line)| (index + 1, line)).collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return files };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
