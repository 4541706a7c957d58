//! One metric against another, with a labelled point per variant.

use super::{View, axis_figure, axis_title};
use crate::lab::metrics::{self, Unit};
use crate::lab::spec::Lang;
use crate::lab::stats::Estimate;
use crate::lab::svg::{Anchor, Canvas, Frame, Scale, WIDTH, colour, width_of};

impl View<'_> {
    pub(super) fn tradeoff(&self) -> Result<String, String> {
        let (up, across) = (metrics::find(&self.plot.metric)?, metrics::find(&self.plot.against)?);
        let (top, bottom) = (52.0, 340.0);
        let mut canvas = Canvas::new(&self.title, 388.0);
        let points: Vec<(Estimate, Estimate)> =
            self.cells.iter().map(|cell| (cell.estimate(across.key), cell.estimate(up.key))).collect();
        let range = |values: Vec<&Estimate>, unit: Unit| {
            let ends = values.iter().flat_map(|e| [e.low, e.mean, e.high]).filter(|value| value.is_finite());
            let (low, high) =
                ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
            let room = ((high - low) * 0.12).max(1e-9);
            let floor = if low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
            let ceiling = if unit == Unit::Share { 1.0 } else { f64::INFINITY };
            ((low - room).max(floor), (high + room).min(ceiling))
        };
        let frame = Frame {
            x: Scale::linear(range(points.iter().map(|(x, _)| x).collect(), across.unit), (76.0, WIDTH - 160.0)),
            y: Scale::linear(range(points.iter().map(|(_, y)| y).collect(), up.unit), (bottom, top)),
        };
        frame.draw(&mut canvas, |x| axis_figure(across.unit, x), |y| axis_figure(up.unit, y));
        canvas.upright((14.0, f64::midpoint(top, bottom)), &axis_title(up, self.lang));
        canvas.faint((WIDTH - 160.0, bottom + 36.0), &axis_title(across, self.lang), Anchor::End);
        canvas.faint((14.0, bottom + 36.0), &cross_note(self.lang, self.runs()), Anchor::Start);
        let (mut shown, mut whiskers) = (Vec::new(), Vec::new());
        for (index, (cell, (x, y))) in self.cells.iter().zip(&points).enumerate() {
            if !x.mean.is_finite() || !y.mean.is_finite() {
                continue;
            }
            let at = (frame.x.at(x.mean), frame.y.at(y.mean));
            if x.half_width().is_finite() {
                let (low, high) = (frame.x.at(x.low), frame.x.at(x.high));
                canvas.line((low, at.1), (high, at.1), colour(index), 1.5);
                whiskers.push([low - 1.0, at.1 - 1.0, high + 1.0, at.1 + 1.0]);
            }
            if y.half_width().is_finite() {
                let (low, high) = (frame.y.at(y.low), frame.y.at(y.high));
                canvas.line((at.0, low), (at.0, high), colour(index), 1.5);
                whiskers.push([at.0 - 1.0, high - 1.0, at.0 + 1.0, low + 1.0]);
            }
            canvas.circle(at, 5.0, colour(index));
            shown.push((at, self.cell_label(cell), colour(index)));
        }
        label_points(&mut canvas, &shown, whiskers, (top, bottom));
        Ok(canvas.finish())
    }
}

fn cross_note(lang: Lang, runs: usize) -> String {
    match lang {
        Lang::En => format!("dots: mean of {runs} seeds; lines: 95 % interval"),
        Lang::Ko => format!("점: 시드 {runs}개의 평균, 선: 95 % 신뢰구간"),
    }
}

/// A point of a drawing with its label and colour.
type Named<'a> = ((f64, f64), String, &'a str);

/// Writes labels next to points so that no label covers another label or a point.
fn label_points(canvas: &mut Canvas, points: &[Named<'_>], whiskers: Vec<[f64; 4]>, (top, bottom): (f64, f64)) {
    let mut taken = whiskers;
    taken.extend(points.iter().map(|((x, y), _, _)| [x - 6.0, y - 6.0, x + 6.0, y + 6.0]));
    for ((x, y), name, colour) in points {
        let width = width_of(name, 12.5);
        let places = (0..12_i32).flat_map(|step| {
            let away = f64::from(step) * 9.0;
            [
                (9.0, 4.0 - away, Anchor::Start),
                (9.0, 4.0 + away, Anchor::Start),
                (-9.0, 4.0 - away, Anchor::End),
                (-9.0, 4.0 + away, Anchor::End),
            ]
        });
        let around = |(dx, dy, anchor): &(f64, f64, Anchor)| {
            let left = if matches!(anchor, Anchor::End) { x + dx - width } else { x + dx };
            [left, y + dy - 11.0, left + width, y + dy + 3.0]
        };
        let free = |place: &(f64, f64, Anchor)| {
            let own = around(place);
            let inside = own[0] > 40.0 && own[2] < WIDTH - 4.0 && own[1] > top - 12.0 && own[3] < bottom;
            inside
                && taken
                    .iter()
                    .all(|other| own[2] < other[0] || other[2] < own[0] || own[3] < other[1] || other[3] < own[1])
        };
        let place = places.clone().find(free).unwrap_or((9.0, -7.0, Anchor::Start));
        let at = (x + place.0, y + place.1);
        if (place.1 - 4.0).abs() > 12.0 {
            canvas.line((*x, *y), (at.0, at.1 - 4.0), colour, 0.75);
        }
        taken.push(around(&place));
        canvas.anchored(at, name, (place.2, colour));
    }
}
