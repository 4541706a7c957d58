//! The time axis of a plot, and the faults marked on it.

use super::View;
use crate::lab::metrics::phrase;
use crate::lab::site;
use crate::lab::spec::Lang;

impl View<'_> {
    /// Times and names of faults and surges.
    pub(super) fn incidents(&self) -> Vec<((f64, f64), String)> {
        let mut all = Vec::new();
        let steps = self.case.fault.iter().filter(|step| !step.normal);
        for step in steps {
            let span = (step.at.as_secs_f64(), (step.at + step.lasts).as_secs_f64());
            let mut kinds: Vec<_> = step.fault.active().iter().map(|kind| kind.replace('_', " ")).collect();
            if step.slowdown > 1.0 {
                kinds.push(format!("×{} {}", step.slowdown, phrase(self.lang, "slower", "느려짐")));
            }
            all.push((span, format!("{}: {}", step.target, kinds.join(", "))));
        }
        for step in &self.case.load.step {
            let span = (step.at.as_secs_f64(), (step.at + step.lasts).as_secs_f64());
            all.push((span, format!("{} {}/s", phrase(self.lang, "load", "부하"), step.rate)));
        }
        if let Some(site) = &self.case.site {
            for (span, name) in site::incidents(site, self.result.length) {
                all.push(((span.0.as_secs_f64(), span.1.as_secs_f64()), name));
            }
        }
        // More than four labels would overlap.
        if all.len() > 4 {
            for (_, title) in &mut all {
                title.clear();
            }
        }
        all
    }
}

/// Seconds per unit of the time axis: long runs are shown in minutes.
pub(super) fn clock_unit(length: f64) -> f64 {
    if length > 300.0 { 60.0 } else { 1.0 }
}

pub(super) fn clock_title(length: f64, lang: Lang) -> &'static str {
    if clock_unit(length) > 1.0 {
        phrase(lang, "time, minutes", "시간, 분")
    } else {
        phrase(lang, "time, seconds", "시간, 초")
    }
}
