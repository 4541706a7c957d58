//! Database URLs, displayed without their password.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize, Serializer};

use crate::web::secret::Secret;

/// A database URL. Its password is never displayed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

impl Deref for DatabaseUrl {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for DatabaseUrl {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", shown(&self.0))
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The parts of a URL: scheme, user and password as written, the rest.
fn parts(url: &str) -> Option<(&str, &str, Option<&str>, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let at = rest[..end].rfind('@')?;
    let (user, password) = match rest[..at].split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (&rest[..at], None),
    };
    Some((scheme, user, password, &rest[at + 1..]))
}

fn shown(url: &str) -> String {
    let mut shown = match parts(url) {
        Some((scheme, user, Some(_), rest)) => format!("{scheme}://{user}:***@{rest}"),
        _ => url.to_owned(),
    };
    if let Some((before, query)) = shown.split_once('?') {
        let hide = |pair: &str| match pair.split_once('=') {
            Some((key, _)) if key.to_ascii_lowercase().contains("password") => format!("{key}=***"),
            _ => pair.to_owned(),
        };
        shown = format!("{before}?{}", query.split('&').map(hide).collect::<Vec<_>>().join("&"));
    }
    shown
}

/// A PostgreSQL URL with this password, unless it has one.
pub(super) fn with_password(url: &str, password: Option<&Secret>) -> String {
    match (parts(url), password) {
        (Some((scheme, user, None, rest)), Some(password)) if scheme.starts_with("postgres") => {
            let encoded: String = form_urlencoded::byte_serialize(password.reveal().as_bytes()).collect();
            // The form encoding writes a space as a plus; a URL needs `%20`.
            format!("{scheme}://{user}:{}@{rest}", encoded.replace('+', "%20"))
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, expected) in [
            ("postgres://a:hush@db:5432/x", "postgres://a:***@db:5432/x"),
            ("postgres://a:hu@sh@db/x?b=c", "postgres://a:***@db/x?b=c"),
            ("postgres://a@db/x?password=hush&b=c", "postgres://a@db/x?password=***&b=c"),
            ("postgres://db/x@y:z", "postgres://db/x@y:z"),
            ("sqlite:///tmp/a@b:c.db", "sqlite:///tmp/a@b:c.db"),
            ("sqlite::memory:", "sqlite::memory:"),
            ("", ""),
        ] {
            assert_eq!(DatabaseUrl::from(url).to_string(), expected);
            assert_eq!(serde_json::to_value(DatabaseUrl::from(url)).unwrap(), expected);
        }
    }

    #[test]
    fn a_password_from_a_file_is_added_where_none_is() {
        let secret = Secret::new("p ß/@");
        let with = |url| with_password(url, Some(&secret));
        assert_eq!(with("postgres://a@db/x"), "postgres://a:p%20%C3%9F%2F%40@db/x");
        assert_eq!(with("postgres://a:own@db/x"), "postgres://a:own@db/x");
        assert_eq!(with("sqlite::memory:"), "sqlite::memory:");
        assert_eq!(with_password("postgres://a@db/x", None), "postgres://a@db/x");
    }
}
