//! Listeners, and the tasks that serve them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::client::Client;
use crate::faults::TargetFaults;
use crate::ingress::{self, Port};
use crate::services::ServiceName;
use crate::settings::Blueprint;

/// How often transitions that are due by time alone are performed.
const TICK: Duration = Duration::from_secs(1);

/// Size of the kernel's buffers of a connection in either direction, of which it allocates twice as much. Each must
/// be small, since clients that do not read are limited by their number only.
const KERNEL_BUFFER: usize = 32 * 1024;

/// A bound port, with the router to serve on it.
pub(super) struct Bound {
    listener: TcpListener,
    /// Its address.
    pub(super) address: SocketAddr,
}

/// Binds the ports of `which` services.
pub(super) async fn bind(blueprint: &Blueprint, which: &[ServiceName]) -> Result<BTreeMap<ServiceName, Bound>, String> {
    let mut bound = BTreeMap::new();
    for service in which {
        let settings = blueprint.services.get(service).ok_or_else(|| format!("services.{service}: is missing"))?;
        let name = format!("services.{service}.port");
        bound.insert(*service, bind_one(SocketAddr::new(blueprint.host_of(*service), settings.port), &name).await?);
    }
    Ok(bound)
}

/// Binds one port; `setting` is named in the error.
pub(super) async fn bind_one(address: SocketAddr, setting: &str) -> Result<Bound, String> {
    let listener = listen(address).await.map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => "is in use".to_owned(),
            _ => error.to_string(),
        };
        let variable = setting.to_uppercase().replace('-', "_").replace('.', "__");
        format!("{setting}: {address} {why}; set BREAKERBOX_{variable} to another")
    })?;
    let address = listener.local_addr().map_err(|error| format!("{setting}: {error}"))?;
    Ok(Bound { listener, address })
}

async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    // Accepted connections inherit these sizes. If they can't be set, the buffers are larger.
    let socket = SockRef::from(&listener);
    let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    Ok(listener)
}

/// A service with its port.
pub(super) struct Served {
    pub(super) name: ServiceName,
    pub(super) port: Port,
    pub(super) router: Router,
    pub(super) faults: TargetFaults,
}

/// Serves one service. While its crash fault is active, the listener is closed and connections are refused.
pub(super) async fn serve(served: Served, bound: Bound, mut stopped: watch::Receiver<bool>) {
    let Served { name: service, port, router, faults } = served;
    let Bound { listener, address } = bound;
    let mut listener = Some(listener);
    loop {
        if let Some(listener) = listener.take() {
            tokio::select! {
                biased;
                () = faults.crashed() => tracing::warn!(%service, "crashed"),
                () = ingress::serve(port.clone(), listener, router.clone(), stopped.clone()) => return,
            }
        }
        tokio::select! {
            () = faults.recovered() => {}
            () = on(stopped.clone()) => return,
        }
        match listen(address).await {
            Ok(again) => {
                tracing::info!(%service, "restarted");
                listener = Some(again);
            }
            Err(error) => {
                tracing::error!(%service, %address, %error, "listening again failed; retrying every second");
                if tokio::time::timeout(TICK, stopped.changed()).await.is_ok() {
                    return;
                }
            }
        }
    }
}

pub(super) async fn serve_admin(port: Port, router: Router, bound: Bound, stopped: watch::Receiver<bool>) {
    // Event streams never end by themselves and must not delay the shutdown.
    let stopping = stopped.clone();
    tokio::select! {
        () = ingress::serve(port, bound.listener, router, stopped) => {}
        () = async { on(stopping).await; tokio::time::sleep(Duration::from_millis(200)).await } => {}
    }
}

pub(super) async fn tick(clients: Vec<Client>, stopped: watch::Receiver<bool>) {
    let mut every = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            _ = every.tick() => clients.iter().for_each(Client::tick),
            () = on(stopped.clone()) => return,
        }
    }
}

/// Completes when `stopped` becomes true, or its sender is dropped.
pub(super) async fn on(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Completes at Ctrl-C, SIGTERM, or when the terminal is closed.
pub async fn interrupted() {
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = received("SIGTERM", SignalKind::terminate()) => {}
        // A process started with `nohup` is meant to outlive its terminal.
        () = received("SIGHUP", SignalKind::hangup()), if !hangup_is_ignored() => {}
    }
}

/// Completes on a signal; never if the handler cannot be installed.
async fn received(name: &'static str, kind: SignalKind) {
    match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(error) => {
            tracing::warn!(%error, kind = name, "signal handler could not be installed");
            std::future::pending::<()>().await;
        }
    }
}

/// Whether SIGHUP was ignored when the process started; only known on Linux.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// The loopback address for `address` on this machine.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], address.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], address.port())),
        _ => address,
    }
}
