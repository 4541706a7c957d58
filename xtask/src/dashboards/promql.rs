//! What a dashboard's query touches: its selectors with their ranges and the functions around them, and the
//! labels it groups by.

use std::time::Duration;

use promql_parser::label::Labels;
use promql_parser::parser::{self, Expr, LabelModifier, VectorMatchCardinality, VectorSelector};

/// Grafana's variables where `PromQL` has durations, and the durations that stand for them while a query is read.
const VARIABLES: &[(&str, &str, Duration)] = &[
    ("$__rate_interval", "7h7m7s", Duration::from_secs(7 * 3661)),
    ("$__interval", "8h8m8s", Duration::from_secs(8 * 3661)),
    ("$__range", "9h9m9s", Duration::from_secs(9 * 3661)),
];

/// One `metric{label op "value"}[range]`.
#[derive(Debug, PartialEq, Eq)]
pub struct Selector {
    pub metric: String,
    /// Label, operator, value.
    pub matchers: Vec<(String, String, String)>,
    pub range: Option<String>,
    /// Name of the function or aggregation whose argument this is directly.
    pub function: Option<String>,
}

#[derive(Debug, Default)]
pub struct Query {
    pub selectors: Vec<Selector>,
    /// Labels named in `by`, `without`, `on`, `ignoring` and `group_*`.
    pub grouped: Vec<String>,
    /// Labels that `label_replace`, `label_join` and `count_values` make.
    pub made: Vec<String>,
}

/// Reads a query; one of another data source has no expression.
pub fn read(expr: &str) -> Query {
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
        let written = |range: Duration| {
            let variable = VARIABLES.iter().find(|(_, _, value)| *value == range);
            variable.map_or_else(|| humantime::format_duration(range).to_string(), |(name, ..)| (*name).to_owned())
        };
        self.selectors.push(Selector {
            metric: vector.name.clone().unwrap_or_default(),
            matchers: matchers.map(|one| (one.name.clone(), one.op.to_string(), one.value.clone())).collect(),
            range: range.map(written),
            function: function.map(str::to_owned),
        });
    }
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
}
