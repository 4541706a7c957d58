//! The output of a run: a report in Markdown and HTML, and the raw results as CSV and JSON.

use std::fmt::Write;

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};
use serde::Serialize;

use super::claims::{self, Claim, with_interval};
use super::metrics::{self, phrase};
use super::plots::{self, Drawn, label};
use super::run::{CaseResult, Cell, Results};
use super::spec::{Case, Lang};
use super::stats::Estimate;
use super::words;

/// Files to write: name and content.
pub type Files = Vec<(String, String)>;

const STYLE: &str = include_str!("report.css");

/// The output of these experiments, in one language.
pub fn render(all: &[Results], lang: Lang) -> Result<Files, String> {
    let mut markdown = format!("# {}\n\n{}\n", title(lang), method(all, lang));
    let mut drawn = Vec::new();
    for results in all {
        let (section, plots) = section(results, lang, "##")?;
        markdown.push_str(&section);
        drawn.extend(plots);
    }
    let mut files = vec![
        ("results.csv".to_owned(), csv(all)),
        ("results.json".to_owned(), json(all)?),
        ("report.html".to_owned(), page(title(lang), &markdown, &drawn, lang)),
    ];
    files.push(("report.md".to_owned(), with_files(&markdown, &drawn, "plots")));
    files.extend(drawn.into_iter().map(|plot| (format!("plots/{}.svg", plot.name), plot.svg)));
    Ok(files)
}

fn title(lang: Lang) -> &'static str {
    phrase(lang, "Breakerbox lab: results", "Breakerbox 실험실: 결과")
}

/// Describes how the figures were obtained.
pub(crate) fn method(all: &[Results], lang: Lang) -> String {
    let quick = all.iter().any(|results| results.quick);
    let (least, most) = (
        all.iter().map(|results| results.seeds).min().unwrap_or(0),
        all.iter().map(|results| results.seeds).max().unwrap_or(0),
    );
    let seeds = if least == most { least.to_string() } else { format!("{least}–{most}") };
    let form = match (quick, lang) {
        (false, _) => "",
        (true, Lang::En) => " This is the quick form: fewer seeds, shorter runs and coarser grids.",
        (true, Lang::Ko) => " 이 문서는 빠른 실행(quick)의 결과로, 시드 수와 실행 시간, 격자를 줄였습니다.",
    };
    match lang {
        Lang::En => format!(
            "Every figure below is the mean over {seeds} seeds with its 95 % interval (Student's t). Load is open-loop \
             (a Poisson process): journeys begin when they are due, however slow the answers are, are timed from that \
             instant, and all of them are counted. With the same seed all variants meet the same arrivals, service \
             times and failures. A request is wasted if it failed or its answer was no longer awaited.{form}\n"
        ),
        Lang::Ko => format!(
            "아래의 모든 수치는 시드 {seeds}개의 평균과 95 % 신뢰구간(스튜던트 t)입니다. 부하는 열린 루프(푸아송 과정)로, \
             응답이 아무리 느려도 여정은 예정된 시각에 시작되고, 응답 시간은 그 시각부터 재며, 시작된 여정은 빠짐없이 셉니다. \
             같은 시드에서는 모든 방식이 같은 도착, 같은 처리 시간, 같은 실패를 만납니다. \
             실패했거나 응답을 더는 기다리지 않은 요청은 낭비된 요청으로 셉니다.{form}\n"
        ),
    }
}

/// An experiment's part of a report; plots are images named after them.
pub(crate) fn section(results: &Results, lang: Lang, level: &str) -> Result<(String, Vec<Drawn>), String> {
    let experiment = &results.experiment;
    let mut out = format!(
        "\n{level} {}\n\n**{}** {}\n",
        experiment.title.of(lang),
        phrase(lang, "Question.", "질문."),
        experiment.question.of(lang).trim()
    );
    let drawn = plots::all(results, lang)?;
    for plot in &drawn {
        let _ = write!(out, "\n![{}]({})\n", plot.title.replace(['[', ']'], ""), plot.name);
    }
    for (case, result) in experiment.cases.iter().zip(&results.cases) {
        if !result.axes.is_empty() && result.cells.len() > 24 {
            continue;
        }
        out.push_str(&setup(case, result, lang));
        out.push_str(&table(&experiment.columns, result, lang)?);
    }
    let reading = experiment.reading.of(lang);
    if !reading.is_empty() {
        let _ = write!(
            out,
            "\n**{}** {}\n",
            phrase(lang, "What it shows.", "결과."),
            claims::fill(results, reading)?.trim()
        );
    }
    out.push_str(&checked(&claims::check(results)?, lang));
    Ok((out, drawn))
}

/// A case's load, dependencies and faults in one sentence each.
fn setup(case: &Case, result: &CaseResult, lang: Lang) -> String {
    let mut out = String::from("\n");
    let name = case.title.of(lang);
    if !name.is_empty() {
        let _ = write!(out, "*{name}* — ");
    }
    let length = humantime::format_duration(result.length);
    let runs = result.cells.first().map_or(0, |cell| cell.runs.len());
    if case.site.is_some() {
        let _ = match lang {
            Lang::En => writeln!(out, "{length} of the whole site, with its real services. Seeds: {runs}."),
            Lang::Ko => writeln!(out, "실제 서비스로 이루어진 전체 사이트를 {length} 동안 실행. 시드: {runs}."),
        };
        return out;
    }
    let rate = case.load.rate;
    let _ = match lang {
        Lang::En => write!(out, "{length}, {rate} journeys/s. "),
        Lang::Ko => write!(out, "{length}, 초당 여정 {rate}건. "),
    };
    let dependencies: Vec<_> = case.dependency.iter().map(|dependency| words::dependency(dependency, lang)).collect();
    if !dependencies.is_empty() {
        let _ = write!(out, "{} {}. ", phrase(lang, "Dependencies:", "의존 서비스:"), dependencies.join("; "));
    }
    let faults: Vec<_> = case.fault.iter().map(|step| words::fault(step, lang)).collect();
    if !faults.is_empty() {
        let _ = write!(out, "{} {}. ", phrase(lang, "Faults:", "장애:"), faults.join("; "));
    }
    let _ = writeln!(out, "{} {}.", phrase(lang, "Seeds:", "시드:"), runs);
    out
}

/// A table of variants (rows) and metrics (columns).
fn table(columns: &[String], result: &CaseResult, lang: Lang) -> Result<String, String> {
    let metrics: Vec<_> = columns.iter().map(|column| metrics::find(column)).collect::<Result<_, _>>()?;
    let measured = |cell: &Cell, key: &str| cell.estimate(key).mean.is_finite();
    let metrics: Vec<_> =
        metrics.into_iter().filter(|metric| result.cells.iter().any(|cell| measured(cell, metric.key))).collect();
    let mut out = String::from("\n| ");
    out.push_str(phrase(lang, "variant", "방식"));
    for metric in &metrics {
        let _ = write!(out, " | {}", metric.title(lang));
    }
    out.push_str(" |\n|---");
    out.push_str(&"|--:".repeat(metrics.len()));
    out.push_str("|\n");
    for cell in &result.cells {
        let coordinates = result.coordinates(cell).join(" · ");
        let _ = write!(out, "| {} {coordinates}", label(&cell.variant, lang));
        for metric in &metrics {
            let _ = write!(out, " | {}", in_a_cell(&with_interval(metric.unit, &cell.estimate(metric.key))));
        }
        out.push_str(" |\n");
    }
    Ok(out)
}

/// A figure and its interval on two lines, which keeps columns narrow.
pub(crate) fn in_a_cell(figure: &str) -> String {
    figure.replace(" ± ", "<br>± ")
}

fn checked(claims: &[Claim], lang: Lang) -> String {
    if claims.is_empty() {
        return String::new();
    }
    let failed = claims.iter().filter(|claim| !claim.holds).count();
    let (open, of) = (if failed > 0 { " open" } else { "" }, claims.len());
    let head = match (lang, failed) {
        (Lang::En, 0) => format!("Claims checked with these runs: all {of} hold"),
        (Lang::En, _) => format!("Claims checked with these runs: {failed} of {of} do not hold"),
        (Lang::Ko, 0) => format!("이 실행으로 확인한 주장 {of}개: 모두 성립"),
        (Lang::Ko, _) => format!("이 실행으로 확인한 주장 {of}개: {failed}개가 성립하지 않음"),
    };
    let mut out = format!("\n<details{open}><summary>{head}</summary>\n\n");
    for Claim { text, figures, holds } in claims {
        let mark = match (holds, lang) {
            (true, _) => "✓",
            (false, Lang::En) => "✗ **does not hold**",
            (false, Lang::Ko) => "✗ **성립하지 않음**",
        };
        let _ = writeln!(out, "- {mark} `{text}` ({figures})");
    }
    out.push_str("\n</details>\n");
    out
}

/// The Markdown with plots as files next to it.
pub(crate) fn with_files(markdown: &str, drawn: &[Drawn], folder: &str) -> String {
    drawn.iter().fold(markdown.to_owned(), |text, plot| {
        text.replace(&format!("]({})", plot.name), &format!("]({folder}/{}.svg)", plot.name))
    })
}

/// One self-contained page with the plots in it.
pub(crate) fn page(title: &str, markdown: &str, drawn: &[Drawn], lang: Lang) -> String {
    let mut body = String::new();
    let mut inside = false;
    let mut heading = false;
    let mut headings: Vec<String> = Vec::new();
    let events = Parser::new_ext(markdown, Options::ENABLE_TABLES).filter_map(|event| match event {
        Event::Start(Tag::Heading { level: HeadingLevel::H2, classes, attrs, .. }) => {
            heading = true;
            headings.push(String::new());
            let id = Some(CowStr::from(format!("part-{}", headings.len())));
            Some(Event::Start(Tag::Heading { level: HeadingLevel::H2, id, classes, attrs }))
        }
        Event::End(TagEnd::Heading(HeadingLevel::H2)) => {
            heading = false;
            Some(event)
        }
        Event::Text(text) if heading => {
            if let Some(last) = headings.last_mut() {
                last.push_str(&text);
            }
            Some(Event::Text(text))
        }
        Event::Start(Tag::Image { dest_url, .. }) if drawn.iter().any(|plot| *plot.name == *dest_url) => {
            inside = true;
            let svg = drawn.iter().find(|plot| *plot.name == *dest_url).map_or("", |plot| plot.svg.as_str());
            Some(Event::Html(CowStr::from(format!("<span class=\"plot\">{svg}</span>"))))
        }
        Event::End(TagEnd::Image) if inside => {
            inside = false;
            None
        }
        // The image's alternative text, which the inlined drawing has as its label.
        Event::Text(_) if inside => None,
        other => Some(other),
    });
    html::push_html(&mut body, events);
    // The table of contents goes before the first section.
    let links = headings
        .iter()
        .enumerate()
        .map(|(index, heading)| format!("<a href=\"#part-{}\">{}</a>", index + 1, super::svg::escape(heading)));
    let contents = format!("<nav>{}</nav>\n<h2 id=\"part-1\"", links.collect::<String>());
    let body = body.replacen("<h2 id=\"part-1\"", &contents, 1);
    let language = phrase(lang, "en", "ko");
    format!(
        "<!doctype html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         {body}</main>\n</body>\n</html>\n"
    )
}

/// CSV with one line per metric and run.
fn csv(all: &[Results]) -> String {
    let mut out = csv::Writer::from_writer(Vec::new());
    let header = ["experiment", "case", "variant", "settings", "seed", "metric", "value"];
    out.write_record(header).expect("writing to a Vec never fails");
    for results in all {
        for case in &results.cases {
            for cell in &case.cells {
                let settings = case.coordinates(cell).join(";");
                for (seed, run) in cell.runs.iter().enumerate() {
                    for (metric, value) in run.metrics.iter().filter(|(_, value)| value.is_finite()) {
                        let (experiment, seed) = (&results.experiment.name, seed + 1);
                        out.serialize((experiment, &case.name, &cell.variant.name, &settings, seed, metric, value))
                            .expect("writing to a Vec never fails");
                    }
                }
            }
        }
    }
    String::from_utf8(out.into_inner().expect("writing to a Vec never fails")).expect("it is text")
}

#[derive(Serialize)]
struct JsonExperiment<'a> {
    name: &'a str,
    quick: bool,
    seeds: u32,
    cases: Vec<JsonCase<'a>>,
}

#[derive(Serialize)]
struct JsonCase<'a> {
    name: &'a str,
    seconds: f64,
    cells: Vec<JsonCell<'a>>,
}

#[derive(Serialize)]
struct JsonCell<'a> {
    variant: &'a str,
    settings: Vec<String>,
    estimates: std::collections::BTreeMap<&'static str, Estimate>,
    /// Transitions of the first seed.
    transitions: &'a [super::tally::Moved],
    runs: Vec<&'a std::collections::BTreeMap<&'static str, f64>>,
}

/// All results as JSON; figures that are not finite are null.
fn json(all: &[Results]) -> Result<String, String> {
    let experiments: Vec<_> = all
        .iter()
        .map(|results| JsonExperiment {
            name: &results.experiment.name,
            quick: results.quick,
            seeds: results.seeds,
            cases: results.cases.iter().map(json_case).collect(),
        })
        .collect();
    serde_json::to_string_pretty(&experiments).map(|text| text + "\n").map_err(|error| error.to_string())
}

fn json_case(case: &CaseResult) -> JsonCase<'_> {
    let cells = case.cells.iter().map(|cell| JsonCell {
        variant: &cell.variant.name,
        settings: case.coordinates(cell),
        estimates: metrics::ALL
            .iter()
            .map(|metric| (metric.key, cell.estimate(metric.key)))
            .filter(|(_, estimate)| estimate.mean.is_finite())
            .collect(),
        transitions: cell.runs.first().map_or(&[], |run| run.transitions.as_slice()),
        runs: cell.runs.iter().map(|run| &run.metrics).collect(),
    });
    JsonCase { name: &case.name, seconds: case.length.as_secs_f64(), cells: cells.collect() }
}
