//! The plots of an experiment.

use super::metrics::{self, Metric, Series, Unit, phrase};
use super::run::{CaseResult, Cell, Results};
use super::spec::{Case, Lang, Plot, PlotKind, Variant};
use super::stats::Estimate;
use super::svg::{Anchor, Canvas, Frame, Scale, WIDTH, colour, width_of};

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

fn band_note(lang: Lang, runs: usize) -> String {
    match lang {
        Lang::En => format!("lines: mean of {runs} seeds; bands: 95 % interval"),
        Lang::Ko => format!("선: 시드 {runs}개의 평균, 띠: 95 % 신뢰구간"),
    }
}

fn cross_note(lang: Lang, runs: usize) -> String {
    match lang {
        Lang::En => format!("dots: mean of {runs} seeds; lines: 95 % interval"),
        Lang::Ko => format!("점: 시드 {runs}개의 평균, 선: 95 % 신뢰구간"),
    }
}

fn interval_note(lang: Lang, runs: usize) -> String {
    match lang {
        Lang::En => format!("bars: mean of {runs} seeds; whiskers: 95 % interval"),
        Lang::Ko => format!("막대: 시드 {runs}개의 평균, 수염: 95 % 신뢰구간"),
    }
}

impl View<'_> {
    /// Horizontal bars, one per variant, which leave room for long names.
    fn bars(&self) -> Result<String, String> {
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
            estimates.iter().map(|estimate| super::claims::with_interval(metric.unit, estimate)).collect();
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

    /// Number of seeds per variant.
    fn runs(&self) -> usize {
        self.cells.first().map_or(0, |cell| cell.runs.len())
    }

    fn cell_label(&self, cell: &Cell) -> String {
        let name = label(&cell.variant, self.lang);
        let coordinates = self.result.coordinates(cell);
        if coordinates.is_empty() { name.to_owned() } else { format!("{name} {}", coordinates.join(" · ")) }
    }

    /// A quantity over time: the mean over seeds as a line, the interval as a band.
    fn timeline(&self) -> Result<String, String> {
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

    /// Times and names of faults and surges.
    fn incidents(&self) -> Vec<((f64, f64), String)> {
        let mut all = Vec::new();
        let steps = self.case.fault.iter().filter(|step| !step.normal);
        for step in steps {
            let span = (step.at.as_secs_f64(), (step.at + step.lasts).as_secs_f64());
            let mut kinds: Vec<_> = step.fault.active().iter().map(|kind| kind.replace('_', " ")).collect();
            if step.slowdown > 1.0 {
                kinds.push(format!("×{} {}", step.slowdown, phrase(self.lang, "slower", "느려짐")));
            }
            all.push((span, format!("{}: {}", step.target, kinds.join(", "))));
        }
        for step in &self.case.load.step {
            let span = (step.at.as_secs_f64(), (step.at + step.lasts).as_secs_f64());
            all.push((span, format!("{} {}/s", phrase(self.lang, "load", "부하"), step.rate)));
        }
        if let Some(site) = &self.case.site {
            for (span, name) in super::site::incidents(site, self.result.length) {
                all.push(((span.0.as_secs_f64(), span.1.as_secs_f64()), name));
            }
        }
        // More than four labels would overlap.
        if all.len() > 4 {
            for (_, title) in &mut all {
                title.clear();
            }
        }
        all
    }

    fn tradeoff(&self) -> Result<String, String> {
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

    /// A metric over two settings; a third setting gives one panel per value.
    fn heatmap(&self) -> Result<String, String> {
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
                canvas.faint((x, bottom + 16.0), &super::run::spelled(value), Anchor::Middle);
            }
            canvas.faint((left, bottom + 34.0), second.title.of(self.lang), Anchor::Start);
            if let Some(axis) = third.first() {
                let text = format!("{}: {}", axis.title.of(self.lang), super::run::spelled(&axis.values[panel]));
                canvas.text((left, top - 8.0), &text, Anchor::Start);
            }
        }
        for (index, value) in first.values.iter().enumerate() {
            let y = top + height * (index as f64 + 0.5) + 4.0;
            canvas.faint((72.0, y), &super::run::spelled(value), Anchor::End);
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

    /// The states of each breaker over time, for the first seed.
    fn states(&self) -> String {
        let mut rows = Vec::new();
        for cell in &self.cells {
            let Some(run) = cell.runs.first() else { continue };
            let mut breakers: Vec<&str> = run.transitions.iter().map(|moved| moved.breaker.as_str()).collect();
            breakers.sort_unstable();
            breakers.dedup();
            breakers.truncate(8);
            let variant = label(&cell.variant, self.lang);
            // A breaker without transitions was closed throughout.
            if breakers.is_empty() {
                rows.push((variant.to_owned(), Vec::new()));
            }
            let several = breakers.len() > 1;
            for breaker in breakers {
                let own: Vec<_> = run.transitions.iter().filter(|moved| moved.breaker == breaker).collect();
                let name = match (self.cells.len() > 1, several) {
                    (true, true) => format!("{variant} · {breaker}"),
                    (true, false) => variant.to_owned(),
                    (false, _) => breaker.to_owned(),
                };
                rows.push((name, own));
            }
        }
        let names: Vec<String> = rows.iter().map(|(name, _)| name.clone()).collect();
        let left = widest(&names, 12.0).clamp(90.0, 330.0) + 30.0;
        let (top, row) = (62.0, 26.0);
        let bottom = top + row * rows.len().max(1) as f64;
        let mut canvas = Canvas::new(&self.title, bottom + 44.0);
        let length = self.result.length.as_secs_f64();
        let unit = clock_unit(length);
        let minutes = Scale::linear((0.0, length / unit), (left, WIDTH - 20.0));
        let x = Scale::linear((0.0, length), (left, WIDTH - 20.0));
        for ((from, to), title) in self.incidents() {
            canvas.rect((x.at(from), top - 14.0), (x.at(to) - x.at(from), bottom - top + 14.0), "#fbe3d6");
            canvas.above((x.at(from) + 3.0, top - 3.0), &title);
        }
        let fill = |state: &str| match state {
            "closed" => "#009E73",
            "open" => "#D55E00",
            "half_open" => "#E69F00",
            _ => "#666",
        };
        for (index, (name, moves)) in rows.iter().enumerate() {
            let y = top + row * index as f64;
            canvas.text((left - 8.0, y + 15.0), name, Anchor::End);
            let (mut since, mut state) = (0.0, "closed");
            for moved in moves {
                canvas.rect((x.at(since), y + 3.0), (x.at(moved.at) - x.at(since), row - 10.0), fill(state));
                (since, state) = (moved.at, moved.to);
            }
            canvas.rect((x.at(since), y + 3.0), (x.at(length) - x.at(since), row - 10.0), fill(state));
        }
        for tick in minutes.ticks() {
            canvas.faint((minutes.at(tick), bottom + 16.0), &plain(tick), Anchor::Middle);
        }
        let legend = [("closed", "Closed"), ("open", "Open"), ("half_open", "Half-Open")];
        for (index, (state, name)) in legend.iter().enumerate() {
            let at = left + 90.0 * index as f64;
            canvas.rect((at, bottom + 26.0), (12.0, 12.0), fill(state));
            canvas.faint((at + 17.0, bottom + 36.0), name, Anchor::Start);
        }
        canvas.faint((WIDTH - 20.0, bottom + 36.0), clock_title(length, self.lang), Anchor::End);
        canvas.finish()
    }

    /// Predicted probability compared with observed frequency, over all seeds.
    fn calibration(&self) -> String {
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

/// Colour scale from white to blue.
fn shade(share: f64) -> String {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let mix = |from: f64, to: f64| format!("{:.0}", from + (to - from) * share);
    format!("rgb({},{},{})", mix(247.0, 0.0), mix(251.0, 90.0), mix(255.0, 160.0))
}

/// Seconds per unit of the time axis: long runs are shown in minutes.
fn clock_unit(length: f64) -> f64 {
    if length > 300.0 { 60.0 } else { 1.0 }
}

fn clock_title(length: f64, lang: Lang) -> &'static str {
    if clock_unit(length) > 1.0 {
        phrase(lang, "time, minutes", "시간, 분")
    } else {
        phrase(lang, "time, seconds", "시간, 초")
    }
}

/// Width of the widest text.
fn widest(texts: &[String], size: f64) -> f64 {
    texts.iter().map(|text| width_of(text, size)).fold(0.0, f64::max)
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
