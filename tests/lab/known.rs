//! Results that can be calculated without a simulation.

use crate::holds;

/// Erlang's C formula: the mean wait in an M/M/c queue, in seconds.
fn mean_wait(rate: f64, service: f64, servers: u32) -> f64 {
    let offered = rate * service;
    let mut term = 1.0;
    let mut sum = 1.0;
    for n in 1..servers {
        term *= offered / f64::from(n);
        sum += term;
    }
    let last = term * offered / f64::from(servers) / (1.0 - offered / f64::from(servers));
    let waits = last / (sum + last);
    waits * service / (f64::from(servers) - offered)
}

#[test]
fn waiting_times_are_those_of_an_m_m_c_queue() {
    for (rate, servers, seeds) in [(2.8, 4, 4), (0.5, 1, 8)] {
        let expected = mean_wait(rate, 1.0, servers);
        holds(&format!(
            r#"
            name = "mmc"
            title.en = "M/M/c"
            question.en = "?"
            columns = ["queue-wait"]
            seeds = {seeds}
            expect = ["plain.queue-wait > {}", "plain.queue-wait < {}", "plain.utilization > {}", "plain.utilization < {}"]
            [[case]]
            name = "mmc"
            duration = "4h"
            load = {{ rate = {rate}, patience = "1h" }}
            [[case.dependency]]
            name = "queue"
            latency = {{ exponential = {{ mean = "1s" }} }}
            capacity = {servers}
            [[case.variant]]
            name = "plain"
            "#,
            expected * 0.95,
            expected * 1.05,
            rate / f64::from(servers) * 0.97,
            rate / f64::from(servers) * 1.03,
        ));
    }
}

#[test]
fn n_attempts_at_failure_p_cost_their_geometric_sum() {
    // 1 + p + p² requests, and 1 − p³ successes, for three attempts at p = 0.3.
    holds(
        r#"
        name = "amplification"
        title.en = "Amplification"
        question.en = "?"
        columns = ["load"]
        seeds = 2
        expect = ["three.load > 1.38", "three.load < 1.40", "three.success > 0.970", "three.success < 0.976"]
        [[case]]
        name = "amplification"
        duration = "20m"
        load = { rate = 20 }
        [[case.dependency]]
        name = "api"
        latency = { fixed = "10ms" }
        [[case.fault]]
        at = "0s"
        for = "1h"
        target = "api"
        fault = { error_rate = 0.3 }
        normal = true
        [[case.variant]]
        name = "three"
        [case.variant.policy.api]
        retry = { max-attempts = 3, wait-duration = "10ms" }
        retry-budget = { retry-percent = 1000 }
        "#,
    );
}

#[test]
fn a_hedge_costs_the_share_of_requests_beyond_its_delay() {
    // Response times are uniform between 0 and 1 s: a hedge after 0.8 s is sent for one request in five, and such a
    // request takes min(X, 0.8 + Y), which is never more than a second.
    holds(
        r#"
        name = "hedging"
        title.en = "Hedging"
        question.en = "?"
        columns = ["hedges"]
        seeds = 2
        expect = ["hedged.hedges > 0.19", "hedged.hedges < 0.21", "hedged.load > 1.19", "hedged.load < 1.21", "hedged.p99 < plain.p99"]
        [[case]]
        name = "hedging"
        duration = "20m"
        load = { rate = 10 }
        [[case.dependency]]
        name = "api"
        latency = { uniform = { min = "0s", max = "1s" } }
        instances = 2
        [[case.variant]]
        name = "plain"
        policy.api = { time-limiter.timeout-duration = "5s" }
        [[case.variant]]
        name = "hedged"
        [case.variant.policy.api]
        time-limiter.timeout-duration = "5s"
        hedge = { delay = "800ms" }
        retry-budget = { retry-percent = 100 }
        "#,
    );
}

/// The same load and capacity have two stable states; which one the system is in depends on its history.
#[test]
fn a_trigger_leaves_naive_retries_down_and_a_budget_up() {
    let text = |slow: &str, expect: &str| {
        format!(
            r#"
            name = "hysteresis"
            title.en = "Hysteresis"
            question.en = "?"
            columns = ["served"]
            seeds = 2
            expect = [{expect}]
            [[case]]
            name = "hysteresis"
            duration = "4m"
            load = {{ rate = 12 }}
            [[case.dependency]]
            name = "api"
            latency = {{ fixed = "100ms" }}
            capacity = 2
            queue = 1000
            [[case.fault]]
            at = "40s"
            for = "30s"
            target = "api"
            slowdown = {slow}
            [[case.variant]]
            name = "naive"
            policy.api = {{ retry = {{ max-attempts = 3, stop-failure-rate-threshold = false }}, retry-budget = {{ retry-percent = 1000, max-tokens = 100000 }} }}
            [[case.variant]]
            name = "budget"
            policy.api = {{ retry = {{ max-attempts = 3, stop-failure-rate-threshold = false }}, retry-budget = {{ retry-percent = 10 }} }}
            "#
        )
    };
    holds(&text("1", r#""naive.after-served > 0.99", "naive.before-served > 0.99""#));
    holds(&text("3", r#""naive.before-served > 0.99", "naive.after-served < 0.2", "budget.after-served > 0.3""#));
}

/// A request that arrives while its dependency is slow, but starts after the slowness has ended, takes no longer than
/// any other.
#[test]
fn a_queue_drains_at_full_speed_once_the_slowness_ends() {
    // Ten times slower for twenty seconds: about twenty of forty requests remain, which is two seconds of work at full
    // speed.
    holds(
        r#"
        name = "drain"
        title.en = "Drain"
        question.en = "?"
        columns = ["after-p99"]
        seeds = 4
        expect = ["plain.during-p99 > 5", "plain.after-p99 < 3"]
        [[case]]
        name = "drain"
        duration = "2m"
        load = { rate = 2, patience = "1m" }
        [[case.dependency]]
        name = "api"
        latency = { fixed = "100ms" }
        capacity = 1
        [[case.fault]]
        at = "20s"
        for = "20s"
        target = "api"
        slowdown = 10
        [[case.variant]]
        name = "plain"
        "#,
    );
}
