//! Tokens: proof of a login that can be verified without a database.
//!
//! `v1.<user>.<expires>.<signature>`: the user's id, the expiry in Unix seconds, and an HMAC-SHA-256 (RFC 2104) of
//! everything before it, in base64url. The signature is verified before anything else is parsed. A token can't be
//! revoked before it expires, so its lifetime is short. `v1` allows the format to change without misreading old tokens.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize, Serializer};
use sha2::Sha256;

use breakerbox_resilience::SettingsError;

const VERSION: &str = "v1";
/// Longer than any valid token: longer ones are refused unread.
const LONGEST: usize = 128;
/// Minimum length of a key, in bytes: HMAC-SHA-256 asks for its output's length (RFC 2104, section 3).
const SHORTEST_KEY: usize = 32;

/// Key that signs tokens. Never printed nor serialized.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct TokenKey(String);

impl TokenKey {
    /// A key from this text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A random key of this process, lost when it ends.
    #[must_use]
    pub fn random() -> Self {
        Self(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
    }

    /// Refuses a key that is too short; the error names the setting `field`.
    pub fn validate(&self, field: &str) -> Result<(), SettingsError> {
        if self.0.len() < SHORTEST_KEY {
            let size = format!("{} bytes", self.0.len());
            return Err(SettingsError::new(field, size, format!("at least {SHORTEST_KEY} bytes long")));
        }
        Ok(())
    }

    fn mac(&self, signed: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).expect("HMAC accepts a key of any length");
        mac.update(signed.as_bytes());
        mac
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(hidden)")
    }
}

impl Serialize for TokenKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("hidden")
    }
}

/// Contents of a valid token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claims {
    /// The user's id.
    pub(super) user_id: u32,
    /// Expiry, in Unix seconds.
    pub(super) expires_at: u64,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    /// Malformed, or not signed with this key.
    #[error("the token is not valid")]
    Invalid,
    /// Correctly signed, but expired.
    #[error("the token has expired; log in again")]
    Expired,
}

/// Creates a token.
#[must_use]
pub(super) fn issue(key: &TokenKey, claims: Claims) -> String {
    let signed = format!("{VERSION}.{}.{}", claims.user_id, claims.expires_at);
    let signature = URL_SAFE_NO_PAD.encode(key.mac(&signed).finalize().into_bytes());
    format!("{signed}.{signature}")
}

/// Verifies and parses a token at the time `now`, in Unix seconds.
pub(super) fn verify(key: &TokenKey, token: &str, now: u64) -> Result<Claims, TokenError> {
    if token.len() > LONGEST {
        return Err(TokenError::Invalid);
    }
    let claims = signed_claims(key, token).ok_or(TokenError::Invalid)?;
    if now < claims.expires_at { Ok(claims) } else { Err(TokenError::Expired) }
}

fn signed_claims(key: &TokenKey, token: &str) -> Option<Claims> {
    let (signed, signature) = token.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    // Constant-time comparison.
    key.mac(signed).verify_slice(&signature).ok()?;
    let [version, user_id, expires_at] = signed.split('.').collect::<Vec<_>>().try_into().ok()?;
    (version == VERSION).then_some(())?;
    Some(Claims { user_id: user_id.parse().ok()?, expires_at: expires_at.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLAIMS: Claims = Claims { user_id: 7, expires_at: 1_000 };

    fn key() -> TokenKey {
        TokenKey::new("0123456789abcdef0123456789abcdef")
    }

    #[test]
    fn a_token_is_good_until_it_ends() {
        let token = issue(&key(), CLAIMS);
        assert!(token.starts_with("v1.7.1000.") && token.len() < LONGEST, "{token}");
        assert_eq!(verify(&key(), &token, 0), Ok(CLAIMS));
        assert_eq!(verify(&key(), &token, 999), Ok(CLAIMS));
        assert_eq!(verify(&key(), &token, 1_000), Err(TokenError::Expired));
    }

    #[test]
    fn another_user_or_another_end_needs_another_signature() {
        let token = issue(&key(), CLAIMS);
        for forged in [token.replace(".7.", ".8."), token.replace(".1000.", ".9000."), token.replace("v1", "v2")] {
            assert_eq!(verify(&key(), &forged, 0), Err(TokenError::Invalid), "{forged}");
        }
    }

    #[test]
    fn a_token_of_another_key_is_not_valid() {
        assert_eq!(verify(&TokenKey::random(), &issue(&key(), CLAIMS), 0), Err(TokenError::Invalid));
    }

    #[test]
    fn an_expired_forgery_is_reported_as_invalid() {
        assert_eq!(verify(&key(), "v1.7.1.AAAA", 2_000), Err(TokenError::Invalid));
    }

    #[test]
    fn a_signed_text_of_another_version_is_not_valid() {
        let signed = "v2.7.1000";
        let signature = URL_SAFE_NO_PAD.encode(key().mac(signed).finalize().into_bytes());
        assert_eq!(verify(&key(), &format!("{signed}.{signature}"), 0), Err(TokenError::Invalid));
    }

    #[test]
    fn a_key_is_never_shown_and_a_short_one_is_refused() {
        assert_eq!(format!("{:?}", key()), "TokenKey(hidden)");
        assert_eq!(serde_json::to_value(key()).unwrap(), "hidden");
        assert!(TokenKey::random().validate("token-key").is_ok() && key().validate("token-key").is_ok());
        let error = TokenKey::new("short").validate("token-key").unwrap_err().to_string();
        assert_eq!(error, "token-key = 5 bytes: must be at least 32 bytes long");
    }

    proptest! {
        #[test]
        fn no_text_is_a_token_by_chance(text in ".{0,200}") {
            prop_assert_eq!(verify(&key(), &text, 0), Err(TokenError::Invalid));
        }

        #[test]
        fn a_changed_byte_is_noticed(place in 0_usize..50, byte in 33_u8..127) {
            let token = issue(&key(), CLAIMS);
            let mut changed = token.clone().into_bytes();
            let place = place % changed.len();
            prop_assume!(changed[place] != byte);
            changed[place] = byte;
            let changed = String::from_utf8(changed).unwrap();
            prop_assert_eq!(verify(&key(), &changed, 0), Err(TokenError::Invalid));
        }
    }
}
