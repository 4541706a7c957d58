//! The instances behind a host name, used in turn.
//!
//! A connection pool sticks to the instance that it reached first, so one of three instances behind a name would get
//! every call. Here the name is resolved again every few seconds, calls use the addresses in turn, and a retry or a
//! hedge goes to the next one. An address that refuses connections is skipped for a while, unless all of them do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::HeaderValue;
use reqwest::Url;
use tokio::time::Instant;

/// How long a DNS answer is cached: an instance that is gone may be called for this long.
pub const BELIEVED: Duration = Duration::from_secs(5);
/// How long the resolver may take before calls continue with the cached addresses.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long an address that refused a connection is skipped.
const LEFT_OUT: Duration = Duration::from_secs(5);

/// Resolves a host to its addresses.
pub(super) type Lookup = fn(String, u16) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>>;

/// The instances of one dependency.
pub struct Replicas {
    /// The URL with the host name.
    url: Url,
    host: String,
    port: u16,
    /// The `Host` header of every request: the name, whichever instance is used.
    header: HeaderValue,
    lookup: Lookup,
    turn: AtomicUsize,
    known: Mutex<Known>,
    /// Held by the call that resolves the name; other calls continue with the cached addresses.
    resolving: tokio::sync::Mutex<()>,
}

/// One instance.
#[derive(Clone)]
pub(super) struct Instance {
    pub(super) address: SocketAddr,
    /// The URL with this address instead of the name.
    pub(super) base: Arc<Url>,
    /// When it may be used again after it refused a connection.
    out: Option<Instant>,
}

#[derive(Default)]
struct Known {
    /// Sorted by address, so that instances keep their index.
    instances: Vec<Instance>,
    resolved: Option<Instant>,
}

impl Replicas {
    /// The instances behind the host name in `url`, by the system's resolver; `None` if its host is an address.
    pub(super) fn new(url: &Url) -> Option<Arc<Self>> {
        Self::by(url, |host, port| Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }))
    }

    pub(super) fn by(url: &Url, lookup: Lookup) -> Option<Arc<Self>> {
        let host = url.domain()?.to_owned();
        let port = url.port_or_known_default()?;
        let header = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        let header = HeaderValue::try_from(header).ok()?;
        let (turn, known, resolving) = Default::default();
        Some(Arc::new(Self { url: url.clone(), host, port, header, lookup, turn, known, resolving }))
    }

    /// The turn of a call, from which its retries and hedges count on.
    pub(super) fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// The `Host` header of a request to any of them.
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// The instance for this turn; an error if the name has no addresses.
    pub(super) async fn instance(&self, turn: usize) -> std::io::Result<Instance> {
        self.refresh().await?;
        let known = self.known();
        let now = Instant::now();
        let able = || known.instances.iter().filter(|one| one.out.is_none_or(|until| until <= now));
        let chosen = match (able().count(), known.instances.len()) {
            (0, 0) => None,
            (0, all) => known.instances.get(turn % all),
            (some, _) => able().nth(turn % some),
        };
        chosen.cloned().ok_or_else(|| std::io::Error::other(format!("{} has no address", self.host)))
    }

    /// Records that an address refused a connection.
    pub(super) fn refused(&self, address: SocketAddr) {
        let until = Instant::now() + LEFT_OUT;
        for one in self.known().instances.iter_mut().filter(|one| one.address == address) {
            one.out = Some(until);
        }
    }

    /// The URL of one instance; `None` if the URL's scheme does not allow another host.
    fn base(&self, address: SocketAddr) -> Option<Arc<Url>> {
        let mut url = self.url.clone();
        url.set_ip_host(address.ip()).ok()?;
        Some(url.into())
    }

    async fn refresh(&self) -> std::io::Result<()> {
        let (fresh, some) = {
            let known = self.known();
            (known.resolved.is_some_and(|at| at.elapsed() < BELIEVED), !known.instances.is_empty())
        };
        if fresh {
            return Ok(());
        }
        let _own = match self.resolving.try_lock() {
            Ok(own) => own,
            // Another task is already resolving it.
            Err(_) if some => return Ok(()),
            Err(_) => {
                let own = self.resolving.lock().await;
                if self.known().resolved.is_some_and(|at| at.elapsed() < BELIEVED) {
                    return Ok(());
                }
                own
            }
        };
        let found = tokio::time::timeout(PATIENCE, (self.lookup)(self.host.clone(), self.port)).await;
        let mut known = self.known();
        match found {
            Ok(Ok(mut addresses)) if !addresses.is_empty() => {
                addresses.sort_unstable();
                addresses.dedup();
                let instance = |address: SocketAddr| {
                    let before = known.instances.iter().find(|one| one.address == address).cloned();
                    before.or_else(|| Some(Instance { address, base: self.base(address)?, out: None }))
                };
                known.instances = addresses.into_iter().filter_map(instance).collect();
                known.resolved = Some(Instant::now());
                Ok(())
            }
            // A temporary failure of the resolver removes no instance.
            _ if some => {
                known.resolved = Some(Instant::now());
                Ok(())
            }
            Ok(Ok(_)) => Err(std::io::Error::other(format!("{} has no address", self.host))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("{} was not resolved within {}", self.host, humantime::format_duration(PATIENCE)),
            )),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(url: &str, lookup: Lookup) -> Arc<Replicas> {
        Replicas::by(&Url::parse(url).unwrap(), lookup).unwrap()
    }

    fn instance(number: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number], 80))
    }

    fn three(_: String, _: u16) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> {
        Box::pin(async { Ok(vec![instance(3), instance(1), instance(2)]) })
    }

    #[tokio::test(start_paused = true)]
    async fn calls_take_the_instances_in_turn() {
        let replicas = named("http://checkout", three);
        let mut counts = [0; 4];
        for _ in 0..30 {
            let turn = replicas.turn();
            let first = replicas.instance(turn).await.unwrap().address;
            assert_ne!(
                first,
                replicas.instance(turn + 1).await.unwrap().address,
                "a retry or a hedge uses another instance"
            );
            let std::net::IpAddr::V4(ip) = first.ip() else { unreachable!() };
            counts[ip.octets()[3] as usize] += 1;
        }
        assert_eq!(counts, [0, 10, 10, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_host_is_the_name_without_the_credentials() {
        let of = async |url: &str| {
            let replicas = named(url, three);
            let base = replicas.instance(0).await.unwrap().base.to_string();
            (replicas.header().to_str().unwrap().to_owned(), base)
        };
        let pair = |host: &str, base: &str| (host.to_owned(), base.to_owned());
        assert_eq!(
            of("http://reader:s3cret@catalog:8082/v1/").await,
            pair("catalog:8082", "http://reader:s3cret@10.0.0.1:8082/v1/")
        );
        assert_eq!(of("http://catalog").await, pair("catalog", "http://10.0.0.1/"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusing_instance_is_left_out_for_a_while() {
        let replicas = named("http://checkout", three);
        let all = async || {
            let mut asked = Vec::new();
            for turn in 0..6 {
                asked.push(replicas.instance(turn).await.unwrap().address);
            }
            asked.sort_unstable();
            asked.dedup();
            asked
        };
        assert_eq!(all().await.len(), 3);
        replicas.refused(instance(2));
        assert_eq!(all().await, [instance(1), instance(3)]);
        tokio::time::advance(LEFT_OUT).await;
        assert_eq!(all().await.len(), 3);
        for number in 1..=3 {
            replicas.refused(instance(number));
        }
        assert_eq!(all().await.len(), 3, "if all refuse, none is skipped");
    }

    #[tokio::test(start_paused = true)]
    async fn instances_come_and_go_and_outlive_the_resolver() {
        use std::sync::atomic::AtomicU8;
        static MOMENT: AtomicU8 = AtomicU8::new(0);
        let replicas = named("http://checkout", |_, _| {
            Box::pin(async {
                match MOMENT.load(Ordering::Relaxed) {
                    0 => Ok(vec![]),
                    1 => Ok(vec![instance(1)]),
                    2 => Ok(vec![instance(2), instance(3)]),
                    3 => Err(std::io::Error::other("no resolver")),
                    _ => std::future::pending().await,
                }
            })
        });
        let mut seen = Vec::new();
        for moment in 0..5 {
            MOMENT.store(moment, Ordering::Relaxed);
            tokio::time::advance(BELIEVED).await;
            seen.push(replicas.instance(0).await.ok().map(|one| one.address));
        }
        let known = [instance(1), instance(2)].map(Some);
        assert_eq!(seen, [None, known[0], known[1], known[1], known[1]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_not_resolved_in_time_is_an_error() {
        let replicas = named("http://checkout", |_, _| Box::pin(std::future::pending()));
        let error = replicas.instance(0).await.map(|one| one.address).unwrap_err().to_string();
        assert_eq!(error, "checkout was not resolved within 500ms");
    }
}
