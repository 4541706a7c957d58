//! Requests that checkout refuses before it accepts an order.

use super::*;

#[test]
fn a_key_is_required_and_bounded() {
    let with = |key: Option<&str>| {
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            headers.insert("idempotency-key", key.parse().unwrap());
        }
        idempotency_key(&headers).map(str::to_owned).map_err(|problem| problem.detail().to_owned())
    };
    assert_eq!(with(Some("a-key")), Ok("a-key".to_owned()));
    let long = "k".repeat(129);
    for wrong in [None, Some(""), Some("two words"), Some(long.as_str())] {
        assert!(with(wrong).unwrap_err().starts_with("Idempotency-Key: must have 1 to 128"), "{wrong:?}");
    }
}
