//! Runs journeys against every target.

use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::TrafficSettings;
use super::arrivals::Arrivals;
use super::journeys;
use super::recorder::Seen;
use super::walk::Target;

/// Journeys per second, adjustable at run time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rate {
    now: watch::Sender<f64>,
    usual: f64,
}

impl Rate {
    /// A rate with this initial value.
    #[must_use]
    pub fn new(usual: f64) -> Self {
        Self { now: watch::Sender::new(usual), usual }
    }

    /// Sets the rate; `None` restores the initial value.
    pub fn set(&self, rate: Option<f64>) {
        self.now.send_replace(rate.unwrap_or(self.usual).max(0.0));
    }

    /// The present rate.
    #[must_use]
    pub fn get(&self) -> f64 {
        *self.now.borrow()
    }
}

/// The load. Cheap to clone.
#[derive(Clone)]
pub struct Traffic {
    inner: Arc<Inner>,
}

struct Inner {
    settings: TrafficSettings,
    seed: u64,
    rate: Rate,
    targets: Vec<Arc<Target>>,
}

impl Traffic {
    /// A load on these targets.
    #[must_use]
    pub fn new(settings: &TrafficSettings, seed: u64, targets: Vec<Arc<Target>>) -> Self {
        let rate = Rate::new(settings.rate);
        Self { inner: Arc::new(Inner { settings: settings.clone(), seed, rate, targets }) }
    }

    /// The adjustable rate.
    #[must_use]
    pub fn rate(&self) -> &Rate {
        &self.inner.rate
    }

    /// Results of each target so far.
    #[must_use]
    pub fn seen(&self) -> Vec<(String, Seen)> {
        self.inner.targets.iter().map(|target| (target.name.clone(), target.recorder.seen())).collect()
    }

    /// Results of each target since the last call of this function.
    #[must_use]
    pub fn lately(&self) -> Vec<(String, Seen)> {
        self.inner.targets.iter().map(|target| (target.name.clone(), target.recorder.lately())).collect()
    }

    /// Starts journeys until `stop` completes. Journeys in progress are dropped then, because their requests would only
    /// fail while the site shuts down.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        tokio::select! {
            () = &mut stop => {}
            () = self.generate() => {}
        }
    }

    async fn generate(&self) {
        let Inner { settings, seed, rate, targets } = &*self.inner;
        let mut arrivals = Arrivals::new(settings.shape, settings.day, ChaCha8Rng::seed_from_u64(*seed));
        let mut random = ChaCha8Rng::seed_from_u64(seed.wrapping_add(1));
        let start = Instant::now();
        let mut walks = JoinSet::new();
        let mut rates = rate.now.subscribe();
        loop {
            let now = *rates.borrow_and_update();
            for target in targets {
                target.telemetry.rate(now);
            }
            let next = arrivals.next(now).map(|at| start + at);
            let intended = tokio::select! {
                biased;
                intended = arrival(next) => intended,
                // The sender lives as long as `self`.
                _ = rates.changed() => {
                    arrivals.resume_at(start.elapsed());
                    continue;
                }
            };
            let journey = Arc::new(journeys::draw(&mut random, settings.viewers, settings.think_time));
            for target in targets {
                let Some(place) = target.admit(settings.max_in_flight) else {
                    target.shed();
                    continue;
                };
                let (journey, patience) = (Arc::clone(&journey), settings.patience);
                walks.spawn(async move { place.walk(&journey, intended, patience).await });
            }
            while walks.try_join_next().is_some() {}
        }
    }
}

/// Completes when the next journey starts; never if there is none.
async fn arrival(next: Option<Instant>) -> Instant {
    match next {
        Some(intended) => {
            tokio::time::sleep_until(intended).await;
            intended
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use axum::Router;
    use axum::routing::get;

    use super::*;
    use crate::client::Transport;
    use breakerbox_telemetry::Metrics;

    fn target(name: &str, delay: Duration) -> Arc<Target> {
        let answer = move || async move {
            tokio::time::sleep(delay).await;
            r#"{"source":"live"}"#
        };
        let router = Router::new().fallback(get(answer).post(answer));
        let slot = OnceLock::new();
        slot.set(router).unwrap();
        Target::new(name, Transport::InProcess(Arc::new(slot)), Metrics::new(&[]).traffic(name))
    }

    fn settings(rate: f64) -> TrafficSettings {
        TrafficSettings { rate, ..TrafficSettings::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_site_does_not_slow_its_viewers_down() {
        let (fast, slow) = (target("fast", Duration::ZERO), target("slow", Duration::from_secs(4)));
        let traffic = Traffic::new(&settings(10.0), 1, vec![Arc::clone(&fast), Arc::clone(&slow)]);
        let mut in_flight = 0;
        let minute = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            in_flight = slow.in_flight.load(Ordering::Relaxed);
        };
        traffic.run(minute).await;
        // About 10 arrive per second and stay for about 12 s; a closed loop would keep only a handful in flight.
        assert!(in_flight > 60, "{in_flight} in flight");
        assert!(fast.recorder.seen().ok > 1200);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_can_be_changed_and_given_back() {
        let site = target("any", Duration::ZERO);
        let traffic = Traffic::new(&settings(10.0), 1, vec![Arc::clone(&site)]);
        traffic.rate().set(Some(0.0));
        traffic.run(tokio::time::sleep(Duration::from_secs(10))).await;
        assert_eq!(site.recorder.seen().ok, 0);
        traffic.rate().set(None);
        traffic.run(tokio::time::sleep(Duration::from_secs(10))).await;
        assert!(site.recorder.seen().ok > 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_rate_holds_at_once_even_in_a_long_gap() {
        let site = target("any", Duration::ZERO);
        let traffic = Traffic::new(&settings(0.000_01), 1, vec![Arc::clone(&site)]);
        let rate = traffic.rate().clone();
        let rush = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            rate.set(Some(20.0));
            tokio::time::sleep(Duration::from_secs(10)).await;
        };
        traffic.run(rush).await;
        assert!(site.recorder.seen().ok > 200, "{:?}", site.recorder.seen());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_next_to_nothing_is_no_rate_too_small() {
        let site = target("any", Duration::ZERO);
        let traffic = Traffic::new(&settings(1e-300), 1, vec![Arc::clone(&site)]);
        traffic.run(tokio::time::sleep(Duration::from_secs(10))).await;
        assert_eq!(site.recorder.seen().ok, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn journeys_beyond_the_bound_are_shed_and_counted() {
        let site = target("slow", Duration::from_secs(60));
        let bounded = TrafficSettings { max_in_flight: 5, patience: Duration::from_secs(300), ..settings(10.0) };
        let traffic = Traffic::new(&bounded, 1, vec![Arc::clone(&site)]);
        let mut in_flight = 0;
        let half_a_minute = async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            in_flight = site.in_flight.load(Ordering::Relaxed);
        };
        traffic.run(half_a_minute).await;
        assert_eq!(in_flight, 5);
        assert!(site.recorder.seen().shed > 200, "{:?}", site.recorder.seen());
    }

    #[tokio::test(start_paused = true)]
    async fn every_target_gets_the_same_visits() {
        let visits = || {
            let log: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
            let own = Arc::clone(&log);
            let router = Router::new().fallback(move |uri: http::Uri| async move {
                own.lock().unwrap().push(uri.to_string());
                r#"{"source":"live","token":"t","user_id":1,"expires_at":0}"#
            });
            let slot = OnceLock::new();
            slot.set(router).unwrap();
            (Target::new("t", Transport::InProcess(Arc::new(slot)), Metrics::new(&[]).traffic("t")), log)
        };
        let ((one, first), (other, second)) = (visits(), visits());
        let traffic = Traffic::new(&settings(10.0), 1, vec![one, other]);
        traffic.run(tokio::time::sleep(Duration::from_secs(30))).await;
        let sorted = |log: &std::sync::Mutex<Vec<String>>| {
            let mut paths = log.lock().unwrap().clone();
            paths.sort();
            paths
        };
        assert!(first.lock().unwrap().len() > 500);
        assert_eq!(sorted(&first), sorted(&second));
    }
}
