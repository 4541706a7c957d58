//! An attempt: what a policy runs, once or several times, for a call.

use std::time::Duration;

use tracing::Instrument;

use super::span::AttemptSpan;
use super::{AttemptError, Client, Context, Reply, Request};
use breakerbox_resilience::policy::Attempt;

impl Client {
    /// Runs an attempt in a span of its own.
    pub(super) async fn attempt<T>(
        &self,
        context: &Context,
        request: &Request,
        turn: usize,
        attempt: Attempt,
        read: &impl Fn(Reply) -> Result<T, AttemptError>,
    ) -> Result<T, AttemptError> {
        let span = AttemptSpan::begin(&self.inner.peer, request, &attempt);
        let result = self.exchange(context, request, turn, attempt, read).instrument(span.span()).await;
        span.end(&result);
        result
    }

    async fn exchange<T>(
        &self,
        context: &Context,
        request: &Request,
        turn: usize,
        attempt: Attempt,
        read: &impl Fn(Reply) -> Result<T, AttemptError>,
    ) -> Result<T, AttemptError> {
        let mut headers = request.headers.clone();
        // Not the instance of the previous attempt, nor that of the hedged one.
        let turn = turn + attempt.number as usize - 1 + usize::from(attempt.hedge);
        // The dependency gets the timeout of this attempt, not that of the page: work for a caller that has moved on to
        // its next attempt is wasted.
        let context = if context.protection { attempt_context(context, &attempt) } else { *context };
        context.write(&mut headers);
        let reply = self.inner.transport.send_to(turn, request, headers).await?;
        tracing::Span::current().record("http.response.status_code", reply.status.as_u16());
        AttemptError::check(reply).and_then(read)
    }
}

fn attempt_context(context: &Context, attempt: &Attempt) -> Context {
    if attempt.timeout == Duration::MAX { *context } else { context.within(attempt.timeout) }
}
