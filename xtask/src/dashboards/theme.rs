//! One colour for one meaning, on every page.
//!
//! The colours can be distinguished by protanopes, deuteranopes and tritanopes, and have enough contrast
//! against Grafana's dark and light panels alike; the tests at the end calculate both.

use serde_json::{Value, json};

pub const GOOD: &str = "#12A37A";
pub const WARN: &str = "#CC8400";
pub const BAD: &str = "#C62D42";
/// A breaker in a state set by an operator.
pub const FORCED: &str = "#D264A8";
pub const DISABLED: &str = "#75797F";
pub const WATCHING: &str = "#3A6FD8";
/// Injected faults.
pub const FAULT: &str = "#9B59D0";
/// Injected faults that affect less than half of the requests.
pub const FAINT_FAULT: &str = "#8C7BA8";
pub const PROTECTED: &str = "#3A86E0";
pub const BARE: &str = "#D264A8";
pub const NEUTRAL: &str = "#75797F";
/// Limits.
pub const LIMIT: &str = NEUTRAL;
const SKY: &str = "#4FA8DC";
const TEAL: &str = "#1B9AAA";
const BROWN: &str = "#A9743A";
const VERMILION: &str = "#E0603C";
/// Distinct from the purple of faults and from the blue of protection.
const INDIGO: &str = "#5B6BE0";
/// Distinct from the pink of the unprotected gateway.
const SALMON: &str = "#D98C7A";

/// Label values and fixed legends that have the same meaning on every page.
pub const MEANINGS: &[(&str, &str)] = &[
    // What a viewer got.
    ("ok", GOOD),
    ("degraded", WARN),
    ("error", BAD),
    // States of a breaker.
    ("closed", GOOD),
    ("half_open", WARN),
    ("open", BAD),
    ("forced_open", FORCED),
    ("disabled", DISABLED),
    ("metrics_only", WATCHING),
    // What became of a call.
    ("success", GOOD),
    ("failure", VERMILION),
    ("timeout", BROWN),
    ("ignored", NEUTRAL),
    ("cancelled", INDIGO),
    ("rejected", PROTECTED),
    // Where an answer came from when it was not live.
    ("cache", SKY),
    ("popular", INDIGO),
    ("replica", TEAL),
    ("queue", BROWN),
    ("notice", NEUTRAL),
    // Why a breaker changed.
    ("consecutive_failures", VERMILION),
    ("failure_rate", SALMON),
    ("slow_call_rate", INDIGO),
    ("wait_elapsed", SKY),
    ("probes_succeeded", GOOD),
    ("probes_failed", FORCED),
    ("half_open_timeout", BROWN),
    ("stage_passed", TEAL),
    ("command", NEUTRAL),
    ("shared", NEUTRAL),
    // How retrying ended.
    ("success_without_retry", GOOD),
    ("success_with_retry", SKY),
    ("failed_without_retry", BROWN),
    ("failed_with_retry", VERMILION),
    ("budget_exhausted", INDIGO),
    ("stopped", NEUTRAL),
    // Why a fallback was needed, why a retry was made.
    ("bulkhead_full", INDIGO),
    ("connect", VERMILION),
    ("server_error", BROWN),
    ("rate_limited", WARN),
    ("reset", FORCED),
    ("malformed", INDIGO),
    // Hedges.
    ("won", GOOD),
    ("lost", NEUTRAL),
    ("failed", VERMILION),
    ("no_budget", INDIGO),
    // Orders and their money.
    ("paid", GOOD),
    ("queued", BROWN),
    ("paid_later", SKY),
    ("sold_out", NEUTRAL),
    ("declined", INDIGO),
    ("payment_failed", VERMILION),
    ("unavailable", FORCED),
    ("cancelled", TEAL),
    ("expired", SALMON),
    ("dead", BAD),
    ("kept", SKY),
    ("at_risk", WARN),
    // The worker of the retry queue.
    ("done", GOOD),
    ("retried", VERMILION),
    ("postponed", NEUTRAL),
    // Idempotency keys, and the payment gateway's books.
    ("new", GOOD),
    ("replayed", SKY),
    ("mismatch", VERMILION),
    ("in_progress", INDIGO),
    ("charged", GOOD),
    ("charged_again", BAD),
    ("voided", BROWN),
    ("refunded", WARN),
    ("refused", NEUTRAL),
    // The rate limiter.
    ("allowed", GOOD),
    ("limited", WARN),
    // Alerts.
    ("firing", WARN),
    ("resolved", GOOD),
    ("critical", BAD),
    ("warning", WARN),
    ("info", WATCHING),
    // Latency, from typical to worst.
    ("p50", SKY),
    ("p95", PROTECTED),
    ("p99", INDIGO),
    // The lesson: one gateway with protection, one without.
    ("with protection", PROTECTED),
    ("without protection", BARE),
    ("timeout of one attempt", LIMIT),
];

/// Label values, and their texts in legends.
pub const PLAIN: &[(&str, &str)] = &[
    ("consecutive_failures", "tripped: failures in a row"),
    ("failure_rate", "tripped: too many failed"),
    ("slow_call_rate", "tripped: too many slow"),
    ("wait_elapsed", "wait over, probing"),
    ("probes_succeeded", "probes succeeded, closed"),
    ("probes_failed", "probes failed, open again"),
    ("half_open_timeout", "probes took too long"),
    ("stage_passed", "more probes allowed"),
    ("command", "by an operator"),
    ("shared", "by another replica"),
    ("success_without_retry", "succeeded at once"),
    ("success_with_retry", "succeeded after a retry"),
    ("failed_without_retry", "not retried: breaker open, or not repeatable"),
    ("failed_with_retry", "failed after all retries"),
    ("budget_exhausted", "not retried: retry budget empty"),
    ("stopped", "not retried: too late, or hopeless"),
    ("cache", "from the cache"),
    ("popular", "popular titles"),
    ("replica", "from a replica"),
    ("queue", "put in a queue"),
    ("notice", "a notice only"),
    ("open", "breaker open"),
    ("bulkhead_full", "bulkhead full"),
    ("timeout", "timed out"),
    ("failure", "failed"),
    ("rejected", "rejected"),
    ("cancelled", "caller gave up"),
    ("ignored", "not counted"),
    ("success", "succeeded"),
    ("connect", "no connection"),
    ("server_error", "server error"),
    ("rate_limited", "rate limited"),
    ("reset", "connection broken"),
    ("malformed", "unreadable answer"),
    ("won", "second attempt was faster"),
    ("lost", "first attempt was faster"),
    ("failed", "second attempt failed"),
    ("no_budget", "not sent: hedge budget empty"),
    ("allowed", "let in"),
    ("limited", "refused with 429"),
];

/// The text of a label value.
pub fn plain(value: &'static str) -> &'static str {
    PLAIN.iter().find(|(name, _)| *name == value).map_or(value, |(_, words)| words)
}

/// Colours of services, which are also those of calls to them. None is a colour of health.
pub const SERVICES: &[(&str, &str)] = &[
    ("gateway", "#5F7F9F"),
    ("gateway-bare", BARE),
    ("user", PROTECTED),
    ("catalog", "#8F9B2A"),
    ("recommendation", INDIGO),
    ("ml-api", VERMILION),
    ("checkout", TEAL),
    ("inventory", BROWN),
    ("payment-gateway", SALMON),
    ("notification", NEUTRAL),
];

/// Colours of the dependencies of breakers.
pub const DEPENDENCIES: &[(&str, &str)] = &[
    ("user", PROTECTED),
    ("user-primary", SKY),
    ("user-replica", "#5F7F9F"),
    ("catalog", "#8F9B2A"),
    ("recommendation", INDIGO),
    ("ml-api", VERMILION),
    ("checkout", TEAL),
    ("inventory", BROWN),
    ("payment-gateway", SALMON),
    ("notification", NEUTRAL),
];

/// Colours of breakers, none of them a colour of health.
pub const BREAKERS: &[(&str, &str)] = &[
    ("gateway → catalog", "#8F9B2A"),
    ("gateway → checkout", TEAL),
    ("gateway → recommendation", INDIGO),
    ("gateway → user", PROTECTED),
    ("recommendation → ml-api", "#B8622F"),
    ("checkout → inventory", BROWN),
    ("checkout → notification", NEUTRAL),
    ("checkout → payment-gateway", SALMON),
    ("checkout → user", "#6B8FB5"),
    ("user → user-primary", SKY),
    ("user → user-replica", "#5F7F9F"),
];

/// Colours of pools without a breaker: the single pool of the unprotected gateway, and the one that checkout's calls
/// share.
pub const POOLS: &[(&str, &str)] = &[("gateway-bare → shared", BARE), ("checkout → shared", TEAL)];

/// The steps of an order.
pub const STEPS: &[(&str, &str)] = &[
    ("verify_user", PROTECTED),
    ("reserve", BROWN),
    ("charge", SALMON),
    ("void", INDIGO),
    ("release", VERMILION),
    ("notify", NEUTRAL),
];

/// The pages of the streaming site.
pub const ROUTES: &[(&str, &str)] = &[
    ("/api/home", PROTECTED),
    ("/api/movies", TEAL),
    ("/api/movies/{id}", SKY),
    ("/api/recommendations", INDIGO),
    ("/api/login", BROWN),
    ("/api/me", "#8F9B2A"),
    ("/api/checkout", SALMON),
    ("/api/orders", "#6B8FB5"),
    ("/api/orders/{id}", VERMILION),
];

/// Overrides for series named after one of these, or `caller → one of these`.
pub fn identities(list: &[(&str, &str)]) -> Vec<Value> {
    let paint = |(name, colour): &(&str, &str)| {
        json!({
            "matcher": { "id": "byRegexp", "options": format!("/^(.* → )?{}$/", escaped(name)) },
            "properties": [{ "id": "color", "value": { "mode": "fixed", "fixedColor": colour } }],
        })
    };
    let mut all: Vec<_> = list.iter().map(paint).collect();
    if list.iter().any(|(name, _)| name.starts_with("gateway-bare")) {
        all.push(json!({
            "matcher": { "id": "byRegexp", "options": "/^gateway-bare/" },
            "properties": [{ "id": "displayName", "value": "gateway, unprotected" }],
        }));
    }
    all
}

/// A name, escaped for a regular expression.
fn escaped(name: &str) -> String {
    name.replace('/', "\\/").replace('{', "\\{").replace('}', "\\}")
}

/// The colour of a meaning.
pub fn colour(meaning: &str) -> &'static str {
    MEANINGS.iter().find(|(name, _)| *name == meaning).unwrap_or_else(|| panic!("no colour is fixed for {meaning:?}")).1
}

/// An override that sets the colour of the series with this name.
pub fn paint(name: &str, colour: &str) -> Value {
    by_name(name, &[("color", json!({ "mode": "fixed", "fixedColor": colour }))])
}

/// An override of properties of the series or column with this name.
pub fn by_name(name: &str, properties: &[(&str, Value)]) -> Value {
    let properties: Vec<_> = properties.iter().map(|(id, value)| json!({ "id": id, "value": value })).collect();
    json!({ "matcher": { "id": "byName", "options": name }, "properties": properties })
}

/// A mapping of codes to words and colours.
pub fn words(list: &[(i32, &str, &str)]) -> Value {
    let options: serde_json::Map<_, _> = list
        .iter()
        .enumerate()
        .map(|(index, (value, text, colour))| {
            (value.to_string(), json!({ "text": text, "color": colour, "index": index }))
        })
        .collect();
    json!([{ "type": "value", "options": options }])
}

/// The code of a breaker's state in state timelines and tables, the healthiest first.
pub const STATE_CODES: &[(i32, &str)] =
    &[(0, "closed"), (1, "half_open"), (2, "open"), (3, "forced_open"), (4, "disabled"), (5, "metrics_only")];

/// Names and colours of the codes of states.
pub fn state_words() -> Value {
    let spoken: Vec<_> =
        STATE_CODES.iter().map(|(code, state)| (*code, state.replace('_', "-"), colour(state))).collect();
    words(&spoken.iter().map(|(code, text, colour)| (*code, text.as_str(), *colour)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// sRGB to linear light.
    fn linear(hex: &str) -> [f64; 3] {
        [1, 3, 5].map(|at| {
            let byte = u8::from_str_radix(&hex[at..at + 2], 16).expect("colours are written as #rrggbb");
            let channel = f64::from(byte) / 255.0;
            if channel <= 0.04045 { channel / 12.92 } else { ((channel + 0.055) / 1.055).powf(2.4) }
        })
    }

    fn luminance(hex: &str) -> f64 {
        let [r, g, b] = linear(hex);
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    /// WCAG 2.1 contrast ratio.
    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        if a > b { a / b } else { b / a }
    }

    /// Severity 1.0 of Machado, Oliveira and Fernandes (2009), in linear light.
    const DEFICIENCIES: [[[f64; 3]; 3]; 3] = [
        [[0.152_286, 1.052_583, -0.204_868], [0.114_503, 0.786_281, 0.099_216], [-0.003_882, -0.048_116, 1.051_998]],
        [[0.367_322, 0.860_646, -0.227_968], [0.280_085, 0.672_501, 0.047_413], [-0.011_820, 0.042_940, 0.968_881]],
        [[1.255_528, -0.076_749, -0.178_779], [-0.078_411, 0.930_809, 0.147_602], [0.004_733, 0.691_367, 0.303_900]],
    ];

    fn seen_with(deficiency: &[[f64; 3]; 3], light: [f64; 3]) -> [f64; 3] {
        deficiency.map(|row| row.iter().zip(light).map(|(m, c)| m * c).sum::<f64>().clamp(0.0, 1.0))
    }

    /// CIE 1976 L*a*b*, under D65.
    fn lab(light: [f64; 3]) -> [f64; 3] {
        const TO_XYZ: [[f64; 3]; 3] = [[0.4339, 0.3763, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8727]];
        let cube_root = |t: f64| if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
        let [x, y, z] = TO_XYZ.map(|row| cube_root(row.iter().zip(light).map(|(m, c)| m * c).sum()));
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    fn distance(one: [f64; 3], other: [f64; 3]) -> f64 {
        lab(one).iter().zip(lab(other)).map(|(p, q)| (p - q).powi(2)).sum::<f64>().sqrt()
    }

    #[test]
    fn health_colours_differ_for_every_colour_blindness() {
        for (a, b) in [(GOOD, WARN), (GOOD, BAD), (WARN, BAD), (PROTECTED, BARE), (FAULT, BAD), (FAULT, GOOD)] {
            for deficiency in &DEFICIENCIES {
                let apart = distance(seen_with(deficiency, linear(a)), seen_with(deficiency, linear(b)));
                assert!(apart >= 15.0, "{a} and {b} are only {apart:.0} apart");
            }
        }
    }

    #[test]
    fn every_colour_stands_out_on_dark_and_on_light_panels() {
        for (meaning, colour) in
            MEANINGS.iter().chain(SERVICES).chain(DEPENDENCIES).chain(POOLS).chain(ROUTES).chain(STEPS)
        {
            for panel in ["#181b1f", "#ffffff"] {
                let ratio = contrast(colour, panel);
                assert!(ratio >= 2.5, "{meaning} ({colour}) has a contrast of {ratio:.2} on {panel}");
            }
        }
    }
}
