//! What each port accepts from whom.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use serde_json::Value;

use crate::process::{Process, breakerbox};
use crate::raw::{ask, send};

const SECRET: &str = "a secret that services share";

/// A port that is free at this moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Addresses that the process listens on, from the kernel's tables.
fn listening(pid: u32) -> Vec<SocketAddr> {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| Some(std::fs::read_link(entry.ok()?.path()).ok()?.to_string_lossy().into_owned()))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let own = rows.filter(|row| row[3] == "0A" && sockets.iter().any(|inode| inode == row[9]));
    own.map(|row| {
        let (address, port) = row[1].split_once(':').unwrap();
        let address = Ipv4Addr::from(u32::from_str_radix(address, 16).unwrap().swap_bytes());
        SocketAddr::new(IpAddr::V4(address), u16::from_str_radix(port, 16).unwrap())
    })
    .collect()
}

#[test]
fn the_host_setting_exposes_only_the_gateways() {
    let process = Process::start(&["--no-scenario", "--no-traffic"], &[("BREAKERBOX_HOST", "0.0.0.0")]);
    let open = listening(process.pid()).into_iter().filter(|address| !address.ip().is_loopback()).count();
    assert_eq!(open, 2, "{:?}", listening(process.pid()));
    assert_eq!(process.get_site("/api/movies")["source"], "live");
}

#[test]
fn internal_ports_need_a_secret_beyond_this_machine() {
    let done = breakerbox(&["serve", "user"], &[("BREAKERBOX_INTERNAL__HOST", "0.0.0.0")]);
    assert_eq!(done.code, 2);
    assert!(
        done.stderr.contains("internal.host") && done.stderr.contains("BREAKERBOX_INTERNAL__TOKEN"),
        "{}",
        done.stderr
    );
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
}

#[test]
fn with_a_shared_secret_only_peers_are_served() {
    let port = free_port();
    let (port_text, url) = (port.to_string(), format!("http://127.0.0.1:{port}"));
    let secret = ("BREAKERBOX_INTERNAL__TOKEN", SECRET);
    let user = Process::start(
        &["serve", "user"],
        &[secret, ("BREAKERBOX_INTERNAL__HOST", "0.0.0.0"), ("BREAKERBOX_SERVICES__USER__PORT", &port_text)],
    );
    let address = format!("127.0.0.1:{port}");
    let write = |headers: &[&str]| {
        let answer = ask(&address, "POST /users/7/history", headers, r#"{"film_id": 1}"#).unwrap();
        (answer.status, answer.body)
    };
    let (status, body) = write(&[]);
    assert_eq!(status, 401, "{body}");
    assert!(!body.contains(SECRET) && !user.logs().contains(SECRET));
    assert_eq!(write(&["X-Internal-Token: guessed"]).0, 401);
    assert_eq!(write(&[&format!("X-Internal-Token: {SECRET}")]).0, 201);
    // A gateway with the secret is accepted; one with another secret reports an error.
    let gateway = |secret: &'static str| {
        Process::start(
            &["--no-scenario", "--no-traffic"],
            &[("BREAKERBOX_INTERNAL__TOKEN", secret), ("BREAKERBOX_SERVICES__USER__URL", &url)],
        )
    };
    let login = |process: &Process| {
        let site = process.site.trim_start_matches("http://");
        // A header sent by a viewer is not forwarded.
        let shown = format!("X-Internal-Token: {SECRET}");
        ask(site, "POST /api/login", &[&shown], r#"{"username": "viewer7", "password": "popcorn"}"#).unwrap().status
    };
    assert_eq!(login(&gateway(SECRET)), 200);
    assert_eq!(login(&gateway("another secret, as long")), 401);
}

#[test]
fn viewers_cannot_switch_protection_off() {
    let process = Process::start(&["--no-scenario", "--no-traffic"], &[]);
    let admin = [("BREAKERBOX_ADMIN_URL", process.admin.as_str())];
    assert_eq!(breakerbox(&["fault", "set", "catalog", "--error-rate", "1"], &admin).code, 0);
    let site = process.site.trim_start_matches("http://");
    let answer = ask(site, "GET /api/movies", &["x-protection: off", "x-deadline-ms: 1"], "").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn the_admin_port_knows_its_own_names_with_and_without_a_token() {
    for token in ["", "s3cret"] {
        let variables = if token.is_empty() { vec![] } else { vec![("BREAKERBOX_ADMIN_TOKEN", token)] };
        let process = Process::start(&["serve", "notification"], &variables);
        let address = process.admin_address();
        let bearer = format!("Authorization: bearer {token}\r\n");
        let status = |line: &str, host: &str, origin: &str| {
            let origin = if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
            let request = format!("{line} HTTP/1.1\r\n{host}{origin}{bearer}Connection: close\r\n\r\n");
            send(address, request.as_bytes()).unwrap().status
        };
        let host = |name: &str| format!("Host: {name}\r\n");
        let own = format!("http://{address}");
        for line in ["GET /breakers", "GET /metrics", "GET /console", "DELETE /faults"] {
            assert_eq!(status(line, &host(address), ""), 200, "{line}");
            assert_eq!(status(line, &host(address), &own), 200, "{line}");
            assert_eq!(status(line, &host("evil.example"), "http://evil.example"), 421, "{line}");
            assert_eq!(status(line, &host("evil.example"), ""), 421, "{line}");
            assert_eq!(status(line, &host(address), "http://evil.example"), 403, "{line}");
            assert_eq!(status(line, "", ""), 400, "{line} without a host");
            assert_eq!(status(line, &(host(address) + &host(address)), ""), 400, "{line} with two");
        }
    }
}

#[test]
fn a_path_to_a_peer_stays_what_it_is() {
    let port = free_port();
    let peer =
        Process::start(&["serve", "notification"], &[("BREAKERBOX_ADMIN__LISTEN", &format!("127.0.0.1:{port}"))]);
    let url = format!("http://127.0.0.1:{port}");
    let process = Process::start(
        &["serve", "ml-api"],
        &[("BREAKERBOX_ADMIN__PEERS__NOTIFICATION", &url), ("BREAKERBOX_ADMIN__PEERS__TRAFFIC", &url)],
    );
    let address = process.admin_address();
    let set =
        |target: &str| ask(address, &format!("PUT /faults/{target}"), &[], r#"{"error_rate": 1}"#).unwrap().status;
    assert_eq!(set("notification"), 200);
    let faults = peer.get("/faults");
    assert!(
        faults["targets"].as_array().unwrap().iter().any(|target| !target["active"].as_array().unwrap().is_empty())
    );
    for foreign in ["..%2F..%2Ffaults", "%2e%2e", "notification%2F..", "notification%3Fbaseline=true", "%00"] {
        assert_eq!(set(foreign), 404, "{foreign}");
    }
    assert_eq!(ask(address, "POST /scenario/%2e%2e", &[], "").unwrap().status, 404);
    assert_eq!(
        ask(address, "PATCH /breakers/notification/..%2Ffaults", &[], r#"{"state": "reset"}"#).unwrap().status,
        404
    );
}

#[test]
fn errors_are_problems_and_every_answer_says_how_it_is_read() {
    let process = Process::start(&["--no-scenario", "--no-traffic"], &[]);
    let site = process.site.trim_start_matches("http://");
    let admin = process.admin_address();
    for (address, line, headers, body, status) in [
        (site, "DELETE /api/home", &[][..], "", 405),
        (site, "GET /api/movies/%FF", &[], "", 400),
        (site, "GET /nowhere", &[], "", 404),
        (site, "GET /api/movies?page=%FF", &[], "", 400),
        (admin, "DELETE /metrics", &[], "", 405),
        (admin, "PUT /faults/%FF", &[], r#"{"error_rate": 1}"#, 400),
        (admin, "POST /queue/replay", &[], "{}", 400),
        (admin, "POST /alerts/webhook", &[], r#"{"alerts": [{"status": "perhaps"}]}"#, 400),
    ] {
        let answer = ask(address, line, headers, body).unwrap();
        assert_eq!(answer.status, status, "{line}: {}", answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{line}");
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(problem["status"], status, "{line}");
    }
    let plain = "POST /api/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(send(site, plain.as_bytes()).unwrap().status, 415);
    for (address, path) in
        [(site, "/api/home"), (admin, "/metrics"), (admin, "/console"), (admin, "/runbook"), (admin, "/")]
    {
        let answer = ask(address, &format!("GET {path}"), &[], "").unwrap();
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"), "{path}: {}", answer.head);
    }
}
