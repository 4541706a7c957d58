//! OpenMetrics 1.0 text, exemplars included.
//!
//! What differs from the Prometheus text format, and fails a whole scrape when it is wrong: counter
//! families lose their `_total` in `# TYPE` and `# HELP`, bucket bounds are floats (`le="1.0"`),
//! exemplars stand on `_bucket` lines only and inside their bucket, and the last line is `# EOF`.
//!
//! A scrape of many breakers is many thousand lines, so each is appended piece by piece to the one
//! body, and what lines share (a family's bounds, a series' labels) is written once and copied.

use std::fmt::Write as _;
use std::sync::PoisonError;

use prometheus::proto::{Bucket, LabelPair, Metric, MetricFamily, MetricType};

use super::exemplars::{Exemplar, Exemplars, Series, key};
use super::names;

/// Negotiated content type of this encoding.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Below this, whole numbers are written with all their digits.
const ALL_DIGITS: f64 = 1e15;

/// Encodes families as they were gathered.
pub(super) fn encode(families: &[MetricFamily], exemplars: &Exemplars) -> String {
    let mut out = String::with_capacity(96 * 1024);
    for family in families {
        exemplars.with(family.name(), |series| write_family(&mut out, family, series));
    }
    out.push_str("# EOF\n");
    out
}

fn write_family(out: &mut String, family: &MetricFamily, exemplars: Option<&Series>) {
    let kind = family.get_field_type();
    let (name, word) = match kind {
        MetricType::COUNTER => (family.name().trim_end_matches("_total"), "counter"),
        MetricType::GAUGE => (family.name(), "gauge"),
        MetricType::HISTOGRAM => (family.name(), "histogram"),
        // Nothing here registers any other kind.
        MetricType::SUMMARY | MetricType::UNTYPED => return,
    };
    push(out, &["# TYPE ", name, " ", word, "\n# HELP ", name, " "]);
    escape(out, family.help());
    out.push('\n');
    if kind == MetricType::HISTOGRAM {
        return Histograms::of(family, exemplars).write(out, family);
    }
    let mut labels = String::new();
    for metric in family.get_metric() {
        write_labels(&mut labels, metric);
        match kind {
            MetricType::COUNTER => sample(out, name, "_total", &labels, metric.get_counter().get_value()),
            _ => sample(out, name, "", &labels, metric.get_gauge().get_value()),
        }
    }
}

/// What the histograms of one family share.
struct Histograms<'a> {
    name: &'a str,
    /// Label names in the order of the contract; gathered ones are sorted by name.
    order: &'static [&'static str],
    exemplars: Option<&'a Series>,
    /// `le` of each bucket but the last.
    bounds: Vec<String>,
}

impl<'a> Histograms<'a> {
    fn of(family: &'a MetricFamily, exemplars: Option<&'a Series>) -> Self {
        let name = family.name();
        let order = names::ALL.iter().find(|known| known.name == name).map_or(&[][..], |known| known.labels);
        let buckets = family.get_metric().first().map_or(&[][..], |metric| metric.get_histogram().get_bucket());
        let bound = |bucket: &Bucket| {
            let mut bound = String::new();
            number(&mut bound, bucket.upper_bound());
            bound
        };
        Self { name, order, exemplars, bounds: buckets.iter().map(bound).collect() }
    }

    fn write(&self, out: &mut String, family: &MetricFamily) {
        let (mut labels, mut own) = (String::new(), String::new());
        for metric in family.get_metric() {
            write_labels(&mut labels, metric);
            let places = self.exemplars.and_then(|series| {
                key(&mut own, values_in_order(self.order, metric));
                series.get(&own)
            });
            // Few and small: copied, so that requests do not wait while the body is written.
            let places = places.map(|places| places.lock().unwrap_or_else(PoisonError::into_inner).clone());
            self.write_one(out, metric, &labels, places.as_deref().unwrap_or_default());
        }
    }

    fn write_one(&self, out: &mut String, metric: &Metric, labels: &str, exemplars: &[Option<Exemplar>]) {
        let histogram = metric.get_histogram();
        let separator = if labels.is_empty() { "" } else { "," };
        let counts = histogram.get_bucket().iter().map(Bucket::cumulative_count).chain([histogram.get_sample_count()]);
        let bounds = self.bounds.iter().map(String::as_str).chain(["+Inf"]);
        for (index, (bound, count)) in bounds.zip(counts).enumerate() {
            push(out, &[self.name, "_bucket{", labels, separator, "le=\"", bound, "\"} "]);
            let _ = write!(out, "{count}");
            if let Some(Some(exemplar)) = exemplars.get(index) {
                write_exemplar(out, exemplar);
            }
            out.push('\n');
        }
        sample(out, self.name, "_sum", labels, histogram.get_sample_sum());
        sample(out, self.name, "_count", labels, histogram.get_sample_count() as f64);
    }
}

fn write_exemplar(out: &mut String, Exemplar { trace_id, value, unix_seconds }: &Exemplar) {
    let _ = write!(out, " # {{trace_id=\"{trace_id}\"}} ");
    number(out, *value);
    let _ = write!(out, " {unix_seconds:.3}");
}

fn sample(out: &mut String, name: &str, ending: &str, labels: &str, value: f64) {
    push(out, &[name, ending]);
    if !labels.is_empty() {
        push(out, &["{", labels, "}"]);
    }
    out.push(' ');
    number(out, value);
    out.push('\n');
}

fn push(out: &mut String, pieces: &[&str]) {
    for piece in pieces {
        out.push_str(piece);
    }
}

/// Writes `name="value",…` as they stand between braces, in place of what `out` holds.
fn write_labels(out: &mut String, metric: &Metric) {
    out.clear();
    for pair in metric.get_label() {
        push(out, &[if out.is_empty() { "" } else { "," }, pair.name(), "=\""]);
        escape(out, pair.value());
        out.push('"');
    }
}

fn values_in_order<'a>(order: &'static [&'static str], metric: &'a Metric) -> impl Iterator<Item = &'a str> {
    order.iter().filter_map(|name| metric.get_label().iter().find(|pair| pair.name() == *name).map(LabelPair::value))
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

/// Writes a float as OpenMetrics does: always with a point or an exponent, so that `1` reads `1.0`.
fn number(out: &mut String, value: f64) {
    // Writing into a String can't fail.
    let _ = if value.is_nan() {
        write!(out, "NaN")
    } else if value.is_infinite() {
        write!(out, "{}Inf", if value > 0.0 { '+' } else { '-' })
    } else if value.fract() == 0.0 && value.abs() < ALL_DIGITS && (value != 0.0 || value.is_sign_positive()) {
        // Most samples are counts, and whole numbers are written several times faster as such.
        #[allow(clippy::cast_possible_truncation, reason = "whole, and far below 2^63")]
        let whole = value as i64;
        write!(out, "{whole}.0")
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
        let written = |value| {
            let mut out = String::new();
            number(&mut out, value);
            out
        };
        for value in [0.0, -0.0, 1.0, -3.0, 0.25, 1e-9, 999_999_999_999_999.0, 1e15, 1e16, 1e21, f64::MAX, f64::MIN] {
            assert_eq!(written(value), format!("{value:?}"));
        }
        assert_eq!([f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(written), ["NaN", "+Inf", "-Inf"]);
    }

    #[test]
    fn an_exemplar_has_its_trace_value_and_time() {
        let mut out = String::new();
        write_exemplar(&mut out, &Exemplar { trace_id: TraceId::from(0xab), value: 0.3, unix_seconds: 12.5 });
        assert_eq!(out, " # {trace_id=\"000000000000000000000000000000ab\"} 0.3 12.500");
    }

    #[test]
    fn what_would_end_a_value_is_escaped() {
        let mut out = String::new();
        escape(&mut out, "a\"b\\c\nd");
        assert_eq!(out, "a\\\"b\\\\c\\nd");
    }
}
