//! The states of each breaker over time, for the first seed.

use super::time_axis::{clock_title, clock_unit};
use super::{View, label, plain, widest};
use crate::lab::svg::{Anchor, Canvas, Scale, WIDTH};
use breakerbox_resilience::breaker::State;

impl View<'_> {
    /// The states of each breaker over time, for the first seed.
    pub(super) fn states(&self) -> String {
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
        let fill = |state: State| match state {
            State::Closed => "#009E73",
            State::Open => "#D55E00",
            State::HalfOpen => "#E69F00",
            _ => "#666",
        };
        for (index, (name, moves)) in rows.iter().enumerate() {
            let y = top + row * index as f64;
            canvas.text((left - 8.0, y + 15.0), name, Anchor::End);
            let (mut since, mut state) = (0.0, State::Closed);
            for moved in moves {
                canvas.rect((x.at(since), y + 3.0), (x.at(moved.at) - x.at(since), row - 10.0), fill(state));
                (since, state) = (moved.at, moved.to);
            }
            canvas.rect((x.at(since), y + 3.0), (x.at(length) - x.at(since), row - 10.0), fill(state));
        }
        for tick in minutes.ticks() {
            canvas.faint((minutes.at(tick), bottom + 16.0), &plain(tick), Anchor::Middle);
        }
        let legend = [(State::Closed, "Closed"), (State::Open, "Open"), (State::HalfOpen, "Half-Open")];
        for (index, (state, name)) in legend.iter().enumerate() {
            let at = left + 90.0 * index as f64;
            canvas.rect((at, bottom + 26.0), (12.0, 12.0), fill(*state));
            canvas.faint((at + 17.0, bottom + 36.0), name, Anchor::Start);
        }
        canvas.faint((WIDTH - 20.0, bottom + 36.0), clock_title(length, self.lang), Anchor::End);
        canvas.finish()
    }
}
