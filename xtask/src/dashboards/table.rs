//! A table of what is true now: rows are told apart by labels, each number is a query of its own.

use serde_json::{Value, json};

use super::panel::{Kind, Panel, Query};
use super::query::call_label;
use super::{say, theme};

/// No share is neither good nor bad.
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

    /// A column of a label's values, as wide as the longest.
    pub fn label_wide(self, label: &str, title: &'static str, width: u32) -> Self {
        let mut table = self.label(label, title);
        table.columns.last_mut().expect("a column was just added").2 = width;
        table
    }

    /// A label that some rows don't have: their cells say so briefly.
    pub fn sparse_label(self, label: &str, title: &'static str, width: u32) -> Self {
        let mut table = self.label(label, title).with(title, &[("noValue", json!("–"))]);
        table.columns.last_mut().expect("a column was just added").2 = width;
        table
    }

    /// A column of services: the twin without protection is called what it is.
    pub fn named(self, title: &str) -> Self {
        let twin = json!({ "gateway-bare": { "text": "gateway, unprotected", "index": 0 } });
        self.with(title, &[("mappings", json!([{ "type": "value", "options": twin }]))])
    }

    /// A column of routes: errors at the one for orders are refused orders and no failed pages.
    pub fn orders_named(self, title: &str) -> Self {
        let orders =
            json!({ "/api/checkout": { "text": "/api/checkout (errors are refused orders, not pages)", "index": 0 } });
        self.with(title, &[("mappings", json!([{ "type": "value", "options": orders }]))])
    }

    /// A column of alerts: a name, and what it says.
    pub fn alerts_named(self, title: &str) -> Self {
        let meanings = crate::rules::meanings().into_iter().zip(0..);
        let options: serde_json::Map<_, _> = meanings
            .map(|((name, meaning), index)| {
                (name.clone(), json!({ "text": format!("{name}: {meaning}"), "index": index }))
            })
            .collect();
        self.with(title, &[("mappings", json!([{ "type": "value", "options": options }]))])
    }

    /// Prometheus leaves a rule's template in `ALERTS` where it expands to nothing.
    pub fn without_templates(self, title: &str) -> Self {
        let nothing = json!({ "pattern": "/^\\{\\{.*/", "result": { "text": "–", "index": 0 } });
        self.with(title, &[("mappings", json!([{ "type": "regex", "options": nothing }]))])
    }

    /// Shares that are normal at 0 and amber above: protection, not harm.
    pub fn protected(self, title: &'static str, expr: String, width: u32) -> Self {
        let steps = json!([{ "value": null, "color": theme::GOOD }, { "value": 0.0001, "color": theme::WARN }]);
        self.share(title, expr, width, &steps)
    }

    /// A column of numbers; rows of several queries meet where their labels are equal.
    pub fn number(self, title: &'static str, expr: String, unit: &str, decimals: u8, width: u32) -> Self {
        self.cells(title, expr, width, &[("unit", json!(unit)), ("decimals", json!(decimals))])
    }

    /// Durations, to as many digits as they deserve.
    pub fn seconds(self, title: &'static str, expr: String, width: u32) -> Self {
        self.cells(title, expr, width, &[("unit", json!("s"))])
    }

    /// Durations that turn amber from a number of seconds on.
    pub fn slow_from(self, from: f64, title: &'static str, expr: String, width: u32) -> Self {
        let steps = json!([{ "value": null, "color": "text" }, { "value": from, "color": theme::WARN }]);
        self.cells(title, expr, width, &[&[("unit", json!("s"))], &coloured(&steps)[..]].concat())
    }

    /// Shares that are green at 0 and change colour as soon as there is something to see.
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

    /// Numbers that stand for words, in cells of the words' colours.
    pub fn words(self, title: &'static str, expr: String, words: &Value, width: u32) -> Self {
        let filled = json!({ "type": "color-background", "mode": "basic" });
        self.cells(title, expr, width, &[("mappings", words.clone()), ("custom.cellOptions", filled)])
    }

    /// What numbers cannot say: a limit that does not exist is exported as NaN.
    pub fn nan_means(self, title: &str, text: &str) -> Self {
        let mapping =
            json!([{ "type": "special", "options": { "match": "nan", "result": { "text": text, "index": 0 } } }]);
        self.with(title, &[("mappings", mapping)])
    }

    /// A column's cells lead to another page.
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

    /// A column of durations as people say them (100 s, 13 min): a text, so it cannot be sorted by.
    pub fn span(self, title: &'static str, by: &[&str], expr: &str, width: u32) -> Self {
        self.said(title, width, |label| call_label(&say::spoken(by, expr, label)))
    }

    /// The same for rows that are told apart by other labels than a call's.
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

    /// A column to sort by that nobody needs to see.
    pub fn hidden(self, title: &str) -> Self {
        self.with(title, &[("custom.hideFrom", json!({ "viz": true }))])
    }

    /// Rows whose columns are all labels of one query, in its order.
    pub fn rows(mut self, expr: String) -> Self {
        self.numbers += 1;
        self.panel = self.panel.ask(Query::column(expr));
        self
    }

    /// The panel, in the order of its query.
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
