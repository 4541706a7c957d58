//! Time budgets of a drill.

use std::time::Duration;

use super::Raise;
use crate::drill::world::RuleSeen;

/// Allowance for scrapes, evaluations and a busy machine.
const SLACK: Duration = Duration::from_secs(15);

/// Ramps and fades apply to rules with this evaluation interval. Rules for longer intervals have windows that grow with
/// them (alerts/profiles/), each by up to the first minute of a ramp.
const INTERVAL: Duration = Duration::from_secs(5);
const GROWS: Duration = Duration::from_secs(60);

/// Additional time that the windows of a rule for `interval` take to fill or to empty.
fn grown(time: Duration, interval: Duration) -> Duration {
    let times = (interval.as_secs_f64() / INTERVAL.as_secs_f64() - 1.0).max(0.0);
    time + time.min(GROWS).mul_f64(times)
}

/// The time budgets of one drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// From the first step until the alert fires.
    pub firing: Duration,
    /// From the end of the fault until the alert is inactive.
    pub resolve: Duration,
}

impl Budget {
    /// Computed from the plan and the rule *as loaded*: a shorter `for` of a rule gives a tighter budget automatically.
    #[must_use]
    pub fn of(raise: &Raise, rule: &RuleSeen) -> Self {
        let slack = SLACK + rule.interval * 4;
        let (ramp, fade) = (grown(raise.ramp, rule.interval), grown(raise.fade, rule.interval));
        Self { firing: ramp + rule.holds + slack, resolve: fade + rule.keeps + slack }
    }

    /// Approximate duration of a successful drill.
    #[must_use]
    pub fn expected(raise: &Raise, rule: &RuleSeen) -> Duration {
        grown(raise.ramp, rule.interval) + rule.holds + grown(raise.fade, rule.interval) + rule.keeps
    }
}

/// Budgets set by the user; later ones override earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides(Vec<Override>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Override {
    alert: Option<String>,
    firing: Duration,
    resolve: Option<Duration>,
}

impl Overrides {
    /// Reads `[ALERT=]FIRING[/RESOLVE]`, such as `CircuitBreakerOpen=90s/2m` or `5m`.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let (alert, times) = match text.split_once('=') {
            Some((alert, times)) => (Some(alert.to_owned()), times),
            None => (None, text),
        };
        let time = |text: &str| {
            humantime::parse_duration(text).map_err(|error| format!("{text:?}: {error}, such as 90s or 5m"))
        };
        let (firing, resolve) = match times.split_once('/') {
            Some((firing, resolve)) => (time(firing)?, Some(time(resolve)?)),
            None => (time(times)?, None),
        };
        self.0.push(Override { alert, firing, resolve });
        Ok(())
    }

    /// The names of the alerts.
    pub fn alerts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|own| own.alert.as_deref())
    }

    pub(in crate::drill) fn apply(&self, alert: &str, budget: Budget) -> Budget {
        let own = self.0.iter().filter(|own| own.alert.as_deref().is_none_or(|name| name == alert));
        own.fold(budget, |budget, own| Budget { firing: own.firing, resolve: own.resolve.unwrap_or(budget.resolve) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_for_long_intervals_get_the_time_their_windows_take() {
        let s = Duration::from_secs;
        assert_eq!(grown(s(45), s(1)), s(45));
        assert_eq!(grown(s(45), s(5)), s(45));
        assert_eq!(grown(s(45), s(60)), s(45 * 12));
        assert_eq!(grown(s(900), s(15)), s(900 + 120));
    }

    #[test]
    fn a_budget_is_for_all_alerts_or_for_one() {
        let (s, mut overrides) = (Duration::from_secs, Overrides::default());
        overrides.add("5m").unwrap();
        overrides.add("TargetDown=20s/30s").unwrap();
        let usual = Budget { firing: s(1), resolve: s(2) };
        assert_eq!(overrides.apply("TargetDown", usual), Budget { firing: s(20), resolve: s(30) });
        assert_eq!(overrides.apply("NoTraffic", usual), Budget { firing: s(300), resolve: s(2) });
        assert!(overrides.add("TargetDown=soon").unwrap_err().contains("soon"));
    }
}
