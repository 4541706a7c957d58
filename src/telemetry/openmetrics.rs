//! OpenMetrics 1.0 text, exemplars included.
//!
//! What differs from the Prometheus text format, and fails a whole scrape when it is wrong: counter
//! families lose their `_total` in `# TYPE` and `# HELP`, bucket bounds are floats (`le="1.0"`),
//! exemplars stand on `_bucket` lines only and inside their bucket, and the last line is `# EOF`.

use std::fmt::Write as _;

use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::exemplars::{Exemplar, Exemplars};
use super::names;

/// Negotiated content type of this encoding.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Encodes families as they were gathered.
pub(super) fn encode(families: &[MetricFamily], exemplars: &Exemplars) -> String {
    let mut out = String::with_capacity(96 * 1024);
    for family in families {
        write_family(&mut out, family, exemplars);
    }
    out.push_str("# EOF\n");
    out
}

fn write_family(out: &mut String, family: &MetricFamily, exemplars: &Exemplars) {
    let kind = family.get_field_type();
    let (name, word) = match kind {
        MetricType::COUNTER => (family.name().trim_end_matches("_total"), "counter"),
        MetricType::GAUGE => (family.name(), "gauge"),
        MetricType::HISTOGRAM => (family.name(), "histogram"),
        // Nothing here registers any other kind.
        MetricType::SUMMARY | MetricType::UNTYPED => return,
    };
    line(out, format_args!("# TYPE {name} {word}"));
    line(out, format_args!("# HELP {name} {}", escaped(family.help())));
    for metric in family.get_metric() {
        let labels = labels_of(metric);
        match kind {
            MetricType::COUNTER => sample(out, &format!("{name}_total"), &labels, metric.get_counter().get_value()),
            MetricType::GAUGE => sample(out, name, &labels, metric.get_gauge().get_value()),
            _ => write_histogram(out, name, &labels, metric, exemplars),
        }
    }
}

fn write_histogram(out: &mut String, name: &str, labels: &str, metric: &Metric, exemplars: &Exemplars) {
    let histogram = metric.get_histogram();
    let own = exemplars.of(name, &values_in_order(name, metric));
    let exemplar = |bucket: usize| own.as_ref().and_then(|places| places.get(bucket)?.as_ref());
    let separator = if labels.is_empty() { "" } else { "," };
    let buckets = histogram.get_bucket();
    for (index, bucket) in buckets.iter().enumerate() {
        let bound = number(bucket.upper_bound());
        let count = bucket.cumulative_count();
        bucket_line(out, format_args!("{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {count}"), exemplar(index));
    }
    let count = histogram.get_sample_count();
    let infinite = exemplar(buckets.len());
    bucket_line(out, format_args!("{name}_bucket{{{labels}{separator}le=\"+Inf\"}} {count}"), infinite);
    sample(out, &format!("{name}_sum"), labels, histogram.get_sample_sum());
    sample(out, &format!("{name}_count"), labels, count as f64);
}

fn bucket_line(out: &mut String, text: std::fmt::Arguments<'_>, exemplar: Option<&Exemplar>) {
    let _ = out.write_fmt(text);
    if let Some(Exemplar { trace_id, value, unix_seconds }) = exemplar {
        let _ = write!(out, " # {{trace_id=\"{trace_id}\"}} {} {unix_seconds:.3}", number(*value));
    }
    out.push('\n');
}

fn sample(out: &mut String, name: &str, labels: &str, value: f64) {
    let value = number(value);
    if labels.is_empty() {
        line(out, format_args!("{name} {value}"));
    } else {
        line(out, format_args!("{name}{{{labels}}} {value}"));
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String can't fail.
    let _ = out.write_fmt(text);
    out.push('\n');
}

/// `name="value",…` as they stand between braces.
fn labels_of(metric: &Metric) -> String {
    let mut out = String::new();
    for pair in metric.get_label() {
        if !out.is_empty() {
            out.push(',');
        }
        let _ = write!(out, "{}=\"{}\"", pair.name(), escaped(pair.value()));
    }
    out
}

/// Label values in the order of the contract; gathered metrics are sorted by label name.
fn values_in_order(family: &str, metric: &Metric) -> Vec<String> {
    let Some(family) = names::ALL.iter().find(|known| known.name == family) else { return Vec::new() };
    let value =
        |name: &&str| metric.get_label().iter().find(|pair| pair.name() == *name).map(|pair| pair.value().to_owned());
    family.labels.iter().filter_map(value).collect()
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

/// A float as OpenMetrics writes it: always with a point or an exponent, so that `1` reads `1.0`.
fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        format!("{value:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_floats() {
        assert_eq!([1.0, 0.25, f64::NAN, f64::INFINITY, 1e21].map(number), ["1.0", "0.25", "NaN", "+Inf", "1e21"]);
    }

    #[test]
    fn an_exemplar_stands_on_its_bucket_s_line() {
        let mut out = String::new();
        let exemplar = Exemplar { trace_id: "ab".to_owned(), value: 0.3, unix_seconds: 12.5 };
        bucket_line(&mut out, format_args!("x_bucket{{le=\"0.5\"}} 1"), Some(&exemplar));
        assert_eq!(out, "x_bucket{le=\"0.5\"} 1 # {trace_id=\"ab\"} 0.3 12.500\n");
    }
}
