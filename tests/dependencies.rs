//! What the product depends on may be given to anybody, and comes from crates.io.
#![allow(clippy::unwrap_used, reason = "a test that can't read its input fails")]

use std::collections::BTreeSet;
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

/// Whether an SPDX expression can be met; `AND` binds tighter than `OR`.
fn met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let (met, rest) = either(&words, allowed);
    assert!(rest.is_empty(), "{expression:?} is no licence expression");
    met
}

fn either<'a>(words: &'a [&'a str], allowed: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    let (mut one, mut rest) = both(words, allowed);
    while let ["OR", further @ ..] = rest {
        let (other, left) = both(further, allowed);
        (one, rest) = (one | other, left);
    }
    (one, rest)
}

fn both<'a>(words: &'a [&'a str], allowed: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    let (mut one, mut rest) = term(words, allowed);
    while let ["AND", further @ ..] = rest {
        let (other, left) = term(further, allowed);
        (one, rest) = (one & other, left);
    }
    (one, rest)
}

fn term<'a>(words: &'a [&'a str], allowed: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    match words {
        ["(", inner @ ..] => {
            let (met, rest) = either(inner, allowed);
            (met, rest.strip_prefix(&[")"]).expect("a bracket is closed"))
        }
        // An exception only gives more rights.
        [name, "WITH", _, rest @ ..] | [name, rest @ ..] => (allowed.contains(*name), rest),
        [] => panic!("a licence is missing"),
    }
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

/// Names that `deny.toml` bans, anywhere in the tree that is committed.
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

/// No `*` in a manifest of ours, and what is locked is what was published: each has a checksum.
#[test]
fn versions_are_named_and_locked() {
    for package in packages().iter().filter(|package| package["source"].is_null()) {
        for dependency in package["dependencies"].as_array().unwrap() {
            assert_ne!(dependency["req"], "*", "{} wants any {}", package["name"], dependency["name"]);
        }
    }
    let lock: toml::Value = toml::from_str(include_str!("../Cargo.lock")).unwrap();
    let locked = lock["package"].as_array().unwrap();
    let unsure: Vec<_> = locked.iter().filter(|p| p.get("source").is_some() && p.get("checksum").is_none()).collect();
    assert!(unsure.is_empty() && locked.len() > 100, "{unsure:?}");
}
