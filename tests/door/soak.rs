//! Soak test: the program under its own load with the default scenario at three times its speed; its resources must not
//! grow.
//!
//! ```sh
//! SOAK_LENGTH=1h cargo test --release --test door soak -- --ignored --nocapture
//! ```
//!
//! One row per minute is printed, and all rows are kept in target/soak.md.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::process::Process;
use crate::raw::{ask, resident};

/// Resources held at one moment.
#[derive(Clone, Copy, Debug)]
struct Held {
    resident_kib: u64,
    descriptors: u64,
    threads: u64,
    series: u64,
    scrape_bytes: u64,
}

impl Held {
    fn now(process: &Process) -> Self {
        let own = PathBuf::from(format!("/proc/{}", process.pid()));
        let entries = |folder: &str| std::fs::read_dir(own.join(folder)).unwrap().count() as u64;
        let metrics = ask(process.admin_address(), "GET /metrics", &[], "").unwrap().body;
        Self {
            resident_kib: resident(process.pid()),
            descriptors: entries("fd"),
            threads: entries("task"),
            series: metrics.lines().filter(|line| !line.starts_with('#')).count() as u64,
            scrape_bytes: metrics.len() as u64,
        }
    }

    fn figures(self) -> [(&'static str, u64); 5] {
        [
            ("resident KiB", self.resident_kib),
            ("descriptors", self.descriptors),
            ("threads", self.threads),
            ("series", self.series),
            ("scrape bytes", self.scrape_bytes),
        ]
    }
}

/// The default scenario with all times divided by three.
fn three_times_as_fast() -> String {
    let mut fast: toml::Table = include_str!("../../src/scenario/default.toml").parse().unwrap();
    let third = |time: &mut toml::Value| {
        let whole = humantime::parse_duration(time.as_str().unwrap()).unwrap();
        *time = humantime::format_duration(whole / 3).to_string().into();
    };
    third(&mut fast["length"]);
    for step in fast["step"].as_array_mut().unwrap() {
        third(&mut step["at"]);
        third(&mut step["for"]);
    }
    fast.to_string()
}

#[test]
#[ignore = "an hour in real time"]
fn soak_does_not_grow() {
    let length = humantime::parse_duration(&std::env::var("SOAK_LENGTH").unwrap_or("1h".into())).unwrap();
    let folder = std::env::temp_dir().join(format!("breakerbox-soak-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let scenario = folder.join("fast.toml");
    std::fs::write(&scenario, three_times_as_fast()).unwrap();
    let [data, scenario] = [folder.join("data"), scenario].map(|path| path.display().to_string());
    let arguments = ["--rate", "50", "--scenario", &scenario, "--data", &data, "--log", "error"];
    let process = Process::start(&arguments, &[("BREAKERBOX_STORE__URL", "")]);

    let begun = Instant::now();
    let mut table = String::from("| minute | resident KiB | descriptors | threads | series | scrape bytes |\n");
    table += "|---:|---:|---:|---:|---:|---:|\n";
    let mut held = Vec::new();
    let minutes = (length.as_secs() / 60).max(6);
    for minute in 1..=minutes {
        let due = Duration::from_secs(minute * 60);
        while begun.elapsed() < due {
            std::thread::park_timeout(due.saturating_sub(begun.elapsed()));
        }
        let now = Held::now(&process);
        let cells: Vec<String> = now.figures().iter().map(|(_, value)| value.to_string()).collect();
        let row = format!("| {minute} | {} |", cells.join(" | "));
        println!("{row}");
        writeln!(table, "{row}").unwrap();
        held.push(now);
    }
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/soak.md"), &table).unwrap();
    assert_eq!(process.interrupt(), 0, "it ends as it should");
    let _ = std::fs::remove_dir_all(&folder);

    // By the middle third everything has happened once; the maximum of the last third may be a tenth higher.
    let third = held.len() / 3;
    let highest = |part: &[Held], figure: usize| part.iter().map(|held| held.figures()[figure].1).max().unwrap();
    for figure in 0..5 {
        let (middle, last) = (highest(&held[third..2 * third], figure), highest(&held[2 * third..], figure));
        let name = held[0].figures()[figure].0;
        assert!(last * 10 <= middle * 11, "{name}: {middle} at most in the middle third, {last} in the last");
    }
}
