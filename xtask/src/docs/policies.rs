//! The page of policies: the policy of each relation, and the presets.

use breakerbox::client::{preset, preset_names};
use breakerbox::export::Source;
use breakerbox::settings::Settings;
use breakerbox_resilience::breaker::{BreakerSettings, WindowType};
use breakerbox_resilience::policy::PolicySettings;

use super::row;

const COLUMNS: &str = "trips on | open for | closes on | timeout, in all | attempts | at once";

pub fn page() -> String {
    let settings = Settings::load(None, std::iter::empty()).expect("the embedded defaults are valid");
    let source = Source::new(settings.blueprint().expect("the embedded defaults are valid"));
    let mut page = format!(
        "# Policies\n\nAs the program resolves them from its settings.\n\n| caller → dependency | {COLUMNS} |\n{}",
        "|---|---|---|---|---|---|---|\n"
    );
    for relation in source.relations() {
        page += &described(&format!("{} → {}", relation.caller, relation.dependency), relation.policy);
    }
    page += "\n## Presets\n\nStarting points, in force only where a policy names one: `preset = \"database\"`. The policies above are written out.\n\n";
    page += "| preset | ";
    page += COLUMNS;
    page += " |\n";
    page += "|---|---|---|---|---|---|---|\n";
    for name in preset_names() {
        page += &described(&format!("`{name}`"), &preset(name).expect("a name of a preset"));
    }
    page
}

fn described(name: &str, policy: &PolicySettings) -> String {
    let limits = &policy.time_limiter;
    let duration = |duration| humantime::format_duration(duration).to_string();
    let breaker = policy.circuit_breaker.as_ref();
    let timeout = duration(limits.timeout_duration);
    row(&[
        name.to_owned(),
        breaker.map_or_else(none, trips),
        breaker.map_or_else(none, |breaker| duration(breaker.wait_duration_in_open_state)),
        breaker.map_or_else(none, closes),
        limits.total_timeout.map_or_else(|| timeout.clone(), |total| format!("{timeout}, {}", duration(total))),
        policy.retry.as_ref().map_or(1, |retry| retry.max_attempts).to_string(),
        policy.bulkhead.as_ref().map_or_else(none, |bulkhead| bulkhead.max_concurrent_calls.to_string()),
    ])
}

fn none() -> String {
    "–".to_owned()
}

fn trips(breaker: &BreakerSettings) -> String {
    let window = match breaker.sliding_window_type {
        WindowType::CountBased => format!("of {} calls", breaker.sliding_window_size),
        WindowType::TimeBased => format!("of the calls of {} s", breaker.sliding_window_size),
    };
    let row = breaker.consecutive_failure_threshold.map(|failures| format!("{failures} failures in a row"));
    let rate = breaker.failure_rate_threshold.map(|rate| format!("{rate} % failures {window}"));
    let slow = breaker.slow_call_rate_threshold.map(|rate| {
        format!("{rate} % slower than {}", humantime::format_duration(breaker.slow_call_duration_threshold))
    });
    [row, rate, slow].into_iter().flatten().collect::<Vec<_>>().join(", or ")
}

fn closes(breaker: &BreakerSettings) -> String {
    let (probes, rate) =
        (breaker.permitted_number_of_calls_in_half_open_state, breaker.half_open_success_rate_threshold);
    format!("{rate} % of {probes} probes")
}
