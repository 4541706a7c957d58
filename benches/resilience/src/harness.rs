//! Measures subjects side by side: many short rounds in turn, so that a disturbance of the machine affects all subjects
//! in a few rounds only, and medians over the rounds.

use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

/// Odd, so that there is a middle value for the median.
pub const ROUNDS: usize = 151;
const ROUND: Duration = Duration::from_millis(2);

type Run = Box<dyn Fn(usize, u64) -> Duration>;

/// A subject that can be called repeatedly, in one thread or several.
pub struct Subject {
    pub name: &'static str,
    run: Run,
}

impl Subject {
    /// A subject for which each thread creates a worker and calls it.
    pub fn new<W, T>(
        name: &'static str,
        worker: impl Fn() -> W + Sync + 'static,
        call: impl Fn(&mut W, u64) -> T + Sync + 'static,
    ) -> Self {
        let run = move |threads: usize, calls: u64| {
            let start = Barrier::new(threads);
            let cores = core_affinity::get_core_ids().unwrap_or_default();
            thread::scope(|scope| {
                let (worker, call, start) = (&worker, &call, &start);
                let workers: Vec<_> = (0..threads)
                    .map(|number| {
                        let core = cores.get(number).copied();
                        scope.spawn(move || {
                            // Beside other work, the system may run both threads on one core by turns, where they
                            // do not disturb each other.
                            core.map(core_affinity::set_for_current);
                            let mut worker = worker();
                            start.wait();
                            let began = Instant::now();
                            for index in 0..calls {
                                black_box(call(&mut worker, black_box(index)));
                            }
                            began.elapsed()
                        })
                    })
                    .collect();
                workers.into_iter().map(|worker| worker.join().expect("no panic")).max().unwrap_or_default()
            })
        };
        Self { name, run: Box::new(run) }
    }
}

/// Median nanoseconds per call of each subject.
pub fn measure(subjects: &[Subject], threads: usize, count: usize) -> Vec<f64> {
    let calls: Vec<u64> = subjects
        .iter()
        .map(|subject| {
            let mut calls = 1_000;
            // Doubled until a round takes long enough to measure, which also warms up.
            loop {
                let took = (subject.run)(threads, calls);
                if took >= ROUND / 2 {
                    break calls;
                }
                calls *= 2;
            }
        })
        .collect();
    let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); subjects.len()];
    for _ in 0..count {
        for (index, subject) in subjects.iter().enumerate() {
            let took = (subject.run)(threads, calls[index]);
            rounds[index].push(took.as_secs_f64() * 1e9 / calls[index] as f64);
        }
    }
    rounds
        .into_iter()
        .map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[count / 2]
        })
        .collect()
}
