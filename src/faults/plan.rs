//! A target's fault plan: the kinds of faults and their rates.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::invalid::InvalidPlan;
use super::latency::{Latency, LatencySchema};
use breakerbox_telemetry::FaultKind;

/// Upper limit of times to live and delays.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Default delay of a late answer.
const LATE_BY: Duration = Duration::from_secs(5);

/// The faults of a target. Shares are 0–1 of its requests and are drawn independently.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FaultPlan {
    /// Share of requests answered with the error `status`.
    #[serde(alias = "error-rate", skip_serializing_if = "is_zero")]
    pub error_rate: f64,
    /// Status of injected errors, 400–599; 503 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Delay added before the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<LatencySchema>)]
    pub latency: Option<Latency>,
    /// Share of requests that are delayed; all when left out.
    #[serde(alias = "latency-rate", skip_serializing_if = "Option::is_none")]
    pub latency_rate: Option<f64>,
    /// Share of requests that are never answered.
    #[serde(alias = "hang-rate", skip_serializing_if = "is_zero")]
    pub hang_rate: f64,
    /// Share of requests whose connection is reset.
    #[serde(alias = "reset-rate", skip_serializing_if = "is_zero")]
    pub reset_rate: f64,
    /// Slow transfer of response bodies.
    #[serde(alias = "slow-body", skip_serializing_if = "Option::is_none")]
    pub slow_body: Option<SlowBody>,
    /// Share of answers that are truncated although `Content-Length` announces the whole body.
    #[serde(alias = "malformed-body-rate", skip_serializing_if = "is_zero")]
    pub malformed_body_rate: f64,
    /// Share of requests that are processed and whose answer is lost. The service itself has to apply this fault and
    /// the next three, so only some targets support them.
    #[serde(alias = "lost-answer-rate", skip_serializing_if = "is_zero")]
    pub lost_answer_rate: f64,
    /// Share of requests that are processed and answered late.
    #[serde(alias = "late-answer-rate", skip_serializing_if = "is_zero")]
    pub late_answer_rate: f64,
    /// Delay of late answers; 5 s when left out.
    #[serde(alias = "late-by", with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2s")]
    pub late_by: Option<Duration>,
    /// Share of requests that are processed twice, as when a proxy repeats a request.
    #[serde(alias = "handled-twice-rate", skip_serializing_if = "is_zero")]
    pub handled_twice_rate: f64,
    /// The service stops listening.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub crash: bool,
    /// Time until the target's default faults are restored; unlimited when left out.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "60s")]
    pub ttl: Option<Duration>,
}

/// Slow transfer of response bodies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SlowBody {
    /// Rate of the transfer, in bytes per second.
    #[serde(alias = "bytes-per-second")]
    pub bytes_per_second: u32,
    /// Share of answers, 0–1; all when left out.
    #[serde(default = "one")]
    pub rate: f64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over by reference")]
fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

fn one() -> f64 {
    1.0
}

impl FaultPlan {
    /// Status of injected errors.
    pub(super) fn error_status(&self) -> u16 {
        self.status.unwrap_or(503)
    }

    /// Share of requests that are delayed.
    pub(super) fn delayed_share(&self) -> f64 {
        if self.latency.is_some() { self.latency_rate.unwrap_or(1.0) } else { 0.0 }
    }

    /// Delay of a late answer.
    pub(super) fn lateness(&self) -> Duration {
        self.late_by.unwrap_or(LATE_BY)
    }

    /// The first field that only the service itself can apply, if one is set.
    pub(super) fn after_work(&self) -> Option<&'static str> {
        let on = [
            ("lost_answer_rate", self.lost_answer_rate > 0.0),
            ("late_answer_rate", self.late_answer_rate > 0.0),
            ("handled_twice_rate", self.handled_twice_rate > 0.0),
        ];
        on.iter().find(|(_, on)| *on).map(|(field, _)| *field)
    }

    /// Rejects fields that are not possible at this target. `able` are the targets whose service applies faults that an
    /// edge can't inject.
    pub fn validate_at(&self, target: &str, able: &[&str]) -> Result<(), InvalidPlan> {
        self.validate()?;
        match self.after_work() {
            Some(field) if able.is_empty() => Err(InvalidPlan::new(field, format!("{target} can't do this"))),
            Some(field) if !able.contains(&target) => {
                Err(InvalidPlan::new(field, format!("{target} can't do this, only {}", able.join(", "))))
            }
            _ => Ok(()),
        }
    }

    /// Share (0–1) of requests that each kind affects, by kind. Kinds are drawn independently; a crash affects all.
    #[must_use]
    pub fn shares(&self) -> [(FaultKind, f64); 10] {
        [
            (FaultKind::Error, self.error_rate),
            (FaultKind::Latency, self.delayed_share()),
            (FaultKind::Hang, self.hang_rate),
            (FaultKind::Reset, self.reset_rate),
            (FaultKind::SlowBody, self.slow_body.map_or(0.0, |slow| slow.rate)),
            (FaultKind::MalformedBody, self.malformed_body_rate),
            (FaultKind::Crash, f64::from(u8::from(self.crash))),
            (FaultKind::LostAnswer, self.lost_answer_rate),
            (FaultKind::LateAnswer, self.late_answer_rate),
            (FaultKind::HandledTwice, self.handled_twice_rate),
        ]
    }

    /// Active kinds, as label values.
    #[must_use]
    pub fn active(&self) -> Vec<&'static str> {
        self.shares().iter().filter(|(_, share)| *share > 0.0).map(|(kind, _)| kind.as_str()).collect()
    }

    /// Validates the plan; an error names the field and its allowed values.
    pub fn validate(&self) -> Result<(), InvalidPlan> {
        let shares = [
            ("error_rate", self.error_rate),
            ("latency_rate", self.latency_rate.unwrap_or(1.0)),
            ("hang_rate", self.hang_rate),
            ("reset_rate", self.reset_rate),
            ("slow_body.rate", self.slow_body.map_or(1.0, |slow| slow.rate)),
            ("malformed_body_rate", self.malformed_body_rate),
            ("lost_answer_rate", self.lost_answer_rate),
            ("late_answer_rate", self.late_answer_rate),
            ("handled_twice_rate", self.handled_twice_rate),
        ];
        for (field, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(InvalidPlan::new(field, format!("{share} is not within 0–1")));
            }
        }
        if !(400..=599).contains(&self.error_status()) {
            return Err(InvalidPlan::new("status", format!("{} is not within 400–599", self.error_status())));
        }
        if self.latency_rate.is_some() && self.latency.is_none() {
            return Err(InvalidPlan::new("latency_rate", "has no effect without latency"));
        }
        if let Some(latency) = &self.latency {
            latency.validate()?;
        }
        if self.slow_body.is_some_and(|slow| slow.bytes_per_second == 0) {
            return Err(InvalidPlan::new("slow_body.bytes_per_second", "must be at least 1; hang_rate never answers"));
        }
        if self.late_by.is_some() && self.late_answer_rate == 0.0 {
            return Err(InvalidPlan::new("late_by", "has no effect without late_answer_rate"));
        }
        if self.lateness().is_zero() || self.lateness() > LONGEST {
            return Err(InvalidPlan::new("late_by", "must be more than 0s and at most 1day"));
        }
        match self.ttl {
            Some(ttl) if ttl.is_zero() || ttl > LONGEST => {
                Err(InvalidPlan::new("ttl", "must be more than 0s and at most 1day"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(json: &str) -> FaultPlan {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn out_of_range_fields_are_named_with_their_range() {
        for (json, field) in [
            (r#"{"error_rate": 1.5}"#, "error_rate"),
            (r#"{"error_rate": 0.5, "status": 200}"#, "status"),
            (r#"{"hang_rate": -0.1}"#, "hang_rate"),
            (r#"{"latency_rate": 0.5}"#, "latency_rate"),
            (r#"{"latency": {"fixed": "2days"}}"#, "latency"),
            (r#"{"latency": {"uniform": {"min": "2s", "max": "1s"}}}"#, "latency"),
            (r#"{"slow_body": {"bytes_per_second": 0}}"#, "slow_body.bytes_per_second"),
            (r#"{"ttl": "0s"}"#, "ttl"),
            (r#"{"lost_answer_rate": 2}"#, "lost_answer_rate"),
            (r#"{"late_by": "1s"}"#, "late_by"),
            (r#"{"late_answer_rate": 1, "late_by": "0s"}"#, "late_by"),
        ] {
            assert_eq!(plan(json).validate().unwrap_err().field(), field, "{json}");
        }
    }

    #[test]
    fn faults_that_no_layer_can_apply_are_refused() {
        let plan = plan(r#"{"error_rate": 0.5, "handled_twice_rate": 0.1}"#);
        assert_eq!(plan.validate_at("books", &["books"]), Ok(()));
        let refused = plan.validate_at("catalog", &["books"]).unwrap_err();
        assert_eq!(refused.to_string(), "handled_twice_rate: catalog can't do this, only books");
        assert_eq!(plan.validate_at("catalog", &[]).unwrap_err().field(), "handled_twice_rate");
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        assert!(
            serde_json::from_str::<FaultPlan>(r#"{"eror_rate": 1}"#).unwrap_err().to_string().contains("eror_rate")
        );
    }

    #[test]
    fn an_empty_plan_has_no_faults() {
        assert_eq!(plan("{}").active(), Vec::<&str>::new());
        assert_eq!(serde_json::to_string(&plan("{}")).unwrap(), "{}");
    }

    #[test]
    fn every_kind_is_in_the_metrics_contract() {
        let all = plan(
            r#"{"error_rate": 1, "latency": {"fixed": "1s"}, "hang_rate": 1, "reset_rate": 1,
                "slow_body": {"bytes_per_second": 9}, "malformed_body_rate": 1, "crash": true,
                "lost_answer_rate": 1, "late_answer_rate": 1, "handled_twice_rate": 1}"#,
        );
        assert_eq!(all.active(), breakerbox_telemetry::names::value::FAULT_KINDS);
    }
}
