//! Checkout: outcomes of orders, revenue that a payment outage puts at risk, and its recovery by the queue.

use breakerbox_telemetry::names::{self, label, value};
use serde_json::json;

use super::dashboard::{Dashboard, Section};
use super::panel::{Kind, Panel, Query};
use super::query::{any, increase, is, max, not, or_zero, quantile, rate, series, state_code, sum};
use super::say::{self, Gravity};
use super::theme;
use super::tiles::stepped;

const CALL: &str = "{{service}} → {{breaker}}";
const QUEUE: &[&str] = &[label::SERVICE, label::QUEUE];
/// The selected time range.
const SHOWN: &str = "$__range";
/// Grafana's unit for won.
const WON: &str = "currencyKRW";

pub fn page() -> Dashboard {
    Dashboard {
        uid: "breakerbox-checkout",
        title: "Checkout",
        description: "Orders and revenue: what a payment outage puts at risk, what the queue saves, and when the \
            queue will be empty.",
        lists_targets_by: names::BUILD_INFO.name,
        variables: Vec::new(),
        sections: vec![
            Section::top(now()),
            Section::folded("The retry queue in detail", queue()),
            Section::folded("Steps and safeguards", steps()),
        ],
    }
}

fn revenue(outcome: &str, range: &str) -> String {
    or_zero(&sum(&[], &increase(&names::CHECKOUT_REVENUE, &[is(label::OUTCOME, outcome)], range)))
}

/// Value in won of the waiting orders: their number, times the mean price of the orders whose payment failed
/// in the last half hour. The counter of revenue at risk cannot be used: a queue in memory loses its orders at a
/// restart, while the increase of the counter remains.
fn at_risk() -> String {
    let over = |part: String, orders: &[&str]| {
        let orders = sum(&[], &increase(&names::CHECKOUT_ORDERS, &[any(label::OUTCOME, orders)], "30m"));
        format!("({part}) / ({orders} > 0)")
    };
    let failed = over(revenue("at_risk", "30m"), &["queued", "payment_failed"]);
    let paid = over(revenue("paid", "30m"), &["paid"]);
    let depth = or_zero(&say::depth());
    format!("round(({depth}) * on () (({failed}) or ({paid})), 1000) or ({depth}) * 0")
}

fn now() -> Vec<([u32; 4], Panel)> {
    let mut lines = say::broken();
    lines.extend(say::protects());
    lines.extend(say::calm());
    lines.extend(say::orders());
    lines.extend(draining());
    lines.extend(unprotected());
    lines.extend(say::viewers(say::Orders::BelowIt));
    let description = "What is broken, which breaker protects orders, how many are refused and how many wait, and \
        whether the queue drains.";
    let mut panels = vec![([0, 0, 24, 7], say::panel(description, lines))];
    let tiles = [
        stepped(
            "Orders accepted, protected shop",
            "Share of the orders at the protected gateway that are paid at once or wait in the queue, in the last \
             minute. The others are refused: they cannot be charged, and their buyers chose not to wait.",
            &[(None, theme::WARN), (Some(0.995), theme::GOOD)],
            format!("1 - {}", say::refused()),
        )
        .unit("percentunit")
        .decimals(0),
        money(
            "Saved by the queue in the selected time range",
            "Revenue from orders whose payment failed at first and that were paid later from the queue. Only the \
             protected shop has a queue.",
            theme::colour("kept"),
            revenue("kept", SHOWN),
        ),
        money(
            "At risk in the queue now (estimate)",
            "Orders that are in the queue now, at the mean price of the orders whose payment failed in the last half \
             hour. They are saved if the payment gateway recovers in time, and lost otherwise. A queue in memory \
             loses its orders at a restart; these numbers do not include them.",
            theme::WARN,
            at_risk(),
        ),
        money(
            "Lost in the selected time range, both shops",
            "Revenue from orders at both shops that were not paid: refused, declined in the queue, or abandoned. The \
             graph of orders shows which.",
            theme::BAD,
            revenue("lost", SHOWN),
        ),
    ];
    panels.extend((0..).step_by(6).zip(tiles).map(|(x, tile)| ([x, 7, 6, 4], tile)));
    panels.extend([
        ([0, 11, 24, 6], states()),
        ([0, 17, 24, 7], by_outcome()),
        ([0, 24, 24, 6], waiting()),
        ([0, 30, 24, 7], earned()),
    ]);
    panels
}

/// A sum of money, grey while it is 0.
fn money(title: &str, description: &str, colour: &str, expr: String) -> Panel {
    stepped(title, description, &[(None, theme::NEUTRAL), (Some(1000.0), colour)], expr).unit(WON)
}

/// Line while orders wait: whether the queue gets shorter.
fn draining() -> Vec<Query> {
    let depth = format!("({} > 0)", say::depth());
    let shrinks = format!("({} < -0.001)", max(&[], &growth()));
    let empty = say::spoken(&[], &format!("({depth} / -{shrinks})"), "empty");
    let open =
        series(&names::CIRCUIT_BREAKER_STATE, &[is(label::STATE, "open"), is(label::BREAKER, "payment-gateway")]);
    let wait = max(&[], &series(&names::CIRCUIT_BREAKER_OPEN_REMAINING, &[is(label::BREAKER, "payment-gateway")]));
    let wait = say::spoken(&[], &format!("({wait} > 0)"), "wait");
    vec![
        say::line(
            &format!("{wait} and on () ({depth}) and on () ({open} == 1)"),
            Gravity::Note,
            "The queue is not draining: the breaker in front of payments is open and probes in {{wait}}. To drain the \
             queue now, close the breaker.",
        ),
        say::line(
            &format!("{empty} unless on () ({open} == 1)"),
            Gravity::Good,
            "The queue is draining: about {{empty}} left.",
        ),
        say::line(
            &format!("{depth} unless on () ({shrinks}) unless on () ({open} == 1)"),
            Gravity::Note,
            "The queue is not draining yet, although the breaker admits payments.",
        ),
    ]
}

/// Line while payments are blocked by the breaker and the unprotected shop, which has none, continues.
fn unprotected() -> Vec<Query> {
    let open =
        series(&names::CIRCUIT_BREAKER_STATE, &[is(label::STATE, "open"), is(label::BREAKER, "payment-gateway")]);
    let paid = sum(&[], &rate(&names::CHECKOUT_ORDERS, &[is(label::OUTCOME, "paid")]));
    vec![say::line(
        &format!("({paid} > 0) and on () ({open} == 1)"),
        Gravity::Note,
        "Revenue and orders below include both shops: orders that are paid at once now come from the unprotected one, \
         which has no breaker.",
    )]
}

/// Depth of the queue; each of several instances over one database reports the whole queue.
fn depth() -> String {
    max(QUEUE, &series(&names::RETRY_QUEUE_DEPTH, &[]))
}

fn states() -> Panel {
    Panel::new(
        Kind::StateTimeline,
        "Breakers of an order",
        "The breakers of an order's calls. Red at checkout → payment-gateway: no order is charged, and orders that \
         may wait are queued. Any other breaker in red: orders are refused.",
    )
    .unit("none")
    .words(theme::state_words())
    .option("showValue", json!("never"))
    .ask(Query::over_time(of_checkout(&state_code(&["service", "breaker"])), CALL))
    .when_empty("No breaker of checkout is scraped")
}

/// Restricts rows to calls by checkout or to it.
fn of_checkout(by_call: &str) -> String {
    let orders = max(&["service"], &series(&names::RETRY_QUEUE_CAPACITY, &[]));
    let callee = format!("label_join({orders}, \"breaker\", \"\", \"service\")");
    format!("({by_call} and on (service) {orders}) or ({by_call} and on (breaker) {callee})")
}

/// Stacked series, one for each value, the first at the bottom.
fn stack(panel: Panel, values: &[&str], ask: impl Fn(&str) -> String) -> Panel {
    let mut panel = panel.between(0.0, None).stacked().meanings(values);
    for value in values {
        panel = panel.ask(Query::over_time(or_zero(&ask(value)), value));
    }
    panel
}

fn by_outcome() -> Panel {
    let groups: [(&str, &[&str], &str); 5] = [
        ("refused", &["payment_failed", "unavailable", "expired", "dead"], theme::BAD),
        ("sold out, declined or cancelled", &["sold_out", "declined", "cancelled"], theme::NEUTRAL),
        ("put in the queue", &["queued"], theme::colour("queued")),
        ("paid later, from the queue", &["paid_later"], theme::colour("paid_later")),
        ("paid at once (while payments are blocked: unprotected)", &["paid"], theme::GOOD),
    ];
    let mut panel = Panel::new(
        Kind::TimeSeries,
        "Orders of both shops by outcome",
        "Orders per second of the protected and the unprotected shop. Brown: queued, and paid later as sky blue. Red: \
         refused. Green while the payment breaker is open: orders at the unprotected shop. Sold out and declined are \
         regular answers, not faults.",
    )
    .unit("suffix: /s")
    .between(0.0, None)
    .stacked()
    .aligned()
    .when_empty("No checkout is scraped");
    for (name, outcomes, colour) in groups {
        let orders = sum(&[], &rate(&names::CHECKOUT_ORDERS, &[any(label::OUTCOME, outcomes)]));
        panel = panel.configure(theme::paint(name, colour)).ask(Query::over_time(or_zero(&orders), name));
    }
    panel
}

fn earned() -> Panel {
    stack(
        Panel::new(
            Kind::TimeSeries,
            "Revenue per minute, both shops together",
            "Revenue of the last minute that was paid at once, saved by the queue, or lost. Revenue that the queue \
             saved is sky blue, after an outage.",
        )
        .unit(WON)
        .aligned()
        .when_empty("No checkout is scraped"),
        &["lost", "kept", "paid"],
        |outcome| sum(&[], &increase(&names::CHECKOUT_REVENUE, &[is(label::OUTCOME, outcome)], "1m")),
    )
    // `lost` is neutral for hedges, but not for revenue.
    .configure(theme::paint("lost", theme::BAD))
}

fn queue() -> Vec<([u32; 4], Panel)> {
    vec![([0, 0, 12, 8], age()), ([12, 0, 12, 8], attempts()), ([0, 8, 12, 8], waited()), ([12, 8, 12, 8], given_up())]
}

fn waiting() -> Panel {
    let full = max(QUEUE, &series(&names::RETRY_QUEUE_CAPACITY, &[]));
    // A limit far above the line would flatten it, so it is drawn only when the queue is at least half full.
    let near = format!("{full} and ({} > {full} / 2)", depth());
    Panel::new(
        Kind::TimeSeries,
        "Orders waiting in the queue",
        "Queued orders. The number rises while the payment gateway is down and falls after it has recovered. When the \
         queue is at least half full, the dashed line shows its capacity, above which orders are refused.",
    )
    .unit("short")
    .between(0.0, None)
    .decimals(0)
    .aligned()
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
        "Time that the oldest order has waited. If it rises by a second each second, no order leaves the queue; \
         RetryQueueStalled fires after 7 minutes.",
    )
    .unit("suffix: min")
    .between(0.0, None)
    .configure(theme::paint("oldest", theme::colour("queue")))
    .ask(Query::over_time(
        format!("({}) / 60", or_zero(&max(&[], &series(&names::RETRY_QUEUE_OLDEST_AGE, &[])))),
        "oldest",
    ))
    .when_empty("No retry queue is scraped")
}

/// Growth of the queue in the last seconds, in orders per second.
fn growth() -> String {
    format!("deriv({}[$__rate_interval])", series(&names::RETRY_QUEUE_DEPTH, &[]))
}

fn attempts() -> Panel {
    stack(
        Panel::new(
            Kind::TimeSeries,
            "Attempts of the worker",
            "Attempts to charge queued orders. Grey: postponed without a call, because the breaker is open; \
             vermilion: failed; green: done.",
        )
        .unit("suffix: /s")
        .when_empty("No retry queue is scraped"),
        &["dead", "retried", "postponed", "done"],
        |outcome| sum(&[], &rate(&names::RETRY_QUEUE_ATTEMPTS, &[is(label::OUTCOME, outcome)])),
    )
}

fn waited() -> Panel {
    let mut panel = Panel::new(
        Kind::TimeSeries,
        "Time in the queue",
        "Time from queueing an order to its final state. It follows the length of the outage; a much longer time \
         means that the queue drains too slowly.",
    )
    .unit("suffix: min")
    .between(0.0, None)
    .meanings(&["p50", "p95"])
    .when_empty("No retry queue is scraped");
    for (q, name) in [("0.5", "p50"), ("0.95", "p95")] {
        panel = panel.ask(Query::over_time(
            format!("({}) / 60", or_zero(&quantile(q, &[], &names::RETRY_QUEUE_WAIT, &[]))),
            name,
        ));
    }
    panel
}

fn given_up() -> Panel {
    let dead = or_zero(&sum(&[], &max(QUEUE, &series(&names::RETRY_QUEUE_DEAD, &[]))));
    let refused = or_zero(&sum(&[], &increase(&names::RETRY_QUEUE_DROPPED, &[], "1m")));
    Panel::new(
        Kind::TimeSeries,
        "Dead letters and refused orders",
        "Orders that need manual action, and orders refused in the last minute because the queue was full. Both are 0 \
         in normal operation and in a short outage.",
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
        "Steps of orders per second: verify_user, reserve, charge, notify. Void and release undo an order; they are \
         rare while payments work.",
    )
    .unit("suffix: /s")
    .between(0.0, None)
    .custom("fillOpacity", json!(0))
    .identities(theme::STEPS)
    .ask(Query::over_time(sum(by, &rate(&names::CHECKOUT_SAGA_STEPS, &done)), "{{step}}"))
    .when_empty("No checkout is scraped");
    let failed = Panel::new(
        Kind::TimeSeries,
        "Steps failed or refused",
        "Steps at which orders fail: the first affected step is the cause. A failed void is retried until the payment \
         gateway confirms it.",
    )
    .unit("suffix: /s")
    .between(0.0, None)
    .custom("fillOpacity", json!(0))
    .identities(theme::STEPS)
    .ask(Query::over_time(sum(by, &rate(&names::CHECKOUT_SAGA_STEPS, &trouble)), "{{step}}"))
    .when_empty("No checkout is scraped");
    let keys = stack(
        Panel::new(
            Kind::TimeSeries,
            "Requests by idempotency key",
            "Sky blue: answered with the result of the first request, such as a double click or a retry, which was \
             not charged again. A mismatch is one key for two orders, an error of the client.",
        )
        .unit("reqps")
        .when_empty("No checkout is scraped"),
        &["mismatch", "in_progress", "replayed", "new"],
        |outcome| sum(&[], &rate(&names::CHECKOUT_IDEMPOTENCY, &[is(label::OUTCOME, outcome)])),
    );
    let books = stack(
        Panel::new(
            Kind::TimeSeries,
            "Payment ledger",
            "Requests by their effect on the payment gateway's ledger. Charged again: an order was charged twice, \
             which must never happen. Replayed: the idempotency key prevented that.",
        )
        .unit("reqps")
        .when_empty("The payment gateway is not scraped"),
        value::LEDGER_OUTCOMES,
        |outcome| sum(&[], &rate(&names::PAYMENT_LEDGER_ENTRIES, &[is(label::OUTCOME, outcome)])),
    );
    vec![([0, 0, 6, 8], finished), ([6, 0, 6, 8], failed), ([12, 0, 6, 8], keys), ([18, 0, 6, 8], books)]
}
