//! Claims about results, checked: prose may say that one variant beats another only where it does.
//!
//! A claim is `left OP right`, with `<`, `<=`, `>` or `>=`; each side is a chain of references and
//! numbers joined by `+`, `-`, `*` and `/`, evaluated from the left.

use super::metrics::{self, Unit};
use super::run::Results;

/// A claim and whether it holds.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The claim as written.
    pub text: String,
    /// The claim with figures in place of its references.
    pub figures: String,
    /// Whether it holds.
    pub holds: bool,
}

/// Checks every claim of an experiment.
pub fn check(results: &Results) -> Result<Vec<Claim>, String> {
    results.experiment.expect.iter().map(|text| claim(results, text)).collect()
}

fn claim(results: &Results, text: &str) -> Result<Claim, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words
        .iter()
        .position(|word| matches!(*word, "<" | "<=" | ">" | ">="))
        .ok_or_else(|| format!("expect {text:?}: must compare with <, <=, > or >="))?;
    let (left, left_figures) = side(results, &words[..at]).map_err(|error| format!("expect {text:?}: {error}"))?;
    let (right, right_figures) =
        side(results, &words[at + 1..]).map_err(|error| format!("expect {text:?}: {error}"))?;
    let holds = match words[at] {
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        _ => left >= right,
    };
    Ok(Claim { text: text.to_owned(), figures: format!("{left_figures} {} {right_figures}", words[at]), holds })
}

fn side(results: &Results, words: &[&str]) -> Result<(f64, String), String> {
    let mut total = None;
    let mut operator = "+";
    let mut figures = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if index % 2 == 1 {
            if !matches!(*word, "+" | "-" | "*" | "/") {
                return Err(format!("{word:?} is not an operator"));
            }
            operator = word;
            figures.push((*word).to_owned());
            continue;
        }
        let (value, written) = match word.parse::<f64>() {
            Ok(number) => (number, (*word).to_owned()),
            Err(_) => {
                let (metric, cell) = results.look_up(word)?;
                let mean = cell.estimate(metric.key).mean;
                (mean, metrics::write(metric.unit, mean))
            }
        };
        figures.push(written);
        total = Some(match (total, operator) {
            (None, _) => value,
            (Some(sum), "+") => sum + value,
            (Some(sum), "-") => sum - value,
            (Some(sum), "*") => sum * value,
            (Some(sum), _) => sum / value,
        });
    }
    if words.len().is_multiple_of(2) {
        return Err("a side must end with a reference or a number".to_owned());
    }
    Ok((total.unwrap_or(f64::NAN), figures.join(" ")))
}

/// Replaces each `{{variant.metric}}` by its figure; `{{variant.metric ±}}` adds the interval.
pub(crate) fn fill(results: &Results, text: &str) -> Result<String, String> {
    super::template::fill(text, |reference| {
        let (reference, interval) = match reference.strip_suffix('±') {
            Some(reference) => (reference.trim(), true),
            None => (reference, false),
        };
        let (metric, cell) = results.look_up(reference)?;
        let estimate = cell.estimate(metric.key);
        Ok(if interval { with_interval(metric.unit, &estimate) } else { metrics::write(metric.unit, estimate.mean) })
    })
}

/// A figure and its interval.
pub(crate) fn with_interval(unit: Unit, estimate: &super::stats::Estimate) -> String {
    let mean = metrics::write(unit, estimate.mean);
    let half = estimate.half_width();
    if !half.is_finite() {
        return mean;
    }
    format!("{mean} ± {}", metrics::write_half(unit, estimate.mean, half))
}
