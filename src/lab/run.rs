//! Runs experiments: every case, variant and seed, one run per thread at a time.
//!
//! A run depends only on its seed, and results are collected in the order of the units, so the number of threads
//! changes only the elapsed time.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::metrics;
use super::model;
use super::site;
use super::spec::{Axis, Case, Experiment, Variant};
use super::stats::Estimate;
use super::tally::RunResult;

/// How experiments are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Fewer seeds, shorter runs and coarser grids.
    pub quick: bool,
    /// Seeds per variant; the experiment's own number when left out.
    pub seeds: Option<u32>,
    /// Runs at the same time.
    pub jobs: usize,
    /// Length of a run in virtual time; the experiment's own when left out.
    pub duration: Option<Duration>,
}

/// Reports progress: finished runs, total runs.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// An experiment with its results.
#[derive(Clone, Debug)]
pub struct Results {
    /// The experiment that was run.
    pub experiment: Experiment,
    /// Whether it was run in its quick form.
    pub quick: bool,
    /// Seeds per variant.
    pub seeds: u32,
    /// A result for each case, in order.
    pub(crate) cases: Vec<CaseResult>,
}

#[derive(Clone, Debug)]
pub(crate) struct CaseResult {
    pub(crate) name: String,
    pub(crate) length: Duration,
    pub(crate) axes: Vec<Axis>,
    pub(crate) cells: Vec<Cell>,
}

/// One variant at one point of the sweep, run with every seed.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) variant: Variant,
    /// Index of the value on each axis.
    pub(crate) at: Vec<usize>,
    pub(crate) runs: Vec<RunResult>,
}

impl Cell {
    pub(crate) fn values(&self, metric: &str) -> Vec<f64> {
        self.runs.iter().map(|run| run.metrics.get(metric).copied().unwrap_or(f64::NAN)).collect()
    }

    pub(crate) fn estimate(&self, metric: &str) -> Estimate {
        Estimate::of(&self.values(metric))
    }
}

impl CaseResult {
    /// The axis values of a cell, spelled as in the settings.
    pub(crate) fn coordinates(&self, cell: &Cell) -> Vec<String> {
        self.axes.iter().zip(&cell.at).map(|(axis, at)| spelled(&axis.values[*at])).collect()
    }
}

/// A value as shown in a table.
pub(crate) fn spelled(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Results {
    /// Resolves `[case:]variant[@value,value].metric` to a metric and a cell.
    pub(crate) fn look_up(&self, reference: &str) -> Result<(&'static metrics::Metric, &Cell), String> {
        let wrong = |why: String| format!("{reference:?} in {:?}: {why}", self.experiment.name);
        let (place, metric) = reference.rsplit_once('.').ok_or_else(|| wrong("must be variant.metric".to_owned()))?;
        let metric = metrics::find(metric).map_err(wrong)?;
        let (case, variant) = match place.split_once(':') {
            Some((case, variant)) => (Some(case), variant),
            None => (None, place),
        };
        let case = match case {
            None => self.cases.first(),
            Some(name) => self.cases.iter().find(|case| case.name == name),
        };
        let case = case.ok_or_else(|| wrong("no such case".to_owned()))?;
        let (variant, at) = match variant.split_once('@') {
            Some((variant, at)) => (variant, at),
            None => (variant, ""),
        };
        let wanted: Vec<&str> = at.split(',').filter(|part| !part.is_empty()).collect();
        let matches = |cell: &&Cell| cell.variant.name == variant && case.coordinates(cell) == wanted;
        let found = case.cells.iter().find(matches);
        Ok((metric, found.ok_or_else(|| wrong("no such variant".to_owned()))?))
    }
}

/// A single run.
struct Unit<'a> {
    case: &'a Case,
    variant: &'a Variant,
    changes: Vec<(&'a str, &'a Value)>,
    length: Duration,
    seed: u64,
}

impl Unit<'_> {
    fn run(&self) -> Result<RunResult, String> {
        if let Some(whole) = &self.case.site {
            let plan = site::Plan {
                site: whole,
                variant: self.variant,
                rate: self.case.load.rate,
                length: self.length,
                seed: self.seed,
            };
            return site::run(&plan);
        }
        let policies = self.case.policies(self.variant, &self.changes)?;
        model::run(&model::Plan {
            case: self.case,
            variant: self.variant,
            policies,
            length: self.length,
            seed: self.seed,
        })
    }
}

/// Runs one experiment.
pub fn run(experiment: &Experiment, options: &Options, progress: Progress<'_>) -> Result<Results, String> {
    let seeds = options.seeds.unwrap_or(if options.quick { experiment.quick_seeds } else { experiment.seeds });
    let mut cases = Vec::new();
    for case in &experiment.cases {
        let own = if options.quick { case.quick.unwrap_or(case.duration) } else { case.duration };
        let length = options.duration.unwrap_or(own);
        case.check_duration(length).map_err(|error| format!("{}: case {:?}: {error}", experiment.name, case.name))?;
        let axes: Vec<Axis> = case.sweep.iter().map(|axis| coarser(axis, options.quick)).collect();
        cases.push(CaseResult { name: case.name.clone(), length, axes, cells: Vec::new() });
    }
    let mut units = Vec::new();
    for (case, result) in experiment.cases.iter().zip(&cases) {
        for variant in &case.variant {
            for at in points(&result.axes) {
                for seed in 1..=u64::from(seeds) {
                    let changes =
                        result.axes.iter().zip(&at).map(|(axis, at)| (axis.path.as_str(), &axis.values[*at])).collect();
                    units.push(Unit { case, variant, changes, length: result.length, seed });
                }
            }
        }
    }
    let runs = all(&units, options, progress).map_err(|error| format!("{}: {error}", experiment.name))?;
    drop(units);
    let mut runs = runs.into_iter();
    for (case, result) in experiment.cases.iter().zip(&mut cases) {
        for variant in &case.variant {
            for at in points(&result.axes) {
                let runs = runs.by_ref().take(seeds as usize).collect();
                result.cells.push(Cell { variant: variant.clone(), at, runs });
            }
        }
    }
    Ok(Results { experiment: experiment.clone(), quick: options.quick, seeds, cases })
}

fn coarser(axis: &Axis, quick: bool) -> Axis {
    let mut axis = axis.clone();
    if quick && let Some(values) = axis.quick.take() {
        axis.values = values;
    }
    axis
}

/// Every combination of indices on these axes, the last one fastest.
fn points(axes: &[Axis]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for axis in axes {
        let longer = |point: Vec<usize>| {
            (0..axis.values.len()).map(move |index| {
                let mut point = point.clone();
                point.push(index);
                point
            })
        };
        all = all.into_iter().flat_map(longer).collect();
    }
    all
}

/// Executes all units, `jobs` at a time, and returns the results in the order of the units.
fn all(units: &[Unit<'_>], options: &Options, progress: Progress<'_>) -> Result<Vec<RunResult>, String> {
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<RunResult, String>>>> = units.iter().map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, units.len().max(1)) {
            scope.spawn(|| {
                while let Some((unit, slot)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    units.get(index).zip(results.get(index))
                } {
                    let result = unit.run();
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1, units.len());
                }
            });
        }
    });
    let taken = results.into_iter().zip(units).map(|(slot, unit)| {
        let result = slot.into_inner().unwrap_or_else(PoisonError::into_inner);
        let result = result.unwrap_or_else(|| Err("the run ended without a result".to_owned()));
        result.map_err(|error| format!("case {:?}, variant {:?}: {error}", unit.case.name, unit.variant.name))
    });
    taken.collect()
}
