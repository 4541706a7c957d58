//! The admin port conforms to its `OpenAPI` document, with and without a token: Schemathesis sends valid and invalid
//! requests. `BREAKERBOX_SCHEMA_SECONDS` is the length of each run, 15 by default.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::process::Command;

use crate::process::Process;
use crate::tools::{root, tool};

/// A drill takes minutes, and the event stream does not end.
const LEFT_OUT: &[&str] = &["--exclude-path", "/events"];
/// A body that fits the schema may still be refused for its content: an unknown alert, a fault without any effect.
const MEANING: &str = "positive_data_acceptance";
/// Without the token, a request with an unknown method gets 401 before its method is checked.
const LOCKED: &str = "positive_data_acceptance,unsupported_method";

fn asked(variables: &[(&str, &str)], header: Option<&str>, unchecked: &str) {
    let Some(schemathesis) = tool("SCHEMATHESIS") else { return };
    let process = Process::start(&["--no-scenario", "--no-traffic"], variables);
    let seconds = std::env::var("BREAKERBOX_SCHEMA_SECONDS").unwrap_or("15".to_owned());
    let mut command = Command::new(schemathesis);
    command.arg("run").arg(root().join("docs/openapi.json")).args(["--url", &process.admin]);
    command.args(LEFT_OUT).args(["--exclude-checks", unchecked]);
    command.args(["--phases", "examples,coverage,fuzzing", "--max-time", &seconds]);
    // Slow responses are no finding.
    command.args(["--request-timeout", "60"]);
    command.args(["--seed", "1", "--generation-database", "none", "--warnings", "off", "--no-color"]);
    command.args(header.iter().flat_map(|header| ["--header", header]));
    let scratch = crate::scratch::Scratch::new("documented");
    let output = command.current_dir(scratch.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("No issues found"), "{said}");
    assert!(!process.logs().contains("panicked"), "{}", process.logs());
}

#[test]
fn the_admin_port_does_what_its_document_says() {
    asked(&[], None, MEANING);
}

#[test]
fn the_document_also_holds_with_a_token_set() {
    let token = [("BREAKERBOX_ADMIN__TOKEN", "a-token-of-a-test")];
    asked(&token, Some("Authorization: Bearer a-token-of-a-test"), MEANING);
    asked(&token, None, LOCKED);
}
