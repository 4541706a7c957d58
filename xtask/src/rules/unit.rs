//! Unit tests of the rules, for each scrape interval from one source.
//!
//! `xtask/rules/tests/*.yml` have the format of `promtool test rules`, except for values that depend on the interval.
//! Times are those of the slowest profile; faster profiles run through them two or three times as fast.
//!
//! - `@[1 for 20m; stale; gone for 5m; 0.5/s for 20m]` are a series' values: a constant, a staleness marker,
//!   no samples, a counter with this increase per second.
//! - `@t[20m+hold+interval]` is a time, with parameters of the profile added.
//! - `@pick[minute|2 minutes|…]` selects one of several texts, one per profile.

use super::profile::{PROFILES, Profile, seconds};

/// Template of a test file.
pub(super) struct UnitTest {
    /// Its file name, in `xtask/rules/tests/` and in the output.
    pub(super) name: &'static str,
    pub(super) text: &'static str,
    /// Whether it is generated for every profile.
    pub(super) every_profile: bool,
}

macro_rules! unit_tests {
    ($($name:literal $every:literal),*) => {
        &[$(UnitTest {
            name: $name,
            text: include_str!(concat!("../../rules/tests/", $name)),
            every_profile: $every,
        }),*]
    };
}

pub(super) const UNIT_TESTS: &[UnitTest] = unit_tests!(
    "breakers.yml" true, "resilience.yml" true, "slo.yml" true, "checkout.yml" true, "targets.yml" true,
    "pipeline.yml" true, "optional-seeds.yml" true, "burn.yml" false, "minimal.yml" false
);

impl UnitTest {
    /// The text for a profile; all but the first have different folders of rules.
    pub(super) fn text_for(&self, profile: &Profile) -> String {
        // A file may have its own interval if its windows are longer than those of any profile.
        let own = self.text.lines().find_map(|line| line.strip_prefix("evaluation_interval: "));
        let interval = own.filter(|own| !own.contains('@')).map_or(profile.interval, seconds);
        let hurry = if self.every_profile { profile.hurry } else { 1 };
        let text = replaced(self.text, "@[", |values| series(values, interval, hurry));
        let text = replaced(&text, "@t[", |sum| format!("{}s", time(sum, profile)));
        let number = PROFILES.iter().position(|other| other.name == profile.name).expect("it is one of them");
        let text = replaced(&text, "@pick[", |texts| {
            texts.split('|').nth(number).expect("there is a text for each profile").to_owned()
        });
        if number == 0 { text } else { text.replace("../../prometheus/rules/", "../records-") }
    }
}

/// Replaces every `open…]` in a text.
fn replaced(text: &str, open: &str, by: impl Fn(&str) -> String) -> String {
    let (mut result, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once(open) {
        let (inside, after) = after.split_once(']').expect("a macro is closed");
        result.push_str(before);
        result.push_str(&by(inside));
        rest = after;
    }
    result + rest
}

fn time(sum: &str, profile: &Profile) -> u64 {
    sum.split('+')
        .map(|part| match part {
            "interval" => profile.interval,
            name => profile.value(name).map_or_else(|| seconds(name) / profile.hurry, seconds),
        })
        .sum()
}

/// A series in promtool's notation, in which `axn` and `a+bxn` are n + 1 samples and `_xn` is n.
fn series(segments: &str, interval: u64, hurry: u64) -> String {
    let mut last = 0.0;
    let words = segments.split(';').map(|segment| {
        let Some((what, length)) = segment.trim().split_once(" for ") else {
            assert_eq!(segment.trim(), "stale", "a segment is `… for …` or stale");
            return "stale".to_owned();
        };
        let samples = seconds(length) / hurry / interval;
        assert!(samples > 0, "{segment:?} is shorter than {interval} s");
        match (what, what.strip_suffix("/s")) {
            ("gone", _) => format!("_x{samples}"),
            ("NaN", _) => vec!["NaN"; usize::try_from(samples).expect("it is small")].join(" "),
            (_, Some(speed)) => {
                let step = speed.parse::<f64>().expect("a speed is a number") * interval as f64;
                let first = last + step;
                last = first + step * (samples - 1) as f64;
                format!("{}+{}x{}", number(first), number(step), samples - 1)
            }
            (value, None) => {
                last = value.parse().expect("a value is a number");
                format!("{}x{}", number(last), samples - 1)
            }
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A number with at most six decimals.
fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_a_sample_for_each_interval() {
        assert_eq!(series("1 for 1m; stale; gone for 15s; 0.5/s for 20s", 5, 1), "1x11 stale _x3 3.5+2.5x3");
        assert_eq!(series("NaN for 30s", 5, 3), "NaN NaN");
        assert_eq!(series("0/s for 30s; 1/s for 1m", 30, 1), "0+0x0 30+30x1");
    }

    #[test]
    fn times_add_up_parameters_of_the_profile() {
        assert_eq!(time("20m+hold+interval", &PROFILES[0]), 400 + 15 + 5);
        assert_eq!(time("20m30s", &PROFILES[3]), 1230);
    }
}
