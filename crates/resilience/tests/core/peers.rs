//! The documented behaviour of other libraries, replayed: row by row either the same or different on purpose.
//!
//! Sources: the code of gobreaker 2 and Resilience4j, the documentation of Polly 8 and failsafe-go. A script consists
//! of words: `s` success, `f` failure, `i` ignored, `1s` a success that took a second, `hold` a call that stays in
//! flight, `held-s` and `held-f` the end of the oldest one, `+60s` time passes; `*n` repeats. The result is the final
//! state, and the number of rejected calls if there were any.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use breakerbox_resilience::breaker::{Breaker, BreakerBuilder, Outcome};

struct Row {
    script: &'static str,
    theirs: &'static str,
    ours: Ours,
}

enum Ours {
    Same,
    /// The result in this library, and the reason for the difference.
    On(&'static str, &'static str),
}
use Ours::{On, Same};

const fn row(script: &'static str, theirs: &'static str, ours: Ours) -> Row {
    Row { script, theirs, ours }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn replay(builder: &BreakerBuilder, script: &str) -> String {
    let mut now = Instant::now();
    let breaker = builder.clone().build(now).unwrap();
    let (mut held, mut rejected) = (VecDeque::new(), 0);
    for word in script.split_whitespace() {
        let (word, times) = word.split_once('*').map_or((word, 1), |(word, times)| (word, times.parse().unwrap()));
        for _ in 0..times {
            if let Some(wait) = word.strip_prefix('+') {
                now += humantime(wait);
                continue;
            }
            if let Some(outcome) = word.strip_prefix("held-") {
                let permit: breakerbox_resilience::breaker::Permit<'_> = held.pop_front().unwrap();
                permit.record(if outcome == "s" { Outcome::Success } else { Outcome::Failure }, now);
                continue;
            }
            let Ok(permit) = breaker.try_acquire(now).permit else {
                rejected += 1;
                continue;
            };
            match word {
                "hold" => {
                    held.push_back(permit);
                    continue;
                }
                "s" => permit.record(Outcome::Success, now),
                "f" => permit.record(Outcome::Failure, now),
                "i" => permit.record(Outcome::Ignored, now),
                took => permit.record(Outcome::Success, now + humantime(took)),
            };
        }
    }
    let state = breaker.state().as_str();
    if rejected == 0 { state.to_owned() } else { format!("{state}, {rejected} rejected") }
}

/// `60s` or `1ms`.
fn humantime(text: &str) -> Duration {
    text.strip_suffix("ms").map_or_else(
        || seconds(text.trim_end_matches('s').parse().unwrap()),
        |millis| Duration::from_millis(millis.parse().unwrap()),
    )
}

fn check(builder: &BreakerBuilder, rows: &[Row]) {
    for Row { script, theirs, ours } in rows {
        match ours {
            Same => assert_eq!(replay(builder, script), *theirs, "{script}"),
            On(here, why) => {
                assert_ne!(here, theirs, "{script}: no longer different; {why}");
                assert_eq!(replay(builder, script), *here, "{script}: {why}");
            }
        }
    }
}

/// Its defaults: trips after more than five consecutive failures, opens for a minute, one request in half-open.
#[test]
fn gobreaker_by_default() {
    let builder = Breaker::builder().no_failure_rate().consecutive_failures(6).open_for(seconds(60)).probes(1, 100.0);
    check(
        &builder,
        &[
            row("f*5", "closed", Same),
            row("f*6", "open", Same),
            row("f*5 s f*5", "closed", Same),
            row("f*6 +59s s", "open, 1 rejected", Same),
            row("f*6 +61s s", "closed", Same),
            row("f*6 +61s f", "open", Same),
            row("f*6 +61s hold s", "half_open, 1 rejected", Same),
            row("hold f*6 held-s", "open", Same),
            row("hold f*6 +61s hold held-f", "half_open", Same),
            row("f*6 +60s s", "open, 1 rejected", On("closed", "a wait of a minute is over after a minute")),
            row("f*6 +61s", "half_open", On("open", "reading the state changes nothing; the next call or tick does")),
        ],
    );
}

#[test]
fn gobreaker_with_three_requests_in_half_open() {
    let builder = Breaker::builder().no_failure_rate().consecutive_failures(6).open_for(seconds(60)).probes(3, 100.0);
    check(
        &builder,
        &[
            row("f*6 +61s s s", "half_open", Same),
            row("f*6 +61s s s s", "closed", Same),
            row("f*6 +61s s f", "open", Same),
            row("f*6 +61s hold*3 s", "half_open, 1 rejected", Same),
        ],
    );
}

#[test]
fn resilience4j_over_calls() {
    let builder = Breaker::builder().count_window(10).open_for(seconds(60)).probes(4, 50.0);
    check(
        &builder,
        &[
            row("f*9", "closed", Same),
            row("f*10", "open", Same),
            row("f*5 s*5", "open", Same),
            row("f*4 s*6", "closed", Same),
            row("f*4 s*6 f s", "closed", Same),
            row("i*20", "closed", Same),
            row("f*10 +59s s", "open, 1 rejected", Same),
            row("f*10 +61s", "open", Same),
            row("f*10 +60s s s s s", "closed", Same),
            row("f*10 +60s hold*4 s", "half_open, 1 rejected", Same),
            row("f*10 +60s hold f f f", "half_open", On("open", "no result of the last probe could close it")),
            row("f*10 +60s s s", "half_open", On("closed", "enough succeeded and none is in flight")),
            row("f*10 +60s hold s s", "half_open", Same),
            row("f*10 +60s f s f s", "open", On("closed", "at least half succeeded")),
            row("f*10 +60s hold*4 +3600s s", "half_open, 1 rejected", On("open, 1 rejected", "half-open ends")),
        ],
    );
}

#[test]
fn resilience4j_and_slow_calls() {
    let builder = Breaker::builder().count_window(10).slow_calls(100.0, seconds(1));
    check(
        &builder,
        &[
            row("2s*10", "open", Same),
            row("2s*9 s", "closed", Same),
            row("1s*10", "closed", On("open", "slow is what takes at least as long")),
        ],
    );
}

#[test]
fn resilience4j_and_late_results() {
    let builder = Breaker::builder().count_window(10).open_for(seconds(60)).probes(1, 100.0);
    check(
        &builder,
        &[
            row("hold f*10 held-s", "open", Same),
            row(
                "hold f*10 +60s hold held-f",
                "open",
                On("half_open", "a result counts in the state that sent the call"),
            ),
        ],
    );
}

/// A failure ratio of 0.5 over ten seconds, at least four calls, open for five seconds.
#[test]
fn polly() {
    let builder = Breaker::builder()
        .failure_rate(50.0)
        .time_window(seconds(10))
        .minimum_calls(4)
        .open_for(seconds(5))
        .probes(1, 100.0);
    check(
        &builder,
        &[
            row("f f f", "closed", Same),
            row("s s f f", "open", Same),
            row("s s s f", "closed", Same),
            row("f f f +12s f", "closed", Same),
            row("s s f f +4s s", "open, 1 rejected", Same),
            row("s s f f +5s s", "closed", Same),
            row("s s f f +5s f", "open", Same),
            row("s s f f +5s hold s", "half_open, 1 rejected", Same),
            row("f f s s", "closed", On("open", "a success that completes the minimum is judged like a failure")),
        ],
    );
}

/// Three consecutive failures, two consecutive successes, open for a minute.
#[test]
fn failsafe_go() {
    let builder = Breaker::builder().no_failure_rate().consecutive_failures(3).open_for(seconds(60)).probes(2, 100.0);
    check(
        &builder,
        &[
            row("f f s f f", "closed", Same),
            row("f f f", "open", Same),
            row("f*3 +60s s", "half_open", Same),
            row("f*3 +60s s s", "closed", Same),
            row("f*3 +60s s f", "open", Same),
            row("f*3 +60s hold*2 s", "half_open, 1 rejected", Same),
        ],
    );
}
