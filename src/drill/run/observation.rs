//! One observation: the rule's alerts, the notices and the transitions that belong to a drill.

use std::collections::BTreeSet;

use crate::drill::plan::{Plan, Raise};
use crate::drill::world::{InboxSeen, Instance, Labels, NoticeSeen, Phase, RuleSeen, TransitionSeen, has};

/// Identifies the drilled alert.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    alert: &'static str,
    severity: &'static str,
    labels: Vec<(String, String)>,
    /// See [`Plan::reaches_a_receiver`].
    heard: bool,
}

/// The state before the drill, which is ignored in observations.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    notices: BTreeSet<(Labels, String)>,
    generations: Vec<(String, String, u64)>,
}

/// The result of one poll.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Observation {
    pub(super) breaker_open: bool,
    pub(super) phase: Option<Phase>,
    pub(super) notified: bool,
    /// Whether every notice of the alert was followed by one of its resolution.
    pub(super) all_resolved: bool,
}

impl Subject {
    /// `matchers` are those that the user gave.
    pub(super) fn new(plan: &Plan, raise: Option<&Raise>, matchers: &[(String, String)]) -> Self {
        let own = raise.into_iter().flat_map(|raise| &raise.labels);
        let mut labels: Vec<_> = own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        labels.extend_from_slice(matchers);
        Self { alert: plan.alert, severity: plan.severity, labels, heard: plan.reaches_a_receiver() }
    }

    fn wanted(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether a notification is to be expected.
    pub(super) fn reaches_a_receiver(&self) -> bool {
        self.heard
    }

    /// The rule of the alert. Several rules, for example one per job, count as one.
    pub(super) fn rule(&self, rules: &[RuleSeen]) -> Option<RuleSeen> {
        let mut own = rules.iter().filter(|rule| rule.alert == self.alert && has(&rule.labels, self.severity()));
        let mut first = own.next()?.clone();
        first.instances.extend(own.flat_map(|rule| rule.instances.iter().cloned()));
        Some(first)
    }

    fn severity(&self) -> [(&str, &str); 1] {
        [("severity", self.severity)]
    }

    /// Its pending or firing instances.
    pub(super) fn instances<'a>(&self, rule: &'a RuleSeen) -> impl Iterator<Item = &'a Instance> {
        rule.instances.iter().filter(|instance| has(&instance.labels, self.wanted()))
    }

    /// The most advanced phase of its instances.
    pub(super) fn phase(&self, rule: &RuleSeen) -> Option<Phase> {
        let phases: Vec<_> = self.instances(rule).map(|instance| instance.phase).collect();
        let firing = phases.iter().find(|phase| **phase == Phase::Firing);
        firing.or(phases.first()).copied()
    }

    /// Its notices.
    pub(super) fn notices<'a>(&self, inbox: &'a InboxSeen) -> impl Iterator<Item = &'a NoticeSeen> {
        let fixed = [("alertname", self.alert), ("severity", self.severity)];
        inbox.notices.iter().filter(move |notice| has(&notice.labels, fixed) && has(&notice.labels, self.wanted()))
    }
}

impl Before {
    pub(super) fn new(subject: &Subject, inbox: &InboxSeen, transitions: &[TransitionSeen]) -> Self {
        Self {
            notices: subject.notices(inbox).map(key).collect(),
            generations: transitions.iter().map(|t| (t.service.clone(), t.breaker.clone(), t.generation)).collect(),
        }
    }

    /// How often this breaker has opened since.
    pub(super) fn openings(&self, transitions: &[TransitionSeen], breaker: (&str, &str)) -> usize {
        let own = |service: &str, name: &str| (service, name) == breaker;
        let last = self.generations.iter().filter(|(service, name, _)| own(service, name)).map(|g| g.2).max();
        let new = |t: &&TransitionSeen| {
            own(&t.service, &t.breaker) && t.to == "open" && last.is_none_or(|last| t.generation > last)
        };
        // Two admin addresses may lead to the same process, which then reports every transition twice.
        transitions.iter().filter(new).map(|t| t.generation).collect::<BTreeSet<_>>().len()
    }

    pub(super) fn look(
        &self,
        subject: &Subject,
        breaker: Option<(&str, &str)>,
        (rule, inbox, transitions): (&RuleSeen, &InboxSeen, &[TransitionSeen]),
    ) -> Observation {
        let new: Vec<_> = subject.notices(inbox).filter(|notice| !self.notices.contains(&key(notice))).collect();
        Observation {
            breaker_open: breaker.is_some_and(|breaker| self.openings(transitions, breaker) > 0),
            phase: subject.phase(rule),
            notified: !new.is_empty(),
            all_resolved: new.iter().all(|notice| notice.resolved),
        }
    }
}

fn key(notice: &NoticeSeen) -> (Labels, String) {
    (notice.labels.clone(), notice.starts_at.clone())
}
