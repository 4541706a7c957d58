//! The metrics of a run, and how their figures are formatted.

use super::spec::Lang;

/// Unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// 0–1, written in percent.
    Share,
    /// Seconds; shorter ones in milliseconds.
    Seconds,
    /// A number.
    Count,
    /// Per journey, or a factor.
    Ratio,
    /// Money.
    Won,
}

/// A metric of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    pub(crate) key: &'static str,
    pub(crate) unit: Unit,
    en: &'static str,
    ko: &'static str,
    /// Whether a higher value is better; `None` if neither direction is.
    pub(crate) more_is_better: Option<bool>,
}

impl Metric {
    pub(crate) fn title(&self, lang: Lang) -> &'static str {
        if lang == Lang::Ko { self.ko } else { self.en }
    }
}

macro_rules! metrics {
    ($($key:literal, $unit:ident, $better:expr, $en:literal, $ko:literal;)*) => {
        /// Every metric.
        pub(crate) const ALL: &[Metric] = &[
            $(Metric { key: $key, unit: Unit::$unit, en: $en, ko: $ko, more_is_better: $better },)*
        ];
    };
}

const MORE: Option<bool> = Some(true);
const LESS: Option<bool> = Some(false);

metrics! {
    "success", Share, MORE, "complete answers", "온전한 응답";
    "served", Share, MORE, "served (complete or degraded)", "응답 제공(온전+대체)";
    "degraded", Share, None, "answers from a fallback", "대체(fallback) 응답";
    "error", Share, LESS, "errors", "오류";
    "mean", Seconds, LESS, "mean response time", "평균 응답 시간";
    "p50", Seconds, LESS, "response time p50", "응답 시간 p50";
    "p95", Seconds, LESS, "response time p95", "응답 시간 p95";
    "p99", Seconds, LESS, "response time p99", "응답 시간 p99";
    "before-served", Share, MORE, "served before the fault", "장애 전 응답 제공";
    "during-served", Share, MORE, "served during the fault", "장애 중 응답 제공";
    "after-served", Share, MORE, "served after the fault", "장애 후 응답 제공";
    "during-success", Share, MORE, "complete answers during the fault", "장애 중 온전한 응답";
    "after-success", Share, MORE, "complete answers after the fault", "장애 후 온전한 응답";
    "before-p50", Seconds, LESS, "p50 before the fault", "장애 전 p50";
    "during-p50", Seconds, LESS, "p50 during the fault", "장애 중 p50";
    "before-p99", Seconds, LESS, "p99 before the fault", "장애 전 p99";
    "during-p99", Seconds, LESS, "p99 during the fault", "장애 중 p99";
    "after-p99", Seconds, LESS, "p99 after the fault", "장애 후 p99";
    "load", Ratio, LESS, "requests sent per journey", "여정당 보낸 요청";
    "during-load", Ratio, LESS, "requests sent per journey during the fault", "장애 중 여정당 보낸 요청";
    "wasted", Share, LESS, "share of wasted requests", "낭비된 요청의 비율";
    "wasted-requests", Count, LESS, "wasted requests", "낭비된 요청";
    "blocked", Count, None, "calls blocked by the breaker", "브레이커가 차단한 호출";
    "turned-away", Count, LESS, "calls turned away by the bulkhead", "벌크헤드가 거절한 호출";
    "retries", Ratio, None, "retries per journey", "여정당 재시도";
    "hedges", Ratio, None, "hedges per journey", "여정당 헤지 요청";
    "opens", Count, None, "times opened", "열린 횟수";
    "detect", Seconds, LESS, "time to open", "열리기까지 걸린 시간";
    "recover", Seconds, LESS, "time to recover", "회복까지 걸린 시간";
    "blocked-after", Seconds, LESS, "blocked after the fault was over", "장애가 끝난 뒤의 차단 시간";
    "duplicates", Count, LESS, "effects done twice, per 1000 journeys", "두 번 처리된 건수(여정 1000건당)";
    "kept", Won, MORE, "revenue kept", "지킨 매출";
    "at-risk", Won, None, "revenue at risk (queued)", "위험에 놓인 매출(대기열)";
    "lost", Won, LESS, "revenue lost", "잃은 매출";
    "brier", Ratio, LESS, "Brier score of the predictions", "예측의 Brier 점수";
    "queue-wait", Seconds, LESS, "mean wait in the dependency's queue", "의존 서비스 대기열의 평균 대기";
    "utilization", Share, None, "utilization of the dependency", "의존 서비스 이용률";
    "journeys", Count, None, "journeys", "여정 수";
}

/// The metric with this key.
pub(crate) fn find(key: &str) -> Result<&'static Metric, String> {
    ALL.iter().find(|metric| metric.key == key).ok_or_else(|| {
        let known: Vec<_> = ALL.iter().map(|metric| metric.key).collect();
        format!("no metric {key:?}; there are {}", known.join(", "))
    })
}

/// A quantity over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Series {
    /// Share of journeys that were served.
    Served,
    /// Share of journeys with a complete answer.
    Success,
    /// Requests that reach the dependencies, per second.
    Requests,
    /// 99th percentile of response times, seconds.
    P99,
    /// Journeys served per second.
    Goodput,
}

const SERIES: &[(&str, Series)] = &[
    ("served", Series::Served),
    ("success", Series::Success),
    ("requests", Series::Requests),
    ("p99", Series::P99),
    ("goodput", Series::Goodput),
];

impl Series {
    pub(crate) fn title(self, lang: Lang) -> &'static str {
        let (en, ko) = match self {
            Self::Served => ("served journeys, %", "응답을 받은 여정, %"),
            Self::Success => ("complete answers, %", "온전한 응답, %"),
            Self::Requests => ("requests sent to dependencies, per second", "의존 서비스로 보낸 요청, 초당"),
            Self::P99 => ("response time p99, seconds", "응답 시간 p99, 초"),
            Self::Goodput => ("journeys served per second", "초당 응답을 받은 여정"),
        };
        if lang == Lang::Ko { ko } else { en }
    }
}

/// The quantity with this name.
pub(crate) fn series(name: &str) -> Result<Series, String> {
    SERIES.iter().find(|(key, _)| *key == name).map(|(_, series)| *series).ok_or_else(|| {
        let known: Vec<_> = SERIES.iter().map(|(key, _)| *key).collect();
        format!("no quantity over time {name:?}; there are {}", known.join(", "))
    })
}

/// Formats a figure in its unit.
pub(crate) fn write(unit: Unit, value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    match unit {
        Unit::Share if value > 0.999 && value < 0.999_95 => format!("{:.2} %", value * 100.0),
        Unit::Share => format!("{:.1} %", value * 100.0),
        Unit::Seconds if value.abs() < 1.0 => format!("{:.0} ms", value * 1000.0),
        Unit::Seconds if value.abs() < 10.0 => format!("{value:.2} s"),
        Unit::Seconds => format!("{value:.1} s"),
        Unit::Count if value.abs() < 10.0 => format!("{value:.1}"),
        Unit::Count => thousands(value),
        Unit::Ratio => format!("{value:.3}"),
        Unit::Won => format!("₩{}", thousands(value)),
    }
}

/// Formats half the width of an interval, with the unit and precision of its figure.
pub(crate) fn write_half(unit: Unit, value: f64, half: f64) -> String {
    match unit {
        Unit::Share => format!("{:.1}", half * 100.0),
        Unit::Seconds if value.abs() < 1.0 => format!("{:.0}", half * 1000.0),
        Unit::Seconds if value.abs() < 10.0 => format!("{half:.2}"),
        Unit::Seconds => format!("{half:.1}"),
        Unit::Count if value.abs() < 10.0 => format!("{half:.1}"),
        Unit::Count | Unit::Won => thousands(half),
        Unit::Ratio => format!("{half:.3}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if value < -0.5 { format!("-{out}") } else { out }
}

/// A phrase of the plots and tables that belongs to no experiment.
pub(crate) fn phrase(lang: Lang, en: &'static str, ko: &'static str) -> &'static str {
    if lang == Lang::Ko { ko } else { en }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_in_their_unit() {
        assert_eq!(write(Unit::Share, 0.619), "61.9 %");
        assert_eq!(write(Unit::Share, 0.9994), "99.94 %");
        assert_eq!(write(Unit::Seconds, 0.25), "250 ms");
        assert_eq!(write(Unit::Seconds, 12.34), "12.3 s");
        assert_eq!(write(Unit::Won, 1_234_567.0), "₩1,234,567");
        assert_eq!(write(Unit::Count, f64::NAN), "–");
        assert_eq!(write(Unit::Seconds, 0.0), "0 ms");
        assert_eq!(write_half(Unit::Seconds, 0.25, 0.0123), "12");
        assert_eq!(write_half(Unit::Seconds, 12.34, 0.5), "0.5");
        assert_eq!(write_half(Unit::Won, 1_234_567.0, 4321.0), "4,321");
    }

    #[test]
    fn an_unknown_metric_is_refused_with_the_known_ones() {
        assert!(find("sucess").unwrap_err().contains("success"));
        assert!(series("sucess").unwrap_err().contains("goodput"));
    }
}
