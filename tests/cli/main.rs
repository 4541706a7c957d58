//! The command line as users meet it: real processes, real ports and the commands of the README.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![allow(unreachable_pub, reason = "the modules of a test binary are its own")]

mod apart;
mod exporter;
mod image;
mod pages;
#[cfg(target_os = "linux")]
mod pods;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "tests of checkout kill it")]
#[path = "../checkout/postgres.rs"]
mod postgres;
#[path = "../support/process.rs"]
mod process;
#[cfg(target_os = "linux")]
#[path = "../support/schema.rs"]
mod schema;

use std::net::TcpListener;
use std::time::Duration;

use process::{Process, breakerbox};

#[test]
fn everything_starts_serves_and_exits_with_zero() {
    let process = Process::start(&["--no-scenario"], &[]);
    assert_eq!(process.get("/healthz")["status"], "alive");
    assert_eq!(process.get("/readyz")["status"], "ready");
    assert_eq!(process.get("/health")["status"], "healthy");
    assert_eq!(process.interrupt(), 0);
}

#[test]
fn the_readmes_commands_work_as_written() {
    let process = Process::start(&["--no-traffic"], &[]);
    let readme = std::fs::read_to_string("README.md").unwrap();
    let told = |line: &&str| ["fault ", "breaker ", "queue "].iter().any(|command| line.starts_with(command));
    let lines = readme.lines().filter_map(|line| line.strip_prefix("breakerbox "));
    let commands: Vec<_> = lines.map(|line| line.split('#').next().unwrap()).filter(told).collect();
    assert!(commands.len() > 8, "{commands:?}");
    for command in commands {
        let arguments: Vec<_> = command.split_whitespace().collect();
        let done = breakerbox(&arguments, &[("BREAKERBOX_ADMIN_URL", &process.admin)]);
        assert_eq!(done.code, 0, "{command}: {}", done.stderr);
        assert!(!done.stdout.is_empty(), "{command}: no output");
    }
    let breakers = process.get("/breakers");
    let forced = breakers["breakers"].as_array().unwrap().iter().find(|b| b["name"] == "recommendation").unwrap();
    assert_eq!(forced["state"], "forced_open");
}

#[test]
fn a_fault_takes_effect_at_once_and_ends_when_it_is_cleared() {
    let process = Process::start(&["--no-scenario", "--no-traffic"], &[]);
    let admin = [("BREAKERBOX_ADMIN_URL", process.admin.as_str())];
    let films = || process.get_site("/api/movies")["source"].as_str().unwrap().to_owned();
    assert_eq!(films(), "live");
    assert_eq!(breakerbox(&["fault", "set", "catalog", "--crash"], &admin).code, 0);
    assert_eq!(films(), "cache");
    assert_eq!(breakerbox(&["fault", "clear", "catalog"], &admin).code, 0);
    // The service listens again, and the open breaker would wait for a probe.
    assert_eq!(breakerbox(&["breaker", "reset", "gateway/catalog"], &admin).code, 0);
    process::within(Duration::from_secs(5), || films() == "live");
}

#[test]
fn the_baseline_is_restored_for_one_target_and_for_all() {
    let process = Process::start(&["--no-scenario", "--no-traffic"], &[]);
    let admin = [("BREAKERBOX_ADMIN_URL", process.admin.as_str())];
    let broken = || {
        let targets = process.get("/faults")["targets"].as_array().unwrap().clone();
        let broken = targets.into_iter().filter(|target| !target["active"].as_array().unwrap().is_empty());
        broken.map(|target| target["target"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let from_the_start = broken();
    assert_eq!(from_the_start, ["ml-api", "payment-gateway"]);
    assert_eq!(breakerbox(&["fault", "set", "catalog", "--crash"], &admin).code, 0);
    assert_eq!(breakerbox(&["fault", "clear"], &admin).code, 0);
    assert_eq!(broken(), [""; 0]);
    assert_eq!(breakerbox(&["fault", "clear", "ml-api", "--baseline"], &admin).code, 0);
    assert_eq!(broken(), ["ml-api"]);
    assert_eq!(breakerbox(&["fault", "set", "catalog", "--error-rate", "1"], &admin).code, 0);
    let all = breakerbox(&["fault", "clear", "--baseline"], &admin);
    assert_eq!((all.code, broken()), (0, from_the_start), "{}", all.stderr);
    assert!(all.stdout.lines().any(|line| line.starts_with("ml-api") && line.ends_with("error")), "{}", all.stdout);
}

#[test]
fn invalid_commands_exit_2_with_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let anywhere = ("BREAKERBOX_ADMIN__LISTEN", "127.0.0.1:0");
    for (arguments, variables, expected) in [
        (
            &["serve", "gateway"][..],
            &[anywhere, ("BREAKERBOX_SERVICES__GATEWAY__PORT", port.as_str())][..],
            "is in use; set BREAKERBOX_SERVICES__GATEWAY__PORT",
        ),
        (&[], &[("BREAKERBOX_TRAFFIC__RATE", "-1")], "traffic.rate"),
        (&[], &[("BREAKERBOX_TRAFIC__RATE", "1")], "trafic"),
        (&[], &[("BREAKERBOX_ADMIN__LISTEN", "0.0.0.0:0")], "BREAKERBOX_ADMIN_TOKEN"),
        (&["serve", "gatway"], &[], "gatway"),
        (&["--config", "missing.toml"], &[], "missing.toml"),
        (&["--scenario", "missing.toml"], &[anywhere], "missing.toml"),
        (&["fault", "set", "catalog"], &[], "--error-rate"),
        (&["breaker", "close", "gateway"], &[], "SERVICE/DEPENDENCY"),
        (&["queue", "replay"], &[], "<ORDER|--all>"),
    ] {
        let done = breakerbox(arguments, variables);
        assert_eq!(done.code, 2, "{arguments:?}: {} {}", done.stdout, done.stderr);
        assert!(done.stderr.contains(expected), "{arguments:?}: {}", done.stderr);
        let said = done.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(said, 1, "{arguments:?}: {}", done.stderr);
    }
}

#[test]
fn an_unknown_target_is_refused_with_a_list_of_the_known_ones() {
    let process = Process::start(&["--no-scenario", "--no-traffic"], &[]);
    let admin = [("BREAKERBOX_ADMIN_URL", process.admin.as_str())];
    let done = breakerbox(&["fault", "set", "catalogue", "--crash"], &admin);
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("catalog, "), "{}", done.stderr);
    let done = breakerbox(&["fault", "set", "catalog", "--error-rate", "2"], &admin);
    assert_eq!((done.code, done.stderr.contains("error_rate")), (2, true), "{}", done.stderr);
}

#[test]
fn a_token_locks_changes_and_leaves_reading_free() {
    let process = Process::start(&["--no-scenario", "--no-traffic"], &[("BREAKERBOX_ADMIN_TOKEN", "s3cret")]);
    let set = ["fault", "set", "catalog", "--crash"];
    let url = ("BREAKERBOX_ADMIN_URL", process.admin.as_str());
    let ways = "--token, --token-file or BREAKERBOX_ADMIN_TOKEN";
    for (given, said) in [(&[url][..], "give it with"), (&[url, ("BREAKERBOX_ADMIN_TOKEN", "wrong")], "is not the one")]
    {
        let done = breakerbox(&set, given);
        assert_eq!(done.code, 2);
        assert!(done.stderr.contains(said) && done.stderr.contains(ways), "{}", done.stderr);
    }
    assert_eq!(breakerbox(&set, &[url, ("BREAKERBOX_ADMIN_TOKEN", "s3cret")]).code, 0);
    assert!(process.get("/breakers")["breakers"].is_array());
    assert!(!process.logs().contains("s3cret"));
}

#[test]
fn health_fails_without_a_process() {
    let done = breakerbox(&["health", "--admin", "http://127.0.0.1:9"], &[]);
    assert_eq!(done.code, 1);
    let process = Process::start(&["--no-scenario", "--no-traffic"], &[]);
    assert_eq!(breakerbox(&["health", "--ready", "--admin", &process.admin], &[]).code, 0);
}

#[test]
fn a_reader_that_closed_the_pipe_ends_no_command_badly() {
    let process = Process::start(&["--no-traffic"], &[]);
    let commands = [
        "lab list",
        "settings",
        "man",
        "completions bash",
        "export istio",
        "drill --list",
        "fault list",
        "scenario list",
        "breaker list",
        "queue list",
        "queue dead",
        "no-such-command",
        "queue list --admin nowhere",
    ];
    for command in commands {
        // A closed pipe: stdout and stderr can't be written.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let expected = breakerbox(&command.split(' ').collect::<Vec<_>>(), &[("BREAKERBOX_ADMIN_URL", &process.admin)]);
        let status = std::process::Command::new(env!("CARGO_BIN_EXE_breakerbox"))
            .args(command.split(' '))
            .env("BREAKERBOX_ADMIN_URL", &process.admin)
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(expected.code), "{command}");
        assert_ne!(expected.code, 101, "{command}: {}", expected.stderr);
    }
}

#[test]
fn the_settings_that_are_printed_can_be_read_again() {
    let printed = breakerbox(&["settings"], &[]);
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    let file = std::env::temp_dir().join(format!("breakerbox-settings-{}.toml", std::process::id()));
    std::fs::write(&file, &printed.stdout).unwrap();
    let again = breakerbox(&["settings", "--config", file.to_str().unwrap()], &[]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!((again.code, again.stdout), (0, printed.stdout), "{}", again.stderr);
}
