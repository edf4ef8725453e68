//! Refusals before a request reaches its protocol.

use axum::response::{IntoResponse, Response};

use super::{a1111, openai};
use crate::refusal::Refusal;

/// A refusal in the form of the protocol that a path belongs to.
pub(crate) fn refused(path: &str, refusal: Refusal) -> Response {
    if path.starts_with(openai::PATH) {
        openai::OpenAiError(refusal).into_response()
    } else if path.starts_with(a1111::PATH) {
        a1111::SdError(refusal).into_response()
    } else {
        refusal.into_response()
    }
}
