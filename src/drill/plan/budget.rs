//! How long each part of a drill may take.

use std::time::Duration;

use super::Raise;
use crate::drill::world::RuleSeen;

/// For scrapes, evaluations and a busy machine.
const SLACK: Duration = Duration::from_secs(15);

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
        Self { firing: raise.ramp + rule.holds + slack, resolve: raise.fade + rule.keeps + slack }
    }

    /// How long the drill takes when all goes well, roughly.
    #[must_use]
    pub fn expected(raise: &Raise, rule: &RuleSeen) -> Duration {
        raise.ramp + rule.holds + raise.fade + rule.keeps
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
