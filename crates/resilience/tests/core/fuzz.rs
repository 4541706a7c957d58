//! Arbitrary settings and headers are either refused with an error that names the field, or they work.
//!
//! 100 000 cases each in a release build, a tenth of that in a debug build; `PROPTEST_CASES=1000000` for the long form.

use std::{
    env,
    time::{Duration, Instant},
};

use breakerbox_resilience::{
    breaker::{AfterMaxWait, Breaker, BreakerSettings, InitialState, Outcome, State, WindowType},
    deadline,
    http::retry_after,
    limiter::{RateLimiter, RateLimiterSettings},
    policy::PolicySettings,
    retry::{RetrySettings, Verdict},
};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

fn cases() -> ProptestConfig {
    match env::var("PROPTEST_CASES") {
        Ok(_) => ProptestConfig::default(),
        Err(_) => ProptestConfig::with_cases(if cfg!(debug_assertions) { 10_000 } else { 100_000 }),
    }
}

/// Mostly valid numbers, some out of range or not finite.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        40 => 1.0..=100.0,
        1 => -10.0..=110.0,
        1 => any::<f64>(),
        1 => prop::sample::select(vec![0.0, -0.0, 100.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, -1.0]),
    ]
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![40 => 1_u32..=100, 1 => 0_u32..300, 1 => any::<u32>(), 1 => prop::sample::select(vec![0, 1, 100_000, 100_001, u32::MAX])]
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        40 => (10_u64..100_000).prop_map(Duration::from_millis),
        1 => any::<u64>().prop_map(Duration::from_nanos),
        1 => prop::sample::select(vec![Duration::ZERO, Duration::MAX, Duration::from_hours(24)]),
    ]
}

fn window() -> impl Strategy<Value = BreakerSettings> {
    let kind = prop::sample::select(vec![WindowType::CountBased, WindowType::TimeBased]);
    (kind, count(), prop::option::weighted(0.3, duration()), prop_oneof![Just(100), count()]).prop_map(
        |(kind, size, span, minimum)| BreakerSettings {
            sliding_window_type: kind,
            // Large rings take long to allocate, and behave like small ones.
            sliding_window_size: if size == 100_000 { 10_000 } else { size },
            sliding_window_duration: span,
            minimum_number_of_calls: minimum,
            ..BreakerSettings::default()
        },
    )
}

fn settings() -> impl Strategy<Value = BreakerSettings> {
    let thresholds = (prop::option::of(number()), prop::option::of(count()), prop::option::of(number()), duration());
    let open = (duration(), number(), duration(), number());
    let half_open = (count(), number(), duration(), prop::collection::vec(number(), 0..3), duration());
    let states = (
        prop::sample::select(vec![AfterMaxWait::Judged, AfterMaxWait::Open, AfterMaxWait::Closed]),
        prop::sample::select(vec![InitialState::Closed, InitialState::Open, InitialState::MetricsOnly]),
        any::<bool>(),
    );
    // Independent random values would hardly ever all be valid at once.
    let usual = BreakerSettings::default;
    (window(), thresholds, prop::option::of(open), prop::option::of(half_open), states).prop_map(
        move |(window, (rate, row, slow_rate, slow), open, half_open, (after, initial, automatic))| {
            let mut settings = BreakerSettings {
                failure_rate_threshold: rate,
                consecutive_failure_threshold: row,
                slow_call_rate_threshold: slow_rate,
                slow_call_duration_threshold: slow,
                state_after_max_wait_in_half_open: after,
                initial_state: initial,
                automatic_transition_from_open_to_half_open_enabled: automatic,
                ..window
            };
            if let Some((wait, multiplier, longest, jitter)) = open {
                settings.wait_duration_in_open_state = wait;
                settings.open_wait_multiplier = multiplier;
                settings.max_wait_duration_in_open_state = longest;
                settings.open_wait_jitter = jitter / 100.0;
            }
            if let Some((probes, rate, longest, stages, each)) = half_open {
                settings.permitted_number_of_calls_in_half_open_state = probes;
                settings.half_open_success_rate_threshold = rate;
                settings.max_wait_duration_in_half_open_state = longest;
                settings.recovery_stages = stages;
                settings.recovery_stage_duration = each;
            } else {
                settings.recovery_stages = usual().recovery_stages;
            }
            settings
        },
    )
}

/// A call: time until it starts, its duration, its outcome.
fn calls() -> impl Strategy<Value = Vec<(Duration, Duration, usize)>> {
    prop::collection::vec((duration(), duration(), 0..=Outcome::ALL.len()), 0..12)
}

fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by.min(Duration::from_hours(10_000))).unwrap_or(now)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn settings_are_refused_by_name_or_make_a_breaker_that_works(settings in settings(), calls in calls()) {
        let start = Instant::now();
        let breaker = match Breaker::new(settings.clone(), start, 7) {
            Ok(breaker) => breaker,
            Err(error) => {
                let written = toml::Value::try_from(&settings).map_or_else(|error| error.to_string(), |value| value.to_string());
                prop_assert!(!error.field.is_empty() && !error.allowed.is_empty(), "{written}");
                prop_assert!(error.to_string().starts_with(&error.field));
                return Ok(());
            }
        };
        prop_assert!(settings.validate().is_ok());
        let mut now = start;
        for (pause, took, end) in calls {
            now = later(now, pause);
            match breaker.try_acquire(now).permit {
                Ok(permit) => match Outcome::ALL.get(end) {
                    Some(outcome) => {
                        permit.record(*outcome, later(now, took));
                    }
                    None => drop(permit),
                },
                Err(rejected) => {
                    prop_assert!(matches!(rejected.state, State::Open | State::HalfOpen), "{rejected:?}");
                    prop_assert!(rejected.retry_after > Duration::ZERO);
                }
            }
            breaker.tick(now);
            let seen = breaker.snapshot(now);
            prop_assert!(seen.failures <= seen.window_calls && seen.slow <= seen.window_calls, "{seen:?}");
            prop_assert!((0.0..=1.0).contains(&seen.health_score), "{seen:?}");
        }
    }

    #[test]
    fn settings_survive_being_written_and_read(settings in settings()) {
        if settings.validate().is_err() {
            return Ok(());
        }
        let written = toml::to_string(&settings).unwrap();
        let read: BreakerSettings = toml::from_str(&written).unwrap();
        // Disabled thresholds are not serialized, and are then read as their defaults.
        let read = BreakerSettings { failure_rate_threshold: settings.failure_rate_threshold, ..read };
        prop_assert_eq!(read, settings);
    }

    #[test]
    fn retries_are_refused_by_name_or_wait_no_longer_than_they_may(
        attempts in count(), wait in duration(), multiplier in number(), cap in duration(), draw in 0.0..1.0_f64,
    ) {
        let settings = RetrySettings {
            max_attempts: attempts,
            wait_duration: wait,
            exponential_backoff_multiplier: multiplier,
            exponential_max_wait_duration: cap,
            ..RetrySettings::default()
        };
        match settings.validate() {
            Ok(()) => {
                let waited = settings.backoff().wait(attempts, Some(wait), draw);
                prop_assert!(waited <= cap.max(wait), "{waited:?}");
            }
            Err(error) => prop_assert!(!error.field.is_empty()),
        }
    }

    #[test]
    fn limits_are_refused_by_name_or_admit_no_more_than_they_say(limit in count(), period in duration()) {
        let (settings, now) =
            (RateLimiterSettings { limit_for_period: limit, limit_refresh_period: period, ..RateLimiterSettings::default() }, Instant::now());
        if let Ok(limiter) = RateLimiter::new(&settings, now) {
            let asked = limit.min(400) + 1;
            let passed = (0..asked).filter(|_| limiter.check(now).is_ok()).count();
            prop_assert_eq!(passed, limit.min(asked) as usize);
        }
    }

    #[test]
    fn any_text_is_refused_or_gives_valid_settings(text in "[a-z-]{0,12} ?=? ?[\"a-z0-9.-]{0,12}\n?\\PC{0,20}") {
        if let Ok(settings) = toml::from_str::<PolicySettings>(&text) {
            let _ = settings.validate();
        }
    }

    #[test]
    fn any_header_gives_a_duration_or_none(text in "\\PC{0,30}|[0-9]{0,25}|[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT") {
        let now = Instant::now();
        if let Some(until) = deadline::from_header(&text, now) {
            prop_assert!(until >= now && until <= now + Duration::from_hours(24));
            let left = deadline::to_header(until - now);
            prop_assert_eq!(left.parse::<u64>().unwrap(), text.trim().parse::<u64>().unwrap());
        }
        if let Ok(value) = HeaderValue::from_str(&text) {
            let headers = HeaderMap::from_iter([
                (http::header::RETRY_AFTER, value.clone()),
                (http::header::DATE, value),
            ]);
            let _ = retry_after(&headers);
        }
    }

    #[test]
    fn every_status_and_code_has_one_meaning(status in any::<u16>(), code in any::<u32>()) {
        if let Some(verdict) = Verdict::of_status(status) {
            prop_assert!(status >= 400);
            prop_assert!(verdict.counts != Outcome::Ignored || !verdict.retryable);
        }
        prop_assert_eq!(Verdict::of_grpc(code).is_none(), code == 0);
    }
}
