//! A metric of each variant, with its interval.

use super::{View, axis_figure, axis_title, widest};
use crate::lab::claims;
use crate::lab::metrics::{self, Unit, phrase};
use crate::lab::spec::Lang;
use crate::lab::stats::Estimate;
use crate::lab::svg::{Anchor, Canvas, Scale, WIDTH, colour};

impl View<'_> {
    /// Horizontal bars, one per variant, which leave room for long names.
    pub(super) fn bars(&self) -> Result<String, String> {
        let metric = metrics::find(&self.plot.metric)?;
        let row = 30.0;
        let bottom = 52.0 + row * self.cells.len() as f64;
        let mut canvas = Canvas::new(&self.title, bottom + 54.0);
        let estimates: Vec<Estimate> = self.cells.iter().map(|cell| cell.estimate(metric.key)).collect();
        let top_value = if metric.unit == Unit::Share {
            1.0
        } else {
            let ends = estimates.iter().map(|e| if e.high.is_finite() { e.high } else { e.mean });
            ends.filter(|end| end.is_finite()).fold(0.0, f64::max) * 1.05
        };
        let labels: Vec<String> = self.cells.iter().map(|cell| self.cell_label(cell)).collect();
        let figures: Vec<String> =
            estimates.iter().map(|estimate| claims::with_interval(metric.unit, estimate)).collect();
        let left = widest(&labels, 12.0).clamp(90.0, 330.0) + 30.0;
        let x = Scale::linear((0.0, top_value), (left, WIDTH - widest(&figures, 12.0) - 22.0));
        for tick in x.ticks() {
            canvas.line((x.at(tick), 44.0), (x.at(tick), bottom), "#e3e3e3", 1.0);
            canvas.faint((x.at(tick), bottom + 16.0), &axis_figure(metric.unit, tick), Anchor::Middle);
        }
        for (index, (label, estimate)) in labels.iter().zip(&estimates).enumerate() {
            let y = 50.0 + row * index as f64;
            canvas.text((left - 8.0, y + 15.0), label, Anchor::End);
            if !estimate.mean.is_finite() {
                canvas.faint((left + 6.0, y + 15.0), phrase(self.lang, "none", "없음"), Anchor::Start);
                continue;
            }
            canvas.rect((x.at(0.0), y + 2.0), (x.at(estimate.mean) - x.at(0.0), row - 12.0), colour(index));
            let mut end = x.at(estimate.mean);
            if estimate.half_width().is_finite() {
                let (low, high) = (x.at(estimate.low.max(0.0)), x.at(estimate.high.min(top_value)));
                let middle = y + 2.0 + (row - 12.0) / 2.0;
                canvas.line((low, middle), (high, middle), "#222", 1.5);
                canvas.line((low, middle - 4.0), (low, middle + 4.0), "#222", 1.5);
                canvas.line((high, middle - 4.0), (high, middle + 4.0), "#222", 1.5);
                end = end.max(high);
            }
            canvas.text((end + 8.0, y + 15.0), &figures[index], Anchor::Start);
        }
        canvas.faint((14.0, bottom + 36.0), &axis_title(metric, self.lang), Anchor::Start);
        canvas.faint((WIDTH - 14.0, bottom + 36.0), &interval_note(self.lang, self.runs()), Anchor::End);
        Ok(canvas.finish())
    }
}

fn interval_note(lang: Lang, runs: usize) -> String {
    match lang {
        Lang::En => format!("bars: mean of {runs} seeds; whiskers: 95 % interval"),
        Lang::Ko => format!("막대: 시드 {runs}개의 평균, 수염: 95 % 신뢰구간"),
    }
}
