//! The metrics page as Prometheus' own tools see it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::stack::{Stack, until};
use crate::tools::Tools;

pub(crate) async fn promtool_has_no_complaint(tools: &Tools, stack: &Stack) {
    let page = stack.client.get(format!("{}/metrics", stack.admin)).send().await.unwrap().text().await.unwrap();
    let mut command = Command::new(&tools.promtool);
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "promtool check metrics: {said}");
}

/// A request that belongs to a sampled trace leaves an exemplar in its bucket, and Prometheus stores it, which shows
/// that the scrape was OpenMetrics.
pub(crate) async fn an_exemplar_leads_to_its_trace(stack: &Stack) {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let is_there = || async {
        // Other requests replace the exemplar of a busy bucket, so the request is repeated.
        let page = format!("{}/api/home", stack.gateway);
        let _ = stack.client.get(page).header("traceparent", &parent).send().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let series = "http_server_request_duration_seconds_bucket";
        let path = format!("query_exemplars?query={series}&start={}&end={now}", now - 120);
        stack.ask(&path).await.to_string().contains(TRACE)
    };
    until("an exemplar of a trace", Duration::from_secs(30), is_there).await;
}
