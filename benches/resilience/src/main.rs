//! Measures the cost of a call, compared with the peers and the lower bounds, in one run. See `../README.md`.

mod harness;
mod ours;
mod peers;

use std::time::Instant;

use breakerbox_resilience::{breaker::WindowType, policy::Call};

use harness::{ROUNDS, Subject, measure};

/// The outcomes of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// All succeed.
    Success,
    /// One in a hundred fails.
    OnePercent,
    /// The breaker is open.
    Open,
}

impl Case {
    /// The result of the call with this number.
    #[inline]
    pub fn result(self, index: u64) -> Result<(), ()> {
        if self == Self::OnePercent && index % 100 == 0 { Err(()) } else { Ok(()) }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Success => "Closed, every call succeeds",
            Self::OnePercent => "Closed, 1 % of the calls fail",
            Self::Open => "Open, every call is rejected",
        }
    }
}

fn main() {
    let argument = std::env::args().nth(1);
    // `policy` measures only policies; `quick` measures one thread in fewer rounds.
    let only_policies = argument.as_deref() == Some("policy");
    let quick = argument.as_deref() == Some("quick");
    let cases = [Case::Success, Case::OnePercent, Case::Open];
    for case in cases.into_iter().filter(|_| !only_policies) {
        let floors = ours::floors(case);
        let (floor, ours, peers) = (floors.len(), ours::subjects(case), peers::subjects(case));
        let first_peer = floor + ours.len();
        let subjects: Vec<Subject> = floors.into_iter().chain(ours).chain(peers).collect();
        println!("\n### {}\n", case.title());
        table(&subjects, first_peer, quick);
    }
    println!("\n### A slot of a bulkhead, taken and returned\n");
    let bulkheads = ours::bulkheads();
    table(&bulkheads, 1, quick);
    println!("\n### The whole policy around a ready future\n");
    let policies = ours::policies();
    table(&policies, policies.len(), quick);
    allocations();
}

/// Prints medians, and the best peer's time divided by each.
fn table(subjects: &[Subject], first_peer: usize, quick: bool) {
    let one = measure(subjects, 1, if quick { ROUNDS / 3 | 1 } else { ROUNDS });
    let two = if quick { one.clone() } else { measure(subjects, 2, ROUNDS) };
    let best = |times: &[f64]| times[first_peer..].iter().copied().reduce(f64::min);
    let (best_one, best_two) = (best(&one), best(&two));
    println!("| | 1 thread, ns | 2 threads, ns | × the first row | best peer ÷ this |");
    println!("|---|---:|---:|---:|---:|");
    for (index, subject) in subjects.iter().enumerate() {
        let ahead = match (best_one, best_two) {
            (Some(best_one), Some(best_two)) => {
                format!("{:.1} / {:.1}", best_one / one[index], best_two / two[index])
            }
            _ => String::new(),
        };
        println!(
            "| {} | {:.1} | {:.1} | {:.1} / {:.1} | {ahead} |",
            subject.name,
            one[index],
            two[index],
            one[index] / one[0],
            two[index] / two[0],
        );
    }
}

fn allocations() {
    let now = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    println!("\n### Allocations in 100 000 calls\n\n| | allocations |\n|---|---:|");
    for (name, case, window) in [
        ("closed, 1 % failures, last 100", Case::OnePercent, WindowType::CountBased),
        ("closed, 1 % failures, 10 s", Case::OnePercent, WindowType::TimeBased),
        ("open", Case::Open, WindowType::CountBased),
    ] {
        let breaker = ours::breaker(case, window, 100);
        // A thread's first call creates its counters.
        ours::call(breaker, || Ok(()), now, now);
        let counted = allocation_counter::measure(|| {
            for index in 0..100_000 {
                ours::call(breaker, || case.result(index), now, now);
            }
        });
        println!("| {name} | {} |", counted.count_total);
    }
    let policy = ours::policy();
    let warm = policy.call_with(Call::idempotent(), &(), |_| async { Ok::<_, ours::Failed>(()) });
    assert!(peers::ready(warm).is_ok());
    let counted = allocation_counter::measure(|| {
        for _ in 0..100_000 {
            let call = policy.call_with(Call::idempotent(), &(), |_| async { Ok::<_, ours::Failed>(()) });
            assert!(peers::ready(call).is_ok());
        }
    });
    println!("| whole policy | {} |", counted.count_total);
}
