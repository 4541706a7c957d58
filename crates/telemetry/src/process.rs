//! CPU, memory and descriptors of this process.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, MetricFamily};

const CPU: &str = "process_cpu_seconds_total";

/// The collector of the `prometheus` crate, with fractional CPU time: it only counts whole seconds, which makes
/// rates over short windows useless.
#[derive(Clone)]
pub(super) struct ProcessCollector {
    inner: Arc<prometheus::process_collector::ProcessCollector>,
}

impl Default for ProcessCollector {
    fn default() -> Self {
        Self { inner: Arc::new(prometheus::process_collector::ProcessCollector::for_self()) }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.inner.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.inner.collect();
        if let Some(seconds) = cpu_seconds() {
            let cpu = families.iter_mut().filter(|family| family.name() == CPU);
            for metric in cpu.flat_map(|family| family.mut_metric().iter_mut()) {
                let mut counter = Counter::default();
                counter.set_value(seconds);
                metric.set_counter(counter);
            }
        }
        families
    }
}

/// User and system time of all threads, in hundredths of a second on Linux.
fn cpu_seconds() -> Option<f64> {
    let stat = procfs::process::Process::myself().ok()?.stat().ok()?;
    Some((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_has_fractions() {
        let collector = ProcessCollector::default();
        let own = || {
            let families = collector.collect();
            families.iter().find(|family| family.name() == CPU).unwrap().get_metric()[0].get_counter().get_value()
        };
        let before = own();
        // Until the CPU time increases, on any machine.
        while own() <= before {
            std::hint::black_box((0..100_000_u64).sum::<u64>());
        }
        let grown = own() - before;
        assert!(grown < 1.0, "{grown} s at once");
    }
}
