//! Rate limits per client.
//!
//! A client is an IPv4 address or a /64 network of IPv6, since one machine can use any address of its network. Logins
//! are also limited per account, so that many addresses do not help to guess the password of one account. The
//! unprotected twin only limits logins: guessing passwords is not a fault that it is meant to demonstrate.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use breakerbox_telemetry::RateLimiterTelemetry;
use tokio::time::Instant;

use super::{GatewaySettings, GatewayState, Protection};
use crate::client::Telemetry;
use crate::services::ServiceName;
use crate::web::problem::Problem;
use crate::web::trust::Outsider;
use breakerbox_resilience::limiter::{KeyedRateLimiter, LimitBy, RateLimiterSettings};

/// Maximum number of clients, and of accounts, that have their own limit at a time.
const MOST: usize = 10_000;
/// Maximum length of an account name, in bytes: no account has a longer one.
const LONGEST_NAME: usize = 128;

/// This many requests in this many seconds.
pub(super) fn per(limit_for_period: u32, seconds: u64) -> RateLimiterSettings {
    RateLimiterSettings {
        limit_for_period,
        limit_refresh_period: Duration::from_secs(seconds),
        limit_by: LimitBy::TokenBucket,
    }
}

/// The limiters and their counters.
pub(super) struct Limits {
    clients: KeyedRateLimiter<IpAddr>,
    logins: KeyedRateLimiter<IpAddr>,
    accounts: KeyedRateLimiter<String>,
    requests: RateLimiterTelemetry,
}

impl Limits {
    pub(super) fn new(service: ServiceName, settings: &GatewaySettings, telemetry: &Telemetry) -> Result<Self, String> {
        fn limiter<K: Eq + std::hash::Hash>(
            field: &str,
            limit: &RateLimiterSettings,
        ) -> Result<KeyedRateLimiter<K>, String> {
            KeyedRateLimiter::new(limit, MOST, Instant::now().into_std())
                .map_err(|error| error.within(&format!("gateway.{field}")).to_string())
        }
        let requests = telemetry.metrics.rate_limiter(service.as_str());
        Ok(Self {
            clients: limiter("client-limit", &settings.client_limit)?,
            logins: limiter("login-limit", &settings.login_limit)?,
            accounts: limiter("account-limit", &settings.account_limit)?,
            requests,
        })
    }

    /// A login attempt by `client` for the account `name`.
    pub(super) fn login(&self, client: Outsider, name: &str) -> Result<(), Problem> {
        let many = "too many logins tried";
        self.check(&self.logins, network(client), many)?;
        if name.len() > LONGEST_NAME {
            return Ok(());
        }
        self.check(&self.accounts, name.to_owned(), many)
    }

    fn check<K: Eq + std::hash::Hash>(&self, limiter: &KeyedRateLimiter<K>, key: K, why: &str) -> Result<(), Problem> {
        match limiter.check(key, Instant::now().into_std()) {
            Ok(()) => {
                self.requests.allowed();
                Ok(())
            }
            Err(early) => {
                self.requests.limited();
                Err(Problem::too_many_requests(why, early.retry_after))
            }
        }
    }
}

/// The key of a client.
fn network(Outsider(address): Outsider) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// The middleware of a protected gateway.
pub(super) async fn client(State(state): State<GatewayState>, request: Request, next: Next) -> Response {
    let inner = &state.inner;
    if inner.protection == Protection::On
        && let Some(client) = request.extensions().get::<Outsider>()
        && let Err(refused) = inner.limits.check(&inner.limits.clients, network(*client), "too many requests")
    {
        return refused.into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use breakerbox_telemetry::{Metrics, TransitionLog};

    #[tokio::test(start_paused = true)]
    async fn logins_are_bounded_by_client_and_by_account() {
        let telemetry = Telemetry { metrics: Metrics::new(&[]), transitions: TransitionLog::new() };
        let settings =
            GatewaySettings { login_limit: per(5, 60), account_limit: per(3, 60), ..GatewaySettings::default() };
        let limits = Limits::new(ServiceName::Gateway, &settings, &telemetry).unwrap();
        let client = |last: u8| Outsider(IpAddr::from([10, 0, 0, last]));
        let passed = |client, names: &[&str]| names.iter().filter(|name| limits.login(client, name).is_ok()).count();
        assert_eq!(passed(client(1), &["a", "b", "c", "d", "e", "f", "g"]), 5, "one address, many accounts");
        assert_eq!((2..8).map(|last| passed(client(last), &["z"])).sum::<usize>(), 3, "many addresses, one account");
        assert_eq!(limits.login(client(1), "a").unwrap_err().status(), 429);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(passed(client(1), &["a"]), 1);
    }

    #[test]
    fn a_machine_s_own_network_is_one_client() {
        let network = |text: &str| network(Outsider(text.parse().unwrap()));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_ne!(network("10.0.0.2"), network("10.0.0.1"));
    }
}
