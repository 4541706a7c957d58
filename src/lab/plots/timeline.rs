//! A quantity over time: the mean over seeds as a line, the interval as a band.

use super::time_axis::{clock_title, clock_unit};
use super::{View, plain, widest};
use crate::lab::metrics::{self, Series};
use crate::lab::run::Cell;
use crate::lab::spec::Lang;
use crate::lab::stats::Estimate;
use crate::lab::svg::{Anchor, Canvas, Frame, Scale, WIDTH, colour};

impl View<'_> {
    /// A quantity over time: the mean over seeds as a line, the interval as a band.
    pub(super) fn timeline(&self) -> Result<String, String> {
        let series = metrics::series(&self.plot.metric)?;
        let labels: Vec<String> = self.cells.iter().map(|cell| self.cell_label(cell)).collect();
        let entry = widest(&labels, 12.5) + 50.0;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 1 and at most 4")]
        let columns = ((WIDTH - 72.0) / entry).clamp(1.0, 4.0) as usize;
        let incidents = self.incidents();
        let named = if incidents.iter().any(|(_, title)| !title.is_empty()) { 16.0 } else { 0.0 };
        let top = 40.0 + 18.0 * self.cells.len().div_ceil(columns) as f64 + named;
        let bottom = top + 230.0;
        let mut canvas = Canvas::new(&self.title, bottom + 40.0);
        let lines: Vec<Vec<Estimate>> = self.cells.iter().map(|cell| over_seeds(cell, &self.plot.metric)).collect();
        let bin = self.cells.first().and_then(|cell| cell.runs.first()).map_or(1.0, |run| run.bin_seconds);
        let share = matches!(series, Series::Served | Series::Success);
        let values = || lines.iter().flatten().map(|e| e.mean).filter(|mean| mean.is_finite());
        let most = values().fold(0.0, f64::max);
        let y = if share {
            Scale::linear((0.0, 1.0), (bottom, top))
        } else if series == Series::P99 {
            let least = values().filter(|mean| *mean > 0.0).fold(f64::INFINITY, f64::min);
            Scale::logarithmic((least * 0.8, most * 1.25), (bottom, top))
        } else {
            Scale::linear((0.0, most * 1.1), (bottom, top))
        };
        let length = self.result.length.as_secs_f64();
        let unit = clock_unit(length);
        let frame = Frame { x: Scale::linear((0.0, length / unit), (58.0, WIDTH - 20.0)), y };
        for ((from, to), title) in incidents {
            frame.shade(&mut canvas, (from / unit, to / unit), &title);
        }
        let write_y = |value: f64| if share { format!("{:.0}", value * 100.0) } else { plain(value) };
        frame.draw(&mut canvas, plain, write_y);
        canvas.upright((14.0, f64::midpoint(top, bottom)), series.title(self.lang));
        canvas.faint((WIDTH - 20.0, bottom + 34.0), clock_title(length, self.lang), Anchor::End);
        canvas.faint((14.0, bottom + 34.0), &band_note(self.lang, self.runs()), Anchor::Start);
        for (number, line) in lines.iter().enumerate() {
            let point =
                |index: usize, value: f64| (frame.x.at((index as f64 + 0.5) * bin / unit), y_of(&frame, share, value));
            let place = |pick: fn(&Estimate) -> f64| -> Vec<_> {
                line.iter().enumerate().map(|(index, e)| point(index, pick(e))).collect()
            };
            canvas.band(&place(|e| e.high), &place(|e| e.low), number);
            canvas.path(&place(|e| e.mean), number);
        }
        for (number, label) in labels.iter().enumerate() {
            let (column, row) = (number % columns, number / columns);
            let at = (58.0 + entry * column as f64, 44.0 + 18.0 * row as f64);
            canvas.path(&[(at.0, at.1 - 4.0), (at.0 + 26.0, at.1 - 4.0)], number);
            canvas.coloured((at.0 + 32.0, at.1), label, colour(number));
        }
        Ok(canvas.finish())
    }
}

fn band_note(lang: Lang, runs: usize) -> String {
    match lang {
        Lang::En => format!("lines: mean of {runs} seeds; bands: 95 % interval"),
        Lang::Ko => format!("선: 시드 {runs}개의 평균, 띠: 95 % 신뢰구간"),
    }
}

/// Limits a band's edge to the plot area.
fn y_of(frame: &Frame, share: bool, value: f64) -> f64 {
    if !value.is_finite() {
        return f64::NAN;
    }
    frame.y.at(if share { value.clamp(0.0, 1.0) } else { value.max(0.0) })
}

fn over_seeds(cell: &Cell, series: &str) -> Vec<Estimate> {
    let points = cell.runs.first().and_then(|run| run.series.get(series)).map_or(0, Vec::len);
    (0..points)
        .map(|index| {
            let values: Vec<f64> = cell
                .runs
                .iter()
                .map(|run| run.series.get(series).and_then(|points| points.get(index)).copied().unwrap_or(f64::NAN))
                .collect();
            Estimate::of(&values)
        })
        .collect()
}
