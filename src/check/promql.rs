//! The metric names of a `PromQL` expression, and its windows.
//!
//! A scanner and not a parser: the expressions may come from any Prometheus, whose newer syntax must not stop the
//! check, and `promql-parser`, which the tests use, would add some sixty crates to the program.

use std::time::Duration;

/// Names and windows of an expression.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// Words that may be metric names: neither labels, functions nor strings.
    pub(super) names: Vec<String>,
    /// Windows over samples of a metric; subqueries are left out, because they have their own steps.
    pub(super) windows: Vec<Duration>,
}

/// Scans an expression.
pub(super) fn read(query: &str) -> Read {
    let mut found = Read::default();
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        let skip = match first {
            '"' | '\'' | '`' => quoted(rest, first),
            '#' => rest.find('\n').unwrap_or(rest.len()),
            // Labels and their values.
            '{' => closed(rest, '{', '}'),
            '[' => {
                let end = closed(rest, '[', ']');
                let inside = rest[1..end].trim_end_matches(']').trim();
                found.windows.extend(duration(inside));
                end
            }
            c if c.is_ascii_alphabetic() || c == '_' || c == ':' => {
                let end =
                    rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                let after = after.trim_start();
                if matches!(word, "by" | "without" | "on" | "ignoring" | "group_left" | "group_right")
                    && after.starts_with('(')
                {
                    // A list of labels.
                    rest.len() - after.len() + closed(after, '(', ')')
                } else {
                    // The keywords of `sum by (…)` and `sum without (…)` are no metric names either.
                    let grouped = ["by", "without"]
                        .iter()
                        .any(|word| after.strip_prefix(word).is_some_and(|rest| rest.trim_start().starts_with('(')));
                    if !after.starts_with('(') && !grouped {
                        found.names.push(word.to_owned());
                    }
                    end
                }
            }
            // A number, possibly with a unit.
            c if c.is_ascii_digit() => {
                rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(rest.len())
            }
            c => c.len_utf8(),
        };
        rest = &rest[skip.min(rest.len())..];
    }
    found
}

/// Length of a quoted text, including the quotes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length up to and including the closing bracket.
fn closed(text: &str, open: char, close: char) -> usize {
    let (mut depth, mut at) = (0, 0);
    while let Some(c) = text[at..].chars().next() {
        match c {
            '"' | '\'' | '`' => at += quoted(&text[at..], c) - c.len_utf8(),
            c if c == open => depth += 1,
            c if c == close => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += c.len_utf8();
    }
    text.len()
}

/// Parses `1h30m` in Prometheus' notation; `None` for a subquery's `15m:15s`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_windows_are_found_and_the_rest_is_not() {
        let found = read(
            "sum without (instance, outcome) (rate(playback_requests_total{outcome=~\"ok|{bad}[5m]\"}[1m])) \
             / on (job) group_left () service:retries:rate1m > 0.5 and up{job='a[9m]'} # not_me[3m]\n == 1",
        );
        assert_eq!(found.names, ["playback_requests_total", "service:retries:rate1m", "and", "up"]);
        assert_eq!(found.windows, [Duration::from_secs(60)]);
    }

    #[test]
    fn a_subquery_has_no_window_of_samples() {
        let found = read("quantile_over_time(0.5, (count without (instance) (up))[15m:15s])");
        assert_eq!(found.windows, [] as [Duration; 0]);
        assert_eq!(read("rate(x[1h30m])").windows, [Duration::from_secs(5400)]);
    }

    #[test]
    fn broken_expressions_end() {
        for query in ["rate(x[", "x{a=\"", "'", "sum by (", "[[", "é{", "x[1m"] {
            read(query);
        }
    }
}
