//! Instructions per call, which do not depend on how busy the machine is. See `../README.md`.
//!
//! ```text
//! cargo run --release              # the table
//! cargo run --release -- --check   # fails where a row has grown by more than 3 %
//! cargo run --release -- --write   # takes over the numbers of now
//! ```
//!
//! Each subject is run by valgrind twice, with few and with many calls. What the difference cost,
//! divided by the difference of the calls, is the cost of one; start and end cancel out.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs,
    future::Future,
    hint::black_box,
    io,
    path::PathBuf,
    pin::pin,
    process::Command,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use breakerbox_resilience::{
    CircuitBreaker, Policy,
    breaker::{Breaker, Outcome},
    bulkhead::BulkheadSettings,
    clock::CoarseClock,
    policy::PolicySettings,
    retry::RetrySettings,
};

const FEW: u64 = 1_000;
const MANY: u64 = 11_000;
/// By how much (1 = all of it) a row may grow unnoticed.
const TOLERANCE: f64 = 0.03;

type Subject = (&'static str, fn(u64));

const SUBJECTS: &[Subject] = &[
    ("breaker, last 100, success", |calls| handed_in(&counted(), calls, |_| true)),
    ("breaker, last 100, 1 % failures", |calls| handed_in(&counted(), calls, |call| !call.is_multiple_of(100))),
    ("breaker, 10 s, success", |calls| handed_in(&timed(), calls, |_| true)),
    ("breaker, 10 s, 1 % failures", |calls| handed_in(&timed(), calls, |call| !call.is_multiple_of(100))),
    ("breaker, open, rejection", |calls| handed_in(&open(), calls, |_| true)),
    ("circuit breaker, last 100, success", |calls| {
        around(&CircuitBreaker::builder("b").build().expect("valid"), calls)
    }),
    ("circuit breaker, 10 s, success", |calls| {
        let span = Duration::from_secs(10);
        around(&CircuitBreaker::builder("b").time_window(span).build().expect("valid"), calls);
    }),
    ("circuit breaker, open, rejection", |calls| {
        let breaker = CircuitBreaker::builder("b").consecutive_failures(1).build().expect("valid");
        breaker.run(|| Err::<(), _>(())).expect_err("the failure that opens it");
        around(&breaker, calls);
    }),
    ("policy: attempt timeout only", |calls| through(&Policy::builder().build().expect("valid"), calls)),
    ("policy: bulkhead, deadline, retry, breaker", |calls| through(&whole(), calls)),
    ("policy: the same, coarse clock", |calls| {
        let policy = Policy::builder().settings(parts()).circuit_breaker(Breaker::builder());
        let policy = policy.total_timeout(Duration::from_secs(3)).clock(CoarseClock::new()).build();
        through(&policy.expect("valid"), calls);
    }),
    ("policy: bulkhead, deadline, retry, breaker over 10 s", |calls| {
        let breaker = Breaker::builder().time_window(Duration::from_secs(10));
        let policy = Policy::builder().settings(parts()).circuit_breaker(breaker).build();
        through(&policy.expect("valid"), calls);
    }),
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--run", subject, calls] => {
            let calls = calls.parse()?;
            let (_, run) = SUBJECTS.iter().find(|(name, _)| *name == subject).ok_or("no such subject")?;
            run(calls);
            Ok(())
        }
        [] => table(&BTreeMap::new()).map(drop),
        ["--write"] => {
            let lines: Vec<String> =
                table(&BTreeMap::new())?.iter().map(|(name, now)| format!("{name}\t{now:.0}\n")).collect();
            Ok(fs::write(expected(), lines.concat())?)
        }
        ["--check"] => check(),
        _ => Err("usage: breakerbox-instructions [--check | --write]".into()),
    }
}

fn check() -> Result<(), Box<dyn Error>> {
    let mut before = BTreeMap::new();
    for line in fs::read_to_string(expected())?.lines() {
        let (name, count) = line.split_once('\t').ok_or("a line is a name, a tab and a number")?;
        before.insert(name.to_owned(), count.parse::<f64>()?);
    }
    let now = table(&before)?;
    let grown: Vec<_> = now
        .iter()
        // Less than an instruction is the noise of the division.
        .filter(|(name, now)| before.get(*name).is_none_or(|before| **now > before * (1.0 + TOLERANCE) + 1.0))
        .map(|(name, _)| name.as_str())
        .collect();
    if grown.is_empty() { Ok(()) } else { Err(format!("grown by more than 3 %, or new: {}", grown.join("; ")).into()) }
}

fn expected() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("expected.tsv")
}

fn table(before: &BTreeMap<String, f64>) -> Result<BTreeMap<String, f64>, Box<dyn Error>> {
    let mut counted = BTreeMap::new();
    println!("| | instructions per call |\n|---|---:|");
    for (name, _) in SUBJECTS {
        let per_call = (instructions(name, MANY)? - instructions(name, FEW)?) / (MANY - FEW) as f64;
        let was = before.get(*name).map_or(String::new(), |before| format!(" (was {before:.0})"));
        println!("| {name} | {per_call:.0}{was} |");
        counted.insert((*name).to_owned(), per_call);
    }
    Ok(counted)
}

/// What valgrind counts for a run of this program.
fn instructions(subject: &str, calls: u64) -> Result<f64, Box<dyn Error>> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args(["--run", subject, &calls.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find_map(|line| line.split_once("Collected : ")).ok_or_else(|| said.to_string())?;
    Ok(line.1.trim().parse()?)
}

fn counted() -> Breaker {
    Breaker::builder().build(Instant::now()).expect("valid")
}

fn timed() -> Breaker {
    Breaker::builder().time_window(Duration::from_secs(10)).build(Instant::now()).expect("valid")
}

fn open() -> Breaker {
    let (breaker, now) =
        (Breaker::builder().consecutive_failures(1).build(Instant::now()).expect("valid"), Instant::now());
    breaker.try_acquire(now).permit.expect("closed").record(Outcome::Failure, now);
    breaker
}

fn parts() -> PolicySettings {
    PolicySettings {
        bulkhead: Some(BulkheadSettings::default()),
        retry: Some(RetrySettings::default()),
        ..PolicySettings::default()
    }
}

fn whole() -> Policy {
    let settings = Policy::builder().settings(parts()).circuit_breaker(Breaker::builder());
    settings.total_timeout(Duration::from_secs(3)).build().expect("valid")
}

/// Calls whose caller has read the clock anyway.
fn handed_in(breaker: &Breaker, calls: u64, succeeds: impl Fn(u64) -> bool) {
    let now = Instant::now();
    for call in 0..calls {
        if let Ok(permit) = breaker.try_acquire(black_box(now)).permit {
            let outcome = if succeeds(black_box(call)) { Outcome::Success } else { Outcome::Failure };
            permit.record(outcome, black_box(now));
        }
    }
}

/// Calls of a future that is ready.
fn around(breaker: &CircuitBreaker, calls: u64) {
    for call in 0..calls {
        let _ = black_box(ready(breaker.call(async { Ok::<_, io::Error>(black_box(call)) })));
    }
}

fn through(policy: &Policy, calls: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    for call in 0..calls {
        let _ = black_box(ready(policy.request().idempotent().call(|_| async { Ok::<_, io::Error>(black_box(call)) })));
    }
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}
