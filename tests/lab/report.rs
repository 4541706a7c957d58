//! The commands of `docs/lab.md` work as they stand.

use std::path::{Path, PathBuf};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Every command of the page that runs by itself, with less work to do; `all` is another test's.
#[test]
fn the_commands_of_the_page_work() {
    let page = read(&docs().join("lab.md"));
    let work = std::env::temp_dir().join(format!("breakerbox-lab-page-{}", std::process::id()));
    std::fs::create_dir_all(&work).unwrap();
    let calls = (0..200).map(|call| format!("{},{},{}\n", call * 2, 40 + call % 7, u8::from(call / 30 != 3)));
    std::fs::write(work.join("calls.csv"), calls.collect::<String>()).unwrap();
    std::fs::write(work.join("policy.toml"), "circuit-breaker.wait-duration-in-open-state = \"30s\"\n").unwrap();
    let log = r#"[{"service": "gateway", "breaker": "recommendation", "from": "closed", "to": "open", "unix_seconds": 1.0, "calls": 9, "failures": 9},
        {"service": "gateway", "breaker": "recommendation", "from": "half_open", "to": "closed", "unix_seconds": 40.0}]"#;
    std::fs::write(work.join("transitions.json"), log).unwrap();
    let commands: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("breakerbox ")).collect();
    assert!(commands.len() >= 7, "{commands:?}");
    for command in commands {
        let mut words: Vec<&str> = command.split('#').next().unwrap().split_whitespace().collect();
        // Of a Prometheus only the refusal can be seen here, and of all experiments that they are known.
        let expected = match words.as_slice() {
            [_, "list"] => 0,
            [_, "report"] | [_, "run", "all"] => {
                words.push("--help");
                0
            }
            [.., "1h"] => 1,
            _ => {
                // Fewer calls, which a build without optimizations has done sooner.
                if let Some(rate) = words.iter().position(|word| *word == "--rate") {
                    words[rate + 1] = "0.5";
                }
                if !command.contains("--quick") {
                    words.push("--quick");
                }
                words.extend(["--seeds", "2"]);
                0
            }
        };
        let done =
            std::process::Command::new(env!("CARGO_BIN_EXE_breakerbox")).args(&words).current_dir(&work).output();
        let done = done.unwrap();
        assert_eq!(done.status.code(), Some(expected), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    }
    std::fs::remove_dir_all(work).unwrap();
}
