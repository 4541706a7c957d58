//! Instructions per call, which do not depend on how busy the machine is. See `../README.md`.
//!
//! ```text
//! cargo run --release              # the table
//! cargo run --release -- --check   # fails where a row has grown by more than 3 %
//! cargo run --release -- --write   # takes over the numbers of now
//! ```
//!
//! Each subject is run by valgrind twice, with few and with many calls. The difference in cost divided by the
//! difference in calls is the cost of one call; start and end cancel out. Only code of this program is counted,
//! including Rust's library but not the C library, which differs between machines and copies memory and reads the
//! clock.
//!
//! `VALGRIND` names another valgrind than the one on the `PATH`.

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
    process::{self, Command},
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
/// Tolerated growth of a row (1 = 100 %).
const TOLERANCE: f64 = 0.03;
/// Tolerated growth with a different compiler than that of the table.
const TOLERANCE_OF_ANOTHER: f64 = 0.15;

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
            let counted = table(&BTreeMap::new())?;
            let lines: Vec<String> = counted.iter().map(|(name, now)| format!("{name}\t{now:.0}\n")).collect();
            Ok(fs::write(expected(), format!("{}\n{}", compiler()?, lines.concat()))?)
        }
        ["--check"] => check(),
        _ => Err("usage: breakerbox-instructions [--check | --write]".into()),
    }
}

fn check() -> Result<(), Box<dyn Error>> {
    let (table_before, compiler) = (fs::read_to_string(expected())?, compiler()?);
    let (by, lines) = table_before.split_once('\n').ok_or("the first line is the compiler")?;
    let mut before = BTreeMap::new();
    for line in lines.lines() {
        let (name, count) = line.split_once('\t').ok_or("a line is a name, a tab and a number")?;
        before.insert(name.to_owned(), count.parse::<f64>()?);
    }
    let tolerance = if by == compiler { TOLERANCE } else { TOLERANCE_OF_ANOTHER };
    let now = table(&before)?;
    println!("\nallowed: {:.0} % more than with {by}; this is {compiler}", tolerance * 100.0);
    let grown: Vec<_> = now
        .iter()
        // Differences below one instruction are noise of the division.
        .filter(|(name, now)| before.get(*name).is_none_or(|before| **now > before * (1.0 + tolerance) + 1.0))
        .map(|(name, _)| name.as_str())
        .collect();
    if grown.is_empty() {
        return Ok(());
    }
    let rows = grown.join("; ");
    Err(format!("grown, or new: {rows}. If it has to be: cargo run --release -- --write in benches/instructions")
        .into())
}

/// The version of the compiler that cargo uses here.
fn compiler() -> Result<String, Box<dyn Error>> {
    let output = Command::new("rustc").arg("--version").current_dir(env!("CARGO_MANIFEST_DIR")).output()?;
    let said = String::from_utf8(output.stdout)?;
    // Without the revision, which distributions omit.
    Ok(said.split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_owned())
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

/// Instructions in this program's own code during one run, counted by valgrind.
fn instructions(subject: &str, calls: u64) -> Result<f64, Box<dyn Error>> {
    let program = env::current_exe()?;
    let profile = env::temp_dir().join(format!("breakerbox-instructions.{}", process::id()));
    let output = Command::new(env::var_os("VALGRIND").unwrap_or_else(|| "valgrind".into()))
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(&program)
        .args(["--run", subject, &calls.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}; Debian: apt-get install valgrind"))?;
    let counted = fs::read_to_string(&profile);
    let _ = fs::remove_file(&profile);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    own_cost(&counted?, &program.display().to_string()).ok_or_else(|| "no costs of this program in the profile".into())
}

/// The cost of all functions of one object file in a profile of callgrind. Its lines name the object to which the
/// following costs belong, in full the first time and by number afterwards; the line after `calls=` is the cost of the
/// called function, which has its own lines.
fn own_cost(profile: &str, program: &str) -> Option<f64> {
    let (mut own, mut current, mut of_callee, mut cost) = (None, None, false, 0.0);
    for line in profile.lines() {
        if let Some(object) = line.strip_prefix("ob=").or_else(|| line.strip_prefix("cob=")) {
            let (number, name) = object.split_once(' ').unwrap_or((object, ""));
            if name == program {
                own = Some(number);
            }
            if line.starts_with("ob=") {
                current = Some(number);
            }
        } else if line.starts_with("calls=") {
            of_callee = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            if !of_callee && own.is_some() && current == own {
                cost += line.split(' ').nth(1)?.parse::<f64>().ok()?;
            }
            of_callee = false;
        }
    }
    own.map(|_| cost)
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

/// Calls with an instant that the caller has already read.
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
