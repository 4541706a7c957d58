//! Predicted probability compared with observed frequency, over all seeds.

use super::{View, label};
use crate::lab::metrics::phrase;
use crate::lab::svg::{Anchor, Canvas, Frame, Scale, WIDTH, colour};

impl View<'_> {
    /// Predicted probability compared with observed frequency, over all seeds.
    pub(super) fn calibration(&self) -> String {
        let (top, bottom) = (52.0, 340.0);
        let mut canvas = Canvas::new(&self.title, 388.0);
        let frame =
            Frame { x: Scale::linear((0.0, 1.0), (76.0, WIDTH - 220.0)), y: Scale::linear((0.0, 1.0), (bottom, top)) };
        let percent = |value: f64| format!("{:.0} %", value * 100.0);
        frame.draw(&mut canvas, percent, percent);
        canvas.line((frame.x.at(0.0), frame.y.at(0.0)), (frame.x.at(1.0), frame.y.at(1.0)), "#999", 1.0);
        canvas
            .upright((14.0, f64::midpoint(top, bottom)), phrase(self.lang, "retries that succeeded", "성공한 재시도"));
        canvas.faint(
            (WIDTH - 220.0, bottom + 36.0),
            phrase(self.lang, "chance that was predicted", "예측한 성공 확률"),
            Anchor::End,
        );
        for (number, cell) in self.cells.iter().enumerate() {
            let mut bins = [(0_u64, 0.0, 0.0); 10];
            for run in &cell.runs {
                for (bin, own) in bins.iter_mut().zip(&run.calibration).filter(|(_, own)| own.retries > 0) {
                    bin.0 += own.retries;
                    bin.1 += own.predicted * own.retries as f64;
                    bin.2 += own.succeeded * own.retries as f64;
                }
            }
            let points: Vec<_> = bins
                .iter()
                .filter(|(retries, _, _)| *retries >= 20)
                .map(|(retries, predicted, succeeded)| {
                    (frame.x.at(predicted / *retries as f64), frame.y.at(succeeded / *retries as f64), *retries)
                })
                .collect();
            if points.is_empty() {
                continue;
            }
            canvas.path(&points.iter().map(|(x, y, _)| (*x, *y)).collect::<Vec<_>>(), number);
            let most = points.iter().map(|(_, _, retries)| *retries).max().unwrap_or(1) as f64;
            for (x, y, retries) in &points {
                canvas.circle((*x, *y), 3.0 + 6.0 * (*retries as f64 / most).sqrt(), colour(number));
            }
            let at = (WIDTH - 205.0, 70.0 + 20.0 * number as f64);
            canvas.coloured(at, label(&cell.variant, self.lang), colour(number));
        }
        canvas.faint(
            (WIDTH - 205.0, bottom - 6.0),
            phrase(self.lang, "on the line: as predicted", "대각선 위: 예측대로"),
            Anchor::Start,
        );
        canvas.finish()
    }
}
