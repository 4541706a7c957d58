//! The observer of a policy: passes its events to telemetry, and each transition to subscribers.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Telemetry;
use breakerbox_resilience::breaker::Transition;
use breakerbox_resilience::policy::{Event, Observer, Policy};
use breakerbox_telemetry::PolicyTelemetry;

/// The observer of one dependency's policy.
pub(super) struct Reporter {
    telemetry: PolicyTelemetry,
    /// Unbounded, because business logic that acts on transitions must not miss one, and a breaker changes its state a
    /// few times a second at most.
    subscribers: Mutex<Vec<UnboundedSender<Transition>>>,
}

impl Reporter {
    pub(super) fn new(service: &str, dependency: &str, policy: &Arc<Policy>, telemetry: &Telemetry) -> Self {
        let Telemetry { metrics, transitions } = telemetry;
        let telemetry = PolicyTelemetry::new(metrics, transitions, [service, dependency], policy);
        Self { telemetry, subscribers: Mutex::default() }
    }

    /// Every transition from now on, in order.
    pub(super) fn subscribe(&self) -> UnboundedReceiver<Transition> {
        let (sender, receiver) = unbounded_channel();
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    /// Telemetry of the policy.
    pub(super) fn telemetry(&self) -> &PolicyTelemetry {
        &self.telemetry
    }

    /// Reports a transition that was not caused by a call.
    pub(super) fn transition(&self, transition: &Transition) {
        self.observe(Event::Transition(transition));
    }
}

impl Observer for Reporter {
    fn observe(&self, event: Event<'_>) {
        self.telemetry.observe(event);
        if let Event::Transition(transition) = event {
            let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
            subscribers.retain(|subscriber| subscriber.send(*transition).is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use crate::client::{Client, Telemetry, Transport, preset};
    use breakerbox_resilience::breaker::{Command, State};
    use breakerbox_telemetry::{Metrics, TransitionLog};

    /// The feed for the console drops events of a slow reader; business logic must not depend on it.
    #[tokio::test]
    async fn a_subscriber_misses_no_transition() {
        let telemetry = Telemetry { metrics: Metrics::new(&[]), transitions: TransitionLog::new() };
        let transport = Transport::InProcess(std::sync::Arc::new(OnceLock::new()));
        let client = Client::new("a", "b", &preset("database").unwrap(), transport, &telemetry, 1).unwrap();
        let mut transitions = client.transitions();
        for _ in 0..1_000 {
            client.command(Command::ForceOpen);
            client.command(Command::Close);
        }
        for number in 0..2_000 {
            let transition = transitions.try_recv().unwrap();
            let to = if number % 2 == 0 { State::ForcedOpen } else { State::Closed };
            // A breaker starts with generation 1.
            assert_eq!((transition.generation, transition.to), (number + 2, to));
        }
        assert!(transitions.try_recv().is_err());
    }
}
