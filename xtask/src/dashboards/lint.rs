//! Requirements on every dashboard, including those of Grafana's dashboard-linter.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{pages, promql, theme};

/// Every panel of a page, including those of collapsed sections, without headings.
pub fn panels(page: &Value) -> Vec<&Value> {
    all(page).into_iter().filter(|panel| panel["type"] != "row").collect()
}

fn all(page: &Value) -> Vec<&Value> {
    let list = |value: &'_ Value| value.as_array().map_or(0, Vec::len);
    let mut out = Vec::new();
    for at in 0..list(&page["panels"]) {
        let panel = &page["panels"][at];
        out.push(panel);
        for inner in 0..list(&panel["panels"]) {
            out.push(&panel["panels"][inner]);
        }
    }
    out
}

/// The Prometheus queries of a panel.
pub fn queries(panel: &Value) -> Vec<&Value> {
    let targets = panel["targets"].as_array().into_iter().flatten();
    targets.filter(|target| target["datasource"]["type"] == "prometheus").collect()
}

/// The annotations that query a data source.
pub fn annotations(page: &Value) -> Vec<&Value> {
    let list = page["annotations"]["list"].as_array().expect("every page has annotations");
    list.iter().filter(|event| event["builtIn"].is_null()).collect()
}

pub fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_else(|| panic!("{key} is missing in {of}"))
}

/// Runs a check on every panel; the text names it in errors.
fn each_panel(check: impl Fn(&Value, &str)) {
    for page in pages() {
        let json = page.json();
        for panel in panels(&json) {
            check(panel, &format!("{} / {}", page.uid, text(panel, "title")));
        }
    }
}

#[test]
fn every_page_opens_alike() {
    let mut uids = BTreeSet::new();
    for page in pages() {
        let json = page.json();
        assert!(uids.insert(page.uid), "{} is there twice", page.uid);
        assert!(page.uid.len() <= 40 && page.uid.starts_with("breakerbox-"), "{}", page.uid);
        assert_eq!(json["schemaVersion"], 42, "classic JSON: file provisioning refuses the new form");
        assert_eq!((&json["refresh"], &json["time"]["from"]), (&"5s".into(), &"now-15m".into()));
        assert_eq!(json["graphTooltip"], 1, "one crosshair over all panels");
        assert_eq!(json["editable"], false, "a change in the browser would be lost");
        assert!(json.get("id").is_none(), "ids belong to an installation");
        assert_eq!(json["links"][0]["tags"], json["tags"], "each page links to all others");
        assert_eq!(annotations(&json).len(), 6, "{}", page.uid);
    }
}

#[test]
fn variables_are_those_that_dashboards_elsewhere_have() {
    for page in pages() {
        let json = page.json();
        let list = json["templating"]["list"].as_array().unwrap();
        let names: Vec<_> = list.iter().map(|v| text(v, "name")).collect();
        assert_eq!(names[..5], ["datasource", "job", "instance", "service", "breaker"], "{}", page.uid);
        assert_eq!((text(&list[0], "type"), text(&list[0], "label")), ("datasource", "Data source"));
        for variable in &list[1..5] {
            assert_eq!(variable["datasource"]["uid"], "${datasource}");
            assert_eq!((&variable["multi"], &variable["includeAll"]), (&true.into(), &true.into()));
            assert_eq!(variable["allValue"], ".+");
            assert_eq!(variable["refresh"], 2, "asked anew when the time range changes");
        }
    }
}

#[test]
fn every_panel_says_what_it_shows_and_what_to_do() {
    each_panel(|panel, at| {
        let description = text(panel, "description");
        assert!(description.len() >= 40 && description.ends_with('.'), "{at}: {description:?} explains too little");
        assert!(!text(&panel["fieldConfig"]["defaults"], "noValue").is_empty(), "{at}: an empty panel must say why");
    });
}

#[test]
fn every_panel_has_a_unit_that_grafana_knows() {
    const UNITS: &[&str] = &["none", "short", "percentunit", "s", "bytes", "reqps", "dateTimeFromNow", "currencyKRW"];
    let known = |unit: &str| UNITS.contains(&unit) || unit.starts_with("suffix:");
    each_panel(|panel, at| {
        let unit = text(&panel["fieldConfig"]["defaults"], "unit");
        assert!(known(unit), "{at}: unit {unit:?}");
        for property in panel["fieldConfig"]["overrides"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|o| o["properties"].as_array().unwrap())
        {
            assert!(property["id"] != "unit" || known(text(property, "value")), "{at}: {property}");
        }
    });
}

#[test]
fn scales_start_where_the_measure_does() {
    each_panel(|panel, at| {
        let (kind, scale) = (text(panel, "type"), &panel["fieldConfig"]["defaults"]);
        if matches!(kind, "timeseries" | "gauge" | "bargauge") {
            assert!(scale["min"].is_number(), "{at}: the lower end of the scale follows the data");
        }
        if matches!(kind, "gauge" | "bargauge") {
            assert!(scale["max"].is_number(), "{at}: the upper end of the scale follows the data");
        }
    });
}

#[test]
fn panels_ask_the_chosen_data_source_and_nothing_else() {
    each_panel(|panel, at| {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{at}: asks nothing");
        for asked in targets.iter().chain([panel]) {
            let source = &asked["datasource"];
            let variable = if source["type"] == "jaeger" { "${jaeger_datasource}" } else { "${datasource}" };
            assert_eq!(source["uid"], variable, "{at}");
        }
        for query in queries(panel) {
            assert!(
                query["exemplar"] == false || text(query, "expr").contains("_bucket{"),
                "{at}: only histograms have exemplars"
            );
        }
    });
    for page in pages() {
        for event in annotations(&page.json()) {
            assert_eq!(event["datasource"]["uid"], "${datasource}", "{} / {}", page.uid, text(event, "name"));
        }
    }
}

#[test]
fn every_selector_obeys_the_variables_at_the_top() {
    for page in pages() {
        let json = page.json();
        let asked = panels(&json).into_iter().flat_map(queries).chain(annotations(&json));
        for expr in asked.map(|query| text(query, "expr")) {
            for selector in
                promql::read(expr).selectors.iter().filter(|selector| !selector.metric.starts_with("ALERTS"))
            {
                for variable in ["job", "instance"] {
                    let wanted = (variable.to_owned(), "=~".to_owned(), format!("${variable}"));
                    assert!(
                        selector.matchers.contains(&wanted),
                        "{}: {} lacks {variable} in {expr}",
                        page.uid,
                        selector.metric
                    );
                }
                // Grafana escapes a value with special characters of a regex only if it is the entire value of a `=~`.
                for (label, op, value) in selector.matchers.iter().filter(|(_, _, value)| value.contains('$')) {
                    assert!(
                        op == "=~" && *value == format!("${label}"),
                        "{}: {label}{op}{value:?} in {expr}",
                        page.uid
                    );
                }
            }
        }
    }
}

#[test]
fn every_variable_in_a_query_exists() {
    // `$1` is a capture group, not a variable.
    const BUILT_IN: &[&str] = &["__rate_interval", "__interval", "__range", "1"];
    for page in pages() {
        let json = page.json();
        let own: Vec<_> =
            json["templating"]["list"].as_array().unwrap().iter().map(|v| text(v, "name").to_owned()).collect();
        for expr in panels(&json).into_iter().flat_map(queries).map(|query| text(query, "expr")) {
            for used in expr.split('$').skip(1) {
                let end = used.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(used.len());
                let name = &used[..end];
                assert!(BUILT_IN.contains(&name) || own.iter().any(|v| v == name), "{}: ${name} in {expr}", page.uid);
            }
        }
    }
}

#[test]
fn panels_lie_side_by_side_and_have_names_of_their_own() {
    for page in pages() {
        let json = page.json();
        let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
        for panel in all(&json) {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}: two panels have id {}", page.uid, panel["id"]);
            assert!(titles.insert(text(panel, "title")), "{}: two panels are called {}", page.uid, panel["title"]);
        }
        // A collapsed section takes up space only when it is opened, and then moves the panels below.
        let open: Vec<_> = json["panels"].as_array().unwrap().iter().collect();
        let folded = open.iter().map(|row| row["panels"].as_array().into_iter().flatten().collect::<Vec<_>>());
        for group in folded.chain([open.clone()]) {
            lie_apart(&group, page.uid);
        }
    }
}

fn lie_apart(group: &[&Value], uid: &str) {
    let mut taken = BTreeMap::new();
    for panel in group {
        let cell = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(cell("x") + cell("w") <= 24, "{uid} / {} is wider than the page", panel["title"]);
        for (x, y) in
            (cell("x")..cell("x") + cell("w")).flat_map(|x| (cell("y")..cell("y") + cell("h")).map(move |y| (x, y)))
        {
            let before = taken.insert((x, y), panel["title"].clone());
            assert!(before.is_none(), "{uid}: {} lies on {}", panel["title"], before.unwrap());
        }
    }
}

#[test]
fn a_sentence_stands_on_top_of_every_page() {
    for page in pages() {
        let json = page.json();
        let first = &json["panels"][0];
        assert_eq!((text(first, "type"), &first["options"]["textMode"]), ("stat", &"name".into()), "{}", page.uid);
        let place = &first["gridPos"];
        assert_eq!((&place["x"], &place["y"], &place["w"]), (&0.into(), &0.into(), &24.into()), "{}", page.uid);
        let lines: Vec<_> = queries(first).iter().map(|query| text(query, "legendFormat").to_owned()).collect();
        assert!(lines.len() >= 3, "{}: {lines:?}", page.uid);
        for line in lines {
            assert!(line.ends_with('.') || line.ends_with("{{twin}}"), "{}: {line:?} is no sentence", page.uid);
        }
    }
}

#[test]
fn few_events_are_drawn_before_a_switch_is_used() {
    for page in pages() {
        let json = page.json();
        let shown: Vec<_> = annotations(&json)
            .into_iter()
            .filter(|e| e["enable"] == true)
            .map(|e| text(e, "name").to_owned())
            .collect();
        let watch = page.uid == "breakerbox-stack";
        let wanted: &[&str] = if watch { &["Restart"] } else { &["Fault on (shaded)", "Breaker opened"] };
        assert_eq!(shown, wanted, "{}", page.uid);
    }
}

/// Values that may be red: harm to viewers, orders or the monitoring itself. An open breaker is the only exception,
/// because red is the established colour for it.
const HARM: &[&str] = &[
    "error",
    "failed pages, 5 minutes",
    "failed pages, 1 hour",
    "open",
    "critical",
    "down",
    "dead",
    "charged_again",
    "lost",
    "refused",
    "not sent",
    "errors",
];

/// Panels whose numbers turn red from a threshold on.
const RED_FROM_A_STEP: &[&str] = &[
    "Summary",
    "Lost in the selected time range, both shops",
    "Error budgets left",
    "The four routes with most errors in the last minute",
    "Rate, errors, duration by route",
    "Every service now, from the traffic of both gateways",
];

/// Names of a panel's red series and words; a red threshold has the panel's title.
fn reds(panel: &Value) -> Vec<String> {
    let (field, mut found) = (&panel["fieldConfig"], Vec::new());
    let stepped = |of: &Value| of["steps"].as_array().into_iter().flatten().any(|step| step["color"] == theme::BAD);
    let words = |of: &Value| -> Vec<String> {
        let all = of.as_array().into_iter().flatten().filter_map(|one| one["options"].as_object()).flatten();
        all.filter(|(_, word)| word["color"] == theme::BAD).map(|(_, word)| text(word, "text").to_owned()).collect()
    };
    if stepped(&field["defaults"]["thresholds"]) {
        found.push(text(panel, "title").to_owned());
    }
    found.extend(words(&field["defaults"]["mappings"]));
    for override_ in field["overrides"].as_array().unwrap() {
        for property in override_["properties"].as_array().unwrap() {
            let value = &property["value"];
            match text(property, "id") {
                "color" if value["fixedColor"] == theme::BAD => {
                    found.push(text(&override_["matcher"], "options").to_owned());
                }
                "mappings" => found.extend(words(value)),
                "thresholds" if stepped(value) => found.push(text(panel, "title").to_owned()),
                _ => {}
            }
        }
    }
    found
}

#[test]
fn red_is_only_for_harm() {
    each_panel(|panel, at| {
        for red in reds(panel) {
            let known = HARM.contains(&red.as_str()) || RED_FROM_A_STEP.contains(&red.as_str());
            assert!(known, "{at}: {red:?} is red, but is not harm");
        }
    });
}

#[test]
fn a_moment_is_one_vertical_line() {
    for page in pages() {
        let json = page.json();
        let mut margins: BTreeMap<(u64, u64, u64), (u64, String)> = BTreeMap::new();
        let mut section = 0;
        for panel in all(&json) {
            let kind = text(panel, "type");
            section += u64::from(kind == "row");
            if !matches!(kind, "timeseries" | "state-timeline") {
                continue;
            }
            let cell = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            let width = panel["fieldConfig"]["defaults"]["custom"]["axisWidth"].as_u64();
            let width =
                width.unwrap_or_else(|| panic!("{} / {}: the left margin follows the data", page.uid, panel["title"]));
            let title = text(panel, "title").to_owned();
            let (other, above) = margins.entry((section, cell("x"), cell("w"))).or_insert((width, title.clone()));
            assert_eq!(*other, width, "{}: {title:?} starts elsewhere than {above:?} above it", page.uid);
        }
    }
}

#[test]
fn no_page_uses_words_that_only_its_author_knows() {
    const RIDDLES: &[&str] =
        &["bare", "no error", "spent exactly", "blind", "held back", "empty in", "judges", "trips here", "in vain"];
    let check = |said: &str, at: &str| {
        let lower = said.to_lowercase();
        for riddle in RIDDLES {
            let mut words = lower.match_indices(riddle).filter(|(place, _)| {
                let (before, after) = (&lower[..*place], &lower[place + riddle.len()..]);
                let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-');
                !letter(before.chars().next_back()) && !letter(after.chars().next())
            });
            assert!(words.next().is_none(), "{at}: {said:?} says {riddle:?}");
        }
    };
    each_panel(|panel, at| {
        check(text(panel, "title"), at);
        check(text(panel, "description"), at);
        for query in queries(panel) {
            check(text(query, "legendFormat"), at);
        }
    });
}

#[test]
fn an_override_by_name_finds_something_to_override() {
    each_panel(|panel, at| {
        let mut known: BTreeSet<String> =
            queries(panel).iter().map(|query| text(query, "legendFormat").to_owned()).collect();
        known.extend(theme::MEANINGS.iter().map(|(name, _)| (*name).to_owned()));
        for transformation in panel["transformations"].as_array().unwrap() {
            let renamed = transformation["options"]["renameByName"].as_object();
            known.extend(
                renamed.into_iter().flat_map(|names| names.values()).map(|name| name.as_str().unwrap().to_owned()),
            );
        }
        let overrides = panel["fieldConfig"]["overrides"].as_array().unwrap();
        for override_ in overrides.iter().filter(|o| o["matcher"]["id"] == "byName") {
            let name = text(&override_["matcher"], "options");
            assert!(known.contains(name), "{at}: nothing is called {name:?}");
        }
    });
}

#[test]
fn links_between_pages_lead_somewhere() {
    let uids: Vec<_> = pages().iter().map(|page| page.uid).collect();
    each_panel(|panel, at| {
        for link in panel["links"].as_array().unwrap() {
            let uid = text(link, "url").trim_start_matches("/d/").split('?').next().unwrap();
            assert!(uids.contains(&uid), "{at}: no page {uid}");
        }
    });
}

/// All texts of a page, at any depth.
fn texts(of: &Value) -> Vec<&str> {
    match of {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn an_imported_page_finds_other_jobs_and_data_sources() {
    // Grafana replaces the initial value of a variable by an existing one; any other text is used unchanged.
    const OWN_UIDS: &[&str] = &["prometheus", "jaeger"];
    for page in pages() {
        let json = page.json();
        let uids = texts(&json["templating"]).into_iter().filter(|text| OWN_UIDS.contains(text)).count();
        assert!(uids >= 1, "{}: the data source is no variable", page.uid);
        for variable in json["templating"]["list"].as_array().unwrap() {
            assert!(variable["type"] != "query" || variable["current"]["value"][0] == "$__all", "{variable}");
        }
        for panel in panels(&json).into_iter().chain(annotations(&json)) {
            for source in sources(panel) {
                assert!(text(source, "uid").starts_with("${"), "{}: {source} exists in one Grafana alone", page.uid);
            }
        }
        for query in panels(&json).into_iter().flat_map(queries).chain(annotations(&json)) {
            for selector in promql::read(text(query, "expr")).selectors {
                let fixed = |(label, _, value): &&(String, String, String)| {
                    matches!(label.as_str(), "job" | "instance") && !value.starts_with('$')
                };
                let found = selector.matchers.iter().find(fixed);
                assert!(found.is_none(), "{}: {} asks for one job alone: {found:?}", page.uid, selector.metric);
            }
        }
    }
}

/// Every data source of a panel or an annotation, at any depth.
fn sources(of: &Value) -> Vec<&Value> {
    match of {
        Value::Array(list) => list.iter().flat_map(sources).collect(),
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| if key == "datasource" { vec![value] } else { sources(value) })
            .collect(),
        _ => Vec::new(),
    }
}
