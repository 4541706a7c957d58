//! All dependencies have permissive licenses and come from crates.io.
#![allow(clippy::unwrap_used, reason = "a test that can't read its input fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

fn packages() -> Vec<Value> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--locked"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn allowed() -> BTreeSet<String> {
    let text = include_str!("../deny.toml");
    let deny: toml::Value = toml::from_str(text).unwrap();
    deny["licenses"]["allow"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Whether a license expression (SPDX) can be satisfied. Older manifests write `/` for `OR`.
fn met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = spdx::Expression::parse_mode(expression, spdx::ParseMode::LAX).unwrap();
    // An exception only grants more rights.
    expression.evaluate(|wanted| wanted.license.id().is_some_and(|id| allowed.contains(id.name)))
}

#[test]
fn every_dependency_can_be_used_under_an_allowed_licence() {
    let allowed = allowed();
    let refused: Vec<_> = packages()
        .iter()
        .filter(|package| package["source"].is_string())
        .filter(|package| !package["license"].as_str().is_some_and(|license| met(license, &allowed)))
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn every_dependency_comes_from_the_registry() {
    for package in packages() {
        let source = package["source"].as_str().unwrap_or("registry+: this package");
        assert!(source.starts_with("registry+"), "{} comes from {source}", package["name"]);
    }
}

#[test]
fn expressions_are_read_as_spdx_says() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "Zlib".to_owned()]);
    for (expression, wanted) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("GPL-3.0-only AND MIT", false),
        ("GPL-3.0-only/MIT", true),
        ("(MIT OR GPL-3.0-only) AND Zlib", true),
        ("MIT AND (GPL-3.0-only OR Zlib)", true),
        ("MIT OR GPL-3.0-only AND GPL-2.0-only", true),
        ("Apache-2.0 WITH LLVM-exception OR MIT", true),
    ] {
        assert_eq!(met(expression, &allowed), wanted, "{expression}");
    }
}

/// No crate that `deny.toml` bans is in the committed `Cargo.lock`.
#[test]
fn nothing_that_is_banned_is_in_the_tree() {
    let deny: toml::Value = toml::from_str(include_str!("../deny.toml")).unwrap();
    let banned = deny["bans"]["deny"].as_array().unwrap();
    let banned: BTreeSet<_> = banned.iter().map(|entry| entry["crate"].as_str().unwrap().to_owned()).collect();
    assert!(banned.len() >= 5, "{banned:?}");
    let found: Vec<_> = packages().iter().map(|package| package["name"].as_str().unwrap().to_owned()).collect();
    let found: Vec<_> = found.into_iter().filter(|name| banned.contains(name)).collect();
    assert!(found.is_empty(), "{found:?}");
}

/// No manifest of ours uses `*`, and every locked crate has a checksum.
#[test]
fn versions_are_named_and_locked() {
    for package in packages().iter().filter(|package| package["source"].is_null()) {
        for dependency in package["dependencies"].as_array().unwrap() {
            assert_ne!(dependency["req"], "*", "{} accepts any version of {}", package["name"], dependency["name"]);
        }
    }
    let lock: toml::Value = toml::from_str(include_str!("../Cargo.lock")).unwrap();
    let locked = lock["package"].as_array().unwrap();
    let unsure: Vec<_> = locked.iter().filter(|p| p.get("source").is_some() && p.get("checksum").is_none()).collect();
    assert!(unsure.is_empty() && locked.len() > 100, "{unsure:?}");
}

/// A crate in two incompatible versions is compiled twice. The listed ones are in transition in crates that use them;
/// adding another is a deliberate decision.
#[test]
fn no_crate_is_built_in_two_versions_unnoticed() {
    const KNOWN: &[&str] = &[
        "base64",
        "block-buffer",
        "cpufeatures",
        "crypto-common",
        "digest",
        "getrandom",
        "hashbrown",
        "indexmap",
        "linux-raw-sys",
        "r-efi",
        "rand",
        "rand_chacha",
        "rand_core",
        "rustix",
        "schemars",
        "sha2",
        "syn",
        "unicode-width",
        "windows-sys",
    ];
    let lock: toml::Value = toml::from_str(include_str!("../Cargo.lock")).unwrap();
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in lock["package"].as_array().unwrap() {
        let version = package["version"].as_str().unwrap();
        versions.entry(package["name"].as_str().unwrap()).or_default().insert(compatible(version));
    }
    let twice: Vec<_> = versions.into_iter().filter(|(_, versions)| versions.len() > 1).map(|(name, _)| name).collect();
    assert_eq!(twice, KNOWN);
}

/// The part of a version that a caret requirement keeps: `1`, `0.9`, `0.0.3`.
fn compatible(version: &str) -> String {
    let parts: Vec<_> = version.split('.').collect();
    let kept = parts.iter().position(|part| *part != "0").unwrap_or(2);
    parts[..=kept].join(".")
}

#[test]
fn versions_are_compatible_by_their_first_number() {
    for (version, wanted) in [("1.2.3", "1"), ("0.9.1", "0.9"), ("0.0.3", "0.0.3"), ("12.0.0-rc.1", "12")] {
        assert_eq!(compatible(version), wanted);
    }
}
