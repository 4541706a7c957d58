//! Identifies the caller from its bearer token.

use http::{HeaderMap, header};

use super::GatewayState;
use super::answers::nothing_but;
use crate::client::{Context, Error, FallbackKind, Request};
use crate::services::wire::{VerifyReply, VerifyRequest};
use crate::web::problem::Problem;
use crate::web::secret;
use breakerbox_telemetry::FallbackReason;

/// The caller of a request.
pub(super) enum Viewer {
    Known(u32),
    Anonymous,
    /// The token cannot be verified at the moment, for this reason.
    Unverified(FallbackReason),
}

impl GatewayState {
    pub(super) async fn viewer(&self, context: &Context, headers: &HeaderMap) -> Result<Viewer, Problem> {
        let Some(token) = bearer(headers)? else { return Ok(Viewer::Anonymous) };
        let inner = &self.inner;
        // Verifying changes nothing, so it may be retried although it is a POST; the token is not part of the path,
        // because logs and spans may record that.
        let request = Request::post("/verify").json(&VerifyRequest { token: token.to_owned() }).repeatable();
        let result: Result<VerifyReply, Error> = inner.clients.user.call_json(context, request).await;
        match self.or_problem(result)? {
            Ok(verified) => {
                inner.sessions.put(token.to_owned(), verified);
                Ok(Viewer::Known(verified.user_id))
            }
            Err(error) => {
                let now = inner.clock.unix_seconds();
                inner.sessions.forget_if(&token.to_owned(), |session| session.expires_at <= now);
                let chain =
                    inner.sessions.chain_with(&token.to_owned(), |verified| Viewer::Known(verified.user_id)).await;
                let chain = chain.or(FallbackKind::Notice, nothing_but(Viewer::Unverified(error.reason()))).await;
                let served = inner.user_fallbacks.finish(chain, error.reason());
                Ok(served.map_or(Viewer::Unverified(error.reason()), |served| served.value))
            }
        }
    }
}

impl GatewayState {
    /// The viewer's id, for operations that require a verified viewer.
    pub(super) async fn identified(&self, context: &Context, headers: &HeaderMap) -> Result<u32, Problem> {
        match self.viewer(context, headers).await? {
            Viewer::Known(user) => Ok(user),
            Viewer::Anonymous => Err(Problem::unauthorized("log in first: POST /api/login")),
            Viewer::Unverified(_) => Err(Problem::unavailable("your session cannot be verified at the moment", None)),
        }
    }
}

/// The token of `Authorization: Bearer …`; it may be absent, but another scheme is an error.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    if !headers.contains_key(header::AUTHORIZATION) {
        return Ok(None);
    }
    let wrong = || Problem::unauthorized("Authorization must be `Bearer <token>`, as POST /api/login gives it");
    secret::bearer(headers).map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_has_no_case_and_other_schemes_are_refused() {
        let shown = |text: &str| {
            bearer(&HeaderMap::from_iter([(header::AUTHORIZATION, text.parse().unwrap())]))
                .map(|token| token.map(str::to_owned))
        };
        for text in ["Bearer t", "bearer t", "BEARER  t "] {
            assert_eq!(shown(text).unwrap().as_deref(), Some("t"), "{text}");
        }
        assert!(shown("Basic t").is_err() && shown("Bearert").is_err());
        assert_eq!(bearer(&HeaderMap::new()).unwrap(), None);
    }
}
