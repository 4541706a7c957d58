//! Describes the conditions of an experiment in words: its dependencies and its faults.

use std::time::Duration;

use super::facts::spoken;
use super::metrics::phrase;
use super::spec::{Dependency, FaultStep, Lang};
use crate::faults::{FaultPlan, Latency};
use breakerbox_telemetry::FaultKind;

/// A dependency with its response times and its capacity.
pub(super) fn dependency(dependency: &Dependency, lang: Lang) -> String {
    let mut parts = vec![latency(dependency.latency, lang)];
    if dependency.instances > 1 {
        parts.push(match lang {
            Lang::En => format!("{} instances", dependency.instances),
            Lang::Ko => format!("인스턴스 {}개", dependency.instances),
        });
    }
    if let Some(capacity) = dependency.capacity {
        parts.push(match (lang, dependency.instances) {
            (Lang::En, 1) => format!("{capacity} workers"),
            (Lang::En, _) => format!("{capacity} workers each"),
            (Lang::Ko, 1) => format!("작업자 {capacity}개"),
            (Lang::Ko, _) => format!("각 작업자 {capacity}개"),
        });
    }
    if let Some(cold) = dependency.cold {
        parts.push(match lang {
            Lang::En => {
                format!("after a crash {} times slower at first, warm after {} requests", cold.factor, cold.requests)
            }
            Lang::Ko => format!("크래시 뒤 처음에는 {}배 느리고 요청 {}건 뒤에 정상", cold.factor, cold.requests),
        });
    }
    format!("`{}` ({})", dependency.name, parts.join(", "))
}

fn latency(latency: Latency, lang: Lang) -> String {
    let spoken = |duration| spoken(duration, lang);
    match (latency, lang) {
        (Latency::Fixed(all), Lang::En) => format!("always {}", spoken(all)),
        (Latency::Fixed(all), Lang::Ko) => format!("항상 {}", spoken(all)),
        (Latency::Uniform { min, max }, Lang::En) => format!("uniform, {} to {}", spoken(min), spoken(max)),
        (Latency::Uniform { min, max }, Lang::Ko) => format!("균등분포, {}~{}", spoken(min), spoken(max)),
        (Latency::Exponential { mean }, Lang::En) => format!("exponential, mean {}", spoken(mean)),
        (Latency::Exponential { mean }, Lang::Ko) => format!("지수분포, 평균 {}", spoken(mean)),
        (Latency::LogNormal { median, sigma }, Lang::En) => format!("log-normal, median {}, σ {sigma}", spoken(median)),
        (Latency::LogNormal { median, sigma }, Lang::Ko) => {
            format!("로그정규분포, 중앙값 {}, σ {sigma}", spoken(median))
        }
        (Latency::Pareto { scale, shape }, Lang::En) => format!("Pareto, at least {}, shape {shape}", spoken(scale)),
        (Latency::Pareto { scale, shape }, Lang::Ko) => format!("파레토분포, 최소 {}, 모양 {shape}", spoken(scale)),
    }
}

/// A fault, its effect, and its time.
pub(super) fn fault(step: &FaultStep, lang: Lang) -> String {
    let instance = step.instance.map_or(String::new(), |instance| match lang {
        Lang::En => format!(", instance {}", instance + 1),
        Lang::Ko => format!(" {}번 인스턴스", instance + 1),
    });
    let mut kinds = kinds(&step.fault, lang);
    if step.slowdown > 1.0 {
        kinds.push(match lang {
            Lang::En => format!("{} times slower", step.slowdown),
            Lang::Ko => format!("{}배 느림", step.slowdown),
        });
    }
    format!("`{}`{instance}: {}, {}", step.target, kinds.join(", "), when(step, lang))
}

fn when(step: &FaultStep, lang: Lang) -> String {
    let lasts = spoken(step.lasts, lang);
    let clock = |at: Duration| format!("{}:{:02}", at.as_secs() / 60, at.as_secs() % 60);
    match (step.normal && step.at.is_zero(), step.normal, lang) {
        (true, _, _) => phrase(lang, "from the beginning", "처음부터").to_owned(),
        (_, true, Lang::En) => format!("from {} on", clock(step.at)),
        (_, true, Lang::Ko) => format!("{}부터", clock(step.at)),
        (_, false, Lang::En) => format!("from {} for {lasts}", clock(step.at)),
        (_, false, Lang::Ko) => format!("{}부터 {lasts} 동안", clock(step.at)),
    }
}

/// The kinds of a fault, each with the share of requests that it affects.
fn kinds(plan: &FaultPlan, lang: Lang) -> Vec<String> {
    let own = plan.shares().into_iter().filter(|(_, share)| *share > 0.0);
    own.map(|(kind, share)| {
        let what = match kind {
            FaultKind::Latency => {
                let late = plan.latency.map_or(String::new(), |own| latency(own, lang));
                match lang {
                    Lang::En => format!("are delayed ({late})"),
                    Lang::Ko => format!("지연({late})"),
                }
            }
            FaultKind::Error => phrase(lang, "fail", "실패").to_owned(),
            FaultKind::Hang => phrase(lang, "get no answer", "응답 없음").to_owned(),
            FaultKind::Reset => phrase(lang, "are reset", "연결 끊김").to_owned(),
            FaultKind::SlowBody => phrase(lang, "get a slow body", "본문이 느림").to_owned(),
            FaultKind::MalformedBody => phrase(lang, "get a malformed body", "본문이 깨짐").to_owned(),
            FaultKind::Crash => phrase(lang, "find it crashed", "프로세스 중단").to_owned(),
            FaultKind::LostAnswer => {
                phrase(lang, "are done, and the answer is lost", "처리되지만 응답이 사라짐").to_owned()
            }
            FaultKind::LateAnswer => phrase(lang, "are done, and answered late", "처리되지만 응답이 늦음").to_owned(),
            FaultKind::HandledTwice => phrase(lang, "are handled twice", "두 번 처리됨").to_owned(),
        };
        let share = format!("{:.3}", share * 100.0);
        let share = share.trim_end_matches('0').trim_end_matches('.');
        match lang {
            Lang::En => format!("{share} % of requests {what}"),
            Lang::Ko => format!("요청의 {share} % {what}"),
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(text: &str, lang: Lang) -> String {
        let step: FaultStep = toml::from_str(text).unwrap();
        fault(&step, lang)
    }

    #[test]
    fn a_fault_is_told_with_its_share_and_time() {
        let hang = "at = \"2m\"\nfor = \"90s\"\ntarget = \"api\"\nfault = { hang_rate = 1.0 }";
        assert_eq!(setup(hang, Lang::En), "`api`: 100 % of requests get no answer, from 2:00 for 90 s");
        assert_eq!(setup(hang, Lang::Ko), "`api`: 요청의 100 % 응답 없음, 2:00부터 90초 동안");
        let slow = "at = \"90s\"\nfor = \"30s\"\ntarget = \"api\"\nslowdown = 3\ninstance = 0";
        assert_eq!(setup(slow, Lang::En), "`api`, instance 1: 3 times slower, from 1:30 for 30 s");
        let late = "at = \"0s\"\nfor = \"9h\"\ntarget = \"api\"\nnormal = true\nfault = { latency = { fixed = \"1s\" }, latency_rate = 0.03 }";
        assert_eq!(setup(late, Lang::En), "`api`: 3 % of requests are delayed (always 1 s), from the beginning");
    }

    #[test]
    fn every_fault_of_the_built_in_experiments_has_words() {
        for experiment in crate::lab::built_in().unwrap() {
            for step in experiment.cases.iter().flat_map(|case| &case.fault) {
                let told = fault(step, Lang::En);
                assert!(!told.contains(": ,"), "{}: {told}", experiment.name);
            }
        }
    }
}
