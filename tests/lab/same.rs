//! The same seed gives the same bytes, whatever else differs.

use breakerbox::lab::{self, Lang};

use crate::run;

const SHORT: &str = r#"
    name = "short"
    title.en = "Short"
    question.en = "?"
    columns = ["served", "p99", "opens"]
    seeds = 4
    [[case]]
    name = "short"
    duration = "1m"
    load = { rate = 20 }
    [[case.dependency]]
    name = "api"
    latency = { log_normal = { median = "60ms", sigma = 0.5 } }
    capacity = 10
    instances = 2
    [[case.fault]]
    at = "20s"
    for = "20s"
    target = "api"
    fault = { error_rate = 0.7, hang_rate = 0.1 }
    [[case.variant]]
    name = "bare"
    [[case.variant]]
    name = "guarded"
    [case.variant.policy.api]
    retry = { max-attempts = 2 }
    hedge = { percentile = 90 }
    circuit-breaker = { sliding-window-size = 20, minimum-number-of-calls = 10, wait-duration-in-open-state = "5s", open-wait-jitter = 0.5 }
    [[plot]]
    kind = "timeline"
    title.en = "Served"
    metric = "served"
    [[plot]]
    kind = "states"
    title.en = "States"
"#;

#[test]
fn the_same_seeds_give_the_same_bytes_whatever_the_jobs() {
    let files = |jobs| lab::render(&[run(SHORT, jobs)], Lang::En).unwrap();
    let (one, three) = (files(1), files(3));
    assert_eq!(one.len(), 6, "csv, json, html, md and two plots");
    assert!(one == three, "the files differ");
}

#[test]
fn another_number_of_seeds_leaves_the_first_ones_alone() {
    let csv = |seeds: &str| {
        let files = lab::render(&[run(&SHORT.replace("seeds = 4", seeds), 2)], Lang::En).unwrap();
        files.into_iter().find(|(name, _)| name == "results.csv").unwrap().1
    };
    let first = |csv: &str| csv.lines().filter(|line| line.contains(",1,")).map(str::to_owned).collect::<Vec<_>>();
    let (four, two) = (csv("seeds = 4"), csv("seeds = 2"));
    assert_eq!(first(&four), first(&two));
    assert_ne!(four, two);
}

#[test]
fn the_page_holds_its_plots_and_needs_nothing_from_outside() {
    let files = lab::render(&[run(SHORT, 2)], Lang::Ko).unwrap();
    let page = &files.iter().find(|(name, _)| name == "report.html").unwrap().1;
    assert_eq!(page.matches("<svg").count(), 2);
    assert!(page.contains("lang=\"ko\"") && page.contains("시드"));
    for outside in ["<script", "<link", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let links = page.matches("http").count();
    assert_eq!(links, page.matches("http://www.w3.org/2000/svg").count(), "only the SVG namespace");
}

#[test]
fn every_built_in_experiment_is_valid_and_in_both_languages() {
    let all = lab::built_in().unwrap();
    let names: std::collections::BTreeSet<_> = all.iter().map(|experiment| experiment.name.as_str()).collect();
    assert_eq!((names.len(), all.len()), (12, 12), "{names:?}");
    for experiment in &all {
        assert!(experiment.seeds >= 20, "{}: intervals over {} seeds", experiment.name, experiment.seeds);
        for text in [&experiment.title, &experiment.question, &experiment.reading] {
            assert!(!text.en.is_empty() && !text.ko.is_empty(), "{}", experiment.name);
        }
        assert!(!experiment.expect.is_empty(), "{} has no claims", experiment.name);
        assert!(!experiment.plots.is_empty(), "{} has no figures", experiment.name);
        for plot in &experiment.plots {
            assert!(!plot.title.ko.is_empty(), "{}: {}", experiment.name, plot.title.en);
        }
    }
}

#[test]
fn a_wrong_experiment_is_refused_with_the_field() {
    for (from, to, expected) in [
        ("seeds = 4", "seeds = 0", "seeds"),
        ("instances = 2", "instances = 0", "instances"),
        ("target = \"api\"", "target = \"apy\"", "no dependency \"apy\""),
        ("for = \"20s\"", "for = \"90s\"", "shorter than its faults"),
        ("max-attempts = 2", "max-attempts = 99", "retry.max-attempts = 99"),
        ("\"served\", \"p99\"", "\"severed\"", "no metric \"severed\""),
        ("kind = \"states\"", "kind = \"pie\"", "plot"),
        ("rate = 20", "rat = 20", "rat"),
    ] {
        let error = lab::Experiment::parse(&SHORT.replace(from, to)).unwrap_err();
        assert!(error.contains(expected), "{to}: {error}");
    }
}
