//! Accepts connections and serves each within its limits.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::activity::Activity;
use super::roster::{Place, Roster};
use super::{Limits, answer};
use crate::faults::{Connection, SeverableStream};
use crate::web::problem::BodyTooSlow;
use breakerbox_telemetry::{ConnectionTelemetry, Dropped};

/// Maximum time between two checks of a connection's deadline, which moves while it is served.
const LOOK: Duration = Duration::from_secs(1);
/// Pause after a failure to accept, so that the system's shortage is not made worse.
const PAUSE: Duration = Duration::from_millis(100);
/// Failures to accept are logged at most once in this time.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// A port to be served.
#[derive(Clone)]
pub struct Port {
    /// Name of its service, for the log.
    pub name: &'static str,
    /// Its limits.
    pub limits: Limits,
    /// Its counters.
    pub telemetry: ConnectionTelemetry,
}

/// Serves connections until `stopped`, then lets requests in flight finish. If dropped earlier, it resets every
/// connection, like a crash of the process.
pub async fn serve(port: Port, listener: TcpListener, router: Router, stopped: watch::Receiver<bool>) {
    let roster = Roster::new(port.limits.connections);
    let mut connections = Connections { tasks: JoinSet::new(), roster: Arc::clone(&roster) };
    let stop = on(stopped.clone());
    tokio::pin!(stop);
    let mut failures = Failures::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.tasks.join_next() => {
                port.telemetry.open(roster.len());
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                take(&port, &mut connections, stream, client, &router, &stopped);
                port.telemetry.open(roster.len());
            }
            Err(error) => {
                port.telemetry.dropped(Dropped::NotAccepted);
                failures.log(port.name, &error, Instant::now());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.tasks.join_next().await.is_some() {}
}

/// The connections of a port.
struct Connections {
    tasks: JoinSet<()>,
    roster: Arc<Roster>,
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.roster.sever();
    }
}

/// Failures to accept, of which one per second is logged.
#[derive(Default)]
struct Failures {
    last: Option<Instant>,
    unsaid: u64,
}

impl Failures {
    fn log(&mut self, port: &'static str, error: &io::Error, now: Instant) {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < LOG_EVERY) {
            self.unsaid += 1;
            return;
        }
        tracing::warn!(port, %error, unsaid = self.unsaid, "connections not accepted");
        *self = Self { last: Some(now), unsaid: 0 };
    }
}

fn take(
    port: &Port,
    connections: &mut Connections,
    stream: TcpStream,
    client: SocketAddr,
    router: &Router,
    stopped: &watch::Receiver<bool>,
) {
    let now = Instant::now();
    let activity = Arc::new(Activity::new(now));
    let connection = Connection::default();
    let full = connections.roster.len() >= port.limits.connections;
    let Some(place) = connections.roster.admit(client.ip(), &activity, &connection, now) else {
        port.telemetry.dropped(Dropped::Full);
        // Best effort: a client that cannot receive it immediately gets no response.
        let _ = stream.try_write(answer::full());
        return;
    };
    if full {
        port.telemetry.dropped(Dropped::Displaced);
    }
    // Responses are small and must not be delayed. This is only an optimization, so errors are ignored.
    let _ = stream.set_nodelay(true);
    let io = Watched { stream: SeverableStream::new(stream, connection.clone()), activity: Arc::clone(&activity) };
    let served = Served { router: router.clone(), connection, client, activity, body_timeout: port.limits.body };
    connections.tasks.spawn(one(port.clone(), io, served, place, stopped.clone()));
}

/// Serves one connection until it ends.
async fn one(port: Port, io: Watched, served: Served, place: Place, stopped: watch::Receiver<bool>) {
    let activity = Arc::clone(&served.activity);
    let service = hyper::service::service_fn(move |request| served.clone().answer(request));
    let connection =
        http1::Builder::new().max_buf_size(port.limits.largest_head).serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    let stop = on(stopped);
    tokio::pin!(stop);
    let mut stopping = false;
    loop {
        let deadline = activity.deadline(&port.limits).map(|(at, _)| at);
        let look = Instant::now() + LOOK;
        let look = deadline.map_or(look, |at| at.min(look));
        tokio::select! {
            biased;
            // A client that disconnects is no error.
            _ = &mut connection => break,
            () = place.displaced.notified() => break,
            () = &mut stop, if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep_until(look.into()) => {
                let over = activity.deadline(&port.limits).filter(|(at, _)| *at <= Instant::now());
                if let Some((_, why)) = over {
                    if let Some(why) = why {
                        port.telemetry.dropped(why);
                    }
                    break;
                }
            }
        }
    }
}

/// Answers a connection's requests.
#[derive(Clone)]
struct Served {
    router: Router,
    connection: Connection,
    client: SocketAddr,
    activity: Arc<Activity>,
    body_timeout: Duration,
}

impl Served {
    async fn answer(self, request: hyper::Request<Incoming>) -> Result<Response, Infallible> {
        let Self { router, connection, client, activity, body_timeout } = self;
        let (parts, body) = request.into_parts();
        activity.head_done(!body.is_end_stream(), Instant::now());
        let response = match answer::check(&parts.headers) {
            Err(problem) => problem.into_response(),
            Ok(()) => {
                let late = Box::pin(tokio::time::sleep(body_timeout));
                let body = answer::body(Timed { inner: body, late, activity: Arc::clone(&activity) });
                let mut request = Request::from_parts(parts, body);
                request.extensions_mut().insert(ConnectInfo(connection));
                request.extensions_mut().insert(ConnectInfo(client));
                match router.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
        };
        let (parts, body) = answer::complete(response).into_parts();
        Ok(Response::from_parts(parts, answer::body(Answer { inner: body, activity })))
    }
}

/// A request body with a time limit.
struct Timed {
    inner: Incoming,
    late: Pin<Box<tokio::time::Sleep>>,
    activity: Arc<Activity>,
}

impl Body for Timed {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(frame)) => Poll::Ready(Some(frame.map_err(Into::into))),
            Poll::Pending => match self.late.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(BodyTooSlow.into()))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.activity.body_done(Instant::now());
    }
}

/// A response body that records its end.
struct Answer {
    inner: axum::body::Body,
    activity: Arc<Activity>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.activity.answered(Instant::now());
    }
}

/// A stream that records reads and writes.
struct Watched {
    stream: SeverableStream,
    activity: Arc<Activity>,
}

impl Watched {
    fn noted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(_) => self.activity.written(true, Instant::now()),
            Poll::Pending => self.activity.written(false, Instant::now()),
        }
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.read(Instant::now());
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.noted(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Completes when `stopped` becomes true, or its sender is dropped.
async fn on(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use axum::extract::ConnectInfo;
    use axum::routing::get;
    use axum::{Router, middleware};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::faults::{FaultPlan, Faults, OnInjected, inject};
    use crate::ingress::ConnectionSettings;
    use breakerbox_telemetry::Metrics;

    fn port() -> Port {
        let telemetry = ConnectionTelemetry::new(&Metrics::new(&[]), "t", 8);
        Port { name: "t", limits: ConnectionSettings::default().limits(8), telemetry }
    }

    /// The sender is leaked, because dropping it would stop the server.
    fn never() -> watch::Receiver<bool> {
        let (sender, receiver) = watch::channel(false);
        std::mem::forget(sender);
        receiver
    }

    /// A service on a real socket, and its faults.
    async fn service(plan: &str) -> (SocketAddr, Faults) {
        let on_injected: Arc<OnInjected> = Arc::new(|_, _| {});
        let plan = serde_json::from_str(plan).unwrap();
        let faults = Faults::new(BTreeMap::from([("t".to_owned(), plan)]), 1, &on_injected);
        let layer = middleware::from_fn_with_state(faults.target("t").unwrap(), inject);
        let app = Router::new().route("/", get(|| async { "0123456789" })).layer(layer);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(port(), listener, app, never()));
        (address, faults)
    }

    /// Everything that the service sends until the connection ends, and how it ended.
    async fn ask(address: SocketAddr) -> (String, io::Result<usize>) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer).await;
        (String::from_utf8(answer).unwrap(), end)
    }

    #[tokio::test]
    async fn a_reset_fault_reaches_the_caller_as_one() {
        let (address, _) = service(r#"{"reset_rate": 1}"#).await;
        let (answer, end) = ask(address).await;
        assert_eq!((answer.as_str(), end.unwrap_err().kind()), ("", io::ErrorKind::ConnectionReset));
    }

    #[tokio::test]
    async fn a_crash_resets_connections_that_wait() {
        let (address, faults) = service(r#"{"hang_rate": 1}"#).await;
        let waiting = tokio::spawn(ask(address));
        // The request may arrive before or after the crash: both are cut off.
        faults.set("t", FaultPlan { crash: true, ..FaultPlan::default() }).unwrap();
        let (answer, end) = waiting.await.unwrap();
        assert_eq!((answer.as_str(), end.unwrap_err().kind()), ("", io::ErrorKind::ConnectionReset));
    }

    #[tokio::test]
    async fn a_slow_body_trickles_and_arrives_whole() {
        let (address, _) = service(r#"{"slow_body": {"bytes_per_second": 50}}"#).await;
        let before = std::time::Instant::now();
        let (answer, end) = ask(address).await;
        assert!(end.is_ok() && answer.ends_with("\r\n\r\n0123456789"), "{answer}");
        assert!(before.elapsed() >= Duration::from_millis(200), "{:?}", before.elapsed());
    }

    #[tokio::test]
    async fn a_severed_connection_ends_with_rst_not_fin() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route(
            "/",
            get(|ConnectInfo(connection): ConnectInfo<Connection>| async move {
                connection.sever();
                "never sent"
            }),
        );
        tokio::spawn(serve(port(), listener, router, never()));

        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let error = stream.read_to_end(&mut answer).await.unwrap_err();
        assert_eq!((error.kind(), answer), (io::ErrorKind::ConnectionReset, vec![]));
    }
}
