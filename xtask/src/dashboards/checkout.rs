//! Checkout: what orders come to, what a payment outage puts at risk, and how the queue gets it back.

use breakerbox_telemetry::names::{self, label, value};
use serde_json::json;

use super::dashboard::{Dashboard, Section};
use super::panel::{Kind, Panel, Query};
use super::query::{increase, is, max, not, or_zero, quantile, rate, series, state_code, sum};
use super::theme;
use super::tiles::{row, stepped, tile};

const CALL: &str = "{{service}} → {{breaker}}";
const QUEUE: &[&str] = &[label::SERVICE, label::QUEUE];
/// The whole story of an order is in here, whatever breaker is chosen above.
const SHOWN: &str = "$__range";
/// Grafana's name of the won.
pub const WON: &str = "currencyKRW";

pub fn page() -> Dashboard {
    Dashboard {
        uid: "breakerbox-checkout",
        title: "Checkout",
        description: "Do orders become money? What a payment outage puts at risk, what the queue keeps, and when it \
            will be empty.",
        lists_targets_by: names::BUILD_INFO.name,
        variables: Vec::new(),
        sections: vec![
            Section::top(now()),
            Section::titled("Orders and money", orders()),
            Section::titled("Retry queue", queue()),
            Section::titled("Steps and safeguards", steps()),
        ],
    }
}

fn revenue(outcome: &str, range: &str) -> String {
    or_zero(&sum(&[], &increase(&names::CHECKOUT_REVENUE, &[is(label::OUTCOME, outcome)], range)))
}

/// Won that were put at risk in the shown time and are neither kept nor lost yet.
pub fn at_risk() -> String {
    let [risked, kept, lost] = ["at_risk", "kept", "lost"].map(|outcome| revenue(outcome, SHOWN));
    // An increase is an estimate from two samples: the difference of three may fall below nothing, or
    // stay a hair above it.
    format!("round(clamp_min(({risked}) - ({kept}) - ({lost}), 0))")
}

fn now() -> Vec<([u32; 4], Panel)> {
    let mut panels = row([
        stepped(
            "Paid",
            "Revenue of the shown time: paid at once, or kept by the queue.",
            &[(None, theme::NEUTRAL), (Some(1.0), theme::GOOD)],
            format!("({}) + ({})", revenue("paid", SHOWN), revenue("kept", SHOWN)),
        )
        .unit(WON),
        risk(),
        stepped(
            "Lost",
            "Revenue of orders in the shown time that no payment was got for: refused, declined in the queue, or \
             given up. Look at the orders below for which.",
            &[(None, theme::NEUTRAL), (Some(1000.0), theme::BAD)],
            revenue("lost", SHOWN),
        )
        .unit(WON),
        tile(
            "Orders waiting",
            "Orders in the retry queue now. They are charged once the payment gateway answers again.",
            theme::WARN,
            or_zero(&sum(&[], &depth())),
        ),
        stepped(
            "Oldest waits for",
            "How long the oldest order has been waiting. RetryQueueBacklog fires above one minute.",
            &[(None, theme::NEUTRAL), (Some(1.0), theme::WARN), (Some(60.0), theme::BAD)],
            or_zero(&max(&[], &series(&names::RETRY_QUEUE_OLDEST_AGE, &[]))),
        )
        .unit("s")
        .decimals(0),
        tile(
            "Dead letters",
            "Orders that ran out of attempts and wait for a person: `breakerbox queue dead` lists them, `breakerbox \
             queue replay` tries them again.",
            theme::BAD,
            or_zero(&sum(&[], &max(QUEUE, &series(&names::RETRY_QUEUE_DEAD, &[])))),
        ),
    ]);
    panels.extend([([0, 4, 24, 7], states())]);
    panels
}

fn risk() -> Panel {
    stepped(
        "Revenue at risk",
        "Won of orders that were taken in the shown time without a payment and wait in the queue. They are kept when \
         the payment gateway is back in time, and lost otherwise.",
        &[(None, theme::NEUTRAL), (Some(1000.0), theme::WARN)],
        at_risk(),
    )
    .unit(WON)
}

/// Of several instances over one database each sees the whole queue.
fn depth() -> String {
    max(QUEUE, &series(&names::RETRY_QUEUE_DEPTH, &[]))
}

fn states() -> Panel {
    Panel::new(
        Kind::StateTimeline,
        "Breakers of an order",
        "The breakers that an order passes. Red at checkout → payment-gateway: nobody is charged, orders that may \
         wait are queued; any other in red: orders are refused.",
    )
    .unit("none")
    .words(theme::state_words())
    .option("showValue", json!("never"))
    .ask(Query::over_time(of_checkout(&state_code(&["service", "breaker"])), CALL))
    .when_empty("No breaker of checkout is scraped")
}

/// Calls by checkout or to it.
fn of_checkout(by_call: &str) -> String {
    let orders = max(&["service"], &series(&names::RETRY_QUEUE_CAPACITY, &[]));
    let callee = format!("label_join({orders}, \"breaker\", \"\", \"service\")");
    format!("({by_call} and on (service) {orders}) or ({by_call} and on (breaker) {callee})")
}

/// A stack of one series for each value, the first at the bottom.
fn stack(panel: Panel, values: &[&str], ask: impl Fn(&str) -> String) -> Panel {
    let mut panel = panel.between(0.0, None).stacked().meanings(values);
    for value in values {
        panel = panel.ask(Query::over_time(or_zero(&ask(value)), value));
    }
    panel
}

fn orders() -> Vec<([u32; 4], Panel)> {
    let by_outcome = stack(
        Panel::new(
            Kind::TimeSeries,
            "Orders by what became of them",
            "Orders a second. Green was paid at once; brown is queued and comes back later in sky blue; reds were \
             refused. Sold out and declined are answers, not faults.",
        )
        .unit("ops")
        .aligned()
        .when_empty("No checkout is scraped"),
        &[
            "dead",
            "payment_failed",
            "unavailable",
            "expired",
            "cancelled",
            "declined",
            "sold_out",
            "queued",
            "paid_later",
            "paid",
        ],
        |outcome| sum(&[], &rate(&names::CHECKOUT_ORDERS, &[is(label::OUTCOME, outcome)])),
    );
    let money = stack(
        Panel::new(
            Kind::TimeSeries,
            "Revenue, each minute",
            "Won of the last minute that were paid at once, kept by the queue, or lost. What the queue saves shows \
             as sky blue after an outage.",
        )
        .unit(WON)
        .when_empty("No checkout is scraped"),
        &["lost", "kept", "paid"],
        |outcome| sum(&[], &increase(&names::CHECKOUT_REVENUE, &[is(label::OUTCOME, outcome)], "1m")),
    )
    // A lost hedge is nothing to worry about; lost money is.
    .configure(theme::paint("lost", theme::BAD));
    vec![([0, 0, 14, 9], by_outcome), ([14, 0, 10, 9], money)]
}

fn queue() -> Vec<([u32; 4], Panel)> {
    vec![
        ([0, 0, 8, 8], waiting()),
        ([8, 0, 8, 8], age()),
        ([16, 0, 8, 8], forecast()),
        ([0, 8, 8, 8], attempts()),
        ([8, 8, 8, 8], waited()),
        ([16, 8, 8, 8], given_up()),
    ]
}

fn waiting() -> Panel {
    let full = max(QUEUE, &series(&names::RETRY_QUEUE_CAPACITY, &[]));
    // A limit far above the line would flatten it: it is drawn from half of it on.
    let near = format!("{full} and ({} > {full} / 2)", depth());
    Panel::new(
        Kind::TimeSeries,
        "Queue depth",
        "Orders that wait. Up while the payment gateway is away, down when it is back. From half full on the dashed \
         line shows what the queue takes: beyond it orders are refused.",
    )
    .unit("short")
    .between(0.0, None)
    .decimals(0)
    .limit("full")
    .configure(theme::paint("waiting", theme::colour("queue")))
    .ask(Query::over_time(or_zero(&sum(&[], &depth())), "waiting"))
    .ask(Query::over_time(sum(&[], &near), "full"))
    .when_empty("No retry queue is scraped")
}

fn age() -> Panel {
    Panel::new(
        Kind::TimeSeries,
        "Age of the oldest order",
        "How long the oldest one has waited. A straight climb of a second each second: nothing leaves the queue; \
         RetryQueueStalled fires after 7 minutes of it.",
    )
    .unit("s")
    .between(0.0, None)
    .configure(theme::paint("oldest", theme::colour("queue")))
    .ask(Query::over_time(or_zero(&max(&[], &series(&names::RETRY_QUEUE_OLDEST_AGE, &[]))), "oldest"))
    .when_empty("No retry queue is scraped")
}

/// How fast the queue grew in the last two minutes, orders each second.
fn growth() -> String {
    format!("deriv({}[2m])", series(&names::RETRY_QUEUE_DEPTH, &[]))
}

/// Seconds at which a forecast is as good as never.
const NEVER: u32 = 900;

fn forecast() -> Panel {
    let depth = series(&names::RETRY_QUEUE_DEPTH, &[]);
    let left = format!("clamp_max({depth} / -({} < -0.001), {NEVER})", growth());
    Panel::new(
        Kind::TimeSeries,
        "Empty in",
        "Time until the queue is empty, as fast as it shrank in the last two minutes. 0 is empty; at the top it takes \
         15 minutes or more, or does not shrink at all: nothing moves until the payment breaker closes.",
    )
    .unit("s")
    .between(0.0, Some(NEVER.into()))
    .configure(theme::paint("empty in", theme::colour("paid_later")))
    .ask(Query::over_time(max(&[], &format!("{left} or ({depth} == 0) or ({depth} * 0 + {NEVER})")), "empty in"))
    .when_empty("No retry queue is scraped")
}

fn attempts() -> Panel {
    stack(
        Panel::new(
            Kind::TimeSeries,
            "Attempts of the worker",
            "Tries to charge queued orders. Grey was put off without asking, since the breaker is open; vermilion \
             asked in vain; green is done.",
        )
        .unit("ops")
        .when_empty("No retry queue is scraped"),
        &["dead", "retried", "postponed", "done"],
        |outcome| sum(&[], &rate(&names::RETRY_QUEUE_ATTEMPTS, &[is(label::OUTCOME, outcome)])),
    )
}

fn waited() -> Panel {
    let mut panel = Panel::new(
        Kind::TimeSeries,
        "Time in the queue",
        "How long orders had waited when they were done with. It follows the length of the outage; much longer \
         means that the queue drains too slowly.",
    )
    .unit("s")
    .between(0.0, None)
    .meanings(&["p50", "p95"])
    .when_empty("No retry queue is scraped");
    for (q, name) in [("0.5", "p50"), ("0.95", "p95")] {
        panel = panel.ask(Query::over_time(or_zero(&quantile(q, &[], &names::RETRY_QUEUE_WAIT, &[])), name));
    }
    panel
}

fn given_up() -> Panel {
    let dead = or_zero(&sum(&[], &max(QUEUE, &series(&names::RETRY_QUEUE_DEAD, &[]))));
    let refused = or_zero(&sum(&[], &increase(&names::RETRY_QUEUE_DROPPED, &[], "1m")));
    Panel::new(
        Kind::TimeSeries,
        "Dead letters and refused orders",
        "Orders that wait for a person, and orders of the last minute that a full queue refused. Both are 0 in good \
         times and in a short outage.",
    )
    .unit("short")
    .between(0.0, None)
    .meanings(&["dead"])
    .configure(theme::paint("refused by a full queue", theme::colour("payment_failed")))
    .ask(Query::over_time(dead, "dead"))
    .ask(Query::over_time(refused, "refused by a full queue"))
    .when_empty("No retry queue is scraped")
}

fn steps() -> Vec<([u32; 4], Panel)> {
    let trouble = [not(label::OUTCOME, "done")];
    let done = [is(label::OUTCOME, "done")];
    let by = &[label::STEP];
    let finished = Panel::new(
        Kind::TimeSeries,
        "Steps done",
        "Steps of orders a second: verify_user, reserve, charge, notify. Void and release undo an order; they are \
         rare while payments work.",
    )
    .unit("ops")
    .between(0.0, None)
    .custom("fillOpacity", json!(0))
    .identities(theme::STEPS)
    .ask(Query::over_time(sum(by, &rate(&names::CHECKOUT_SAGA_STEPS, &done)), "{{step}}"))
    .when_empty("No checkout is scraped");
    let failed = Panel::new(
        Kind::TimeSeries,
        "Steps failed or refused",
        "Where orders end: the first step with trouble is the cause. A failed void is tried again until the payment \
         gateway confirms it.",
    )
    .unit("ops")
    .between(0.0, None)
    .custom("fillOpacity", json!(0))
    .identities(theme::STEPS)
    .ask(Query::over_time(sum(by, &rate(&names::CHECKOUT_SAGA_STEPS, &trouble)), "{{step}}"))
    .when_empty("No checkout is scraped");
    let keys = stack(
        Panel::new(
            Kind::TimeSeries,
            "Requests by idempotency key",
            "Sky blue was answered from the first request's result: a double click or a repeat that was not charged \
             again. A mismatch is one key for two orders: a client's mistake.",
        )
        .unit("reqps")
        .when_empty("No checkout is scraped"),
        &["mismatch", "in_progress", "replayed", "new"],
        |outcome| sum(&[], &rate(&names::CHECKOUT_IDEMPOTENCY, &[is(label::OUTCOME, outcome)])),
    );
    let books = stack(
        Panel::new(
            Kind::TimeSeries,
            "The payment gateway's books",
            "What requests did to the books. Charged again is the same order charged twice: it must stay at 0; \
             replayed is what the key prevented.",
        )
        .unit("reqps")
        .when_empty("The payment gateway is not scraped"),
        value::LEDGER_OUTCOMES,
        |outcome| sum(&[], &rate(&names::PAYMENT_LEDGER_ENTRIES, &[is(label::OUTCOME, outcome)])),
    );
    vec![([0, 0, 6, 8], finished), ([6, 0, 6, 8], failed), ([12, 0, 6, 8], keys), ([18, 0, 6, 8], books)]
}
