//! The evaluation report: a hand-written template filled with figures, plots, transition logs and code excerpts from
//! the runs and the sources.

use std::fmt::Write;

use super::diagrams;
use super::facts::{self, Facts};
use super::metrics::{self, phrase};
use super::output::{Files, in_a_cell, method, page, section, with_files};
use super::plots::{Drawn, label};
use super::run::Results;
use super::spec::Lang;
use super::template;
use super::{claims, tally::Moved};
use breakerbox_resilience::breaker::{Reason, State};

/// Each language with its template and the folder of its report, which ends with a slash unless it is empty.
const TEMPLATES: [(Lang, &str, &str); 2] =
    [(Lang::En, "", include_str!("report.en.md")), (Lang::Ko, "ko/", include_str!("report.ko.md"))];

/// Rows of the summary: an experiment, a case, and some of its variants.
const SUMMARY: &[(&str, &str, &[&str])] = &[
    ("flaky", "flaky", &["none", "retry", "breaker", "all"]),
    ("outage", "outage", &["none", "timeout", "breaker", "fallback"]),
    ("payment", "outage", &["bare", "seed", "short"]),
    ("payment", "flaky", &["bare", "seed", "retry"]),
    ("pool", "pool", &["shared", "isolated", "breaker"]),
];

/// Sources of the program that the report quotes, beside those of the core.
const SOURCES: &[(&str, &str)] = &[
    ("src/services/recommendation/mod.rs", include_str!("../services/recommendation/mod.rs")),
    ("src/services/checkout/saga.rs", include_str!("../services/checkout/saga.rs")),
    ("src/lab/dependency.rs", include_str!("dependency.rs")),
];

/// Maximum number of rows of a transition log.
const MOST_ROWS: usize = 24;

/// The report in both languages, from runs of all built-in experiments.
pub fn report(all: &[Results]) -> Result<Files, String> {
    let mut files = Vec::new();
    let facts = Facts::new()?;
    for (lang, folder, text) in TEMPLATES {
        let report = Report { all, lang, facts: &facts, drawn: std::cell::RefCell::default() };
        let markdown =
            template::fill(text, |place| report.fill(place)).map_err(|error| format!("{folder}report: {error}"))?;
        let drawn = report.drawn.into_inner();
        let title = phrase(lang, "Breakerbox: circuit breakers, measured", "Breakerbox: 서킷 브레이커 설계와 측정");
        // Each form links to the same form in the other language.
        let linked = markdown.replace("report.md)", "report.html)");
        files.push((format!("{folder}report.html"), page(title, &linked, &drawn, lang)));
        files.push((format!("{folder}report.md"), with_files(&markdown, &drawn, "report")));
        files.extend(drawn.into_iter().map(|plot| (format!("{folder}report/{}.svg", plot.name), plot.svg)));
    }
    Ok(files)
}

/// The parts of a report that do not depend on runs; the committed report must contain them.
#[derive(Clone, Debug)]
pub struct Fixed {
    /// Pieces of its text, code and settings, in order.
    pub prose: Vec<String>,
    /// Names and drawings of its diagrams.
    pub diagrams: Vec<(String, String)>,
}

/// Marks a place whose content comes from runs.
const WRITTEN_BY_RUNS: &str = "\u{0}";

/// The report in one language without the content that comes from runs.
pub fn fixed(lang: Lang) -> Result<Fixed, String> {
    let without_runs = |experiment| Results { experiment, quick: false, seeds: 0, cases: Vec::new() };
    let all: Vec<Results> = super::built_in()?.into_iter().map(without_runs).collect();
    let facts = Facts::new()?;
    let report = Report { all: &all, lang, facts: &facts, drawn: std::cell::RefCell::default() };
    let (_, _, text) = TEMPLATES.iter().find(|(own, _, _)| *own == lang).ok_or("no template")?;
    let filled = template::fill(text, |place| match place.split(' ').next() {
        Some("method" | "summary" | "figure" | "transitions") => Ok(WRITTEN_BY_RUNS.to_owned()),
        Some("experiment") => {
            let experiment = &report.of(place.trim_start_matches("experiment "))?.experiment;
            let reading = template::fill(experiment.reading.of(lang), |_| Ok(WRITTEN_BY_RUNS.to_owned()))?;
            let (title, question) = (experiment.title.of(lang), experiment.question.of(lang).trim());
            Ok(format!("### {title}{WRITTEN_BY_RUNS}{question}{WRITTEN_BY_RUNS}{reading}{WRITTEN_BY_RUNS}"))
        }
        Some("diagram") => report.fill(place).map(|_| WRITTEN_BY_RUNS.to_owned()),
        _ => report.fill(place),
    })?;
    let pieces = filled.split(WRITTEN_BY_RUNS).map(str::trim).filter(|piece| !piece.is_empty());
    let prose = pieces.map(str::to_owned).collect();
    let drawn = report.drawn.into_inner();
    Ok(Fixed { prose, diagrams: drawn.into_iter().map(|diagram| (diagram.name, diagram.svg)).collect() })
}

/// A report in one language under construction.
struct Report<'a> {
    all: &'a [Results],
    lang: Lang,
    facts: &'a Facts,
    drawn: std::cell::RefCell<Vec<Drawn>>,
}

impl Report<'_> {
    fn of(&self, name: &str) -> Result<&Results, String> {
        let found = self.all.iter().find(|results| results.experiment.name == name);
        found.ok_or_else(|| format!("no experiment {name:?}"))
    }

    /// Content for a placeholder of the template: a kind and its arguments.
    fn fill(&self, place: &str) -> Result<String, String> {
        let (kind, about) = place.split_once(' ').unwrap_or((place, ""));
        let (all, lang) = (self.all, self.lang);
        match kind {
            "method" => Ok(method(all, lang)),
            "summary" => self.summary(about),
            "title" => Ok(self.of(about)?.experiment.title.of(lang).to_owned()),
            "policy" => self.facts.about_policy(about, lang),
            "baseline" => self.facts.baseline(about),
            "chance" => self.facts.chance(about),
            "given" => {
                let [name, case, what] = three(about).ok_or("given: an experiment, a case and what")?;
                facts::given(&self.of(name)?.experiment, case, what, lang)
            }
            "experiment" => {
                let (text, plots) = section(self.of(about)?, lang, "###")?;
                self.drawn.borrow_mut().extend(plots);
                Ok(text)
            }
            "figure" => {
                let (name, reference) = about.split_once(' ').ok_or("figure: an experiment and a reference")?;
                claims::fill(self.of(name)?, &format!("{{{{{reference}}}}}"))
            }
            "transitions" => {
                let [name, case, variant] = three(about).ok_or("transitions: an experiment, a case and a variant")?;
                transitions(self.of(name)?, case, variant, lang)
            }
            "diagram" => {
                let svg = diagrams::draw(about, lang, self.facts)?;
                self.drawn.borrow_mut().push(Drawn { name: about.to_owned(), title: about.to_owned(), svg });
                Ok(format!("![{about}]({about})"))
            }
            "code" => {
                let (file, name) = about.split_once(' ').ok_or("code: a file and a function")?;
                excerpt(file, name)
            }
            _ => Err(format!("unknown placeholder {place:?}")),
        }
    }

    /// The experiments that correspond to the assignments, in one table with these columns.
    fn summary(&self, columns: &str) -> Result<String, String> {
        let metrics: Vec<_> = columns.split(' ').map(metrics::find).collect::<Result<_, _>>()?;
        let mut out =
            format!("| {} | {} |", phrase(self.lang, "experiment", "실험"), phrase(self.lang, "variant", "방식"));
        for metric in &metrics {
            let _ = write!(out, " {} |", metric.title(self.lang));
        }
        out.push_str("\n|---|---|");
        out.push_str(&"--:|".repeat(metrics.len()));
        for (name, case, variants) in SUMMARY {
            let results = self.of(name)?;
            for (row, variant) in variants.iter().enumerate() {
                let cells = metrics
                    .iter()
                    .map(|metric| results.look_up(&format!("{case}:{variant}.{}", metric.key)))
                    .collect::<Result<Vec<_>, _>>()?;
                let Some((_, cell)) = cells.first() else { continue };
                let title = if row == 0 { self.case_title(results, case) } else { "" };
                let _ = write!(out, "\n| {title} | {} |", label(&cell.variant, self.lang));
                for (metric, cell) in &cells {
                    let figure = claims::with_interval(metric.unit, &cell.estimate(metric.key));
                    let _ = write!(out, " {} |", in_a_cell(&figure));
                }
            }
        }
        Ok(out + "\n")
    }

    /// The title of a case, or of its experiment if it has none.
    fn case_title<'a>(&self, results: &'a Results, case: &str) -> &'a str {
        let own = results.experiment.case(case).map_or("", |case| case.title.of(self.lang));
        if own.is_empty() { results.experiment.title.of(self.lang) } else { own }
    }
}

/// Splits into exactly three words.
fn three(about: &str) -> Option<[&str; 3]> {
    about.split(' ').collect::<Vec<_>>().try_into().ok()
}

/// The source code of a function.
fn excerpt(file: &str, function: &str) -> Result<String, String> {
    let mut sources = SOURCES.iter().chain(breakerbox_resilience::sources::QUOTED);
    let (_, source) = sources.find(|(name, _)| *name == file).ok_or_else(|| format!("code: no file {file:?}"))?;
    let lines: Vec<&str> = source.lines().collect();
    let names = |line: &&str| {
        [format!("fn {function}("), format!("fn {function}<")].iter().any(|start| line.contains(start.as_str()))
    };
    let first = lines.iter().position(names).ok_or_else(|| format!("code: no {function} in {file}"))?;
    let indent = lines[first].len() - lines[first].trim_start().len();
    let end = format!("{}}}", " ".repeat(indent));
    let last = lines[first..].iter().position(|line| **line == end).ok_or("code: no end")?;
    let mut out = format!("```rust\n// {file}\n");
    for line in &lines[first..=first + last] {
        out.push_str(line.get(indent..).unwrap_or("").trim_end());
        out.push('\n');
    }
    out.push_str("```");
    Ok(out)
}

/// The transition log of the first seed with an explanation of each line, and a summary.
fn transitions(results: &Results, case: &str, variant: &str, lang: Lang) -> Result<String, String> {
    let wrong = || format!("no {case}:{variant} in {:?}", results.experiment.name);
    let result = results.cases.iter().find(|own| own.name == case).ok_or_else(wrong)?;
    let cell = result.cells.iter().find(|cell| cell.variant.name == variant).ok_or_else(wrong)?;
    let moves = cell.runs.first().map_or(&[] as &[Moved], |run| run.transitions.as_slice());
    let mut out = match lang {
        Lang::En => format!(
            "Variant *{}*, first seed.\n\n| time | breaker | change | reason | failures / calls | what it means |\n",
            label(&cell.variant, lang)
        ),
        Lang::Ko => format!(
            "방식 *{}*, 첫 번째 시드.\n\n| 시각 | 브레이커 | 전이 | 이유 | 실패 / 호출 | 해석 |\n",
            label(&cell.variant, lang)
        ),
    };
    out.push_str("|--:|---|---|---|--:|---|\n");
    for moved in moves.iter().take(MOST_ROWS) {
        let Moved { at, breaker, from, to, reason, calls, failures } = moved;
        let (from, to, explained) = (from.as_str(), to.as_str(), meaning(*reason, lang));
        let _ = writeln!(
            out,
            "| {at:.1} s | `{breaker}` | {from} → {to} | `{}` | {failures} / {calls} | {explained} |",
            reason.as_str()
        );
    }
    out.push_str(&summary(moves, result.length.as_secs_f64(), lang));
    Ok(out)
}

/// Explains a reason.
fn meaning(reason: Reason, lang: Lang) -> &'static str {
    match reason {
        Reason::ConsecutiveFailures => {
            phrase(lang, "enough failures in a row: calls are blocked", "연속 실패가 임계값에 닿아 호출을 차단")
        }
        Reason::FailureRate => {
            phrase(lang, "too large a share of the window failed", "창에서 실패한 비율이 임계값을 넘음")
        }
        Reason::SlowCallRate => {
            phrase(lang, "too large a share of the window was slow", "창에서 느린 호출의 비율이 임계값을 넘음")
        }
        Reason::WaitElapsed => {
            phrase(lang, "the wait is over: the next calls are probes", "대기 시간이 끝나 다음 호출로 시험")
        }
        Reason::ProbesSucceeded => {
            phrase(lang, "enough probes succeeded: back to normal", "시험 호출이 충분히 성공해 정상으로 복귀")
        }
        Reason::ProbesFailed => {
            phrase(lang, "the dependency is still down: another wait", "아직 회복되지 않아 다시 대기")
        }
        Reason::HalfOpenTimeout => {
            phrase(lang, "half-open took too long to come to a result", "Half-Open이 제때 결론을 내지 못함")
        }
        Reason::StagePassed => phrase(lang, "a stage of the recovery went well", "회복의 한 단계를 통과"),
        Reason::Shared => phrase(lang, "another instance did the same", "다른 인스턴스의 판단을 따름"),
        Reason::Command => phrase(lang, "by command", "명령에 따름"),
    }
}

/// How often and how long the breaker was open, in one sentence.
fn summary(moves: &[Moved], length: f64, lang: Lang) -> String {
    let (mut since, mut not_closed): (Option<f64>, f64) = (None, 0.0);
    for moved in moves {
        match (moved.to, since) {
            (State::Closed, Some(from)) => {
                not_closed += moved.at - from;
                since = None;
            }
            (_, None) => since = Some(moved.at),
            _ => {}
        }
    }
    not_closed += since.map_or(0.0, |from| length - from);
    let opens = moves.iter().filter(|moved| moved.to == State::Open).count();
    let failed = moves.iter().filter(|moved| moved.reason == Reason::ProbesFailed).count();
    let share = not_closed / length * 100.0;
    match lang {
        Lang::En => format!(
            "\nIn {length:.0} s the breaker opened {opens} times, {failed} of them because its probes failed, and was \
             not closed for \
             {not_closed:.0} s ({share:.0} % of the run).\n"
        ),
        Lang::Ko => format!(
            "\n{length:.0}초 동안 {opens}번 열렸고, 그중 {failed}번은 시험 호출이 실패해서였으며, 닫혀 있지 않던 시간은 {not_closed:.0}초\
             (실행의 {share:.0} %)입니다.\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_a_whole_function() {
        let code = excerpt("crates/resilience/src/breaker/mod.rs", "try_acquire").unwrap();
        assert!(code.contains("pub fn try_acquire") && code.ends_with("}\n```"), "{code}");
        assert!(excerpt("crates/resilience/src/breaker/mod.rs", "no_such").is_err());
    }

    #[test]
    fn the_prose_has_no_typed_figures() {
        for (_, folder, text) in TEMPLATES {
            let prose = template::fill(text, |_| Ok(String::new())).unwrap();
            for line in prose.lines() {
                // Numbers in headings and list items are no figures, and code is quoted.
                let line = line.trim_start_matches('#').trim_start();
                let line = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
                let words: String = line.split('`').step_by(2).collect();
                assert!(!words.contains(|c: char| c.is_ascii_digit()), "{folder}report: {line}");
            }
        }
    }

    #[test]
    fn both_languages_show_the_same() {
        let places = |text: &str| {
            let mut places: Vec<String> =
                text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()).map(str::to_owned).collect();
            places.sort();
            places.dedup();
            places
        };
        assert_eq!(places(TEMPLATES[0].2), places(TEMPLATES[1].2));
    }

    #[test]
    fn every_piece_of_code_in_the_templates_exists() {
        for (_, _, text) in TEMPLATES {
            for place in text.split("{{code ").skip(1) {
                let about = place.split("}}").next().unwrap();
                let (file, name) = about.trim().split_once(' ').unwrap();
                excerpt(file, name).unwrap();
            }
        }
    }
}
