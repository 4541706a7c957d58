//! Labels whose values are an enum: there are no other values, and a child is found by its index.

use std::marker::PhantomData;

use breakerbox_resilience::breaker::{Outcome, Reason, State};
use breakerbox_resilience::policy::HedgeOutcome;
use breakerbox_resilience::retry::{ErrorKind, RetryOutcome};

/// An enum whose variants are the values of a label.
pub trait Label: Copy + 'static {
    /// Every value, in the order of [`index`](Self::index).
    const ALL: &'static [Self];

    /// Spelling in metrics.
    fn as_str(self) -> &'static str;

    /// Index in [`ALL`](Self::ALL).
    fn index(self) -> usize;
}

macro_rules! of_the_core {
    ($($label:ty),*) => {$(
        impl Label for $label {
            const ALL: &'static [Self] = <$label>::ALL;

            fn as_str(self) -> &'static str {
                <$label>::as_str(self)
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    )*};
}

of_the_core!(State, Reason, Outcome, HedgeOutcome, RetryOutcome);

/// Declares a label's enum and its spelling.
macro_rules! labels {
    ($($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All values as spelled in metrics.
            pub const TEXTS: &'static [&'static str] = &[$($text),*];

            /// Spelling in metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                Self::TEXTS[self as usize]
            }
        }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            fn as_str(self) -> &'static str {
                <$name>::as_str(self)
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    )*};
}

labels! {
    /// `outcome` of `circuit_breaker_calls_total`. A panic is a failure there.
    CallOutcome {
        /// The call succeeded.
        Success = "success",
        /// The call failed.
        Failure = "failure",
        /// The call timed out.
        Timeout = "timeout",
        /// An error that says nothing about the dependency's health.
        Ignored = "ignored",
        /// The caller stopped waiting before there was an answer.
        Cancelled = "cancelled",
        /// The breaker rejected the call.
        Rejected = "rejected",
    }
    /// `outcome` of `circuit_breaker_call_duration_seconds`: executed calls only.
    ExecutedOutcome {
        /// The call succeeded.
        Success = "success",
        /// The call failed.
        Failure = "failure",
        /// The call timed out.
        Timeout = "timeout",
        /// An error that says nothing about the dependency's health.
        Ignored = "ignored",
        /// The caller stopped waiting before there was an answer.
        Cancelled = "cancelled",
    }
    /// `kind` of a fallback: what replaced the live answer.
    FallbackKind {
        /// A cached answer.
        Cache = "cache",
        /// Popular films.
        Popular = "popular",
        /// A replica.
        Replica = "replica",
        /// A queue, for later processing.
        Queue = "queue",
        /// A notice only.
        Notice = "notice",
    }
    /// `reason` of a fallback: why there was no live answer.
    FallbackReason {
        /// The breaker is open.
        Open = "open",
        /// The bulkhead is full.
        BulkheadFull = "bulkhead_full",
        /// No answer in time.
        Timeout = "timeout",
        /// The dependency failed.
        Failure = "failure",
        /// The adaptive throttle rejected the call.
        Rejected = "rejected",
    }
    /// `kind` of a fault.
    FaultKind {
        /// An error instead of an answer.
        Error = "error",
        /// A delay before the answer.
        Latency = "latency",
        /// No answer at all.
        Hang = "hang",
        /// A connection that is reset.
        Reset = "reset",
        /// A slow body.
        SlowBody = "slow_body",
        /// A truncated answer.
        MalformedBody = "malformed_body",
        /// No listener.
        Crash = "crash",
        /// The request is processed and its answer lost.
        LostAnswer = "lost_answer",
        /// The request is processed and answered late.
        LateAnswer = "late_answer",
        /// A request is processed twice.
        HandledTwice = "handled_twice",
    }
    /// `outcome` of `playback_requests_total` and of traffic: the result for the viewer.
    Playback {
        /// A complete page.
        Ok = "ok",
        /// A page with parts from a fallback.
        Degraded = "degraded",
        /// An error.
        Error = "error",
    }
    /// `status` of a delivered alert.
    AlertStatus {
        /// Firing.
        Firing = "firing",
        /// Resolved.
        Resolved = "resolved",
    }
    /// `action` of `admin_actions_total`: what a command changes.
    AdminAction {
        /// A circuit breaker's state or settings.
        Breaker = "breaker",
        /// Faults.
        Fault = "fault",
        /// The scenario.
        Scenario = "scenario",
        /// Dead letters of the retry queue.
        Queue = "queue",
        /// A drill.
        Drill = "drill",
    }
    /// `outcome` of `admin_actions_total`.
    AdminOutcome {
        /// Executed.
        Done = "done",
        /// Refused as invalid.
        Refused = "refused",
        /// Refused without a valid token.
        Unauthorized = "unauthorized",
        /// Failed.
        Failed = "failed",
    }
    /// `outcome` of `checkout_orders_total`.
    OrderStatus {
        /// Paid at once.
        Paid = "paid",
        /// Put into the retry queue.
        Queued = "queued",
        /// Paid from the retry queue.
        PaidLater = "paid_later",
        /// Sold out.
        SoldOut = "sold_out",
        /// The card was declined.
        Declined = "declined",
        /// The payment gateway was not available.
        PaymentFailed = "payment_failed",
        /// The inventory was not available.
        Unavailable = "unavailable",
        /// Cancelled by its viewer.
        Cancelled = "cancelled",
        /// Cancelled because its deadline passed.
        Expired = "expired",
        /// Out of attempts.
        Dead = "dead",
    }
    /// `outcome` of `checkout_revenue_total`. Revenue at risk is kept or lost in the end.
    RevenueStatus {
        /// Paid at once.
        Paid = "paid",
        /// The payment failed for now.
        AtRisk = "at_risk",
        /// At risk, and paid in the end.
        Kept = "kept",
        /// At risk, and never paid.
        Lost = "lost",
    }
    /// `step` of `checkout_saga_steps_total`.
    SagaStep {
        /// The viewer is verified.
        VerifyUser = "verify_user",
        /// A seat or licence is reserved.
        Reserve = "reserve",
        /// The card is charged.
        Charge = "charge",
        /// The charge is voided.
        Void = "void",
        /// The reservation is released.
        Release = "release",
        /// The viewer is notified.
        Notify = "notify",
    }
    /// `outcome` of `checkout_saga_steps_total`.
    StepOutcome {
        /// Succeeded.
        Done = "done",
        /// Refused for good.
        Refused = "refused",
        /// Failed.
        Failed = "failed",
    }
    /// `outcome` of `checkout_idempotency_requests_total`: state of an idempotency key.
    KeyOutcome {
        /// A new key.
        New = "new",
        /// Answered before; the same answer was returned.
        Replayed = "replayed",
        /// Used for a different request before.
        Mismatch = "mismatch",
        /// Its first request is still in progress.
        InProgress = "in_progress",
    }
    /// `outcome` of `stateless_breaker_decisions_total`.
    StatelessOutcome {
        /// Prometheus answered, and the call was permitted.
        Permitted = "permitted",
        /// Prometheus answered, and the call was rejected.
        Rejected = "rejected",
        /// Prometheus did not answer in time, and the call was permitted.
        Unanswered = "unanswered",
    }
    /// `outcome` of `retry_queue_attempts_total`.
    QueueOutcome {
        /// Succeeded.
        Done = "done",
        /// Failed, and is retried.
        Retried = "retried",
        /// Postponed without an attempt.
        Postponed = "postponed",
        /// Out of attempts.
        Dead = "dead",
    }
    /// `outcome` of `payment_ledger_entries_total`.
    LedgerEntry {
        /// A new charge.
        Charged = "charged",
        /// A second charge for one key.
        ChargedAgain = "charged_again",
        /// Answered before; the same answer was returned.
        Replayed = "replayed",
        /// The card was declined.
        Declined = "declined",
        /// A charge that was voided before it was taken.
        Voided = "voided",
        /// A refunded charge.
        Refunded = "refunded",
        /// Refused for good.
        Refused = "refused",
    }
    /// `reason` of `retry_attempts_total`: the error that was retried.
    RetryReason {
        /// No answer in time.
        Timeout = "timeout",
        /// No connection.
        Connect = "connect",
        /// The dependency reported an error.
        ServerError = "server_error",
        /// The dependency asked for fewer requests.
        RateLimited = "rate_limited",
        /// The connection broke.
        Reset = "reset",
        /// The answer could not be parsed.
        Malformed = "malformed",
    }
    /// `outcome` of `retry_predicted_success_ratio`.
    Prediction {
        /// The retry succeeded.
        Success = "success",
        /// The retry failed.
        Failure = "failure",
    }
}

impl From<Outcome> for ExecutedOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Failure | Outcome::Panicked => Self::Failure,
            Outcome::Timeout => Self::Timeout,
            Outcome::Ignored => Self::Ignored,
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}

impl RetryReason {
    /// The reason for an error of this kind; `None` for an error of the caller, which is never retried.
    #[must_use]
    pub fn of(kind: ErrorKind) -> Option<Self> {
        match kind {
            ErrorKind::Timeout => Some(Self::Timeout),
            ErrorKind::Connect => Some(Self::Connect),
            ErrorKind::ServerError => Some(Self::ServerError),
            ErrorKind::RateLimited => Some(Self::RateLimited),
            ErrorKind::Reset => Some(Self::Reset),
            ErrorKind::Malformed => Some(Self::Malformed),
            ErrorKind::Client => None,
        }
    }
}

impl From<ExecutedOutcome> for CallOutcome {
    fn from(outcome: ExecutedOutcome) -> Self {
        match outcome {
            ExecutedOutcome::Success => Self::Success,
            ExecutedOutcome::Failure => Self::Failure,
            ExecutedOutcome::Timeout => Self::Timeout,
            ExecutedOutcome::Ignored => Self::Ignored,
            ExecutedOutcome::Cancelled => Self::Cancelled,
        }
    }
}

/// One metric per value of a label.
pub(crate) struct Children<L, M> {
    all: Box<[M]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label, M> Children<L, M> {
    /// Creates all children, so that each series exists at zero.
    pub(crate) fn new(child: impl Fn(&'static str) -> M) -> Self {
        Self { all: L::ALL.iter().map(|label| child(label.as_str())).collect(), label: PhantomData }
    }

    /// The metric of this value.
    pub(crate) fn of(&self, label: L) -> &M {
        &self.all[label.index()]
    }

    /// All metrics with their values.
    pub(crate) fn each(&self) -> impl Iterator<Item = (L, &M)> {
        L::ALL.iter().copied().zip(&self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::value;

    fn texts<L: Label>() -> Vec<&'static str> {
        assert!(L::ALL.iter().enumerate().all(|(index, label)| label.index() == index));
        L::ALL.iter().map(|label| label.as_str()).collect()
    }

    #[test]
    fn labels_are_those_of_the_contract_in_order() {
        assert_eq!(texts::<State>(), value::STATES);
        assert_eq!(texts::<Reason>(), value::TRANSITION_REASONS);
        assert_eq!(texts::<CallOutcome>(), value::CALL_OUTCOMES);
        assert_eq!(texts::<ExecutedOutcome>(), value::EXECUTED_OUTCOMES);
        assert_eq!(texts::<RetryOutcome>(), value::RETRY_OUTCOMES);
        assert_eq!(texts::<FallbackKind>(), value::FALLBACK_KINDS);
        assert_eq!(texts::<FallbackReason>(), value::FALLBACK_REASONS);
        assert_eq!(texts::<FaultKind>(), value::FAULT_KINDS);
        assert_eq!(texts::<Playback>(), value::PLAYBACK_OUTCOMES);
        assert_eq!(texts::<Playback>(), value::TRAFFIC_OUTCOMES);
        assert_eq!(texts::<AlertStatus>(), value::ALERT_STATUSES);
        assert_eq!(texts::<AdminAction>(), value::ADMIN_ACTIONS);
        assert_eq!(texts::<AdminOutcome>(), value::ADMIN_OUTCOMES);
        assert_eq!(texts::<OrderStatus>(), value::ORDER_OUTCOMES);
        assert_eq!(texts::<RevenueStatus>(), value::REVENUE_OUTCOMES);
        assert_eq!(texts::<SagaStep>(), value::SAGA_STEPS);
        assert_eq!(texts::<StepOutcome>(), value::SAGA_OUTCOMES);
        assert_eq!(texts::<KeyOutcome>(), value::IDEMPOTENCY_OUTCOMES);
        assert_eq!(texts::<StatelessOutcome>(), value::STATELESS_OUTCOMES);
        assert_eq!(texts::<QueueOutcome>(), value::QUEUE_OUTCOMES);
        assert_eq!(texts::<LedgerEntry>(), value::LEDGER_OUTCOMES);
        assert_eq!(texts::<HedgeOutcome>(), value::HEDGE_OUTCOMES);
        assert_eq!(texts::<RetryReason>(), value::RETRY_REASONS);
    }
}
