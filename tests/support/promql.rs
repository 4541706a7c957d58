//! The series and labels that an expression uses.

use promql_parser::label::Labels;
use promql_parser::parser::{self, Expr, LabelModifier, VectorMatchCardinality, VectorSelector};

/// A selector: the metric and its matchers.
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

/// Every label in `by`, `without`, `on`, `ignoring`, `group_left` and `group_right`.
pub(crate) fn grouping_labels_in(expr: &str) -> Vec<String> {
    scan(expr).1
}

fn scan(expr: &str) -> (Vec<Use>, Vec<String>) {
    let parsed = parser::parse(expr).unwrap_or_else(|error| panic!("{expr}: {error}"));
    let (mut uses, mut grouping) = (Vec::new(), Vec::new());
    visit(&parsed, &mut uses, &mut grouping);
    (uses, grouping)
}

fn visit(expr: &Expr, uses: &mut Vec<Use>, grouping: &mut Vec<String>) {
    let named = |modifier: &Option<LabelModifier>| match modifier {
        Some(LabelModifier::Include(Labels { labels }) | LabelModifier::Exclude(Labels { labels })) => labels.clone(),
        None => Vec::new(),
    };
    match expr {
        Expr::Aggregate(aggregate) => {
            grouping.extend(named(&aggregate.modifier));
            for part in aggregate.param.iter().chain([&aggregate.expr]) {
                visit(part, uses, grouping);
            }
        }
        Expr::Binary(binary) => {
            visit(&binary.lhs, uses, grouping);
            if let Some(modifier) = &binary.modifier {
                grouping.extend(named(&modifier.matching));
                if let VectorMatchCardinality::ManyToOne(more) | VectorMatchCardinality::OneToMany(more) =
                    &modifier.card
                {
                    grouping.extend(more.labels.clone());
                }
            }
            visit(&binary.rhs, uses, grouping);
        }
        Expr::Call(call) => call.args.args.iter().for_each(|part| visit(part, uses, grouping)),
        Expr::Unary(unary) => visit(&unary.expr, uses, grouping),
        Expr::Paren(paren) => visit(&paren.expr, uses, grouping),
        Expr::Subquery(subquery) => visit(&subquery.expr, uses, grouping),
        Expr::VectorSelector(vector) => uses.push(used(vector)),
        Expr::MatrixSelector(matrix) => uses.push(used(&matrix.vs)),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

/// `{__name__="up"}` is `up`.
fn used(vector: &VectorSelector) -> Use {
    let matchers = vector.matchers.matchers.iter();
    let mut labels: Vec<_> =
        matchers.map(|matcher| (matcher.name.clone(), matcher.op.to_string(), matcher.value.clone())).collect();
    let inside = labels.iter().position(|(label, op, _)| label == "__name__" && op == "=");
    let inside = inside.map(|at| labels.remove(at).2);
    Use { metric: vector.name.clone().or(inside).unwrap_or_default(), labels }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(expr: &str) -> Vec<String> {
        metrics_in(expr).into_iter().map(|found| found.metric).collect()
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
            grouping_labels_in("sum without (instance) (a) / on (job, x) group_left (y) b"),
            ["instance", "job", "x", "y"]
        );
        assert_eq!(grouping_labels_in("count(b) by (job)"), ["job"]);
    }

    #[test]
    fn matchers_keep_operator_and_unescaped_value() {
        let [only] = &metrics_in(r#"level:a:rate1m{x="1", y!~'b|c',z=~"q\"r"} > 0"#)[..] else { panic!() };
        assert_eq!(only.metric, "level:a:rate1m");
        let triple = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(only.labels, [triple("x", "=", "1"), triple("y", "!~", "b|c"), triple("z", "=~", "q\"r")]);
    }
}
