//! Plots as SVG that are legible on their own: direct labels, intervals, shaded faults, a palette that remains
//! distinguishable with colour blindness (Okabe and Ito), and dashes for further lines.

use std::fmt::Write;

/// Okabe and Ito's palette without its yellow, which is too pale on white.
pub(crate) const COLOURS: [&str; 8] =
    ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31"];
const DASHES: [&str; 4] = ["", "7 3", "2 3", "9 3 2 3"];
const INK: &str = "#222";
const FAINT: &str = "#666";
const GRID: &str = "#e3e3e3";
const FAULT: &str = "#fbe3d6";
pub(crate) const WIDTH: f64 = 760.0;

/// A drawing under construction.
pub(crate) struct Canvas {
    body: String,
    height: f64,
    title: String,
    /// Lines of the wrapped title.
    lines: Vec<String>,
}

/// Line height of the title.
const TITLE_LINE: f64 = 19.0;

/// Horizontal anchor of a text.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Canvas {
    pub(crate) fn new(title: &str, height: f64) -> Self {
        Self { body: String::new(), height, title: title.to_owned(), lines: wrapped(title, 16.5, WIDTH - 28.0) }
    }

    pub(crate) fn text(&mut self, at: (f64, f64), text: &str, anchor: Anchor) {
        self.styled_text(at, text, anchor, "12", INK, "400");
    }

    pub(crate) fn faint(&mut self, at: (f64, f64), text: &str, anchor: Anchor) {
        self.styled_text(at, text, anchor, "11", FAINT, "400");
    }

    /// A grey text that starts at a position, or ends at the right edge if it would not fit.
    pub(crate) fn above(&mut self, (x, y): (f64, f64), text: &str) {
        let right = WIDTH - 8.0;
        if x + width_of(text, 11.0) > right {
            self.faint((right, y), text, Anchor::End);
        } else {
            self.faint((x, y), text, Anchor::Start);
        }
    }

    pub(crate) fn coloured(&mut self, at: (f64, f64), text: &str, colour: &str) {
        self.styled_text(at, text, Anchor::Start, "12", colour, "600");
    }

    pub(crate) fn anchored(&mut self, at: (f64, f64), text: &str, (anchor, colour): (Anchor, &str)) {
        self.styled_text(at, text, anchor, "12", colour, "600");
    }

    pub(crate) fn cell_text(&mut self, at: (f64, f64), text: &str, ink: &str) {
        self.styled_text(at, text, Anchor::Middle, "11", ink, "400");
    }

    fn styled_text(&mut self, (x, y): (f64, f64), text: &str, anchor: Anchor, size: &str, colour: &str, weight: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let _ = write!(
            self.body,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{colour}">{}</text>"#,
            escape(text)
        );
    }

    pub(crate) fn upright(&mut self, (x, y): (f64, f64), text: &str) {
        let _ = write!(
            self.body,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="middle" font-size="11" fill="{FAINT}" transform="rotate(-90 {x:.1} {y:.1})">{}</text>"#,
            escape(text)
        );
    }

    pub(crate) fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), fill: &str) {
        let _ = write!(
            self.body,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{:.1}" fill="{fill}"/>"#,
            width.max(0.0),
            height.max(0.0)
        );
    }

    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let _ = write!(
            self.body,
            r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="{colour}" stroke-width="{width}"/>"#,
            from.0, from.1, to.0, to.1
        );
    }

    pub(crate) fn circle(&mut self, (x, y): (f64, f64), radius: f64, fill: &str) {
        let _ = write!(self.body, r##"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" fill="{fill}" stroke="#fff"/>"##);
    }

    /// A line through points; a point that is not finite interrupts it.
    pub(crate) fn path(&mut self, points: &[(f64, f64)], number: usize) {
        let mut path = String::new();
        let mut pen_down = false;
        for (x, y) in points {
            if !y.is_finite() {
                pen_down = false;
                continue;
            }
            let _ = write!(path, "{}{x:.1} {y:.1}", if pen_down { "L" } else { "M" });
            pen_down = true;
        }
        let (colour, dash) = (colour(number), DASHES[(number / 2) % DASHES.len()]);
        let _ = write!(
            self.body,
            r#"<path d="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}" stroke-linejoin="round"/>"#
        );
    }

    /// A band between two lines.
    pub(crate) fn band(&mut self, upper: &[(f64, f64)], lower: &[(f64, f64)], number: usize) {
        let whole = |point: &&(f64, f64)| point.1.is_finite();
        let around: Vec<_> = upper.iter().filter(whole).chain(lower.iter().rev().filter(whole)).collect();
        if around.len() < 3 {
            return;
        }
        let mut path = String::new();
        for (x, y) in around {
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        let _ = write!(
            self.body,
            r#"<polygon points="{}" fill="{}" fill-opacity="0.18"/>"#,
            path.trim_end(),
            colour(number)
        );
    }

    pub(crate) fn finish(self) -> String {
        let Self { body, title, lines, .. } = &self;
        // The drawing was made for a title of one line.
        let extra = TITLE_LINE * lines.len().saturating_sub(1) as f64;
        let height = self.height + extra;
        let mut head = String::new();
        for (index, line) in lines.iter().enumerate() {
            let _ = write!(
                head,
                r#"<text x="14" y="{:.0}" font-size="15" font-weight="600" fill="{INK}">{}</text>"#,
                24.0 + TITLE_LINE * index as f64,
                escape(line)
            );
        }
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="{}" font-family="system-ui, 'Noto Sans KR', 'Apple SD Gothic Neo', 'Malgun Gothic', sans-serif"><rect width="100%" height="100%" fill="#fff"/>{head}<g transform="translate(0 {extra})">{body}</g></svg>"##,
            escape(title)
        )
    }
}

/// Approximate width of a text, because the reader's font is unknown.
pub(crate) fn width_of(text: &str, size: f64) -> f64 {
    let wide = |c: char| match c {
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | '.' | ',' | ':' | ';' | '(' | ')' | ' ' | '·' | '/' => 0.36,
        'm' | 'w' | 'M' | 'W' | '%' => 0.9,
        c if c >= '\u{1100}' => 0.95,
        _ => 0.6,
    };
    text.chars().map(wide).sum::<f64>() * size
}

/// Wraps a text into lines no wider than `room`.
fn wrapped(text: &str, size: f64, room: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if width_of(line, size) + width_of(word, size) + size * 0.36 <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

pub(crate) fn colour(number: usize) -> &'static str {
    COLOURS[number % COLOURS.len()]
}

/// Escapes a text for XML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A linear or logarithmic scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    from: f64,
    to: f64,
    pixels: (f64, f64),
    log: bool,
}

impl Scale {
    pub(crate) fn linear((from, to): (f64, f64), pixels: (f64, f64)) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        Self { from, to, pixels, log: false }
    }

    /// A logarithmic scale, for values above 0 that span decades.
    pub(crate) fn logarithmic((from, to): (f64, f64), pixels: (f64, f64)) -> Self {
        let from = from.max(1e-6);
        let to = if to > from * 1.01 { to } else { from * 10.0 };
        Self { from, to, pixels, log: true }
    }

    pub(crate) fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }

    /// Round values to label.
    pub(crate) fn ticks(&self) -> Vec<f64> {
        if self.log {
            let mut ticks = Vec::new();
            let mut decade = 10_f64.powf(self.from.log10().floor());
            while decade <= self.to * 1.001 {
                for step in [1.0, 2.0, 5.0] {
                    let tick = decade * step;
                    if tick >= self.from * 0.999 && tick <= self.to * 1.001 {
                        ticks.push(tick);
                    }
                }
                decade *= 10.0;
            }
            if ticks.len() > 8 {
                ticks.retain(|tick| (tick.log10() - tick.log10().round()).abs() < 1e-6);
            }
            return ticks;
        }
        let step = round_step((self.to - self.from) / 5.0);
        let first = (self.from / step).ceil();
        (0..20)
            .map(|index| (first + f64::from(index)) * step)
            .take_while(|tick| *tick <= self.to + step * 1e-6)
            .collect()
    }
}

/// The next round number: 1, 2, 2.5 or 5 times a power of ten.
pub(crate) fn round_step(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.log10().floor());
    let share = rough / power;
    power
        * if share <= 1.0 {
            1.0
        } else if share <= 2.0 {
            2.0
        } else if share <= 2.5 {
            2.5
        } else if share <= 5.0 {
            5.0
        } else {
            10.0
        }
}

/// A frame with grid lines and labels on both axes.
pub(crate) struct Frame {
    pub(crate) x: Scale,
    pub(crate) y: Scale,
}

impl Frame {
    pub(crate) fn draw(&self, canvas: &mut Canvas, write_x: impl Fn(f64) -> String, write_y: impl Fn(f64) -> String) {
        let ((left, right), (bottom, top)) = (self.x.pixels, self.y.pixels);
        for tick in self.y.ticks() {
            let y = self.y.at(tick);
            canvas.line((left, y), (right, y), GRID, 1.0);
            canvas.faint((left - 6.0, y + 4.0), &write_y(tick), Anchor::End);
        }
        for tick in self.x.ticks() {
            let x = self.x.at(tick);
            canvas.line((x, bottom), (x, bottom + 4.0), FAINT, 1.0);
            canvas.faint((x, bottom + 17.0), &write_x(tick), Anchor::Middle);
        }
        canvas.line((left, bottom), (right, bottom), FAINT, 1.0);
        canvas.line((left, top), (left, bottom), FAINT, 1.0);
    }

    /// Shades the duration of a fault and labels it above the frame.
    pub(crate) fn shade(&self, canvas: &mut Canvas, (from, to): (f64, f64), label: &str) {
        let (bottom, top) = self.y.pixels;
        let (x, end) = (self.x.at(from), self.x.at(to));
        canvas.rect((x, top), (end - x, bottom - top), FAULT);
        canvas.above((x, top - 5.0), label);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_scale() {
        assert_eq!(Scale::linear((0.0, 1.0), (0.0, 100.0)).ticks(), [0.0, 0.2, 0.4, 0.600_000_000_000_000_1, 0.8, 1.0]);
        assert_eq!(Scale::logarithmic((0.01, 1.0), (0.0, 100.0)).ticks().len(), 7);
    }

    #[test]
    fn a_long_title_takes_two_lines_and_makes_room() {
        let title =
            "Revenue lost in eleven minutes with an outage of two: five minutes of blocking cost more than that";
        let svg = Canvas::new(title, 100.0).finish();
        assert_eq!(svg.matches("<text").count(), 2);
        assert!(svg.contains("viewBox=\"0 0 760 119\"") && svg.contains("translate(0 19)"), "{svg}");
        assert!(wrapped(title, 15.5, 700.0).iter().all(|line| width_of(line, 15.5) <= 700.0));
    }

    #[test]
    fn text_cannot_break_the_drawing() {
        let mut canvas = Canvas::new("a < b & \"c\"", 100.0);
        canvas.text((0.0, 0.0), "<script>", Anchor::Start);
        let svg = canvas.finish();
        assert!(!svg.contains("<script>") && svg.contains("a &lt; b &amp;"));
    }
}
