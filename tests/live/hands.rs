//! Alerts that a drill can't raise by itself, because a process or a configuration file has to change.

use crate::passed;
use crate::process::Process;
use crate::stack::{Pace, Stack};

impl Stack {
    /// Drills one alert with a command that raises it and one that clears it.
    pub(crate) async fn by_hand(&self, alert: &str, raise: &str, clear: &str) {
        let mut arguments = vec![alert, "--raise", raise, "--clear", clear];
        if self.pace == Pace::Fast {
            // Covers the slowest alert, which needs two minutes without a sample, on a busy machine.
            arguments.extend(["--budget", "5m/7m"]);
        }
        // A scrape may exceed its timeout on a busy machine, and a drill needs a healthy stack.
        self.is_up().await;
        passed(&self.drill(&arguments).await);
    }

    /// Shell commands that edit a file and make a process reload it, and that undo it.
    fn edited(&self, file: &str, script: &str, process: &Process) -> (String, String) {
        let (path, pid) = (self.scratch.path(file), process.id());
        let path = path.display();
        let raise = format!("cp {path} {path}.whole && sed -i '{script}' {path} && kill -HUP {pid}");
        (raise, format!("cp {path}.whole {path} && kill -HUP {pid}"))
    }

    /// A hanging process is a target that is down; SIGSTOP suspends it and SIGCONT resumes it.
    pub(crate) async fn a_process_that_hangs(&self) {
        let pid = self.second.pid();
        self.by_hand("TargetDown/critical", &format!("kill -STOP {pid}"), &format!("kill -CONT {pid}")).await;
    }

    pub(crate) async fn a_target_that_left_the_configuration(&self) {
        let script = "/job_name: breakerbox-second/,/targets:/d";
        let (raise, clear) = self.edited("prometheus.yml", script, &self.prometheus_process);
        self.by_hand("TargetAbsent", &raise, &clear).await;
    }

    /// One of two targets disappears from service discovery.
    pub(crate) async fn one_of_two_targets_that_left(&self) {
        let file = self.scratch.path("pair.json");
        let file = file.display();
        let raise = format!("cp {file} {file}.whole && sed -i 's/, \"localhost[^]]*//' {file}");
        self.by_hand("TargetLost", &raise, &format!("cp {file}.whole {file}")).await;
    }

    /// The target's address is changed to Prometheus itself, which exports other metrics.
    pub(crate) async fn something_else_at_the_address(&self) {
        let own = self.prometheus.trim_start_matches("http://");
        let script = format!("/job_name: breakerbox-second/,/targets:/s/targets:.*/targets: [{own}]/");
        let (raise, clear) = self.edited("prometheus.yml", &script, &self.prometheus_process);
        self.by_hand("MetricsAbsent", &raise, &clear).await;
    }

    pub(crate) async fn two_states_at_once(&self) {
        let page = self.scratch.path("pages/state.prom");
        let page = page.display();
        let both = format!("cp {page} {page}.whole && sed -i 's/ 0$/ 1/' {page}");
        self.by_hand("CircuitBreakerStateInvalid", &both, &format!("mv {page}.whole {page}")).await;
    }

    pub(crate) async fn a_part_of_the_monitoring_that_is_down(&self) {
        let page = self.scratch.path("pages/jaeger.prom");
        let page = page.display();
        let away = format!("mv {page} {page}.away");
        self.by_hand("MonitoringTargetDown", &away, &format!("mv {page}.away {page}")).await;
    }

    /// A restart with other settings. The alert compares with the history five minutes ago.
    pub(crate) async fn a_breaker_that_a_restart_lost(&self) {
        let (config, pid) = (self.scratch.path("second.toml"), self.second.pid());
        let config = config.display();
        let none = "[policies.recommendation.ml-api]\\ncircuit-breaker = false\\n";
        let raise = format!("cp {config} {config}.whole && printf '{none}' >> {config} && kill {pid}");
        let clear = format!("cp {config}.whole {config} && kill {pid}");
        self.by_hand("BreakerSeriesLost", &raise, &clear).await;
    }

    pub(crate) async fn a_rule_that_fails(&self) {
        let file = self.scratch.path("prometheus/rules/failing.yml");
        let (file, pid) = (file.display(), self.prometheus_process.id());
        let rule =
            "groups:\\n  - name: failing\\n    rules:\\n      - record: up:failing\\n        expr: up * on () up\\n";
        let raise = format!("printf '{rule}' > {file} && kill -HUP {pid}");
        self.by_hand("RuleEvaluationFailing", &raise, &format!("rm {file} && kill -HUP {pid}")).await;
    }

    /// An invalid file is refused, and the running configuration stays in use.
    pub(crate) async fn a_configuration_that_is_refused(&self) {
        let (raise, clear) = self.edited("prometheus.yml", "$a nonsense", &self.prometheus_process);
        self.by_hand("ConfigReloadFailed", &raise, &clear).await;
    }

    /// A target label has the name of one of our labels, and `honor_labels` is off.
    pub(crate) async fn a_label_that_hides_ours(&self) {
        let script = "/job_name: breakerbox-page/,/targets:/s/targets: .*/&\\n        labels: {service: x}/";
        let (raise, clear) = self.edited("prometheus.yml", script, &self.prometheus_process);
        self.by_hand("ServiceLabelClash", &raise, &clear).await;
    }

    /// Killed repeatedly, and restarted each time before its scrapes have failed for long.
    pub(crate) async fn a_process_that_crashes_in_a_loop(&self) {
        let kill = format!("kill -KILL {}", self.second.pid());
        let raise = format!("for i in 1 2 3 4; do {kill}; sleep 5; done");
        self.by_hand("CrashLoop", &raise, "true").await;
    }

    /// An additional receiver at a closed port; the usual one keeps delivering.
    pub(crate) async fn a_receiver_that_is_gone(&self) {
        let script = r"s/^  routes:$/  routes:\n    - receiver: gone\n      continue: true\n    - receiver: breakerbox\n      matchers: [alertname != Watchdog]/
            $a\  - name: gone\n    webhook_configs:\n      - url: http:\/\/127.0.0.1:9\/";
        let (raise, clear) = self.edited("alertmanager.yml", script, &self.alertmanager_process);
        self.by_hand("NotificationFailing", &raise, &clear).await;
    }
}
