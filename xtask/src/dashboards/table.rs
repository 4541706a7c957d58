//! A table of current values: rows are identified by labels, and each column of numbers is a separate query.

use serde_json::{Value, json};

use super::panel::{Kind, Panel, Query};
use super::query::call_label;
use super::{say, theme};

/// A share that is not defined is shown as a neutral dash.
fn no_share() -> Value {
    let dash = json!({ "text": "–", "color": theme::NEUTRAL, "index": 0 });
    json!([{ "type": "special", "options": { "match": "null+nan", "result": dash } }])
}

/// Cells whose text changes colour at these steps.
fn coloured(steps: &Value) -> [(&'static str, Value); 2] {
    [
        ("custom.cellOptions", json!({ "type": "color-text" })),
        ("thresholds", json!({ "mode": "absolute", "steps": steps })),
    ]
}

pub struct Table {
    panel: Panel,
    columns: Vec<(String, &'static str, u32)>,
    numbers: u8,
}

impl Table {
    pub fn new(title: &str, description: &str) -> Self {
        Self { panel: Panel::new(Kind::Table, title, description).unit("none"), columns: Vec::new(), numbers: 0 }
    }

    /// A column of a label's values.
    pub fn label(mut self, label: &str, title: &'static str) -> Self {
        self.columns.push((label.to_owned(), title, 0));
        self
    }

    /// A column of a label's values, with a width for the longest.
    pub fn label_wide(self, label: &str, title: &'static str, width: u32) -> Self {
        let mut table = self.label(label, title);
        table.columns.last_mut().expect("a column was just added").2 = width;
        table
    }

    /// A column of a label that some rows do not have; their cells show a dash.
    pub fn sparse_label(self, label: &str, title: &'static str, width: u32) -> Self {
        let mut table = self.label(label, title).with(title, &[("noValue", json!("–"))]);
        table.columns.last_mut().expect("a column was just added").2 = width;
        table
    }

    /// Shows the name of the gateway without protection as text.
    pub fn named(self, title: &str) -> Self {
        let twin = json!({ "gateway-bare": { "text": "gateway, unprotected", "index": 0 } });
        self.with(title, &[("mappings", json!([{ "type": "value", "options": twin }]))])
    }

    /// Marks the route of orders, whose errors are refused orders and not failed pages.
    pub fn orders_named(self, title: &str) -> Self {
        let orders =
            json!({ "/api/checkout": { "text": "/api/checkout (errors are refused orders, not pages)", "index": 0 } });
        self.with(title, &[("mappings", json!([{ "type": "value", "options": orders }]))])
    }

    /// Adds its meaning to the name of each alert.
    pub fn alerts_named(self, title: &str) -> Self {
        let meanings = crate::rules::meanings().into_iter().zip(0..);
        let options: serde_json::Map<_, _> = meanings
            .map(|((name, meaning), index)| {
                (name.clone(), json!({ "text": format!("{name}: {meaning}"), "index": index }))
            })
            .collect();
        self.with(title, &[("mappings", json!([{ "type": "value", "options": options }]))])
    }

    /// Hides unexpanded templates: in `ALERTS` Prometheus keeps a template that expands to an empty text.
    pub fn without_templates(self, title: &str) -> Self {
        let nothing = json!({ "pattern": "/^\\{\\{.*/", "result": { "text": "–", "index": 0 } });
        self.with(title, &[("mappings", json!([{ "type": "regex", "options": nothing }]))])
    }

    /// A column of shares that are green at 0 and amber above: protection, not harm.
    pub fn protected(self, title: &'static str, expr: String, width: u32) -> Self {
        let steps = json!([{ "value": null, "color": theme::GOOD }, { "value": 0.0001, "color": theme::WARN }]);
        self.share(title, expr, width, &steps)
    }

    /// A column of numbers; rows of several queries are joined where their labels are equal.
    pub fn number(self, title: &'static str, expr: String, unit: &str, decimals: u8, width: u32) -> Self {
        self.cells(title, expr, width, &[("unit", json!(unit)), ("decimals", json!(decimals))])
    }

    /// A column of durations, with digits according to their magnitude.
    pub fn seconds(self, title: &'static str, expr: String, width: u32) -> Self {
        self.cells(title, expr, width, &[("unit", json!("s"))])
    }

    /// A column of durations that are amber from a number of seconds on.
    pub fn slow_from(self, from: f64, title: &'static str, expr: String, width: u32) -> Self {
        let steps = json!([{ "value": null, "color": "text" }, { "value": from, "color": theme::WARN }]);
        self.cells(title, expr, width, &[&[("unit", json!("s"))], &coloured(&steps)[..]].concat())
    }

    /// A column of shares that are green at 0, amber above and red from 10 % on.
    pub fn errors(self, title: &'static str, expr: String, width: u32) -> Self {
        let steps = json!([
            { "value": null, "color": theme::GOOD },
            { "value": 0.0001, "color": theme::WARN },
            { "value": 0.1, "color": theme::BAD },
        ]);
        self.share(title, expr, width, &steps)
    }

    fn share(self, title: &'static str, expr: String, width: u32, steps: &Value) -> Self {
        let unit = [("unit", json!("percentunit")), ("decimals", json!(1))];
        self.cells(title, expr, width, &[&unit[..], &coloured(steps), &[("mappings", no_share())]].concat())
    }

    /// A column of codes, shown as words in coloured cells.
    pub fn words(self, title: &'static str, expr: String, words: &Value, width: u32) -> Self {
        let filled = json!({ "type": "color-background", "mode": "basic" });
        self.cells(title, expr, width, &[("mappings", words.clone()), ("custom.cellOptions", filled)])
    }

    /// Shows NaN, the value of a limit that does not exist, as this text.
    pub fn nan_means(self, title: &str, text: &str) -> Self {
        let mapping =
            json!([{ "type": "special", "options": { "match": "nan", "result": { "text": text, "index": 0 } } }]);
        self.with(title, &[("mappings", mapping)])
    }

    /// Links the cells of a column to another page.
    pub fn leads_to(self, title: &str, link: &str, url: &str) -> Self {
        self.with(title, &[("links", json!([{ "title": link, "url": url, "targetBlank": false }]))])
    }

    fn cells(mut self, title: &'static str, expr: String, width: u32, properties: &[(&str, Value)]) -> Self {
        let field = format!("Value #{}", char::from(b'A' + self.numbers));
        self.numbers += 1;
        self.panel = self.panel.ask(Query::column(expr));
        self.columns.push((field, title, width));
        self.with(title, properties).with(title, &[("noValue", json!("–"))])
    }

    fn with(mut self, title: &str, properties: &[(&str, Value)]) -> Self {
        self.panel = self.panel.configure(theme::by_name(title, properties));
        self
    }

    /// A column of durations as text (100 s, 13 min), by which the table cannot be sorted.
    pub fn span(self, title: &'static str, by: &[&str], expr: &str, width: u32) -> Self {
        self.said(title, width, |label| call_label(&say::spoken(by, expr, label)))
    }

    /// The same for rows that are identified by other labels than those of a call.
    pub fn span_by(self, title: &'static str, by: &[&str], expr: &str, width: u32) -> Self {
        self.said(title, width, |label| say::spoken(by, expr, label))
    }

    fn said(mut self, title: &'static str, width: u32, ask: impl Fn(&str) -> String) -> Self {
        let label = format!("span{}", self.columns.len());
        self.numbers += 1;
        self.panel = self.panel.ask(Query::column(ask(&label)));
        self.columns.push((label, title, width));
        self.with(title, &[("noValue", json!("–"))])
    }

    /// Hides a column that is only used for sorting.
    pub fn hidden(self, title: &str) -> Self {
        self.with(title, &[("custom.hideFrom", json!({ "viz": true }))])
    }

    /// Rows from one query, whose columns are all labels, in the order of its result.
    pub fn rows(mut self, expr: String) -> Self {
        self.numbers += 1;
        self.panel = self.panel.ask(Query::column(expr));
        self
    }

    /// The panel, in the order of its query's result.
    pub fn in_order(self, when_empty: &str) -> Panel {
        let columns: Vec<_> =
            self.columns.iter().map(|(field, title, width)| (field.as_str(), *title, *width)).collect();
        self.panel.columns(&columns).when_empty(when_empty)
    }

    /// The panel, ordered by a column; `worst_first` when larger is worse.
    pub fn sorted(self, by: &str, worst_first: bool, when_empty: &str) -> Panel {
        let columns: Vec<_> =
            self.columns.iter().map(|(field, title, width)| (field.as_str(), *title, *width)).collect();
        self.panel
            .columns(&columns)
            .option("sortBy", json!([{ "displayName": by, "desc": worst_first }]))
            .when_empty(when_empty)
    }
}
