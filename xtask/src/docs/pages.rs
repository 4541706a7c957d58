//! Checks of the hand-written pages: links resolve, commands and variables exist, alerts are loaded, routes are served.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use breakerbox::cli::Cli;
use breakerbox::services::gateway::ROUTES;
use breakerbox_resilience::retry::{Backoff, Jitter};
use clap::CommandFactory;
use clap::error::ErrorKind;

use super::settings;
use crate::root;

/// Variables of the command line, the tests and the scripts, which are no settings.
const OTHER_VARIABLES: &[&str] = &[
    "BREAKERBOX_ADMIN_TOKEN",
    "BREAKERBOX_ADMIN_URL",
    "BREAKERBOX_ADMIN__TOKEN_FILE",
    "BREAKERBOX_ADMIN__PEERS__",
    "BREAKERBOX_ALERTMANAGER_URL",
    "BREAKERBOX_CONFIG",
    "BREAKERBOX_DRILLS",
    "BREAKERBOX_POLICIES__",
    "BREAKERBOX_PROMETHEUS_TOKEN",
    "BREAKERBOX_PROFILE",
    "BREAKERBOX_PROMETHEUS_URL",
    "BREAKERBOX_ROUNDS",
];

/// The text of every page.
fn pages() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                into.push(path);
            }
        }
    }
    let mut found = vec![root().join("README.md"), root().join("README.ko.md"), root().join("alerts/runbook.md")];
    walk(&root().join("docs"), &mut found);
    walk(&root().join("deploy"), &mut found);
    found.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The texts between each pair of marks.
pub(super) fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> Vec<&'a str> {
    if open == close {
        return text.split(open).skip(1).step_by(2).collect();
    }
    text.split(open).skip(1).filter_map(|after| after.split_once(close).map(|(inside, _)| inside)).collect()
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
}

#[test]
fn every_link_leads_to_a_file_and_its_heading() {
    let mut wrong = Vec::new();
    for (page, text) in pages() {
        for link in between(&text, "](", ")") {
            if link.starts_with("http://") || link.starts_with("https://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            if !target.exists() {
                wrong.push(format!("{}: {link}", page.display()));
            } else if !heading.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let known =
                    text.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#')));
                if !known.into_iter().any(|known| known == heading) {
                    wrong.push(format!("{}: {link} has no such heading", page.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Repository paths in backticks exist; capitals and braces mark placeholders.
#[test]
fn every_path_that_is_named_exists() {
    const FOLDERS: &[&str] = &[
        "alerts/",
        "crates/",
        "deploy/",
        "docs/",
        "grafana/",
        "migrations/",
        "prometheus/",
        "scripts/",
        "src/",
        "tests/",
        "web/",
        "xtask/",
    ];
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (page, text) in pages() {
        let prose: String = text.split("```").step_by(2).collect();
        for span in between(&prose, "`", "`") {
            let path = span.split(['*', ' ', '{']).next().unwrap_or_default();
            // For a path with `*`, the part before it must be a folder.
            let path =
                if path.len() < span.len() { path.rsplit_once('/').map_or(path, |(folder, _)| folder) } else { path };
            if FOLDERS.iter().any(|folder| path.starts_with(folder)) && !path.contains("INTERVAL") {
                seen += 1;
                if !root().join(path).exists() {
                    wrong.push(format!("{}: {span}", page.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 20, "{seen}");
}

/// Configuration snippets for the reader's Prometheus.
#[test]
fn promtool_accepts_the_configuration_of_the_pages() {
    let Some(promtool) = crate::promtool() else { return };
    let text = fs::read_to_string(root().join("docs/prometheus.md")).unwrap();
    let folder = std::env::temp_dir().join(format!("breakerbox-pages-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let copy = between(&text, "```sh\ncp ", " /etc/prometheus/")[0];
    let copied = Command::new("cp").args(copy.split(' ')).arg(&folder).current_dir(root()).status().unwrap();
    assert!(copied.success(), "{copy}");
    let configuration = between(&text, "```yaml\n", "```")[0];
    fs::write(folder.join("prometheus.yml"), configuration).unwrap();
    let checked = Command::new(promtool).args(["check", "config", "prometheus.yml"]).current_dir(&folder).output();
    let checked = checked.unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.contains("9 rule files found"), "{said}");
}

/// Where a command occurs on a page.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// In a code block for copying: it must run unchanged.
    Block,
    /// In backticks in a sentence, where a subcommand's name suffices.
    Sentence,
}

/// Commands on a page: lines of code blocks, and texts in backticks.
fn commands(text: &str) -> Vec<(Place, String)> {
    let lines = between(text, "```sh\n", "```").into_iter().flat_map(str::lines);
    let prose: String = text.split("```").step_by(2).collect();
    let joined = prose.replace('\n', " ");
    let spans: Vec<_> = between(&joined, "`", "`").into_iter().map(|span| (Place::Sentence, span.to_owned())).collect();
    let all = lines.map(|line| (Place::Block, line.to_owned())).chain(spans);
    // Strips variables in front of the command.
    let bare = |command: String| {
        let words = command.split_whitespace().skip_while(|word| word.starts_with("BREAKERBOX_") && word.contains('='));
        words.collect::<Vec<_>>().join(" ")
    };
    let all = all.map(|(place, command)| (place, bare(command)));
    let own = all.filter(|(_, command)| command == "breakerbox" || command.starts_with("breakerbox "));
    let program = |command: &str| command.split(['#', '&', '|', '>', ';']).next().unwrap_or_default().trim().to_owned();
    own.map(|(place, command)| (place, program(&command))).collect()
}

#[test]
fn every_command_is_understood() {
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for (page, text) in pages().into_iter().filter(|(page, _)| !page.ends_with("reference/commands.md")) {
        for (place, command) in commands(&text).into_iter().filter(|(_, command)| !command.contains(['…', '{', '[']))
        {
            if let Err(error) = Cli::command().try_get_matches_from(command.split_whitespace()) {
                let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
                let incomplete = matches!(
                    error.kind(),
                    ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                );
                let allowed = help || (incomplete && place == Place::Sentence);
                if !allowed {
                    wrong.push(format!("{}: {command}: {error}", page.display()));
                }
            }
            seen.insert(command);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen.len() > 20, "{seen:?}");
}

#[test]
fn every_variable_is_a_setting() {
    let known: BTreeSet<_> = settings::all().iter().map(|(path, _)| settings::variable(path)).collect();
    let mut wrong = Vec::new();
    for (page, text) in pages() {
        for after in text.split("BREAKERBOX_").skip(1) {
            let end = after.find(|c: char| !(c.is_ascii_uppercase() || c == '_')).unwrap_or(after.len());
            let name = format!("BREAKERBOX_{}", &after[..end]);
            let other = OTHER_VARIABLES
                .iter()
                .any(|other| name == *other || (other.ends_with("__") && name.starts_with(other)));
            // `BREAKERBOX_*` stands for all of them.
            if end > 0 && !other && !known.contains(&name) {
                wrong.push(format!("{}: {name}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_alert_that_is_named_exists() {
    let runbook = fs::read_to_string(root().join("alerts/runbook.md")).unwrap();
    let known: BTreeSet<_> = runbook.lines().filter_map(|line| line.strip_prefix("### ")).map(str::trim).collect();
    let named = |word: &&str| {
        let humps = word.chars().filter(char::is_ascii_uppercase).count();
        word.chars().all(|c| c.is_ascii_alphabetic())
            && humps > 1
            && word.starts_with(char::is_uppercase)
            && word.len() > 6
    };
    for (page, text) in pages() {
        for word in between(&text, " *", "*").into_iter().filter(named) {
            assert!(known.contains(word), "{}: {word} is no alert", page.display());
        }
    }
}

/// Routes of the admin port according to the sources.
fn admin_routes() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root().join("src/admin")).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap();
            found.extend(between(&text, ".route(\"", "\"").into_iter().map(str::to_owned));
        }
    }
    found
}

#[test]
fn the_admin_reference_has_every_route() {
    let document = serde_json::from_str(&breakerbox::app::openapi()).unwrap();
    let documented: BTreeSet<_> =
        super::api::operations(&document).into_iter().map(|(path, ..)| path.to_owned()).collect();
    let routes = admin_routes();
    assert!(routes.len() > 15, "{routes:?}");
    let missing: Vec<_> = routes.difference(&documented).collect();
    // An HTML page, which the hand-written page mentions.
    assert_eq!(missing, ["/runbook"]);
}

#[test]
fn the_api_pages_list_every_public_route() {
    let known: BTreeSet<_> = ROUTES.iter().map(|(method, path)| format!("{method} {path}")).collect();
    for page in ["docs/api.md", "docs/ko/api.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let public = text.split("\n## ").nth(1).unwrap();
        let rows = public.lines().filter(|line| line.starts_with("| ") && line.contains(" /api/"));
        let listed: BTreeSet<_> = rows.map(|row| between(row, "`", "`")[0].to_owned()).collect();
        assert_eq!(listed, known, "{page}");
    }
}

/// The numbers in "what retries add up to" are those of the program's own back-off.
#[test]
fn retries_add_up_to_what_the_pages_say() {
    let backoff = Backoff {
        first: std::time::Duration::from_secs(1),
        multiplier: 2.0,
        cap: std::time::Duration::from_secs(64),
        jitter: Jitter::None,
    };
    for page in ["docs/introducing.md", "docs/ko/introducing.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        for retries in [3_u32, 5, 7] {
            let waits: Vec<u64> = (1..=retries).map(|retry| backoff.wait(retry, None, 0.0).as_secs()).collect();
            let shown = waits.iter().map(u64::to_string).collect::<Vec<_>>().join(" + ");
            let row = format!("| {retries} | {shown} | {} s |", waits.iter().sum::<u64>());
            assert!(text.contains(&row), "{page} lacks {row}");
        }
    }
}
