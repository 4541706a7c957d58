//! Just enough PromQL to know what a query touches: its selectors with their ranges and the functions
//! around them, and the labels it groups by. It does not judge syntax: Prometheus does, in the live test.

/// One `metric{label op "value"}[range]`.
#[derive(Debug, PartialEq, Eq)]
pub struct Selector {
    pub metric: String,
    /// Label, operator, value.
    pub matchers: Vec<(String, String, String)>,
    pub range: Option<String>,
    /// Name of the function whose argument this is directly.
    pub function: Option<String>,
}

#[derive(Debug, Default)]
pub struct Query {
    pub selectors: Vec<Selector>,
    /// Labels named in `by`, `without`, `on`, `ignoring` and `group_*`.
    pub grouped: Vec<String>,
    /// Labels that `label_replace` and `label_join` make.
    pub made: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Range(String),
    Sign(char),
}

const GROUPINGS: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
const KEYWORDS: &[&str] = &["and", "or", "unless", "bool", "offset", "inf", "nan", "time"];

pub fn read(expr: &str) -> Query {
    let tokens = tokens(expr);
    let (mut query, mut open, mut at) = (Query::default(), Vec::<String>::new(), 0);
    while at < tokens.len() {
        match &tokens[at] {
            Token::Word(word) if GROUPINGS.contains(&word.as_str()) => {
                let (labels, after) = list(&tokens, at + 1);
                query.grouped.extend(labels);
                at = after;
                continue;
            }
            Token::Word(word) if is_name(word) && !KEYWORDS.contains(&word.as_str()) => {
                if let Some(called) = call_at(&tokens, at) {
                    if matches!(word.as_str(), "label_replace" | "label_join" | "count_values") {
                        query.made.extend(first_text(&tokens[called..]));
                    }
                    query_groupings(&tokens[at + 1..called], &mut query);
                    open.push(word.clone());
                    at = called + 1;
                    continue;
                }
                let (selector, after) = selector(word, &tokens, at + 1, open.last());
                query.selectors.push(selector);
                at = after;
                continue;
            }
            Token::Sign('(') => open.push(String::new()),
            Token::Sign(')') => {
                open.pop();
            }
            _ => {}
        }
        at += 1;
    }
    query
}

/// Where the call of the function or aggregation at `at` opens its parenthesis: at once, or after a grouping.
fn call_at(tokens: &[Token], at: usize) -> Option<usize> {
    match tokens.get(at + 1)? {
        Token::Sign('(') => Some(at + 1),
        Token::Word(word) if word == "by" || word == "without" => {
            let (_, after) = list(tokens, at + 2);
            (tokens.get(after) == Some(&Token::Sign('('))).then_some(after)
        }
        _ => None,
    }
}

fn query_groupings(tokens: &[Token], query: &mut Query) {
    if let Some(Token::Word(_)) = tokens.first() {
        query.grouped.extend(list(tokens, 1).0);
    }
}

/// The words of `(a, b)` at `at`, and where it ends.
fn list(tokens: &[Token], mut at: usize) -> (Vec<String>, usize) {
    let mut words = Vec::new();
    if tokens.get(at) != Some(&Token::Sign('(')) {
        return (words, at);
    }
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            Token::Word(word) => words.push(word.clone()),
            Token::Sign(')') => break,
            _ => {}
        }
    }
    (words, at)
}

fn first_text(tokens: &[Token]) -> Option<String> {
    let mut depth = 0;
    for token in tokens {
        match token {
            Token::Sign('(' | '{') => depth += 1,
            Token::Sign(')' | '}') => depth -= 1,
            Token::Text(text) if depth == 1 => return Some(text.clone()),
            _ => {}
        }
    }
    None
}

fn selector(metric: &str, tokens: &[Token], mut at: usize, function: Option<&String>) -> (Selector, usize) {
    let mut matchers = Vec::new();
    if tokens.get(at) == Some(&Token::Sign('{')) {
        at += 1;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                Token::Sign('}') => break,
                Token::Word(label) => {
                    let mut op = String::new();
                    while let Some(Token::Sign(sign)) = tokens.get(at) {
                        op.push(*sign);
                        at += 1;
                    }
                    let Some(Token::Text(value)) = tokens.get(at) else { panic!("{metric}: {label} has no value") };
                    matchers.push((label.clone(), op, value.clone()));
                    at += 1;
                }
                _ => {}
            }
        }
    }
    let range = match tokens.get(at) {
        Some(Token::Range(range)) => Some(range.clone()),
        _ => None,
    };
    let function = function.filter(|name| !name.is_empty()).cloned();
    (Selector { metric: metric.to_owned(), matchers, range, function }, at)
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

fn tokens(expr: &str) -> Vec<Token> {
    let (mut out, mut rest) = (Vec::new(), expr);
    while let Some(c) = rest.chars().next() {
        let word_end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_:$.".contains(c))).unwrap_or(rest.len());
        let (token, length) = match c {
            '"' => {
                let end = 1 + rest[1..].find('"').expect("a string is closed");
                (Some(Token::Text(rest[1..end].to_owned())), end + 1)
            }
            '[' => {
                let end = rest.find(']').expect("a range is closed");
                (Some(Token::Range(rest[1..end].to_owned())), end + 1)
            }
            _ if word_end > 0 => (Some(Token::Word(rest[..word_end].to_owned())), word_end),
            _ if c.is_whitespace() => (None, c.len_utf8()),
            _ => (Some(Token::Sign(c)), c.len_utf8()),
        };
        out.extend(token);
        rest = &rest[length..];
    }
    out
}

mod tests {
    use super::*;

    #[test]
    fn a_query_shows_its_selectors_functions_and_labels() {
        let query = read(
            r#"histogram_quantile(0.99, sum by (le, service) (rate(a_bucket{job=~"$job", x!="y"}[$__rate_interval]))) >= 0 or on () vector(0)"#,
        );
        assert_eq!(query.selectors.len(), 1, "{query:?}");
        let selector = &query.selectors[0];
        assert_eq!((selector.metric.as_str(), selector.range.as_deref()), ("a_bucket", Some("$__rate_interval")));
        assert_eq!(selector.function.as_deref(), Some("rate"));
        assert_eq!(selector.matchers[1], ("x".into(), "!=".into(), "y".into()));
        assert_eq!(query.grouped, ["le", "service"]);
    }

    #[test]
    fn labels_that_a_query_makes_itself_are_told_apart() {
        let query = read(r#"label_join(max by (a) (up * 2 or up{b="c"}), "call", " → ", "a", "b")"#);
        assert_eq!(query.made, ["call"]);
        assert_eq!(query.selectors.iter().map(|s| s.metric.as_str()).collect::<Vec<_>>(), ["up", "up"]);
    }
}
