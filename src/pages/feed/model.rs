//! The console's data as a flat map: one entry for each thing that changes independently.
//!
//! `breaker/…` and `fault/…` are items of the admin port's lists; `edge/…`, `node/…`, `viewers/…` and `money` are rates
//! over the last seconds; `scenario`, `alerts` and `queue` are whole pages. Values are rounded to the displayed
//! precision, so that invisible changes are not sent.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::sample::{Sample, grown, p99_millis};

/// The two gateways, and their keys in the history.
const GATEWAYS: [(&str, &str); 2] = [("gateway", "p"), ("gateway-bare", "u")];

/// Pages of the admin port.
pub(super) struct Pages {
    pub(super) breakers: Option<Value>,
    pub(super) faults: Option<Value>,
    pub(super) alerts: Option<Value>,
    pub(super) scenario: Option<Value>,
    pub(super) queue: Option<Value>,
    pub(super) actions: Option<Value>,
    pub(super) drills: Option<Value>,
    pub(super) locked: bool,
    pub(super) storefront: Option<String>,
}

/// Number of commands shown.
const ACTIONS: usize = 30;

type Samples = VecDeque<(Instant, Sample)>;

/// The oldest and the latest sample, and the seconds between them.
fn span(samples: &Samples) -> Option<(&Sample, &Sample, f64)> {
    let ((begun, from), (ended, to)) = (samples.front()?, samples.back()?);
    let seconds = ended.duration_since(*begun).as_secs_f64();
    (seconds > 0.0).then_some((from, to, seconds))
}

fn rounded(value: f64, digits: i32) -> Value {
    let scale = 10_f64.powi(digits);
    json!((value * scale).round() / scale)
}

/// One second of viewers' results.
pub(super) fn point(samples: &Samples, at: f64) -> Value {
    let mut point = Map::from_iter([("t".to_owned(), rounded(at, 1))]);
    let before = samples.len().checked_sub(2).and_then(|before| samples.get(before));
    if let (Some((_, before)), Some((_, now)), Some((from, to, _))) = (before, samples.back(), span(samples)) {
        for (gateway, short) in GATEWAYS {
            let pages = |outcome: &str| rounded(grown(before, now, &format!("page/{gateway}/{outcome}")), 0);
            let p99 = p99_millis(from, to, gateway).map_or(Value::Null, |ms| rounded(ms, 0));
            let seen = json!([pages("ok"), pages("degraded"), pages("error"), p99]);
            point.insert(short.to_owned(), seen);
        }
    }
    Value::Object(point)
}

/// All entries.
pub(super) fn entries(samples: &Samples, pages: &Pages) -> BTreeMap<String, Value> {
    let mut entries = BTreeMap::new();
    if let Some((from, to, seconds)) = span(samples) {
        rates(from, to, seconds, &mut entries);
    }
    let text = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
    let place = |item: &Value| item["process"].as_str().map(|at| format!("@{at}")).unwrap_or_default();
    let items = |page: &Option<Value>, list: &str| {
        page.as_ref().and_then(|page| page[list].as_array().cloned()).unwrap_or_default()
    };
    for mut breaker in items(&pages.breakers, "breakers") {
        let key = format!("breaker/{}/{}{}", text(&breaker, "service"), text(&breaker, "name"), place(&breaker));
        for (field, digits) in
            [("open_remaining_seconds", 0), ("health_score", 2), ("failure_ratio", 3), ("slow_ratio", 3)]
        {
            if let Some(value) = breaker[field].as_f64() {
                breaker[field] = rounded(value, digits);
            }
        }
        entries.insert(key, breaker);
    }
    for mut fault in items(&pages.faults, "targets") {
        if let Some(left) = fault["remaining_seconds"].as_f64() {
            fault["remaining_seconds"] = rounded(left, 0);
        }
        entries.insert(format!("fault/{}{}", text(&fault, "target"), place(&fault)), fault);
    }
    let unreachable = pages.breakers.as_ref().map_or(Value::Null, |page| page["unreachable"].clone());
    entries.insert(
        "processes".to_owned(),
        json!({"unreachable": unreachable, "locked": pages.locked, "storefront": pages.storefront}),
    );
    // Limited, because a new command sends the whole list to every listener.
    let latest = items(&pages.actions, "actions");
    entries.insert("actions".to_owned(), latest[latest.len().saturating_sub(ACTIONS)..].into());
    if let Some(mut drills) = pages.drills.clone() {
        // The list of plans does not change; the running drill does.
        entries.insert("drill".to_owned(), drills["run"].take());
        entries.insert("drills".to_owned(), drills);
    }
    let scenario = pages.scenario.clone().map(|mut scenario| {
        if let Some(position) = scenario["position_seconds"].as_f64() {
            scenario["position_seconds"] = rounded(position, 1);
        }
        scenario
    });
    for (key, page) in [("alerts", pages.alerts.clone()), ("scenario", scenario), ("queue", pages.queue.clone())] {
        if let Some(mut page) = page {
            if let Some(age) = page["oldest_item_age_seconds"].as_f64() {
                page["oldest_item_age_seconds"] = rounded(age, 0);
            }
            entries.insert(key.to_owned(), page);
        }
    }
    entries
}

/// Rates of nodes, edges and viewers between two samples.
fn rates(from: &Sample, to: &Sample, seconds: f64, entries: &mut BTreeMap<String, Value>) {
    let rate = |path: &str| grown(from, to, path) / seconds;
    let gauge = |path: &str| to.get(path).copied().unwrap_or_default();
    let mean_millis = |path: &str, count: &str| {
        let calls = grown(from, to, &format!("{path}/{count}"));
        if calls > 0.0 { rounded(grown(from, to, &format!("{path}/seconds")) / calls * 1000.0, 0) } else { Value::Null }
    };
    for node in children(to, "node/", 1) {
        let value = json!({
            "per_second": rounded(rate(&format!("{node}/requests")), 1),
            "errors_per_second": rounded(rate(&format!("{node}/errors")), 2),
            "mean_ms": mean_millis(&node, "requests"),
            "in_flight": gauge(&format!("{node}/in_flight")),
        });
        entries.insert(node, value);
    }
    for edge in children(to, "edge/", 2) {
        let per = |what: &str| rounded(rate(&format!("{edge}/{what}")), 2);
        let outcomes = ["success", "failure", "timeout", "ignored", "cancelled", "rejected"];
        let calls: Map<_, _> = outcomes.iter().map(|outcome| ((*outcome).to_owned(), per(outcome))).collect();
        let totals: Map<_, _> =
            outcomes.iter().map(|what| ((*what).to_owned(), rounded(gauge(&format!("{edge}/{what}")), 0))).collect();
        let fallbacks: Map<_, _> = ["cache", "popular", "replica", "queue", "notice"]
            .iter()
            .filter(|kind| to.contains_key(&format!("{edge}/fallback-{kind}")))
            .map(|kind| ((*kind).to_owned(), per(&format!("fallback-{kind}"))))
            .collect();
        let pool = edge.replacen("edge/", "pool/", 1);
        let value = json!({
            "per_second": rounded(outcomes.iter().map(|outcome| rate(&format!("{edge}/{outcome}"))).sum(), 1),
            "mean_ms": mean_millis(&edge, "executed"),
            "calls": calls,
            "totals": totals,
            "fallbacks": fallbacks,
            "in_flight": gauge(&format!("{pool}/in_flight")),
            "capacity": gauge(&format!("{pool}/capacity")),
        });
        entries.insert(edge, value);
    }
    for (gateway, _) in GATEWAYS.iter().filter(|(gateway, _)| to.contains_key(&format!("page/{gateway}/ok"))) {
        let pages = |outcome: &str| rounded(rate(&format!("page/{gateway}/{outcome}")), 2);
        let value = json!({
            "ok": pages("ok"), "degraded": pages("degraded"), "error": pages("error"),
            "p99_ms": p99_millis(from, to, gateway).map_or(Value::Null, |ms| rounded(ms, 0)),
            "in_flight": gauge(&format!("node/{gateway}/in_flight")),
            "pool": {
                "in_flight": gauge(&format!("pool/{gateway}/shared/in_flight")),
                "capacity": gauge(&format!("pool/{gateway}/shared/capacity")),
                "queued": gauge(&format!("pool/{gateway}/shared/queued")),
            },
        });
        entries.insert(format!("viewers/{gateway}"), value);
    }
    let totals = |prefix: &str| -> Map<String, Value> {
        let own = to.range(prefix.to_owned()..).take_while(|(path, _)| path.starts_with(prefix));
        own.map(|(path, value)| (path[prefix.len()..].to_owned(), json!(value))).collect()
    };
    entries.insert("money".to_owned(), json!({"orders": totals("orders/"), "revenue": totals("revenue/")}));
}

/// The distinct prefixes of paths under `prefix`, `depth` names deep.
fn children(sample: &Sample, prefix: &str, depth: usize) -> Vec<String> {
    let under = sample.range(prefix.to_owned()..).take_while(|(path, _)| path.starts_with(prefix));
    let mut found: Vec<String> =
        under.map(|(path, _)| path.split('/').take(depth + 1).collect::<Vec<_>>().join("/")).collect();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rates_are_those_between_the_oldest_and_the_latest_sample() {
        let sample = |pages: f64, calls: f64| {
            Sample::from_iter(
                [
                    ("page/gateway/ok", pages),
                    ("page/gateway/error", 0.0),
                    ("edge/gateway/catalog/success", calls),
                    ("edge/gateway/catalog/seconds", calls * 0.02),
                    ("edge/gateway/catalog/executed", calls),
                    ("pool/gateway/catalog/capacity", 25.0),
                ]
                .map(|(path, value)| (path.to_owned(), value)),
            )
        };
        let begun = Instant::now();
        let samples: Samples =
            [(begun, sample(10.0, 5.0)), (begun + Duration::from_secs(5), sample(60.0, 30.0))].into();
        let pages = Pages {
            breakers: None,
            faults: None,
            alerts: None,
            scenario: None,
            queue: None,
            actions: None,
            drills: None,
            locked: false,
            storefront: None,
        };
        let entries = entries(&samples, &pages);
        assert_eq!(entries["viewers/gateway"]["ok"], 10.0);
        let edge = &entries["edge/gateway/catalog"];
        assert_eq!((edge["per_second"].as_f64(), edge["mean_ms"].as_f64()), (Some(5.0), Some(20.0)));
        assert_eq!(edge["capacity"], 25.0);
        assert!(!entries.contains_key("viewers/gateway-bare"));
    }
}
