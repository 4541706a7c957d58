//! How long each part of a drill may take.

use std::time::Duration;

use super::Raise;
use crate::drill::world::RuleSeen;

/// For scrapes, evaluations and a busy machine.
const SLACK: Duration = Duration::from_secs(15);

/// Ramps and fades are those of rules that are evaluated this often. Rules for longer intervals have windows that
/// grow with them (alerts/profiles/), by up to the first minute of a ramp for each.
const INTERVAL: Duration = Duration::from_secs(5);
const GROWS: Duration = Duration::from_secs(60);

/// How much longer windows of a rule for `interval` take to fill or to empty.
fn grown(time: Duration, interval: Duration) -> Duration {
    let times = (interval.as_secs_f64() / INTERVAL.as_secs_f64() - 1.0).max(0.0);
    time + time.min(GROWS).mul_f64(times)
}

/// How long a drill may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// From the first step until the alert fires.
    pub firing: Duration,
    /// From the end of the trouble until the alert is inactive.
    pub resolve: Duration,
}

impl Budget {
    /// What the plan and the rule *as it is loaded* need: a shorter `for` of a rule gives a
    /// tighter budget without saying so.
    #[must_use]
    pub fn of(raise: &Raise, rule: &RuleSeen) -> Self {
        let slack = SLACK + rule.interval * 4;
        let (ramp, fade) = (grown(raise.ramp, rule.interval), grown(raise.fade, rule.interval));
        Self { firing: ramp + rule.holds + slack, resolve: fade + rule.keeps + slack }
    }

    /// How long the drill takes when all goes well, roughly.
    #[must_use]
    pub fn expected(raise: &Raise, rule: &RuleSeen) -> Duration {
        grown(raise.ramp, rule.interval) + rule.holds + grown(raise.fade, rule.interval) + rule.keeps
    }
}

/// Budgets that the user set, later ones over earlier ones.
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

    /// The alerts that are named.
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
