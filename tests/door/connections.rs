//! Connections that stay idle or send very slowly.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::process::Process;
use crate::raw::{connect, resident, send, time};

/// More than the usual soft limit of file descriptors.
const MANY: usize = 1600;
/// More connections than the ports accept together.
const FLOOD: usize = 5000;
/// How much the process may grow, in KiB: buffers of the connections it holds, and memory that the allocator retains.
const GROWTH: u64 = 40 * 1024;
/// Time limit for every page while the connections are held.
const SOON: Duration = Duration::from_secs(1);

/// Raises this process's own limit of file descriptors.
fn more_descriptors() {
    let (_, hard) = rlimit::Resource::NOFILE.get().unwrap();
    rlimit::Resource::NOFILE.set(hard, hard).unwrap();
}

/// Opens this many connections, alternating between both ports, and sends `first` on each.
fn hold(process: &Process, many: usize, first: &[u8]) -> Vec<TcpStream> {
    let ports = [process.site.trim_start_matches("http://"), process.admin_address()];
    let mut held = Vec::new();
    more_descriptors();
    for place in 0..many {
        // A refused connection holds no resources.
        let Some(mut stream) = connect(ports[place % 2]) else { continue };
        let _ = stream.write_all(first);
        held.push(stream);
    }
    held
}

/// Each important page answers; the fastest of three tries must be in time.
fn still_serves(process: &Process, meanwhile: &str) {
    let site = process.site.trim_start_matches("http://");
    for (address, path) in
        [(site, "/api/home"), (process.admin_address(), "/metrics"), (process.admin_address(), "/healthz")]
    {
        let best = (0..3).filter_map(|_| time(address, path)).min();
        assert!(best.is_some_and(|best| best < SOON), "{path} while {meanwhile}: {best:?}");
    }
}

fn start() -> Process {
    Process::start_limited("-Sn 1024", &["--no-scenario", "--no-traffic"], &[])
}

#[test]
fn held_connections_take_nothing_down() {
    let process = start();
    still_serves(&process, "nothing else happens");
    let before = resident(process.pid());
    let wide = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Wide: {}", "a".repeat(350_000));
    let shapes: [(&str, &[u8]); 5] = [
        ("connections are silent", b""),
        ("heads have one line", b"GET /api/home HTTP/1.1\r\n"),
        ("heads lack their last line", b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n"),
        (
            "bodies are not finished",
            b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{",
        ),
        ("heads are wide and not finished", wide.as_bytes()),
    ];
    // Memory reaches a plateau after the first flood: the second adds nothing.
    let plateaus = [(); 2].map(|()| {
        for (meanwhile, first) in shapes {
            let held = hold(&process, MANY, first);
            still_serves(&process, meanwhile);
            drop(held);
        }
        resident(process.pid())
    });
    assert!(plateaus[0] < before + GROWTH, "{before} KiB grew to {} KiB", plateaus[0]);
    assert!(plateaus[1] * 10 <= plateaus[0] * 11, "a second flood took {} KiB to {} KiB", plateaus[0], plateaus[1]);
}

#[test]
fn five_thousand_connections_leave_room_for_the_others() {
    let process = start();
    still_serves(&process, "nothing else happens");
    let before = resident(process.pid());
    for first in [&b""[..], b"GET /api/home HTTP/1.1\r\n"] {
        let held = hold(&process, FLOOD, first);
        assert!(held.len() > FLOOD / 2, "only {} connections could be made", held.len());
        still_serves(&process, "five thousand connections were made");
    }
    let after = resident(process.pid());
    assert!(after < before + GROWTH, "{before} KiB grew to {after} KiB");
}

/// They send twenty requests each and never read a response.
#[test]
fn slow_readers_of_metrics_do_not_block_others() {
    let process = start();
    still_serves(&process, "nothing else happens");
    let before = resident(process.pid());
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", process.admin_address()).repeat(20);
    more_descriptors();
    let mut readers = Vec::new();
    for round in 0..6 {
        for _ in 0..100 {
            let Some(mut stream) = connect(process.admin_address()) else { continue };
            let _ = stream.write_all(request.as_bytes());
            readers.push(stream);
        }
        still_serves(&process, "metrics are not read");
        let now = resident(process.pid());
        assert!(now < before + GROWTH, "{before} KiB grew to {now} KiB with {} readers", (round + 1) * 100);
    }
    drop(readers);
    still_serves(&process, "the slow readers are gone");
}

#[test]
fn a_head_that_is_too_large_or_too_late_is_refused() {
    let process = start();
    let site = process.site.trim_start_matches("http://");
    let wide = format!("GET /api/home HTTP/1.1\r\nHost: x\r\nX-Wide: {}\r\n\r\n", "a".repeat(40_000));
    // Closing with unread bytes may cut the response off; the request is never served.
    assert!(send(site, wide.as_bytes()).is_none_or(|answer| answer.status == 431));
    let begun = std::time::Instant::now();
    let _ = send(site, b"GET /api/home HTTP/1.1\r\nHost: x\r\n");
    assert!(begun.elapsed() < Duration::from_secs(8), "an unfinished head is held for {:?}", begun.elapsed());
    let late = send(
        site,
        b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
    )
    .unwrap();
    assert_eq!(late.status, 408, "{}", late.head);
}

#[test]
fn a_hard_limit_that_is_too_low_is_logged_once() {
    let process = Process::start_limited("-n 512", &["serve", "gateway"], &[]);
    let logs = process.logs();
    let warnings: Vec<_> = logs.lines().filter(|line| line.contains("too few file descriptors")).collect();
    assert!(matches!(warnings[..], [line] if line.contains("available=512") && line.contains("ulimit -Hn ")), "{logs}");
    let enough = Process::start(&["serve", "gateway"], &[]);
    assert!(!enough.logs().contains("too few"), "{}", enough.logs());
}

/// A hundred journeys per second, in a process with the usual soft limit of descriptors.
#[test]
fn its_own_load_loses_no_connection() {
    let process = Process::start_limited("-Sn 1024", &["--no-scenario", "--rate", "100"], &[]);
    let started = std::time::Instant::now();
    crate::process::within(Duration::from_secs(30), || started.elapsed() > Duration::from_secs(8));
    let metrics = crate::raw::ask(process.admin_address(), "GET /metrics", &[], "").unwrap().body;
    let dropped = |reason: &str| {
        let lines = metrics.lines().filter(|line| line.starts_with("http_server_dropped_connections_total{"));
        let own = lines.filter(|line| line.contains(&format!("reason=\"{reason}\"")));
        own.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).collect::<Vec<_>>()
    };
    for reason in ["not_accepted", "full"] {
        assert_eq!(dropped(reason), [0; 11], "{reason}, by port, admin included");
    }
}
