//! The selectors of a PromQL expression, with their ranges and the functions around them, and the labels that it groups
//! by or creates.

use std::time::Duration;

use promql_parser::label::Labels;
use promql_parser::parser::{self, Expr, LabelModifier, VectorMatchCardinality, VectorSelector};

/// Grafana's variables for durations, and the durations that replace them while an expression is parsed.
const VARIABLES: &[(&str, &str, Duration)] = &[
    ("$__rate_interval", "7h7m7s", Duration::from_secs(7 * 3661)),
    ("$__interval", "8h8m8s", Duration::from_secs(8 * 3661)),
    ("$__range", "9h9m9s", Duration::from_secs(9 * 3661)),
];

/// One `metric{label op "value"}[range]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    /// Metric name, empty for a selector without one.
    pub(crate) metric: String,
    /// Label, operator (`=`, `!=`, `=~`, `!~`), value.
    pub(crate) matchers: Vec<(String, String, String)>,
    pub(crate) range: Option<String>,
    /// Name of the function or aggregation whose argument this is directly.
    pub(crate) function: Option<String>,
}

/// What an expression uses.
#[derive(Debug, Default)]
pub(crate) struct Query {
    /// Every selector, in order.
    pub(crate) selectors: Vec<Selector>,
    /// Labels in `by`, `without`, `on`, `ignoring`, `group_left` and `group_right`.
    pub(crate) grouped: Vec<String>,
    /// Labels that `label_replace`, `label_join` and `count_values` create.
    pub(crate) made: Vec<String>,
}

/// Parses an expression. The result of an empty one, a query of another data source, is empty.
pub(crate) fn read(expr: &str) -> Query {
    let mut query = Query::default();
    if !expr.is_empty() {
        let plain = VARIABLES.iter().fold(expr.to_owned(), |text, (name, value, _)| text.replace(name, value));
        query.visit(&parser::parse(&plain).unwrap_or_else(|error| panic!("{expr}: {error}")), None);
    }
    query
}

impl Query {
    fn visit(&mut self, expr: &Expr, function: Option<&str>) {
        match expr {
            Expr::Aggregate(aggregate) => {
                self.group(aggregate.modifier.as_ref());
                let name = aggregate.op.to_string();
                if let ("count_values", Some(Expr::StringLiteral(label))) = (name.as_str(), aggregate.param.as_deref())
                {
                    self.made.push(label.val.clone());
                }
                for part in aggregate.param.iter().chain([&aggregate.expr]) {
                    self.visit(part, Some(&name));
                }
            }
            Expr::Binary(binary) => {
                self.visit(&binary.lhs, function);
                if let Some(modifier) = &binary.modifier {
                    self.group(modifier.matching.as_ref());
                    if let VectorMatchCardinality::ManyToOne(more) | VectorMatchCardinality::OneToMany(more) =
                        &modifier.card
                    {
                        self.grouped.extend(more.labels.clone());
                    }
                }
                self.visit(&binary.rhs, function);
            }
            Expr::Call(call) => {
                if let ("label_replace" | "label_join", Some(Expr::StringLiteral(label))) =
                    (call.func.name, call.args.args.get(1).map(|label| &**label))
                {
                    self.made.push(label.val.clone());
                }
                call.args.args.iter().for_each(|part| self.visit(part, Some(call.func.name)));
            }
            Expr::Unary(unary) => self.visit(&unary.expr, function),
            Expr::Paren(paren) => self.visit(&paren.expr, None),
            Expr::Subquery(subquery) => self.visit(&subquery.expr, function),
            Expr::VectorSelector(vector) => self.select(vector, None, function),
            Expr::MatrixSelector(matrix) => self.select(&matrix.vs, Some(matrix.range), function),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
        }
    }

    fn group(&mut self, modifier: Option<&LabelModifier>) {
        if let Some(LabelModifier::Include(Labels { labels }) | LabelModifier::Exclude(Labels { labels })) = modifier {
            self.grouped.extend(labels.clone());
        }
    }

    fn select(&mut self, vector: &VectorSelector, range: Option<Duration>, function: Option<&str>) {
        let matchers = vector.matchers.matchers.iter();
        let mut matchers: Vec<_> =
            matchers.map(|one| (one.name.clone(), one.op.to_string(), one.value.clone())).collect();
        // `{__name__="up"}` is `up`.
        let inside = matchers.iter().position(|(label, op, _)| label == "__name__" && op == "=");
        let inside = inside.map(|at| matchers.remove(at).2);
        let written = |range: Duration| {
            let variable = VARIABLES.iter().find(|(_, _, value)| *value == range);
            variable.map_or_else(|| humantime::format_duration(range).to_string(), |(name, ..)| (*name).to_owned())
        };
        self.selectors.push(Selector {
            metric: vector.name.clone().or(inside).unwrap_or_default(),
            matchers,
            range: range.map(written),
            function: function.map(str::to_owned),
        });
    }
}

#[cfg(test)]
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
    fn the_function_is_the_one_directly_around_a_selector() {
        let query = read("sum(a + (b)) / rate(c[1m])");
        let functions: Vec<_> = query.selectors.iter().map(|one| one.function.as_deref()).collect();
        assert_eq!(functions, [Some("sum"), None, Some("rate")]);
        assert_eq!(query.selectors[2].range.as_deref(), Some("1m"));
    }

    #[test]
    fn labels_that_a_query_makes_itself_are_told_apart() {
        let query = read(r#"label_join(max by (a) (up * 2 or up{b="c"}), "call", " → ", "a", "b")"#);
        assert_eq!(query.made, ["call"]);
        assert_eq!(query.selectors.iter().map(|s| s.metric.as_str()).collect::<Vec<_>>(), ["up", "up"]);
    }

    fn metrics(expr: &str) -> Vec<String> {
        read(expr).selectors.into_iter().map(|found| found.metric).collect()
    }

    #[test]
    fn every_selector_is_found_in_order() {
        assert_eq!(
            metrics("histogram_quantile(0.99, sum by (le) (rate(a_bucket[5m] offset 1h))) > bool 1e3 or -up"),
            ["a_bucket", "up"]
        );
        assert_eq!(metrics("max_over_time((a == bool 1)[30s:5s]) unless on (x) b # and c"), ["a", "b"]);
        assert_eq!(metrics(r#"{__name__="up", job="a"}"#), ["up"]);
    }

    #[test]
    fn grouping_labels_are_those_of_aggregations_and_matchings() {
        assert_eq!(
            read("sum without (instance) (a) / on (job, x) group_left (y) b").grouped,
            ["instance", "job", "x", "y"]
        );
        assert_eq!(read("count(b) by (job)").grouped, ["job"]);
    }

    #[test]
    fn matchers_keep_operator_and_unescaped_value() {
        let [only] = &read(r#"level:a:rate1m{x="1", y!~'b|c',z=~"q\"r"} > 0"#).selectors[..] else { panic!() };
        assert_eq!(only.metric, "level:a:rate1m");
        let triple = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(only.matchers, [triple("x", "=", "1"), triple("y", "!~", "b|c"), triple("z", "=~", "q\"r")]);
    }
}
