//! The examples run and print what they demonstrate.

use std::{env, path::PathBuf, process::Command};

/// Runs an example. Cargo builds the examples together with this test, unless only this test was requested.
fn example(name: &str) -> String {
    let test = env::current_exe().unwrap();
    let profile: PathBuf = test.ancestors().nth(2).unwrap().into();
    let built = profile.join("examples").join(name);
    let mut command = if built.exists() {
        Command::new(built)
    } else {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "run",
            "--quiet",
            "--package",
            "breakerbox-resilience",
            "--features",
            "reqwest-middleware",
            "--example",
            name,
        ]);
        cargo
    };
    let output = command.output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn breaker_around_reqwest() {
    let said = example("breaker_around_reqwest");
    assert!(said.contains("call 3: 500 Internal Server Error\ncall 4: films is open; retry after 299."), "{said}");
    assert!(said.ends_with("open after 3 failures\n"), "{said}");
}

#[test]
fn full_policy() {
    let said = example("full_policy");
    assert!(said.contains("attempt 2: failure\nattempt 3: success\nsuccess_with_retry after 3 attempts"), "{said}");
    assert!(said.ends_with("found Parasite\n"), "{said}");
}

#[test]
fn shared_breaker() {
    let said = example("shared_breaker");
    assert!(said.starts_with("200 of 200 calls accounted for\n"), "{said}");
    assert!(said.contains("open and spared the dependency most of them: true"), "{said}");
}

#[test]
fn axum_limit() {
    assert_eq!(example("axum_limit"), "4 answered, 6 turned away\n");
}

#[test]
fn hyper_client() {
    assert_eq!(example("hyper_client"), "answered 200 OK\n");
}

#[test]
fn reqwest_middleware() {
    let said = example("reqwest_middleware");
    assert!(said.contains("call 3: 500 Internal Server Error\ncall 4: the breaker is open; retry after 59."), "{said}");
}
