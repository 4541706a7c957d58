//! The committed report is the output of its command, and the commands of `docs/lab.md` work as written.

use std::path::{Path, PathBuf};

use breakerbox::lab::{self, Lang};

use crate::process::breakerbox;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Runs all built-in experiments in their quick form with the command that wrote `docs/report.md`, and checks their
/// claims.
#[test]
fn one_command_writes_the_report_in_its_quick_form() {
    let out = std::env::temp_dir().join(format!("breakerbox-lab-report-{}", std::process::id()));
    let done = breakerbox(&["lab", "report", "--quick", "--seeds", "1", "--out", out.to_str().unwrap()], &[]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    for folder in ["", "ko/"] {
        let folder = out.join(folder);
        let markdown = read(&folder.join("report.md"));
        let committed = read(&docs().join(folder.strip_prefix(&out).unwrap()).join("report.md"));
        assert_eq!(
            headings(&markdown),
            headings(&committed),
            "docs/report.md is out of date: run breakerbox lab report"
        );
        assert!(read(&folder.join("report.html")).matches("<svg").count() > 25);
        for image in images(&markdown) {
            assert!(folder.join(&image).is_file(), "{image}");
        }
    }
    std::fs::remove_dir_all(out).unwrap();
}

fn headings(markdown: &str) -> Vec<&str> {
    let mut code = false;
    let outside = markdown.lines().filter(|line| {
        code ^= line.starts_with("```");
        !code
    });
    outside.filter(|line| line.starts_with('#')).collect()
}

fn images(markdown: &str) -> Vec<String> {
    let after = markdown.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    after.filter(|target| target.starts_with("report/")).map(str::to_owned).collect()
}

/// Text, settings, code excerpts and diagrams of the committed report are up to date, and its figures come from full
/// runs.
#[test]
fn the_committed_report_is_up_to_date() {
    for (lang, folder) in [(Lang::En, ""), (Lang::Ko, "ko/")] {
        let folder = docs().join(folder);
        let markdown = read(&folder.join("report.md"));
        let fixed = lab::fixed(lang).unwrap();
        let mut rest = markdown.as_str();
        for piece in &fixed.prose {
            let at = rest.find(piece.as_str());
            let at = at.unwrap_or_else(|| panic!("{}: out of date, it lacks:\n{piece}", folder.display()));
            rest = &rest[at + piece.len()..];
        }
        assert!(fixed.prose.len() > 100, "{}", fixed.prose.len());
        for (name, svg) in &fixed.diagrams {
            assert!(read(&folder.join("report").join(format!("{name}.svg"))) == *svg, "{name}.svg");
        }
        assert!(!markdown.contains("(quick)") && !markdown.contains("quick form"), "figures of the quick form");
        let shown = images(&markdown);
        for image in &shown {
            assert!(folder.join(image).is_file(), "{image}");
        }
        for file in std::fs::read_dir(folder.join("report")).unwrap() {
            let name = format!("report/{}", file.unwrap().file_name().to_string_lossy());
            assert!(shown.contains(&name), "the report shows {name} nowhere");
        }
        let page = read(&folder.join("report.html"));
        assert_eq!(page.matches("<svg").count(), shown.len());
        for outside in ["<script", "<link", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}

/// Runs every command of the page that needs no other service, with less work; `all` is covered by another test.
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
        // The command that needs a Prometheus can only be seen to fail here, and `report` and `run all` only print
        // their help.
        let expected = match words.as_slice() {
            [_, "list"] => 0,
            [_, "report"] | [_, "run", "all"] => {
                words.push("--help");
                0
            }
            [.., "1h"] => 1,
            _ => {
                // Fewer calls, so that a build without optimizations finishes sooner.
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
