//! How a request is transmitted: over HTTP, or directly to a router in this process.
//!
//! The second lets whole-system tests and experiments run under Tokio's paused clock. The two are never mixed in one
//! run, because real sockets time out spuriously under a paused clock.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use reqwest::Url;
use tower::ServiceExt;

use super::replicas::Replicas;
use super::request::{Reply, Request};
use crate::faults::Severed;
use crate::web::trust::{self, Trust};

/// Maximum size of a response body, in bytes.
const LARGEST_REPLY: usize = 1024 * 1024;

/// Errors of the transport.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection could be made.
    #[error("could not connect: {0}")]
    Connect(String),
    /// The connection broke before the answer was complete.
    #[error("connection lost: {0}")]
    Reset(String),
    /// The response can't be parsed.
    #[error("malformed answer: {0}")]
    Malformed(String),
}

/// The destination of an attempt.
pub(super) struct Peer {
    /// The dependency's name.
    pub(super) name: String,
    /// Its host; its name if there is no network.
    pub(super) address: String,
    /// Its port, if there is a network.
    pub(super) port: Option<u16>,
    /// The base URL of its paths.
    pub(super) base: String,
}

/// The transport to a dependency. Cheap to clone.
#[derive(Clone)]
pub enum Transport {
    /// A pool of HTTP connections.
    Http {
        /// The pool.
        pool: reqwest::Client,
        /// The base URL, such as `http://127.0.0.1:8082`, parsed once for all requests.
        base: Arc<Url>,
        /// The instances behind the base URL's host name; none if it is an address.
        replicas: Option<Arc<Replicas>>,
    },
    /// A router in this process, which may be set after the transport was created.
    InProcess(Arc<OnceLock<Router>>),
}

impl Transport {
    /// A connection pool to `base` with this connect timeout.
    pub fn http(base: &str, connect_timeout: Option<Duration>) -> Result<Self, String> {
        Self::with_headers(base, connect_timeout, HeaderMap::new())
    }

    /// Like [`http`](Self::http), to another service of this site; requests carry the shared secret.
    pub fn to_peer(base: &str, connect_timeout: Option<Duration>, trust: &Trust) -> Result<Self, String> {
        let wrong = |_| "internal.token: must be visible ASCII characters".to_owned();
        let mut secret = HeaderValue::try_from(trust.secret().reveal()).map_err(wrong)?;
        secret.set_sensitive(true);
        let header = (HeaderName::from_static(trust::HEADER), secret);
        Self::with_headers(base, connect_timeout, HeaderMap::from_iter([header]))
    }

    fn with_headers(base: &str, connect_timeout: Option<Duration>, headers: HeaderMap) -> Result<Self, String> {
        let mut builder = reqwest::Client::builder()
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(32)
            .tcp_nodelay(true)
            .no_proxy()
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(timeout) = connect_timeout {
            builder = builder.connect_timeout(timeout);
        }
        let pool = builder.build().map_err(|error| error.to_string())?;
        let url = Url::parse(base).map_err(|error| format!("{base:?} is not a URL: {error}"))?;
        // With TLS the host name must stay in the URL, because the certificate is issued for it.
        let replicas = (url.scheme() == "http").then(|| Replicas::new(&url)).flatten();
        Ok(Self::Http { pool, base: url.into(), replicas })
    }

    /// The destination of requests to `dependency` over this transport.
    pub(super) fn peer(&self, dependency: &str) -> Peer {
        let name = dependency.to_owned();
        match self {
            Self::Http { base, .. } => {
                let address = base.host_str().unwrap_or(dependency).to_owned();
                let port = base.port_or_known_default();
                Peer { name, address, port, base: base.as_str().trim_end_matches('/').to_owned() }
            }
            Self::InProcess(_) => {
                Peer { name, address: dependency.to_owned(), port: None, base: format!("http://{dependency}") }
            }
        }
    }

    /// The turn of a call among the instances, from which its retries and hedges count on.
    pub(super) fn turn(&self) -> usize {
        match self {
            Self::Http { replicas: Some(replicas), .. } => replicas.turn(),
            _ => 0,
        }
    }

    /// Whether there is a single instance.
    pub(crate) fn is_single(&self) -> bool {
        !matches!(self, Self::Http { replicas: Some(_), .. })
    }

    /// Sends a request once and reads the whole response.
    pub async fn send(&self, request: &Request, headers: http::HeaderMap) -> Result<Reply, TransportError> {
        self.send_to(self.turn(), request, headers).await
    }

    /// Like [`send`](Self::send), to the instance for this turn.
    pub(super) async fn send_to(
        &self,
        turn: usize,
        request: &Request,
        headers: http::HeaderMap,
    ) -> Result<Reply, TransportError> {
        match self {
            Self::Http { pool, base, replicas: None } => send_http(pool, base, request, headers).await,
            Self::Http { pool, replicas: Some(replicas), .. } => {
                let refused = |error: std::io::Error| TransportError::Connect(error.to_string());
                let instance = replicas.instance(turn).await.map_err(refused)?;
                let mut headers = headers;
                headers.insert(http::header::HOST, replicas.header());
                let sent = send_http(pool, &instance.base, request, headers).await;
                if let Err(TransportError::Connect(_)) = sent {
                    replicas.refused(instance.address);
                }
                sent
            }
            Self::InProcess(router) => match router.get() {
                Some(router) => send_in_process(router.clone(), request, headers).await,
                None => Err(TransportError::Connect("the service has not started".to_owned())),
            },
        }
    }
}

/// The URL of `path`, which may have a query, below `base`.
fn below(base: &Url, path: &str) -> Url {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut url = base.clone();
    match base.path().trim_end_matches('/') {
        "" => url.set_path(path),
        prefix => url.set_path(&format!("{prefix}{path}")),
    }
    url.set_query(query);
    url
}

async fn send_http(
    pool: &reqwest::Client,
    base: &Url,
    request: &Request,
    headers: http::HeaderMap,
) -> Result<Reply, TransportError> {
    let mut response = pool
        .request(request.method.clone(), below(base, &request.path))
        .headers(headers)
        .body(request.body.clone())
        .send()
        .await
        .map_err(|error| classify(&error))?;
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| classify(&error))? {
        if body.len() + chunk.len() > LARGEST_REPLY {
            return Err(TransportError::Malformed(format!("longer than {LARGEST_REPLY} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply { status, headers, body: body.into() })
}

async fn send_in_process(router: Router, request: &Request, headers: http::HeaderMap) -> Result<Reply, TransportError> {
    let mut http = http::Request::builder()
        .method(request.method.clone())
        .uri(&request.path)
        .body(Body::from(request.body.clone()))
        .map_err(|error| TransportError::Malformed(error.to_string()))?;
    *http.headers_mut() = headers;
    let response = match router.oneshot(http).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    match response.extensions().get::<Severed>() {
        Some(Severed::Refused) => return Err(TransportError::Connect("connection refused".to_owned())),
        Some(Severed::Reset) => return Err(TransportError::Reset("connection reset".to_owned())),
        None => {}
    }
    let (parts, body) = response.into_parts();
    let body: Bytes = match Limited::new(body, LARGEST_REPLY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(TransportError::Malformed(format!("longer than {LARGEST_REPLY} bytes")));
        }
        Err(error) => return Err(TransportError::Reset(error.to_string())),
    };
    Ok(Reply { status: parts.status, headers: parts.headers, body })
}

fn classify(error: &reqwest::Error) -> TransportError {
    // reqwest's message repeats the URL; the innermost cause is the useful part.
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let text = cause.to_string();
    if error.is_connect() {
        TransportError::Connect(text)
    } else if error.is_decode() || error.is_builder() {
        TransportError::Malformed(text)
    } else {
        TransportError::Reset(text)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use futures_util::future::BoxFuture;

    use super::*;

    #[test]
    fn a_path_is_appended_to_the_base_as_text_would_be() {
        for base in ["http://catalog:8082", "http://catalog:8082/", "http://reader:s3cret@[::1]/v1/", "https://c/a%20b"]
        {
            for path in ["/", "/films/7", "//films", "/films?limit=5&after=a%2Fb", "/f ilm/한?q=한 &x", "/a/../b", "/?"]
            {
                let text = format!("{}{path}", base.trim_end_matches('/'));
                assert_eq!(below(&base.parse().unwrap(), path), text.parse().unwrap(), "{text}");
            }
        }
    }

    /// Listens on one port of two loopback addresses; each answers with its own address.
    async fn two() -> u16 {
        let first = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        let second = tokio::net::TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        for (listener, name) in [(first, "first"), (second, "second")] {
            let router = Router::new().route("/", get(move || async move { name }));
            tokio::spawn(async { axum::serve(listener, router).await });
        }
        port
    }

    fn both(_: String, port: u16) -> BoxFuture<'static, std::io::Result<Vec<std::net::SocketAddr>>> {
        Box::pin(async move { Ok([[127, 0, 0, 1], [127, 0, 0, 2]].map(|ip| (ip, port).into()).to_vec()) })
    }

    #[tokio::test]
    async fn a_hedge_goes_to_another_instance() {
        let port = two().await;
        let url = format!("http://catalog:{port}");
        let Transport::Http { pool, base, .. } = Transport::http(&url, None).unwrap() else { unreachable!() };
        let replicas = Replicas::by(&url.parse().unwrap(), both);
        let transport = Transport::Http { pool, base, replicas };
        let mut answers = Vec::new();
        for _ in 0..2 {
            let turn = transport.turn();
            for place in [turn, turn + 1] {
                let reply = transport.send_to(place, &Request::get("/"), HeaderMap::new()).await.unwrap();
                answers.push(String::from_utf8(reply.body.to_vec()).unwrap());
            }
        }
        assert_eq!(answers, ["first", "second", "second", "first"]);
    }

    /// If the connection was never established, the request was certainly not sent.
    #[tokio::test]
    async fn an_unanswered_connect_is_a_connect_error() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        // Fills the backlog, from which nothing is accepted: further connection attempts get no answer.
        let patience = Duration::from_millis(100);
        let mut queued = Vec::new();
        while let Ok(Ok(stream)) = tokio::time::timeout(patience, tokio::net::TcpStream::connect(address)).await {
            queued.push(stream);
        }
        let transport = Transport::http(&format!("http://{address}"), Some(Duration::from_millis(50))).unwrap();
        let sent = transport.send(&Request::get("/"), HeaderMap::new()).await;
        assert!(matches!(sent, Err(TransportError::Connect(_))), "{:?}", sent.err());
    }
}
