//! Just enough of PromQL to know which series and labels an expression names.
//!
//! No grammar: a tokenizer, and the rule that a word is a metric unless it is a keyword, a function
//! (a word before `(`), or a label in one of the places where labels stand. Grafana's `$variables`
//! pass as numbers.

/// A selector: the metric and the matchers in its braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// Metric name, empty for a selector without one.
    pub(crate) metric: String,
    /// Label, operator (`=`, `!=`, `=~`, `!~`), value.
    pub(crate) labels: Vec<(String, String, String)>,
}

/// Every selector of an expression, in order.
pub(crate) fn metrics_in(expr: &str) -> Vec<Use> {
    scan(expr).0
}

/// Every label that stands in `by`, `without`, `on`, `ignoring`, `group_left` and `group_right`.
pub(crate) fn grouping_labels_in(expr: &str) -> Vec<String> {
    scan(expr).1
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Number,
    Sign(String),
}

const GROUPING: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
const KEYWORDS: &[&str] = &["and", "or", "unless", "bool", "offset", "atan2", "inf", "nan", "start", "end"];
const AGGREGATORS: &[&str] = &[
    "sum",
    "min",
    "max",
    "avg",
    "group",
    "stddev",
    "stdvar",
    "count",
    "count_values",
    "bottomk",
    "topk",
    "quantile",
    "limitk",
    "limit_ratio",
];

fn scan(expr: &str) -> (Vec<Use>, Vec<String>) {
    let tokens = tokens(expr);
    let (mut uses, mut grouping) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            Token::Word(word) if GROUPING.contains(&word.to_lowercase().as_str()) => {
                at += 1;
                if tokens.get(at) == Some(&sign("(")) {
                    let end = close(&tokens, at, ")");
                    grouping.extend(tokens[at..end].iter().filter_map(|token| match token {
                        Token::Word(label) | Token::Text(label) => Some(label.clone()),
                        _ => None,
                    }));
                    at = end;
                }
                continue;
            }
            Token::Word(word) if is_metric(word, tokens.get(at + 1)) => {
                let mut found = Use { metric: word.clone(), labels: Vec::new() };
                if tokens.get(at + 1) == Some(&sign("{")) {
                    let end = close(&tokens, at + 1, "}");
                    found.labels = matchers(&tokens[at + 2..end]);
                    at = end;
                }
                uses.push(found);
            }
            Token::Sign(open) if open == "{" => {
                let end = close(&tokens, at, "}");
                uses.push(nameless(matchers(&tokens[at + 1..end])));
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    (uses, grouping)
}

fn is_metric(word: &str, next: Option<&Token>) -> bool {
    let lower = word.to_lowercase();
    let before_grouping = matches!(next, Some(Token::Word(next)) if GROUPING.contains(&next.to_lowercase().as_str()));
    let aggregates = AGGREGATORS.contains(&lower.as_str()) && before_grouping;
    next != Some(&sign("(")) && !aggregates && !KEYWORDS.contains(&lower.as_str())
}

/// `{__name__="up"}` is `up`.
fn nameless(mut labels: Vec<(String, String, String)>) -> Use {
    let name = labels.iter().position(|(label, op, _)| label == "__name__" && op == "=");
    Use { metric: name.map_or_else(String::new, |at| labels.remove(at).2), labels }
}

fn matchers(tokens: &[Token]) -> Vec<(String, String, String)> {
    tokens
        .windows(3)
        .filter_map(|three| match three {
            [Token::Word(label), Token::Sign(op), Token::Text(value)] => {
                Some((label.clone(), op.clone(), value.clone()))
            }
            _ => None,
        })
        .collect()
}

fn sign(text: &str) -> Token {
    Token::Sign(text.to_owned())
}

/// Where the first `closing` after `from` is, or the end.
fn close(tokens: &[Token], from: usize, closing: &str) -> usize {
    let rest = &tokens[from..];
    from + rest.iter().position(|token| *token == sign(closing)).unwrap_or(rest.len())
}

fn tokens(expr: &str) -> Vec<Token> {
    let chars: Vec<char> = expr.chars().collect();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        let start = at;
        match chars[at] {
            '#' => at = end_of(&chars, at, |c| c != '\n'),
            // Ranges and subqueries hold durations only, and a colon that begins no word.
            '[' => at = end_of(&chars, at, |c| c != ']') + 1,
            quote @ ('"' | '\'' | '`') => {
                let (text, end) = quoted(&chars, at, quote);
                found.push(Token::Text(text));
                at = end;
            }
            '$' => {
                at = end_of(&chars, at + 1, |c| c.is_alphanumeric() || "_{}:".contains(c));
                found.push(Token::Number);
            }
            c if c.is_ascii_digit() => {
                at = end_of(&chars, at, |c| c.is_alphanumeric() || c == '.');
                found.push(Token::Number);
            }
            c if c.is_alphabetic() || c == '_' || c == ':' => {
                at = end_of(&chars, at, |c| c.is_alphanumeric() || c == '_' || c == ':');
                found.push(Token::Word(chars[start..at].iter().collect()));
            }
            c if c.is_whitespace() => at += 1,
            _ => {
                let two: String = chars[at..chars.len().min(at + 2)].iter().collect();
                let width = if ["=~", "!~", "!=", "==", ">=", "<="].contains(&two.as_str()) { 2 } else { 1 };
                found.push(Token::Sign(chars[at..at + width].iter().collect()));
                at += width;
            }
        }
    }
    found
}

fn end_of(chars: &[char], from: usize, inside: impl Fn(char) -> bool) -> usize {
    chars[from..].iter().position(|&c| !inside(c)).map_or(chars.len(), |length| from + length)
}

fn quoted(chars: &[char], from: usize, quote: char) -> (String, usize) {
    let (mut text, mut at) = (String::new(), from + 1);
    while at < chars.len() && chars[at] != quote {
        if chars[at] == '\\' && quote != '`' && at + 1 < chars.len() {
            at += 1;
        }
        text.push(chars[at]);
        at += 1;
    }
    (text, at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(expr: &str) -> Vec<String> {
        metrics_in(expr).into_iter().map(|found| found.metric).collect()
    }

    #[test]
    fn functions_keywords_and_numbers_are_no_metrics() {
        assert_eq!(
            metrics("histogram_quantile(0.99, sum by (le) (rate(a_bucket[5m] offset 1h))) > bool 1e3 or -Inf"),
            ["a_bucket"]
        );
        assert_eq!(metrics("max_over_time((a == bool 1)[30s:5s]) unless on (x) b # and c"), ["a", "b"]);
    }

    #[test]
    fn aggregators_before_and_after_their_grouping_are_no_metrics() {
        assert_eq!(metrics("sum without (instance) (a) / count(b) by (job)"), ["a", "b"]);
        assert_eq!(
            grouping_labels_in("sum without (instance) (a) / on (job, x) group_left (y) b"),
            ["instance", "job", "x", "y"]
        );
    }

    #[test]
    fn matchers_keep_operator_and_unescaped_value() {
        let [only] = &metrics_in(r#"level:a:rate1m{x="1", y!~'b|c',z=~"q\"{}"} > 0"#)[..] else { panic!() };
        assert_eq!(only.metric, "level:a:rate1m");
        let triple = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(only.labels, [triple("x", "=", "1"), triple("y", "!~", "b|c"), triple("z", "=~", "q\"{}")]);
    }

    #[test]
    fn a_selector_may_carry_its_name_inside() {
        assert_eq!(metrics(r#"{__name__="up", job="a"}"#), ["up"]);
    }

    #[test]
    fn grafana_variables_stand_for_numbers_and_values() {
        assert_eq!(metrics(r#"rate(a{job=~"$job"}[$__rate_interval]) * ${factor:raw}"#), ["a"]);
    }
}
