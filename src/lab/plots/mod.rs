//! The plots of an experiment, one module per kind.

mod bars;
mod calibration;
mod heatmap;
mod states;
mod time_axis;
mod timeline;
mod tradeoff;

use super::metrics::{self, Metric, Unit, phrase};
use super::run::{CaseResult, Cell, Results};
use super::spec::{Case, Lang, Plot, PlotKind, Variant};
use super::svg::width_of;

/// A finished plot.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    /// Its file name within the report, without extension.
    pub(crate) name: String,
    /// Its title.
    pub(crate) title: String,
    pub(crate) svg: String,
}

/// Draws all plots of an experiment.
pub(crate) fn all(results: &Results, lang: Lang) -> Result<Vec<Drawn>, String> {
    let own = results.experiment.plots.iter().enumerate();
    own.map(|(index, plot)| {
        let svg = draw(results, plot, lang).map_err(|error| format!("plot {:?}: {error}", plot.title.en))?;
        Ok(Drawn {
            name: format!("{}-{}", results.experiment.name, index + 1),
            title: plot.title.of(lang).to_owned(),
            svg,
        })
    })
    .collect()
}

/// One plot and its data.
struct View<'a> {
    plot: &'a Plot,
    case: &'a Case,
    result: &'a CaseResult,
    cells: Vec<&'a Cell>,
    lang: Lang,
    title: String,
}

fn draw(results: &Results, plot: &Plot, lang: Lang) -> Result<String, String> {
    let index = match &plot.case {
        None => 0,
        Some(name) => results.cases.iter().position(|case| case.name == *name).ok_or("no such case")?,
    };
    let result = &results.cases[index];
    for name in &plot.variants {
        if !result.cells.iter().any(|cell| cell.variant.name == *name) {
            return Err(format!("no variant {name:?}"));
        }
    }
    let shown = |cell: &&Cell| plot.variants.is_empty() || plot.variants.contains(&cell.variant.name);
    let view = View {
        plot,
        case: &results.experiment.cases[index],
        result,
        cells: result.cells.iter().filter(shown).collect(),
        lang,
        title: super::claims::fill(results, plot.title.of(lang))?,
    };
    match plot.kind {
        PlotKind::Bars => view.bars(),
        PlotKind::Timeline => view.timeline(),
        PlotKind::Tradeoff => view.tradeoff(),
        PlotKind::Heatmap => view.heatmap(),
        PlotKind::States => Ok(view.states()),
        PlotKind::Calibration => Ok(view.calibration()),
    }
}

/// Display name of a variant.
pub(crate) fn label(variant: &Variant, lang: Lang) -> &str {
    let title = variant.title.of(lang);
    if title.is_empty() { &variant.name } else { title }
}

fn axis_title(metric: &Metric, lang: Lang) -> String {
    let better = match metric.more_is_better {
        Some(true) => phrase(lang, " (more is better)", " (클수록 좋음)"),
        Some(false) => phrase(lang, " (less is better)", " (작을수록 좋음)"),
        None => "",
    };
    format!("{}{better}", metric.title(lang))
}

impl View<'_> {
    /// Number of seeds per variant.
    fn runs(&self) -> usize {
        self.cells.first().map_or(0, |cell| cell.runs.len())
    }

    fn cell_label(&self, cell: &Cell) -> String {
        let name = label(&cell.variant, self.lang);
        let coordinates = self.result.coordinates(cell);
        if coordinates.is_empty() { name.to_owned() } else { format!("{name} {}", coordinates.join(" · ")) }
    }
}

/// Width of the widest text.
fn widest(texts: &[String], size: f64) -> f64 {
    texts.iter().map(|text| width_of(text, size)).fold(0.0, f64::max)
}

fn plain(value: f64) -> String {
    if value >= 10.0 || value == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

fn axis_figure(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Share => format!("{:.0} %", value * 100.0),
        Unit::Won => metrics::write(unit, value),
        Unit::Seconds => format!("{} s", plain(value)),
        Unit::Count if value >= 1000.0 => metrics::write(unit, value),
        _ => plain(value),
    }
}
