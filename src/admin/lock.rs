//! Authentication and origin checks of the admin port.
//!
//! A browser on this machine can reach loopback on behalf of any page. Two headers protect against that: `Host`
//! must be an address or a configured name, so that a foreign name that resolves to this machine (DNS rebinding)
//! is refused; and `Origin`, the page's site, must be this one. Both are checked on every request, with or
//! without a token.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, header};

use crate::admin::settings::{AdminSettings, Secret};
use crate::web::problem::Problem;
use crate::web::secret::bearer;

/// The checks of the port. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lock {
    token: Option<Secret>,
    names: Arc<BTreeSet<String>>,
}

impl Lock {
    pub(super) fn new(settings: &AdminSettings) -> Self {
        Self { token: settings.token.clone(), names: Arc::new(settings.names()) }
    }
}

pub(super) async fn locked(State(lock): State<Lock>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if let Err(refused) = lock.check_site(headers) {
        return refused.into_response();
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match &lock.token {
        Some(token) if !reads && !bearer(headers).is_some_and(|shown| token.matches(shown)) => {
            let mut refused =
                Problem::unauthorized("changes take the admin token: Authorization: Bearer <token>").into_response();
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
            refused
        }
        _ => next.run(request).await,
    }
}

impl Lock {
    fn check_site(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        // A request over a socket always has one; otherwise the listener refuses it.
        let host = text(header::HOST);
        if let Some(host) = host.filter(|host| !self.knows(host)) {
            let detail =
                format!("{host:?} is no name of this admin port: use an address, localhost or one of admin.hosts");
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
        }
        let Some(origin) = text(header::ORIGIN) else { return Ok(()) };
        match origin.split_once("://") {
            Some((_, site)) if Some(site) == host => Ok(()),
            _ => Err(Problem::new(StatusCode::FORBIDDEN, "pages of other sites may not use this port")),
        }
    }

    fn knows(&self, host: &str) -> bool {
        let name = name_of(host);
        name == "localhost" || name.parse::<IpAddr>().is_ok() || self.names.contains(&name)
    }
}

/// The name in `name:port` or `[address]:port`, in lower case.
pub(super) fn name_of(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        let peers = std::iter::once(("user".to_owned(), "http://user:8090, http://10.0.0.7:8090".to_owned())).collect();
        Lock::new(&AdminSettings { peers, hosts: "admin.example.org".to_owned(), ..AdminSettings::default() })
    }

    fn asked(host: &str, origin: Option<&str>) -> Result<(), StatusCode> {
        let mut headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        lock().check_site(&headers).map_err(|problem| problem.status())
    }

    #[test]
    fn only_addresses_and_known_host_names_are_accepted() {
        for own in [
            "127.0.0.1:8090",
            "localhost",
            "LOCALHOST:8090",
            "[::1]:8090",
            "10.0.0.7",
            "user:8090",
            "Admin.Example.org:80",
        ] {
            assert_eq!(asked(own, None), Ok(()), "{own}");
        }
        for foreign in ["evil.example:8090", "", "127.0.0.1.evil.example", "catalog:8090", "localhost.", ":8090"] {
            assert_eq!(asked(foreign, None), Err(StatusCode::MISDIRECTED_REQUEST), "{foreign}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_recognized_by_their_origin() {
        assert_eq!(asked("127.0.0.1:8090", Some("http://127.0.0.1:8090")), Ok(()));
        assert_eq!(asked("user:8090", Some("http://user:8090")), Ok(()));
        for other in ["http://evil.example", "null", "http://127.0.0.1:3000", "", "http://localhost:8090"] {
            assert_eq!(asked("127.0.0.1:8090", Some(other)), Err(StatusCode::FORBIDDEN), "{other}");
        }
    }

    #[test]
    fn the_scheme_is_case_insensitive() {
        let shown = |text: &str| {
            bearer(&HeaderMap::from_iter([(header::AUTHORIZATION, text.parse().unwrap())])).map(str::to_owned)
        };
        for text in ["Bearer t", "bearer t", "BEARER  t "] {
            assert_eq!(shown(text).as_deref(), Some("t"), "{text:?}");
        }
        assert_eq!((shown("Basic t"), shown("Bearert"), bearer(&HeaderMap::new())), (None, None, None));
    }
}
