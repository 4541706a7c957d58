//! The summary on top of a page: what is broken and since when, what viewers get, what protects them, and
//! whether it gets better.
//!
//! A stat panel shows the names of series, and PromQL can put numbers into names: `count_values` turns a
//! value into a label. So each line is a query that has a series only while the line is true; the value of the series
//! is the severity of the line, and its legend is the text.

mod acting;
mod outages;
mod viewers;

use breakerbox_telemetry::names::label;
use serde_json::json;

use super::panel::{Kind, Panel, Query};
use super::query::max;
use super::theme;

pub use acting::{ALERT, acting, in_state, undelivered};
pub use outages::{broken, calm, harmful, protects, small, tripped};
pub use viewers::{Orders, depth, orders, refused, viewers};

pub const GATEWAY: &str = "gateway";
pub const BARE: &str = "gateway-bare";
pub const BREAKER: &[&str] = &[label::SERVICE, label::BREAKER];

/// Severity of a line: the value of its series, which determines the colour.
#[derive(Clone, Copy)]
pub enum Gravity {
    Good = 0,
    Note = 1,
    Protected = 2,
    Harm = 3,
    Broken = 4,
}

/// The panel, with its lines in the given order.
pub fn panel(description: &str, lines: Vec<Query>) -> Panel {
    let panel = Panel::new(Kind::Stat, "Summary", description)
        .unit("none")
        .option("textMode", json!("name"))
        .option("orientation", json!("horizontal"))
        .option("justifyMode", json!("auto"))
        .option("text", json!({ "titleSize": 17, "valueSize": 17 }))
        .steps(&[
            (None, theme::GOOD),
            (Some(1.0), theme::NEUTRAL),
            (Some(2.0), theme::WARN),
            (Some(3.0), theme::BAD),
            (Some(4.0), theme::FAULT),
        ])
        .when_empty("Nothing is scraped");
    lines.into_iter().fold(panel, Panel::ask)
}

/// A line that is shown while `expr` has a series; `legend` is its text, which may contain labels of `expr`.
pub fn line(expr: &str, gravity: Gravity, legend: &str) -> Query {
    Query::now(format!("({expr}) * 0 + {}", gravity as u8), legend)
}

/// `expr` with a label that has a fixed text.
pub fn with(expr: &str, label: &str, text: &str) -> String {
    format!("label_replace({expr}, \"{label}\", \"{text}\", \"\", \"\")")
}

/// The number of each series as a text, rounded, in a label: `$1` is the number.
pub fn numbered(by: &[&str], expr: &str, label: &str, text: &str) -> String {
    let by = if by.is_empty() { String::new() } else { format!(" by ({})", by.join(", ")) };
    format!("label_replace(count_values{by} (\"n\", {expr}), \"{label}\", \"{text}\", \"n\", \"(.*)\")")
}

/// One line with the number of `expr`, which has no labels, as `{{count}}`.
pub fn counted(expr: &str, gravity: Gravity, legend: &str) -> Query {
    line(&numbered(&[], expr, "count", "$1"), gravity, legend)
}

/// A duration in seconds as text: `100 s`, `13 min`.
pub fn spoken(by: &[&str], expr: &str, label: &str) -> String {
    let mut kept = by.to_vec();
    kept.push(label);
    let short = numbered(by, &format!("round(({expr}) < 120)"), label, "$1 s");
    let long = numbered(by, &format!("floor((({expr}) >= 120) / 60)"), label, "$1 min");
    max(&kept, &format!("{short} or {long}"))
}

/// A share (0-1) as a text.
pub fn percent(by: &[&str], expr: &str, label: &str) -> String {
    let mut kept = by.to_vec();
    kept.push(label);
    max(&kept, &numbered(by, &format!("round(100 * ({expr}))"), label, "$1 %"))
}

/// `left` with the labels `more` of the one series of `right`.
pub fn joined(left: &str, more: &str, right: &str) -> String {
    format!("({left}) * on () group_left ({more}) ({right})")
}

/// `left` with the labels `more` of that series of `right` with the same `by`.
fn joined_by(by: &[&str], left: &str, more: &str, right: &str) -> String {
    format!("({left}) * on ({}) group_left ({more}) ({right})", by.join(", "))
}

/// The lines about faults, breakers, viewers and orders.
pub fn state() -> Vec<Query> {
    [broken(), protects(), calm(), viewers(Orders::BelowIt), orders()].concat()
}
