//! OpenMetrics 1.0 text with exemplars.
//!
//! Differences from the Prometheus text format, each of which would fail a whole scrape: counter families lose their
//! `_total` in `# TYPE` and `# HELP`, bucket bounds are floats (`le="1.0"`), exemplars are only allowed on `_bucket`
//! lines and inside their bucket, and the last line is `# EOF`.
//!
//! A scrape of many breakers has thousands of lines, so each is appended directly to the body, and common parts (a
//! family's bounds, a series' labels) are formatted once and copied.

use std::fmt::Write as _;

use prometheus::proto::{Bucket, Histogram, MetricFamily, MetricType};

use super::exemplars::{Exemplar, Exemplars};
use super::metrics::Metrics;
use super::names::Kind;

/// Negotiated content type of this encoding.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whole numbers below this are written as integers.
const ALL_DIGITS: f64 = 1e15;

/// Encodes the current values, families sorted by name and those of the process last.
pub(super) fn encode(metrics: &Metrics) -> String {
    let mut out = String::with_capacity(metrics.last_size());
    for family in metrics.refreshed() {
        family.write(&mut out);
    }
    for family in metrics.of_the_process() {
        write_gathered(&mut out, &family);
    }
    out.push_str("# EOF\n");
    out
}

/// A family of another collector: counters and gauges without labels.
fn write_gathered(out: &mut String, family: &MetricFamily) {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => Kind::Counter,
        MetricType::GAUGE => Kind::Gauge,
        // The process collector has no other types.
        MetricType::HISTOGRAM | MetricType::SUMMARY | MetricType::UNTYPED => return,
    };
    let name = head(out, family.name(), kind, family.help());
    for metric in family.get_metric() {
        if kind == Kind::Counter {
            sample(out, name, "_total", "", metric.get_counter().get_value());
        } else {
            sample(out, name, "", "", metric.get_gauge().get_value());
        }
    }
}

/// Appends `# TYPE` and `# HELP`, and returns the family's name in OpenMetrics.
pub(super) fn head<'a>(out: &mut String, name: &'a str, kind: Kind, help: &str) -> &'a str {
    let (name, word) = match kind {
        Kind::Counter => (name.trim_end_matches("_total"), "counter"),
        Kind::Gauge => (name, "gauge"),
        Kind::Histogram => (name, "histogram"),
    };
    push(out, &["# TYPE ", name, " ", word, "\n# HELP ", name, " "]);
    escape(out, help);
    out.push('\n');
    name
}

/// The parts that all lines of a series share.
pub(super) struct Series<'a> {
    /// The family's name, without `_total`.
    pub(super) name: &'a str,
    /// The labels as formatted between braces.
    pub(super) labels: &'a str,
    /// Bounds of a histogram's buckets except `+Inf`.
    pub(super) le: &'a [String],
    pub(super) exemplars: Option<&'a Exemplars>,
}

impl Series<'_> {
    pub(super) fn counter(&self, out: &mut String, value: u64) {
        start(out, self.name, "_total", self.labels);
        push(out, &[itoa::Buffer::new().format(value), ".0\n"]);
    }

    pub(super) fn gauge(&self, out: &mut String, value: f64) {
        sample(out, self.name, "", self.labels, value);
    }

    pub(super) fn histogram(&self, out: &mut String, histogram: &Histogram) {
        let count = histogram.get_sample_count();
        let counts = histogram.get_bucket().iter().map(Bucket::cumulative_count).chain([count]);
        let bounds = self.le.iter().map(String::as_str).chain(["+Inf"]);
        let separator = if self.labels.is_empty() { "" } else { "," };
        // Copied, because they are few and requests must not wait while the body is written.
        let exemplars = self.exemplars.map(Exemplars::latest).unwrap_or_default();
        let mut digits = itoa::Buffer::new();
        for (index, (bound, count)) in bounds.zip(counts).enumerate() {
            push(out, &[self.name, "_bucket{", self.labels, separator, "le=\"", bound, "\"} ", digits.format(count)]);
            if let Some(Some(exemplar)) = exemplars.get(index) {
                write_exemplar(out, exemplar);
            }
            out.push('\n');
        }
        sample(out, self.name, "_sum", self.labels, histogram.get_sample_sum());
        start(out, self.name, "_count", self.labels);
        push(out, &[digits.format(count), ".0\n"]);
    }
}

fn write_exemplar(out: &mut String, Exemplar { trace_id, value, unix_seconds }: &Exemplar) {
    let _ = write!(out, " # {{trace_id=\"{trace_id}\"}} ");
    number(out, *value);
    let _ = write!(out, " {unix_seconds:.3}");
}

fn sample(out: &mut String, name: &str, ending: &str, labels: &str, value: f64) {
    start(out, name, ending, labels);
    number(out, value);
    out.push('\n');
}

fn start(out: &mut String, name: &str, ending: &str, labels: &str) {
    push(out, &[name, ending]);
    if !labels.is_empty() {
        push(out, &["{", labels, "}"]);
    }
    out.push(' ');
}

fn push(out: &mut String, pieces: &[&str]) {
    for piece in pieces {
        out.push_str(piece);
    }
}

/// Formats labels as `name="value",…`.
pub(super) fn labels<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        let separator = if out.is_empty() { "" } else { "," };
        push(&mut out, &[separator, name, "=\""]);
        escape(&mut out, value);
        out.push('"');
    }
    out
}

fn escape(out: &mut String, text: &str) {
    if !text.contains(['\\', '\n', '"']) {
        return out.push_str(text);
    }
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}

/// A float in OpenMetrics notation.
pub(super) fn float(value: f64) -> String {
    let mut out = String::new();
    number(&mut out, value);
    out
}

/// Appends a float, always with a point or an exponent: `1` becomes `1.0`.
fn number(out: &mut String, value: f64) {
    if value.fract() == 0.0 && value.abs() < ALL_DIGITS && (value != 0.0 || value.is_sign_positive()) {
        // Most samples are counts, and integers are formatted several times faster.
        #[allow(clippy::cast_possible_truncation, reason = "whole, and far below 2^63")]
        let whole = value as i64;
        return push(out, &[itoa::Buffer::new().format(whole), ".0"]);
    }
    // Writing into a String can't fail.
    let _ = if value.is_nan() {
        write!(out, "NaN")
    } else if value.is_infinite() {
        write!(out, "{}Inf", if value > 0.0 { '+' } else { '-' })
    } else {
        write!(out, "{value:?}")
    };
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceId;

    use super::*;

    #[test]
    fn numbers_are_floats() {
        for value in [0.0, -0.0, 1.0, -3.0, 0.25, 1e-9, 999_999_999_999_999.0, 1e15, 1e16, 1e21, f64::MAX, f64::MIN] {
            assert_eq!(float(value), format!("{value:?}"));
        }
        assert_eq!([f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(float), ["NaN", "+Inf", "-Inf"]);
    }

    #[test]
    fn an_exemplar_has_its_trace_value_and_time() {
        let mut out = String::new();
        write_exemplar(&mut out, &Exemplar { trace_id: TraceId::from(0xab), value: 0.3, unix_seconds: 12.5 });
        assert_eq!(out, " # {trace_id=\"000000000000000000000000000000ab\"} 0.3 12.500");
    }

    #[test]
    fn special_characters_in_values_are_escaped() {
        let mut out = String::new();
        escape(&mut out, "a\"b\\c\nd");
        assert_eq!(out, "a\\\"b\\\\c\\nd");
    }
}
