//! Generates committed files from the code.
//!
//! ```text
//! cargo xtask dashboards           write grafana/dashboards/*.json
//! cargo xtask rules                write prometheus/rules/, alerts/ and alerts/profiles/
//! cargo xtask manifests            write deploy/kubernetes
//! cargo xtask sbom                 print the software bill of materials (CycloneDX)
//! cargo xtask docs                 write docs/reference
//! cargo xtask … --check            fail when a file is not what the code generates
//! ```

mod dashboards;
mod docs;
mod manifests;
mod rules;
mod sbom;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Generates what is committed beside the code")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Grafana dashboards: grafana/dashboards/*.json
    Dashboards(Output),
    /// Reference pages: docs/reference
    Docs(Output),
    /// Kubernetes manifests: deploy/kubernetes
    Manifests(Output),
    /// Print the software bill of materials (CycloneDX 1.5) of the program
    Sbom,
    /// Recording rules and alerts for each scrape interval: prometheus/rules/, alerts/, alerts/profiles/
    Rules {
        #[command(flatten)]
        output: Output,
        /// Folder to write to instead of the repository, with the same layout
        #[arg(long)]
        into: Option<PathBuf>,
        /// Where alerts link their runbook
        #[arg(long, default_value_t = rules::Links::default().runbook)]
        runbook: String,
        /// Where alerts link their dashboard
        #[arg(long, default_value_t = rules::Links::default().grafana)]
        grafana: String,
    },
}

#[derive(Args)]
struct Output {
    /// Write nothing; fail when a committed file differs from what would be generated
    #[arg(long)]
    check: bool,
}

/// One generated file.
struct Generated {
    /// Relative to the repository's root.
    path: PathBuf,
    text: String,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Dashboards(output) => generate(&dashboards::files(), &output),
        Task::Docs(output) => generate(&docs::files(), &output),
        Task::Manifests(output) => generate(&manifests::files(), &output),
        Task::Rules { output, into, runbook, grafana } => {
            let files = rules::files(&rules::Links { runbook, grafana });
            if output.check { check(&files) } else { write(&files, into.as_deref().unwrap_or(root())) }
        }
        Task::Sbom => sbom::document().map(|document| println!("{document:#}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn generate(files: &[Generated], output: &Output) -> Result<(), String> {
    if output.check { check(files) } else { write(files, root()) }
}

/// The promtool with which tests check files. If it is missing, CI fails, and elsewhere the test prints that it was
/// skipped.
#[cfg(test)]
fn promtool() -> Option<std::ffi::OsString> {
    use std::io::Write as _;
    let found = std::env::var_os("PROMTOOL");
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "PROMTOOL is missing: scripts/tools.sh finds it");
        let _ = writeln!(std::io::stderr(), "SKIPPED: PROMTOOL is missing (scripts/tools.sh finds it)");
    }
    found
}

/// The repository's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ is a folder of the repository")
}

fn write(files: &[Generated], into: &Path) -> Result<(), String> {
    for file in files {
        let path = into.join(&file.path);
        let folder = path.parent().expect("a file is in a folder");
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        std::fs::write(&path, &file.text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Compares bytes: a hand-edited file is as wrong as an outdated one.
fn check(files: &[Generated]) -> Result<(), String> {
    let stale: Vec<_> =
        files.iter().filter(|file| !is_current(file)).map(|file| file.path.display().to_string()).collect();
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!("not what the code generates, run `cargo xtask` and commit: {}", stale.join(", ")))
}

fn is_current(file: &Generated) -> bool {
    std::fs::read_to_string(root().join(&file.path)).is_ok_and(|text| text == file.text)
}
