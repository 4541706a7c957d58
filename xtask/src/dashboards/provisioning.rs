//! Tests that Grafana's provisioning files agree with the dashboards.

use std::fs;

use super::lint::{panels, text};
use super::pages;

fn read(file: &str) -> String {
    let path = crate::root().join("grafana/provisioning").join(file);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn data_sources_have_the_uids_that_pages_start_with() {
    let sources = read("datasources/breakerbox.yml");
    for page in pages() {
        for variable in
            page.json()["templating"]["list"].as_array().unwrap().iter().filter(|v| v["type"] == "datasource")
        {
            let uid = text(&variable["current"], "value");
            assert!(sources.contains(&format!("uid: {uid}\n")), "{}: no data source {uid}", page.uid);
        }
    }
    assert!(sources.contains("datasourceUid: jaeger"), "exemplars lead to the traces");
    assert!(sources.contains("timeInterval: 5s"), "$__rate_interval is four scrapes of 5 s");
}

#[test]
fn pages_stay_as_their_files_say() {
    let provider = read("dashboards/breakerbox.yml");
    assert!(provider.contains("allowUiUpdates: false") && provider.contains("folder: Breakerbox"));
}

#[test]
fn no_page_is_so_large_that_it_loads_slowly() {
    for page in pages() {
        let json = page.json();
        let asked: usize = panels(&json).iter().map(|panel| panel["targets"].as_array().unwrap().len()).sum();
        assert!(asked <= 80, "{} asks {asked} questions every 5 seconds", page.uid);
    }
}
