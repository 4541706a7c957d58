//! The software bill of materials of the program: CycloneDX 1.5, from `cargo metadata` and `Cargo.lock`.
//!
//! Lists what is built into the binary or runs during its build, for every target; dependencies of tests are left out.
//! Written to standard output, for publication with a release:
//!
//! ```text
//! cargo xtask sbom > breakerbox.cdx.json
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};

use crate::root;

const PROGRAM: &str = "breakerbox";

/// The document for the present lock file.
pub(crate) fn document() -> Result<Value, String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["metadata", "--format-version", "1", "--locked"]).current_dir(root());
    let output = command.output().map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).map_err(|error| format!("Cargo.lock: {error}"))?;
    of(&metadata, &checksums(&lock))
}

/// SHA-256 of each registry package, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]").skip(1);
    packages
        .filter_map(|package| {
            Some(((value(package, "name")?, value(package, "version")?), value(package, "checksum")?))
        })
        .collect()
}

fn of(metadata: &Value, checksums: &BTreeMap<(String, String), String>) -> Result<Value, String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), package)).collect();
    let nodes: BTreeMap<String, Value> =
        list(&metadata["resolve"]["nodes"]).into_iter().map(|node| (text(&node["id"]), node)).collect();
    let program = packages.values().find(|package| package["name"] == PROGRAM).ok_or("no package breakerbox")?;
    let program_id = text(&program["id"]);
    // Excludes dependencies that only tests need: cargo calls that kind `dev`.
    let dependencies = |id: &str| -> Vec<String> {
        let of = nodes.get(id).map(|node| list(&node["deps"])).unwrap_or_default();
        let built = |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
        of.iter().filter(|dependency| built(dependency)).map(|dependency| text(&dependency["pkg"])).collect()
    };
    let mut reached = BTreeSet::new();
    let mut waiting = vec![program_id.clone()];
    while let Some(id) = waiting.pop() {
        if reached.insert(id.clone()) {
            waiting.extend(dependencies(&id));
        }
    }
    let reference = |id: &String| {
        let package = &packages[id];
        format!("pkg:cargo/{}@{}", text(&package["name"]), text(&package["version"]))
    };
    let component = |id: &String| {
        let package = &packages[id];
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        let mut component = json!({
            "type": if *id == program_id { "application" } else { "library" },
            "bom-ref": reference(id), "purl": reference(id), "name": name, "version": version,
            "licenses": [{"expression": text(&package["license"]).replace('/', " OR ")}],
        });
        if let Some(checksum) = checksums.get(&(name, version)) {
            component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
        }
        component
    };
    let others = reached.iter().filter(|id| **id != program_id);
    let graph = reached.iter().map(|id| {
        let on: BTreeSet<_> = dependencies(id).iter().map(&reference).collect();
        json!({"ref": reference(id), "dependsOn": on})
    });
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(&program_id)},
        "components": others.map(component).collect::<Vec<_>>(),
        "dependencies": graph.collect::<Vec<_>>(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_lists_what_is_built_in_and_no_more() {
        let bill = document().expect("cargo and the lock file are there");
        let components = bill["components"].as_array().expect("a list");
        let named = |name: &str| components.iter().find(|component| component["name"] == name);
        for name in ["tokio", "hyper", "breakerbox-resilience"] {
            assert!(named(name).is_some(), "{name} is built in");
        }
        for name in ["proptest", "xtask"] {
            assert!(named(name).is_none(), "{name} only serves tests");
        }
        for component in components {
            let own = component["name"].as_str().is_some_and(|name| name.starts_with("breakerbox-"));
            let hash = component["hashes"][0]["content"].as_str().is_some_and(|hash| hash.len() == 64);
            assert!(own || hash, "{component}");
            assert!(
                component["licenses"][0]["expression"].as_str().is_some_and(|text| !text.is_empty()),
                "{component}"
            );
        }
        let references: BTreeSet<_> =
            components.iter().map(|component| component["bom-ref"].clone().to_string()).collect();
        assert_eq!(references.len(), components.len(), "each is listed once");
        assert_eq!(bill["dependencies"].as_array().expect("a list").len(), components.len() + 1);
    }
}
