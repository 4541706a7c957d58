//! A dependency's failure, as the caller reports it to its own caller.

use http::StatusCode;

use super::error::Error;
use crate::web::problem::Problem;

/// 504 if time ran out, 503 if the call was not made, 502 if the dependency failed, and the dependency's own status if
/// the request was wrong.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match (&error, error.status()) {
            (Error::Failed(_), Some(status)) if status.is_client_error() => Self::new(status, detail),
            (Error::TimedOut, _) | (Error::Failed(_), Some(StatusCode::GATEWAY_TIMEOUT)) => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, detail)
            }
            (Error::Failed(_), status) if status != Some(StatusCode::SERVICE_UNAVAILABLE) => {
                Self::new(StatusCode::BAD_GATEWAY, detail)
            }
            _ => Self::unavailable(detail, error.retry_after()),
        }
    }
}
