//! A TCP listener whose connections can be severed from inside a handler.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// A handler's hold on the connection its request came by.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    severed: Arc<AtomicBool>,
}

impl Connection {
    /// Breaks the connection: nothing more is sent, and the peer sees a TCP RST.
    pub fn sever(&self) {
        self.severed.store(true, Ordering::Release);
    }

    fn check(&self) -> io::Result<()> {
        if self.severed.load(Ordering::Acquire) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl Connected<IncomingStream<'_, FaultListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, FaultListener>) -> Self {
        stream.io().connection.clone()
    }
}

/// The listener.
pub struct FaultListener {
    listener: TcpListener,
}

impl FaultListener {
    /// Wraps a listener.
    #[must_use]
    pub fn new(listener: TcpListener) -> Self {
        Self { listener }
    }
}

impl Listener for FaultListener {
    type Io = SeverableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (SeverableStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Answers are small and wanted at once. Where it can't be set they still arrive.
                    let _ = stream.set_nodelay(true);
                    return (SeverableStream { stream, connection: Connection::default() }, address);
                }
                Err(error) => {
                    // Out of file descriptors, or a peer that left before it was greeted: neither is
                    // a reason to stop listening, the first is one to pause.
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that breaks when it is told to.
pub struct SeverableStream {
    stream: TcpStream,
    connection: Connection,
}

impl Drop for SeverableStream {
    fn drop(&mut self) {
        if self.connection.severed.load(Ordering::Acquire) {
            // Closing with unsent data thrown away is what makes a FIN a RST.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for SeverableStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for SeverableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axum::extract::ConnectInfo;
    use axum::routing::get;
    use axum::{Router, middleware};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;
    use crate::faults::{FaultPlan, Faults, OnInjected, inject};

    /// A service on a real socket, and its faults.
    async fn service(plan: &str) -> (SocketAddr, Faults) {
        let on_injected: Arc<OnInjected> = Arc::new(|_, _| {});
        let plan = serde_json::from_str(plan).unwrap();
        let faults = Faults::new(BTreeMap::from([("t".to_owned(), plan)]), 1, &on_injected);
        let layer = middleware::from_fn_with_state(faults.target("t").unwrap(), inject);
        let app = Router::new().route("/", get(|| async { "0123456789" })).layer(layer);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = app.into_make_service_with_connect_info::<Connection>();
        tokio::spawn(async move { axum::serve(FaultListener::new(listener), app).await });
        (address, faults)
    }

    /// Everything the service sends until the connection ends, and how it ended.
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
    async fn a_crash_resets_whoever_waits_for_an_answer() {
        let (address, faults) = service(r#"{"hang_rate": 1}"#).await;
        let waiting = tokio::spawn(ask(address));
        // The request may come before or after the crash: both are cut off.
        faults.set("t", FaultPlan { crash: true, ..FaultPlan::default() }).unwrap();
        let (answer, end) = waiting.await.unwrap();
        assert_eq!((answer.as_str(), end.unwrap_err().kind()), ("", io::ErrorKind::ConnectionReset));
    }

    #[tokio::test]
    async fn a_slow_body_trickles_and_arrives_whole() {
        let (address, _) = service(r#"{"slow_body": {"bytes_per_second": 50}}"#).await;
        let before = Instant::now();
        let (answer, end) = ask(address).await;
        assert!(end.is_ok() && answer.ends_with("\r\n\r\n0123456789"), "{answer}");
        assert!(before.elapsed() >= Duration::from_millis(200), "{:?}", before.elapsed());
    }

    #[tokio::test]
    async fn a_severed_connection_ends_in_a_reset_not_in_an_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route(
            "/",
            get(|ConnectInfo(connection): ConnectInfo<Connection>| async move {
                connection.sever();
                "never sent"
            }),
        );
        let app = router.into_make_service_with_connect_info::<Connection>();
        tokio::spawn(async move { axum::serve(FaultListener::new(listener), app).await });

        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let error = stream.read_to_end(&mut answer).await.unwrap_err();
        assert_eq!((error.kind(), answer), (io::ErrorKind::ConnectionReset, vec![]));
    }
}
