//! The runbook on the admin port: alerts link to its sections.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::response::{Html, IntoResponse};
use http::header;
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

const SOURCE: &str = include_str!("../../alerts/runbook.md");
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;\
    color-scheme:light dark}pre{overflow-x:auto;padding:.75rem;border:1px solid #8885}:target{outline:2px solid #f5a623;\
    outline-offset:.3rem}";

static PAGE: LazyLock<String> = LazyLock::new(|| {
    let mut page = String::new();
    // Writing into a String can't fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Breakerbox runbook</title><style>{STYLE}</style><body>"
    );
    html::push_html(&mut page, with_anchors(SOURCE).into_iter());
    page
});

/// `GET /runbook`.
pub(super) async fn runbook() -> impl IntoResponse {
    // The page has an inline style, and loads nothing.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(PAGE.as_str()))
}

/// Each heading gets its text in lower case as its id, so that the name of an alert is a link target.
fn with_anchors(source: &str) -> Vec<Event<'_>> {
    let mut events: Vec<Event<'_>> = Parser::new_ext(source, Options::ENABLE_TABLES).collect();
    let mut start = None;
    for index in 0..events.len() {
        match &events[index] {
            Event::Start(Tag::Heading { .. }) => start = Some(index),
            Event::Text(text) => {
                let anchor = text.to_lowercase().replace(' ', "-");
                if let Some(Event::Start(Tag::Heading { id, .. })) = start.and_then(|at| events.get_mut(at)) {
                    *id = Some(CowStr::from(anchor));
                }
                start = None;
            }
            Event::End(TagEnd::Heading(_)) => start = None,
            _ => {}
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_s_link_finds_its_section() {
        assert!(PAGE.contains("<h3 id=\"circuitbreakeropen\">CircuitBreakerOpen</h3>"), "{}", &PAGE[..2000]);
    }
}
