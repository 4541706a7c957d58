//! Windows and times for one scrape interval.

/// Windows and durations for one scrape and evaluation interval.
pub(super) struct Profile {
    /// Its name, and the folder of its files.
    pub(super) name: &'static str,
    /// Seconds between two scrapes.
    pub(super) interval: u64,
    /// Speed-up factor of the series in unit tests.
    pub(super) hurry: u64,
    /// Window of rates.
    rate: &'static str,
    /// A shorter window, which checks whether it still continues.
    again: &'static str,
    /// `for` of expressions that already cover a window.
    hold: &'static str,
    /// `for` of conditions that may pass by themselves.
    patience: &'static str,
    /// How long a sample may be missing.
    lookback: &'static str,
    /// Window of the share of time in which a breaker is open.
    open: &'static str,
    /// A little longer than the window of rates: as long as probes have an effect on it.
    probes: &'static str,
    /// Window of quantiles and slopes.
    quantile: &'static str,
    flap: &'static str,
    stuck: &'static str,
    /// Time without a sample after which a target is down.
    absent: &'static str,
    crash: &'static str,
    idle: &'static str,
    /// Age of the oldest order from which revenue is at risk, in seconds.
    waiting: &'static str,
    stalled: &'static str,
    /// How far back a lost breaker's series are searched.
    lost: &'static str,
    /// Minimum number of scrapes in five minutes for these rules.
    samples: &'static str,
}

/// All profiles; the first is that of the demonstration.
pub(super) const PROFILES: &[Profile] = &[
    Profile {
        name: "5s",
        interval: 5,
        hurry: 3,
        rate: "1m",
        again: "20s",
        hold: "15s",
        patience: "30s",
        lookback: "15s",
        open: "30s",
        probes: "80s",
        quantile: "2m",
        flap: "5m",
        stuck: "2m",
        absent: "25s",
        crash: "5m",
        idle: "1m",
        waiting: "25",
        stalled: "5m",
        lost: "5m",
        samples: "45",
    },
    Profile {
        name: "15s",
        interval: 15,
        hurry: 2,
        rate: "1m",
        again: "45s",
        hold: "30s",
        patience: "1m",
        lookback: "45s",
        open: "75s",
        probes: "2m",
        quantile: "2m",
        flap: "5m",
        stuck: "2m",
        absent: "75s",
        crash: "5m",
        idle: "1m",
        waiting: "30",
        stalled: "5m",
        lost: "5m",
        samples: "15",
    },
    Profile {
        name: "30s",
        interval: 30,
        hurry: 1,
        rate: "2m",
        again: "90s",
        hold: "1m",
        patience: "2m",
        lookback: "90s",
        open: "150s",
        probes: "4m",
        quantile: "4m",
        flap: "10m",
        stuck: "4m",
        absent: "150s",
        crash: "10m",
        idle: "2m",
        waiting: "60",
        stalled: "6m",
        lost: "10m",
        samples: "8",
    },
    Profile {
        name: "60s",
        interval: 60,
        hurry: 1,
        rate: "4m",
        again: "3m",
        hold: "2m",
        patience: "4m",
        lookback: "3m",
        open: "6m",
        probes: "8m",
        quantile: "8m",
        flap: "15m",
        stuck: "8m",
        absent: "5m",
        crash: "15m",
        idle: "4m",
        waiting: "120",
        stalled: "8m",
        lost: "15m",
        samples: "4",
    },
];

impl Profile {
    /// The value of a template's `@{name}`; with ` words`, in words for a sentence.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        if let Some(name) = name.strip_suffix(" words") {
            return Some(words(self.value(name)?));
        }
        if name == "interval" {
            return Some(self.name.to_owned());
        }
        self.value(name).map(str::to_owned)
    }

    pub(super) fn value(&self, name: &str) -> Option<&'static str> {
        Some(match name {
            "rate" => self.rate,
            "again" => self.again,
            "hold" => self.hold,
            "patience" => self.patience,
            "lookback" => self.lookback,
            "open" => self.open,
            "probes" => self.probes,
            "quantile" => self.quantile,
            "flap" => self.flap,
            "stuck" => self.stuck,
            "absent" => self.absent,
            "crash" => self.crash,
            "idle" => self.idle,
            "waiting" => self.waiting,
            "stalled" => self.stalled,
            "lost" => self.lost,
            "samples" => self.samples,
            _ => return None,
        })
    }
}

/// A duration such as `90s`, `4m` or `1h30m` in seconds.
///
/// # Panics
///
/// If it is not a duration, which is a mistake in a template.
pub(super) fn seconds(duration: &str) -> u64 {
    let (mut total, mut number) = (0, 0);
    for c in duration.chars() {
        let unit = match (c, c.to_digit(10)) {
            (_, Some(digit)) => {
                number = number * 10 + u64::from(digit);
                continue;
            }
            ('s', _) => 1,
            ('m', _) => 60,
            ('h', _) => 3600,
            ('d', _) => 86_400,
            _ => panic!("{duration:?} is no duration"),
        };
        total += std::mem::take(&mut number) * unit;
    }
    assert_eq!(number, 0, "{duration:?} ends without a unit");
    total
}

/// A duration in words: `minute` for `1m`, `4 minutes` for `4m`, `75 s` for `75s`.
fn words(duration: &str) -> String {
    match duration.strip_suffix('m') {
        Some("1") => "minute".to_owned(),
        Some(minutes) => format!("{minutes} minutes"),
        None => duration.replace('s', " s"),
    }
}
