//! One run of a case over simulated dependencies, under a paused clock.
//!
//! The policies are the real ones: breakers, bulkheads, retries, hedges, budgets. The [dependencies](super::dependency)
//! are simulated, and so are the journeys that call them one after the other.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::arrivals::Arrivals;
use super::dependency::{Dependency, Errand, Trouble, mix};
use super::fleet::{Fleet, Instanced};
use super::spec::{Case, Role, Variant};
use super::tally::{Bin, End, Moved, RunResult, Tally};
use breakerbox_resilience::bulkhead::{Bulkhead, BulkheadSettings};
use breakerbox_resilience::policy::{Attempt, Call, CallError, Event, HedgeOutcome, Observer, Policy, PolicySettings};
use breakerbox_resilience::retry::ErrorKind;

/// Stands for "no timeout" in a call without protection.
const NO_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// Inputs of one run.
pub(super) struct Plan<'a> {
    pub(super) case: &'a Case,
    pub(super) variant: &'a Variant,
    pub(super) policies: BTreeMap<String, PolicySettings>,
    pub(super) length: Duration,
    pub(super) seed: u64,
}

/// Executes the run; virtual time passes as fast as it can be computed.
pub(super) fn run(plan: &Plan<'_>) -> Result<RunResult, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let world = Rc::new(World::new(plan)?);
        world.run(plan).await;
        // The tasks that tick policies share the world, and are dropped with the task set.
        Ok(world.finish(plan))
    })
}

/// A policy and the observer of its events.
pub(super) struct Guarded {
    pub(super) policy: Policy,
    pub(super) watch: Watch,
}

/// Counts the events of a policy.
pub(super) struct Watch {
    pub(super) name: String,
    pub(super) epoch: Instant,
    pub(super) tally: Rc<RefCell<Tally>>,
}

impl Watch {
    pub(super) fn moved(&self, transition: &breakerbox_resilience::breaker::Transition) {
        self.tally.borrow_mut().moved(Moved {
            at: Instant::from_std(transition.at).saturating_duration_since(self.epoch).as_secs_f64(),
            breaker: self.name.clone(),
            from: transition.from,
            to: transition.to,
            reason: transition.reason,
            calls: transition.window.calls,
            failures: transition.window.failures,
        });
    }
}

impl Observer for Watch {
    fn observe(&self, event: Event<'_>) {
        match event {
            Event::Transition(transition) => self.moved(transition),
            Event::Rejected(_) | Event::Throttled => self.tally.borrow_mut().counts.blocked += 1,
            Event::BulkheadRejected(_) => self.tally.borrow_mut().counts.turned_away += 1,
            Event::RetryScheduled { .. } => self.tally.borrow_mut().counts.retries += 1,
            Event::Hedge { outcome } if outcome != HedgeOutcome::NoBudget => {
                self.tally.borrow_mut().counts.hedges += 1;
            }
            _ => {}
        }
    }
}

impl Guarded {
    pub(super) fn new(settings: &PolicySettings, seed: u64, watch: Watch) -> Result<Self, String> {
        let policy = Policy::new(settings.clone(), Instant::now().into_std(), seed).map_err(|e| e.to_string())?;
        Ok(Self { policy, watch })
    }

    pub(super) async fn call(
        &self,
        call: Call,
        op: impl AsyncFn(Attempt) -> Result<(), Trouble>,
    ) -> Result<(), CallError<Trouble>> {
        self.policy.call_with(call, &self.watch, |attempt| op(attempt)).await
    }

    pub(super) fn tick(&self) {
        if let Some(breaker) = self.policy.breaker() {
            while let Some(transition) = breaker.tick(Instant::now().into_std()) {
                self.watch.moved(&transition);
            }
        }
    }
}

/// How a dependency is called.
enum Client {
    Bare,
    Guarded(Box<Guarded>),
    /// A policy for each instance of the dependency.
    PerInstance(Vec<Guarded>),
    Fleet(Box<Fleet>),
}

struct Leg {
    dependency: Dependency,
    client: Client,
    role: Role,
    fallback: Option<Fallback>,
}

enum Fallback {
    /// A static answer, which is always available.
    Static,
    /// Another dependency, by its index.
    Leg(usize),
}

struct World {
    legs: Vec<Leg>,
    pool: Option<Bulkhead>,
    epoch: Instant,
    patience: Duration,
    idempotent: bool,
    tally: Rc<RefCell<Tally>>,
}

impl World {
    fn new(plan: &Plan<'_>) -> Result<Self, String> {
        let Plan { case, variant, policies, length, seed } = plan;
        let epoch = Instant::now();
        let mut tally = Tally::new(*length, case.incident());
        tally.order_won = case.load.order_won;
        let tally = Rc::new(RefCell::new(tally));
        let mut legs = Vec::new();
        for (index, spec) in case.dependency.iter().enumerate() {
            let dependency = Dependency::new((index, spec), &case.fault, variant, (*seed, epoch), &tally);
            let own = mix(&[*seed, 1000 + index as u64]);
            let guarded = |name: String, seed: u64, settings: &PolicySettings| {
                Guarded::new(settings, seed, Watch { name, epoch, tally: Rc::clone(&tally) })
            };
            let client = match policies.get(&spec.name) {
                None => Client::Bare,
                Some(settings) => match &variant.fleet {
                    Some(fleet) => {
                        Client::Fleet(Box::new(Fleet::new(fleet, settings, own, &spec.name, (epoch, &tally))))
                    }
                    None if variant.per_instance => {
                        let each = (0..spec.instances).map(|instance| {
                            guarded(format!("{}-{instance}", spec.name), mix(&[own, instance as u64]), settings)
                        });
                        Client::PerInstance(each.collect::<Result<_, _>>()?)
                    }
                    None => Client::Guarded(Box::new(guarded(spec.name.clone(), own, settings)?)),
                },
            };
            let fallback = match variant.fallback.get(&spec.name).map(String::as_str) {
                None => None,
                Some("static") => Some(Fallback::Static),
                Some(other) => {
                    let index = case.dependency.iter().position(|dependency| dependency.name == other);
                    Some(Fallback::Leg(index.ok_or_else(|| format!("fallback: no dependency {other:?}"))?))
                }
            };
            legs.push(Leg { dependency, client, role: spec.role, fallback });
        }
        let pool = variant.shared_pool.map(|places| {
            Bulkhead::new(&BulkheadSettings { max_concurrent_calls: places, max_wait_duration: NO_LIMIT })
        });
        Ok(Self {
            legs,
            pool: pool.transpose().map_err(|error| error.to_string())?,
            epoch,
            patience: case.load.patience,
            idempotent: case.load.idempotent,
            tally,
        })
    }

    async fn run(self: &Rc<Self>, plan: &Plan<'_>) {
        let ticking = Rc::clone(self);
        let ticks = tokio::task::spawn_local(async move {
            loop {
                sleep(Duration::from_secs(1)).await;
                ticking.tick();
            }
        });
        let mut journeys = tokio::task::JoinSet::new();
        let arrivals = Arrivals::new(&plan.case.load, plan.length, mix(&[plan.seed, 1]));
        for (number, at) in arrivals.enumerate() {
            let intended = self.epoch + at;
            sleep_until(intended).await;
            let world = Rc::clone(self);
            journeys.spawn_local(async move { world.journey(number as u64, intended).await });
            while journeys.try_join_next().is_some() {}
        }
        sleep_until(self.epoch + plan.length).await;
        while journeys.join_next().await.is_some() {}
        ticks.abort();
    }

    fn tick(&self) {
        for leg in &self.legs {
            match &leg.client {
                Client::Bare => {}
                Client::Guarded(guarded) => guarded.tick(),
                Client::PerInstance(each) => each.iter().for_each(Guarded::tick),
                Client::Fleet(fleet) => fleet.tick(),
            }
        }
    }

    async fn journey(&self, number: u64, intended: Instant) {
        let errands: Vec<_> =
            self.legs.iter().map(|_| Errand { journey: number, effects: std::cell::Cell::new(0) }).collect();
        let deadline = intended + self.patience;
        let end = timeout_at(deadline, self.walk(&errands, deadline)).await.unwrap_or(End::Error);
        let took = intended.elapsed();
        let mut tally = self.tally.borrow_mut();
        tally.counts.duplicates += errands.iter().map(|e| u64::from(e.effects.get().saturating_sub(1))).sum::<u64>();
        tally.journey(intended - self.epoch, end, took);
    }

    async fn walk(&self, errands: &[Errand], deadline: Instant) -> End {
        let mut worst = End::Ok;
        for (index, leg) in self.legs.iter().enumerate() {
            if leg.role == Role::Fallback || self.call(index, &errands[index], deadline).await.is_ok() {
                continue;
            }
            let covered = match &leg.fallback {
                Some(Fallback::Static) => true,
                Some(Fallback::Leg(other)) => self.call(*other, &errands[*other], deadline).await.is_ok(),
                None => leg.role == Role::Optional,
            };
            if !covered {
                return End::Error;
            }
            worst = End::Degraded;
        }
        worst
    }

    async fn call(&self, index: usize, errand: &Errand, deadline: Instant) -> Result<(), ()> {
        let Leg { dependency, client, .. } = &self.legs[index];
        let call = Call { deadline: Some(deadline.into_std()), idempotent: self.idempotent };
        match client {
            Client::Bare => {
                let _place = match &self.pool {
                    Some(pool) => Some(pool.enter().await.map_err(drop)?),
                    None => None,
                };
                let only = Attempt { number: 1, hedge: false, timeout: Duration::MAX, deadline: None };
                dependency.request(errand, only, None).await.map_err(drop)
            }
            Client::Guarded(guarded) => {
                guarded.call(call, async |attempt| dependency.request(errand, attempt, None).await).await.map_err(drop)
            }
            Client::PerInstance(each) => {
                let turn = usize::try_from(errand.journey % each.len() as u64).unwrap_or_default();
                // The load balancer skips an instance whose breaker would reject the call.
                let now = Instant::now().into_std();
                let open = |guarded: &Guarded| {
                    guarded.policy.breaker().is_some_and(|breaker| breaker.would_reject(now).is_some())
                };
                let chosen = (0..each.len()).map(|step| (turn + step) % each.len()).find(|at| !open(&each[*at]));
                let at = chosen.unwrap_or(turn);
                let op = async |attempt| dependency.request(errand, attempt, Some(at)).await;
                each[at].call(call, op).await.map_err(drop)
            }
            Client::Fleet(fleet) => {
                let instance = match fleet.enter(errand.journey) {
                    Instanced::Instance(instance) => instance,
                    Instanced::Refused => {
                        self.tally.borrow_mut().counts.blocked += 1;
                        return Err(());
                    }
                };
                let answer = instance.call(call, async |attempt| dependency.request(errand, attempt, None).await).await;
                fleet.saw(&instance, failed(&answer));
                answer.map_err(drop)
            }
        }
    }

    fn finish(&self, plan: &Plan<'_>) -> RunResult {
        let mut tally = self.tally.replace(Tally::new(plan.length, None));
        for leg in &self.legs {
            tally.counts.workers += leg.dependency.workers(plan.length);
            if let Client::Guarded(guarded) = &leg.client
                && let Some(calibration) = guarded.policy.calibration()
            {
                let bins = calibration.bins.iter().map(|bin| Bin {
                    retries: bin.retries,
                    predicted: bin.predicted,
                    succeeded: bin.succeeded,
                });
                tally.calibration = Some((bins.collect(), calibration.brier_score));
            }
        }
        tally.finish()
    }
}

/// Whether a call counts as a failure of the dependency; `None` if it was not called.
fn failed(answer: &Result<(), CallError<Trouble>>) -> Option<bool> {
    match answer {
        Ok(()) => Some(false),
        Err(CallError::TimedOut { .. }) => Some(true),
        Err(CallError::Failed(Trouble(kind))) => Some(*kind != ErrorKind::Client),
        Err(_) => None,
    }
}
