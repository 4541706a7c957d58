//! A dashboard: variables, annotations and links are the same on all of them; sections differ.

use breakerbox_telemetry::names;
use serde_json::{Value, json};

use super::annotations;
use super::panel::{Panel, datasource};

/// Version of Grafana that the files are written for.
pub const GRAFANA: &str = "13.2.3";

/// A page of panels.
pub struct Dashboard {
    pub uid: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    /// The series whose values of `job` and `instance` can be selected.
    pub lists_targets_by: &'static str,
    /// Additional variables.
    pub variables: Vec<Value>,
    pub sections: Vec<Section>,
}

/// Panels under one heading. Positions are relative to the top of the section.
pub struct Section {
    /// `None` for the section at the top of the page.
    pub heading: Option<Heading>,
    pub panels: Vec<([u32; 4], Panel)>,
}

pub struct Heading {
    pub title: &'static str,
    pub collapsed: bool,
    /// The variable for each of whose selected values the section is repeated.
    pub repeat: Option<&'static str>,
}

impl Section {
    pub fn top(panels: Vec<([u32; 4], Panel)>) -> Self {
        Self { heading: None, panels }
    }

    pub fn titled(title: &'static str, panels: Vec<([u32; 4], Panel)>) -> Self {
        Self { heading: Some(Heading { title, collapsed: false, repeat: None }), panels }
    }

    /// Collapsed by default.
    pub fn folded(title: &'static str, panels: Vec<([u32; 4], Panel)>) -> Self {
        Self { heading: Some(Heading { title, collapsed: true, repeat: None }), panels }
    }

    /// Collapsed by default, and repeated for each value of a variable.
    pub fn repeated(title: &'static str, variable: &'static str, panels: Vec<([u32; 4], Panel)>) -> Self {
        Self { heading: Some(Heading { title, collapsed: true, repeat: Some(variable) }), panels }
    }
}

impl Dashboard {
    pub fn json(&self) -> Value {
        let mut variables = common_variables(self.lists_targets_by);
        variables.extend(self.variables.iter().cloned());
        json!({
            "uid": self.uid, "title": self.title, "description": self.description, "tags": ["breakerbox"],
            "schemaVersion": 42, "version": 1, "editable": false, "graphTooltip": 1, "liveNow": false,
            "refresh": "5s", "time": { "from": "now-15m", "to": "now" }, "timezone": "browser",
            "timepicker": { "refresh_intervals": ["5s", "10s", "30s", "1m", "5m"] },
            "fiscalYearStartMonth": 0, "weekStart": "",
            "links": [{
                "type": "dashboards", "tags": ["breakerbox"], "asDropdown": true, "title": "Breakerbox dashboards",
                "includeVars": true, "keepTime": true, "targetBlank": false, "icon": "external link", "tooltip": "", "url": "",
            }],
            "templating": { "list": variables },
            "annotations": { "list": annotations::all(
                self.uid,
                &self.ids(|_, panel| panel.is_lanes()),
                &self.ids(|[_, _, width, _], panel| width < HALF && panel.is_narrow_graph()),
            ) },
            "panels": self.panels(),
        })
    }

    /// Ids of the panels of one kind, in the order of the page.
    fn ids(&self, wanted: fn([u32; 4], &Panel) -> bool) -> Vec<u32> {
        let of = |(number, section): (u32, &Section)| -> Vec<u32> {
            let numbered = (first_id(number) + 1..).zip(&section.panels);
            numbered.filter(|(_, (place, panel))| wanted(*place, panel)).map(|(id, _)| id).collect()
        };
        (0u32..).zip(&self.sections).flat_map(of).collect()
    }

    fn panels(&self) -> Vec<Value> {
        let (mut out, mut y) = (Vec::new(), 0);
        for (number, section) in (0u32..).zip(&self.sections) {
            let first = first_id(number);
            if section.heading.is_some() {
                y += 1;
            }
            let placed: Vec<_> = (first + 1..)
                .zip(&section.panels)
                .map(|(id, ([x, own_y, w, h], panel))| panel.json(id, [*x, y + own_y, *w, *h]))
                .collect();
            let height = section.panels.iter().map(|([_, own_y, _, h], _)| own_y + h).max().unwrap_or(0);
            match &section.heading {
                None => out.extend(placed),
                Some(heading) => {
                    let mut row = json!({
                        "id": first, "type": "row", "title": heading.title, "collapsed": heading.collapsed,
                        "gridPos": { "x": 0, "y": y - 1, "w": 24, "h": 1 }, "panels": [],
                    });
                    if let Some(variable) = heading.repeat {
                        row["repeat"] = json!(variable);
                    }
                    if heading.collapsed {
                        row["panels"] = json!(placed);
                        out.push(row);
                        continue;
                    }
                    out.push(row);
                    out.extend(placed);
                }
            }
            y += height;
        }
        out
    }
}

/// Width of a graph that has another one beside it.
const HALF: u32 = 12;

/// Links refer to panels by id, so the ids of one section do not change when another one grows.
fn first_id(section: u32) -> u32 {
    section * 100 + 1
}

fn common_variables(targets: &str) -> Vec<Value> {
    let narrowed = r#"job=~"$job", instance=~"$instance""#;
    vec![
        json!({
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "regex": "",
            "description": "The Prometheus that scrapes Breakerbox.", "hide": 0, "refresh": 1, "multi": false, "includeAll": false,
            "current": { "text": "Prometheus", "value": "prometheus", "selected": true }, "options": [], "skipUrlSync": false,
        }),
        choice("job", "Job", targets, "job"),
        choice("instance", "Instance", &format!("{targets}{{job=~\"$job\"}}"), "instance"),
        choice("service", "Service", &format!("{}{{{narrowed}}}", names::HTTP_SERVER_ACTIVE_REQUESTS.name), "service"),
        choice(
            "breaker",
            "Breaker",
            &format!("{}{{{narrowed}, service=~\"$service\"}}", names::CIRCUIT_BREAKER_STATE.name),
            "breaker",
        ),
    ]
}

/// A variable with the values of a label. "All" is a pattern and not a list, so that a service that
/// appears after the page was opened is on it, too.
fn choice(name: &str, label: &str, series: &str, values_of: &str) -> Value {
    let query = format!("label_values({series}, {values_of})");
    json!({
        "name": name, "label": label, "type": "query", "datasource": datasource(), "definition": query,
        "query": { "qryType": 1, "query": query, "refId": "StandardVariableQuery" }, "regex": "",
        "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".+", "hide": 0, "skipUrlSync": false,
        "current": { "text": ["All"], "value": ["$__all"], "selected": true }, "options": [],
    })
}
