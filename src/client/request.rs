//! A call's request and reply, independent of the transport.

use axum::body::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::TransportError;

/// A request to a dependency. Kept in memory, so that an attempt can be repeated.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    repeatable: bool,
}

impl Request {
    /// `GET` of a path such as `/films/7`.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path.into())
    }

    /// `POST` to a path.
    #[must_use]
    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path.into())
    }

    /// `DELETE` of a path.
    #[must_use]
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path.into())
    }

    fn new(method: Method, path: String) -> Self {
        Self { method, path, headers: HeaderMap::new(), body: Bytes::new(), repeatable: false }
    }

    /// Adds form-encoded query parameters.
    #[must_use]
    pub fn query(mut self, pairs: &[(&str, &str)]) -> Self {
        let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(&encoded);
        self
    }

    /// Adds a header. Invalid names and values are ignored.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json<T: Serialize>(mut self, body: &T) -> Self {
        self.body = serde_json::to_vec(body).expect("wire types serialise").into();
        self.headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self
    }

    /// Marks the request as idempotent, although its method is not.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Its path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Whether sending it twice has the same effect as sending it once (RFC 9110 §9.2.2), or the receiver can recognize
    /// the repetition.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.repeatable || self.method.is_idempotent() || self.headers.contains_key("idempotency-key")
    }
}

/// A complete response of a dependency.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, TransportError> {
        serde_json::from_slice(&self.body).map_err(|error| TransportError::Malformed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_encoded() {
        let request = Request::get("/films").query(&[("q", "a b&c=é"), ("page", "2")]);
        assert_eq!(request.path, "/films?q=a+b%26c%3D%C3%A9&page=2");
    }

    #[test]
    fn a_post_is_repeatable_only_with_an_idempotency_key() {
        assert!(Request::get("/x").is_idempotent());
        assert!(!Request::post("/x").is_idempotent());
        assert!(Request::post("/x").header("Idempotency-Key", "k").is_idempotent());
    }
}
