//! Alerts that need a manual change of a process or of Prometheus: why a drill cannot raise them, and how to.

use super::{How, Plan, s};

/// All of them, in the order of `--all`.
pub(super) fn by_hand() -> Vec<Plan> {
    [targets_by_hand(), settings_by_hand(), pipeline_by_hand()].concat()
}

fn cannot(
    alert: &'static str,
    severity: &'static str,
    (reason, by_hand): (&'static str, &'static str),
    (ramp, fade): (u64, u64),
) -> Plan {
    Plan { alert, severity, how: How::Cannot { reason, by_hand, ramp: s(ramp), fade: s(fade) } }
}

fn targets_by_hand() -> Vec<Plan> {
    vec![
        cannot(
            "TargetDown",
            "critical",
            (
                "a process has to die or hang, and the admin port can't do that to itself",
                "--raise 'docker compose pause user' --clear 'docker compose unpause user'",
            ),
            (45, 15),
        ),
        cannot(
            "TargetDown",
            "warning",
            (
                "one of several processes has to die or hang",
                "--raise 'docker pause breakerbox-checkout-2' --clear 'docker unpause breakerbox-checkout-2'",
            ),
            (45, 15),
        ),
        cannot(
            "TargetAbsent",
            "critical",
            (
                "all targets of an expected job have to leave service discovery, or the configuration",
                "--raise 'docker compose stop checkout' --clear 'docker compose start checkout'",
            ),
            (45, 15),
        ),
        cannot(
            "TargetLost",
            "warning",
            (
                "one of several targets has to leave service discovery",
                "--raise 'docker stop breakerbox-checkout-2' --clear 'docker start breakerbox-checkout-2'",
            ),
            // Service discovery is polled every 10 s, and a lost target's series end two scrapes later.
            (30, 30),
        ),
        cannot(
            "CrashLoop",
            "warning",
            (
                "a process has to die again and again, and be started again",
                "kill its process four times, 10 s apart, where something starts it again (docker compose kill does not)",
            ),
            (60, 330),
        ),
        cannot(
            "MetricsAbsent",
            "warning",
            (
                "something else has to answer at the target's address",
                "stop a service and run `python3 -m http.server` on its admin port",
            ),
            (40, 15),
        ),
        cannot(
            "BreakerSeriesLost",
            "info",
            (
                "a running process has to lose a breaker, which takes a restart with other settings",
                "restart a service with one policy's circuit-breaker = false; fires while the old series is 5 minutes old",
            ),
            (80, 330),
        ),
    ]
}

fn settings_by_hand() -> Vec<Plan> {
    vec![
        cannot(
            "RetryQueueFull",
            "critical",
            (
                "the queue has to be full, and takes ten thousand orders by default",
                "start with checkout.queue.capacity = 1, and fail all payments",
            ),
            (60, 330),
        ),
        cannot(
            "DatabaseDown",
            "critical",
            (
                "the database has to be a server of its own, which no drill stops",
                "stop PostgreSQL: docker compose stop postgres",
            ),
            (30, 15),
        ),
        cannot(
            "DatabaseDown",
            "warning",
            (
                "the database has to be a server of its own, and out of reach of one instance only",
                "cut one instance's way to PostgreSQL",
            ),
            (30, 15),
        ),
        cannot(
            "StatelessBreakerBlind",
            "warning",
            (
                "Prometheus would have to be unreachable, but the drill needs it to see the alert",
                "start with checkout.breaker = \"stateless\" and a wrong checkout.stateless.prometheus-url",
            ),
            (75, 60),
        ),
        cannot(
            "StatelessBreakerRejecting",
            "warning",
            (
                "checkout queries Prometheus only if checkout.breaker = \"stateless\"",
                "start with that, and fail all payments: breakerbox fault set payment-gateway --error-rate 1.0",
            ),
            (90, 75),
        ),
        cannot(
            "InstanceClockSkew",
            "warning",
            (
                "the clock of a machine has to be wrong, and its database has to be on another one",
                "start an instance of checkout on PostgreSQL with --clock-wrong-by 20",
            ),
            (75, 15),
        ),
        cannot(
            "CircuitBreakerStateInvalid",
            "warning",
            (
                "only a bug in the exporter raises it; alerts/tests prove it on made-up series",
                "push a second state of a breaker through another exporter",
            ),
            (15, 15),
        ),
        cannot(
            "ServiceLabelClash",
            "warning",
            (
                "Prometheus has to put a label `service` on its target",
                "add `labels: {service: x}` to the target and honor_labels: false to its job, and reload Prometheus",
            ),
            (20, 30),
        ),
        cannot(
            "ScrapeIntervalTooLong",
            "warning",
            (
                "Prometheus has to scrape less often than the loaded rules are for",
                "set scrape_interval: 20s for the job, and reload Prometheus",
            ),
            (120, 300),
        ),
    ]
}

fn pipeline_by_hand() -> Vec<Plan> {
    vec![
        cannot(
            "MonitoringTargetDown",
            "warning",
            (
                "a part of the monitoring has to stop",
                "--raise 'docker compose stop jaeger' --clear 'docker compose start jaeger'",
            ),
            (20, 30),
        ),
        cannot(
            "RuleEvaluationFailing",
            "warning",
            (
                "Prometheus has to load a rule that fails when it is evaluated",
                "load a rule that joins many to many, such as `up * on () up` with two targets, and reload Prometheus",
            ),
            (30, 330),
        ),
        cannot(
            "ConfigReloadFailed",
            "warning",
            (
                "Prometheus or Alertmanager has to refuse its configuration",
                "write an invalid file and send SIGHUP; repair the file and send it again",
            ),
            (20, 20),
        ),
        cannot(
            "NotificationFailing",
            "warning",
            (
                "Alertmanager or its receiver has to stop, and then no notification arrives to be seen",
                "docker compose stop alertmanager, and look at /alerts of Prometheus",
            ),
            (60, 330),
        ),
    ]
}
