//! A metric over two settings; a third setting gives one panel per value.

use super::{View, axis_title};
use crate::lab::metrics::{self, Unit, phrase};
use crate::lab::run::spelled;
use crate::lab::svg::{Anchor, Canvas, WIDTH};

impl View<'_> {
    /// A metric over two settings; a third setting gives one panel per value.
    pub(super) fn heatmap(&self) -> Result<String, String> {
        let metric = metrics::find(&self.plot.metric)?;
        let axes = &self.result.axes;
        let [first, second, third @ ..] = axes.as_slice() else { return Err("a heat map needs two axes".to_owned()) };
        let panels = third.first().map_or(1, |axis| axis.values.len());
        let name = self.cells.first().map_or("", |cell| cell.variant.name.as_str());
        let cells: Vec<_> = self.cells.iter().filter(|cell| cell.variant.name == name).collect();
        let means: Vec<f64> = cells.iter().map(|cell| cell.estimate(metric.key).mean).collect();
        let finite = || means.iter().copied().filter(|mean| mean.is_finite());
        let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        let room = (WIDTH - 90.0) / panels as f64;
        let (width, height) = ((room - 24.0) / second.values.len() as f64, 34.0);
        let top = 74.0;
        let bottom = top + height * first.values.len() as f64;
        let mut canvas = Canvas::new(&self.title, bottom + 64.0);
        canvas.faint((14.0, 42.0), &axis_title(metric, self.lang), Anchor::Start);
        for (cell, mean) in cells.iter().zip(&means) {
            let panel = cell.at.get(2).copied().unwrap_or(0);
            let left = 80.0 + room * panel as f64;
            let corner = (left + width * cell.at[1] as f64, top + height * cell.at[0] as f64);
            let share = if high > low { (mean - low) / (high - low) } else { 0.5 };
            let good = match metric.more_is_better {
                Some(false) => 1.0 - share,
                _ => share,
            };
            canvas.rect(
                corner,
                (width - 2.0, height - 2.0),
                &if mean.is_finite() { shade(good) } else { "#eee".to_owned() },
            );
            let middle = (corner.0 + width / 2.0 - 1.0, corner.1 + height / 2.0 + 4.0);
            let ink = if good > 0.6 { "#fff" } else { "#222" };
            canvas.cell_text(middle, &short_figure(metric.unit, *mean), ink);
        }
        for panel in 0..panels {
            let left = 80.0 + room * panel as f64;
            for (index, value) in second.values.iter().enumerate() {
                let x = left + width * (index as f64 + 0.5);
                canvas.faint((x, bottom + 16.0), &spelled(value), Anchor::Middle);
            }
            canvas.faint((left, bottom + 34.0), second.title.of(self.lang), Anchor::Start);
            if let Some(axis) = third.first() {
                let text = format!("{}: {}", axis.title.of(self.lang), spelled(&axis.values[panel]));
                canvas.text((left, top - 8.0), &text, Anchor::Start);
            }
        }
        for (index, value) in first.values.iter().enumerate() {
            let y = top + height * (index as f64 + 0.5) + 4.0;
            canvas.faint((72.0, y), &spelled(value), Anchor::End);
        }
        canvas.upright((14.0, f64::midpoint(top, bottom)), first.title.of(self.lang));
        let note = if means.iter().all(|mean| mean.is_finite()) {
            phrase(self.lang, "darker is better", "진할수록 좋음")
        } else {
            phrase(
                self.lang,
                "darker is better; –: not even the normal state was good",
                "진할수록 좋음. –: 평소에도 정상이 아니어서 회복을 잴 수 없음",
            )
        };
        canvas.faint((WIDTH - 14.0, bottom + 54.0), note, Anchor::End);
        Ok(canvas.finish())
    }
}

/// Colour scale from white to blue.
fn shade(share: f64) -> String {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let mix = |from: f64, to: f64| format!("{:.0}", from + (to - from) * share);
    format!("rgb({},{},{})", mix(247.0, 0.0), mix(251.0, 90.0), mix(255.0, 160.0))
}

fn short_figure(unit: Unit, value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    match unit {
        Unit::Share => format!("{:.1}", value * 100.0),
        Unit::Seconds if value < 10.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
