//! A panel and its queries, as types that are converted to Grafana's JSON.

use serde_json::{Map, Value, json};

use super::theme;

/// Type of a panel, which determines its options.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    TimeSeries,
    StateTimeline,
    Stat,
    Gauge,
    Table,
    Heatmap,
    NodeGraph,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::TimeSeries => "timeseries",
            Self::StateTimeline => "state-timeline",
            Self::Stat => "stat",
            Self::Gauge => "gauge",
            Self::Table => "table",
            Self::Heatmap => "heatmap",
            Self::NodeGraph => "nodeGraph",
        }
    }
}

/// One query.
#[derive(Clone)]
pub struct Query {
    expr: String,
    legend: String,
    form: Form,
    exemplars: bool,
    step: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Range,
    Instant,
    Table,
    Heatmap,
}

impl Query {
    fn new(expr: impl Into<String>, legend: &str, form: Form) -> Self {
        Self { expr: expr.into(), legend: legend.to_owned(), form, exemplars: false, step: "" }
    }

    /// Values over the selected time range.
    pub fn over_time(expr: impl Into<String>, legend: &str) -> Self {
        Self::new(expr, legend, Form::Range)
    }

    /// The value at the end of the selected time range.
    pub fn now(expr: impl Into<String>, legend: &str) -> Self {
        Self::new(expr, legend, Form::Instant)
    }

    /// One column of a table, whose rows are identified by labels.
    pub fn column(expr: impl Into<String>) -> Self {
        Self::new(expr, "", Form::Table)
    }

    /// Buckets of a histogram over time.
    pub fn heat(expr: impl Into<String>) -> Self {
        Self::new(expr, "{{le}}", Form::Heatmap).counting()
    }

    /// One point per `$__rate_interval`, so that each event is counted once.
    pub fn counting(mut self) -> Self {
        self.step = "$__rate_interval";
        self
    }

    /// Adds exemplars, which open traces.
    pub fn with_exemplars(mut self) -> Self {
        self.exemplars = true;
        self
    }

    fn json(&self, index: usize) -> Value {
        let instant = matches!(self.form, Form::Instant | Form::Table);
        let format = match self.form {
            Form::Table => "table",
            Form::Heatmap => "heatmap",
            Form::Range | Form::Instant => "time_series",
        };
        json!({
            "refId": ref_id(index), "datasource": datasource(), "editorMode": "code", "expr": self.expr,
            "legendFormat": self.legend, "format": format, "instant": instant, "range": !instant,
            "exemplar": self.exemplars, "interval": self.step,
        })
    }
}

/// Grafana's name of the nth query: A, B ...
fn ref_id(index: usize) -> String {
    char::from(b'A' + u8::try_from(index).expect("a panel has less than 26 queries")).to_string()
}

/// The data source that is selected at the top of the page.
pub fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// The data source of traces.
pub fn jaeger() -> Value {
    json!({ "type": "jaeger", "uid": "${jaeger_datasource}" })
}

/// A panel without a position.
#[derive(Clone)]
pub struct Panel {
    kind: Kind,
    title: String,
    description: String,
    queries: Vec<Query>,
    /// Queries to Jaeger, of a panel without queries to Prometheus.
    traces: Vec<Value>,
    defaults: Map<String, Value>,
    custom: Map<String, Value>,
    overrides: Vec<Value>,
    options: Map<String, Value>,
    transformations: Vec<Value>,
    links: Vec<Value>,
}

impl Panel {
    /// A panel of this kind. `description` explains how to read it and what to do.
    pub fn new(kind: Kind, title: &str, description: &str) -> Self {
        let mut panel = Self {
            kind,
            title: title.to_owned(),
            description: description.to_owned(),
            queries: Vec::new(),
            traces: Vec::new(),
            defaults: Map::new(),
            custom: Map::new(),
            overrides: Vec::new(),
            options: Map::new(),
            transformations: Vec::new(),
            links: Vec::new(),
        };
        panel.look();
        panel
    }

    fn look(&mut self) {
        let reduce = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
        let legend = json!({ "showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": [] });
        let (options, custom, colour) = match self.kind {
            Kind::TimeSeries => (
                json!({ "legend": legend, "tooltip": { "mode": "multi", "sort": "desc" } }),
                json!({ "lineWidth": 2, "fillOpacity": 10, "showPoints": "never", "spanNulls": false, "axisSoftMin": 0,
                        "axisWidth": NUMBERS_WIDTH }),
                "palette-classic",
            ),
            Kind::StateTimeline => (
                json!({ "legend": { "showLegend": false, "displayMode": "list", "placement": "bottom" }, "mergeValues": true,
                        "showValue": "auto", "alignValue": "center", "rowHeight": 0.86, "perPage": 20,
                        "tooltip": { "mode": "single", "sort": "none" } }),
                json!({ "fillOpacity": 90, "lineWidth": 0, "axisWidth": AXIS_WIDTH }),
                "thresholds",
            ),
            Kind::Stat => (
                json!({ "reduceOptions": reduce, "colorMode": "background_solid", "graphMode": "none", "justifyMode": "center",
                        "orientation": "auto", "textMode": "auto", "wideLayout": true,
                        "percentChangeColorMode": "standard", "showPercentChange": false }),
                json!({}),
                "thresholds",
            ),
            Kind::Gauge => (
                json!({ "reduceOptions": reduce, "orientation": "auto", "showThresholdLabels": false, "showThresholdMarkers": true }),
                json!({}),
                "thresholds",
            ),
            Kind::Table => (
                json!({ "showHeader": true, "cellHeight": "sm" }),
                json!({ "align": "auto", "filterable": false }),
                "thresholds",
            ),
            Kind::NodeGraph => (json!({}), json!({}), "thresholds"),
            Kind::Heatmap => (
                json!({ "calculate": false, "cellGap": 1, "filterValues": { "le": 1e-9 }, "legend": { "show": true },
                        "color": { "mode": "scheme", "scheme": "Viridis", "steps": 64, "exponent": 0.5, "scale": "exponential", "reverse": false, "fill": "dark-orange" },
                        "exemplars": { "color": "rgba(255,0,255,0.7)" },
                        "tooltip": { "mode": "single", "yHistogram": true, "showColorScale": true }, "showValue": "never",
                        "rowsFrame": { "layout": "auto" }, "yAxis": { "axisPlacement": "left", "unit": "s", "reverse": false } }),
                json!({ "hideFrom": { "legend": false, "tooltip": false, "viz": false }, "scaleDistribution": { "type": "linear" } }),
                "thresholds",
            ),
        };
        for (into, from) in [(&mut self.options, options), (&mut self.custom, custom)] {
            into.extend(from.as_object().expect("written as objects above").clone());
        }
        self.defaults.insert("color".into(), json!({ "mode": colour }));
        self.defaults.insert("mappings".into(), json!([]));
        self.defaults.insert("thresholds".into(), steps(&[(None, theme::GOOD)]));
    }

    /// Whether the panel is a state timeline.
    pub fn is_lanes(&self) -> bool {
        self.kind == Kind::StateTimeline
    }

    pub fn ask(mut self, query: Query) -> Self {
        self.queries.push(query);
        self
    }

    /// Queries the series that were above 0 in the selected time range; if there are none, a line named `none` is
    /// shown.
    pub fn ask_eventful(self, by: &[&str], expr: &str, legend: &str, none: &str) -> Self {
        let happened = super::query::eventful(by, expr);
        let query = Query::over_time(happened, legend);
        // Each bucket has the trace of one of its calls.
        self.ask(if expr.contains("_bucket{") { query.with_exemplars() } else { query })
            .ask(Query::over_time(format!("vector(0) unless on () ({})", super::query::happened(expr)), none))
            .configure(theme::paint(none, theme::NEUTRAL))
    }

    /// Whether the panel is a graph beside others: too narrow for annotations other than shaded regions.
    pub fn is_narrow_graph(&self) -> bool {
        self.kind == Kind::TimeSeries && self.custom["axisWidth"] == json!(NUMBERS_WIDTH)
    }

    /// Queries Jaeger: `search` for traces, or the `dependencyGraph` of services.
    pub fn ask_jaeger(mut self, kind: &str, service: &str) -> Self {
        self.traces.push(json!({
            "refId": ref_id(self.traces.len()), "datasource": jaeger(), "queryType": kind, "service": service, "limit": 20,
        }));
        self
    }

    pub fn unit(mut self, unit: &str) -> Self {
        // A series without values is drawn at the bottom of the scale, not at its middle.
        if self.kind == Kind::TimeSeries {
            let soft_max = match unit {
                "none" | "short" | "suffix: /s" | "reqps" => Some(1.0),
                "s" => Some(0.1),
                _ => None,
            };
            self.custom.extend(soft_max.map(|top| ("axisSoftMax".to_owned(), json!(top))));
        }
        self.default("unit", json!(unit))
    }

    /// Ends of the scale; an unbounded value has only a lower one.
    pub fn between(self, min: f64, max: Option<f64>) -> Self {
        let panel = self.default("min", json!(min));
        if let Some(max) = max { panel.default("max", json!(max)) } else { panel }
    }

    pub fn decimals(self, decimals: u8) -> Self {
        self.default("decimals", json!(decimals))
    }

    /// Text that is shown without data.
    pub fn when_empty(self, text: &str) -> Self {
        self.default("noValue", json!(text))
    }

    /// Colours by value; the first step has no lower bound.
    pub fn steps(self, list: &[(Option<f64>, &str)]) -> Self {
        self.default("thresholds", steps(list))
    }

    /// Texts that are shown instead of numbers.
    pub fn words(self, mappings: Value) -> Self {
        self.default("mappings", mappings)
    }

    pub fn default(mut self, key: &str, value: Value) -> Self {
        self.defaults.insert(key.to_owned(), value);
        self
    }

    pub fn custom(mut self, key: &str, value: Value) -> Self {
        self.custom.insert(key.to_owned(), value);
        self
    }

    pub fn option(mut self, key: &str, value: Value) -> Self {
        self.options.insert(key.to_owned(), value);
        self
    }

    pub fn configure(mut self, override_: Value) -> Self {
        self.overrides.push(override_);
        self
    }

    /// Series with the names of these meanings have fixed colours.
    pub fn meanings(mut self, names: &[&str]) -> Self {
        self.overrides.extend(names.iter().map(|name| theme::paint(name, theme::colour(name))));
        self
    }

    /// Series with the names of services or dependencies have their colours.
    pub fn identities(mut self, list: &[(&str, &str)]) -> Self {
        self.overrides.extend(theme::identities(list));
        self
    }

    /// Stacked areas, whose sum is the total.
    pub fn stacked(self) -> Self {
        self.custom("stacking", json!({ "mode": "normal", "group": "A" }))
            .custom("fillOpacity", json!(75))
            .custom("lineWidth", json!(1))
    }

    /// The same left margin as the state timelines above and below, so that a moment is one vertical line.
    pub fn aligned(self) -> Self {
        self.custom("axisWidth", json!(AXIS_WIDTH))
    }

    /// A dashed line that shows a limit.
    pub fn limit(self, name: &str) -> Self {
        self.configure(theme::by_name(
            name,
            &[
                ("color", json!({ "mode": "fixed", "fixedColor": theme::LIMIT })),
                ("custom.lineStyle", json!({ "fill": "dash", "dash": [10, 6] })),
                ("custom.fillOpacity", json!(0)),
            ],
        ))
    }

    /// Columns of several queries, joined into rows by labels, with these names and in this order; others are left out.
    /// The last entry is a width; 0 leaves it to Grafana.
    pub fn columns(mut self, list: &[(&str, &str, u32)]) -> Self {
        let rename: Map<_, _> = list.iter().map(|(from, to, _)| ((*from).to_owned(), json!(to))).collect();
        let order: Map<_, _> =
            list.iter().enumerate().map(|(at, (from, ..))| ((*from).to_owned(), json!(at))).collect();
        let kept: Vec<_> = list.iter().map(|(from, ..)| *from).collect();
        for (_, to, width) in list.iter().filter(|(.., width)| *width > 0) {
            self.overrides.push(theme::by_name(to, &[("custom.width", json!(width))]));
        }
        self.transformations = vec![
            json!({ "id": "merge", "options": {} }),
            json!({ "id": "filterFieldsByName", "options": { "include": { "names": kept } } }),
            json!({ "id": "organize", "options": { "indexByName": order, "renameByName": rename, "excludeByName": {} } }),
        ];
        self
    }

    /// Link to a related dashboard.
    pub fn link(mut self, title: &str, url: &str) -> Self {
        self.links.push(json!({ "title": title, "url": url, "targetBlank": false }));
        self
    }

    pub fn json(&self, id: u32, [x, y, w, h]: [u32; 4]) -> Value {
        let mut defaults = self.defaults.clone();
        defaults.insert("custom".into(), Value::Object(self.custom.clone()));
        let (source, targets) = if self.traces.is_empty() {
            (datasource(), self.queries.iter().enumerate().map(|(index, query)| query.json(index)).collect())
        } else {
            (jaeger(), self.traces.clone())
        };
        json!({
            "id": id, "type": self.kind.name(), "title": self.title, "description": self.description,
            "datasource": source, "pluginVersion": super::dashboard::GRAFANA,
            "gridPos": { "x": x, "y": y, "w": w, "h": h },
            "targets": targets, "options": self.options, "transformations": self.transformations, "links": self.links,
            "fieldConfig": { "defaults": defaults, "overrides": self.overrides },
        })
    }
}

/// Width for the longest lane name left of a timeline.
pub const AXIS_WIDTH: u32 = 225;
/// Width for the longest number left of a graph that has others beside it.
pub const NUMBERS_WIDTH: u32 = 75;

fn steps(list: &[(Option<f64>, &str)]) -> Value {
    let steps: Vec<_> = list.iter().map(|(value, colour)| json!({ "value": value, "color": colour })).collect();
    json!({ "mode": "absolute", "steps": steps })
}
