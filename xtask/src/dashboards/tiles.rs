//! A row of single numbers at the top of a page.

use super::panel::{Kind, Panel, Query};

/// A number with its own thresholds and colours.
pub fn stepped(title: &str, description: &str, steps: &[(Option<f64>, &str)], expr: String) -> Panel {
    Panel::new(Kind::Stat, title, description)
        .unit("none")
        .steps(steps)
        .ask(Query::now(expr, title))
        .when_empty("Nothing is scraped")
}

/// Six of them side by side.
pub fn row(tiles: [Panel; 6]) -> Vec<([u32; 4], Panel)> {
    (0..).step_by(4).zip(tiles).map(|(x, tile)| ([x, 0, 4, 4], tile)).collect()
}
