//! Requests as raw bytes, and the memory of a process.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Time limit for a response.
const PATIENCE: Duration = Duration::from_secs(10);

/// A response as received.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// A header's value; empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        let values = self.head.lines().filter_map(|line| line.split_once(':'));
        values.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next().unwrap_or("")
    }
}

/// Sends these bytes and reads until the connection closes.
pub fn send(address: &str, request: &[u8]) -> Option<Answer> {
    let mut stream = connect(address)?;
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    // A reset after the response does not lose what was read.
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

pub fn connect(address: &str) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&address.parse().unwrap(), PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    Some(stream)
}

/// Sends a request with this request line and these header lines besides `Host` and `Connection`.
pub fn ask(address: &str, line: &str, headers: &[&str], body: &str) -> Option<Answer> {
    let mut lines = vec![format!("{line} HTTP/1.1"), format!("Host: {address}"), "Connection: close".to_owned()];
    lines.extend(headers.iter().map(|header| (*header).to_owned()));
    if !body.is_empty() {
        lines.extend(["Content-Type: application/json".to_owned(), format!("Content-Length: {}", body.len())]);
    }
    send(address, format!("{}\r\n\r\n{body}", lines.join("\r\n")).as_bytes())
}

/// The response time of a page; `None` if there is no response.
pub fn time(address: &str, path: &str) -> Option<Duration> {
    let begun = Instant::now();
    let answer = ask(address, &format!("GET {path}"), &[], "")?;
    (answer.status == 200).then(|| begun.elapsed())
}

/// Resident memory in KiB.
pub fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
