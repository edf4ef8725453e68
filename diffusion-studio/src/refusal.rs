//! Why a request is refused.

use std::time::Duration;

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::caches::FileCacheError;
use crate::jobs::StoreError;

/// Why a request is refused, in a form that each protocol renders in its own words.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of refusal it is.
    pub kind: RefusalKind,
    /// The field of the request that is wrong, if it is one.
    pub field: Option<String>,
    /// A sentence for people.
    pub message: String,
    /// When to ask again, if that may help.
    pub retry_after: Option<Duration>,
}

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalKind {
    /// The request cannot be read.
    Malformed,
    /// A key is missing or wrong.
    Unauthorized,
    /// The request may not be made from where it comes.
    Forbidden,
    /// There is no such thing, or it is somebody else's.
    NotFound,
    /// There is no model of this name.
    UnknownModel,
    /// The path takes other methods.
    MethodNotAllowed,
    /// The request contradicts an earlier one.
    Conflict,
    /// The request, or an image in it, is too large.
    TooLarge,
    /// A field is out of range.
    Invalid,
    /// The queue is full.
    QueueFull,
    /// There are too many requests.
    RateLimited,
    /// The server does not do this.
    Unsupported,
    /// The server is ending.
    ShuttingDown,
    /// Something that the server needs does not answer now.
    Unavailable,
    /// The disk is full.
    StorageFull,
    /// Something that should work failed.
    Internal,
}

impl RefusalKind {
    /// The status of HTTP.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound | Self::UnknownModel | Self::Unsupported => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::QueueFull | Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::ShuttingDown | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A word for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::UnknownModel => "model_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::Invalid => "invalid",
            Self::QueueFull => "queue_full",
            Self::RateLimited => "rate_limited",
            Self::Unsupported => "unsupported",
            Self::ShuttingDown => "shutting_down",
            Self::Unavailable => "unavailable",
            Self::StorageFull => "storage_full",
            Self::Internal => "internal",
        }
    }
}

impl Refusal {
    /// A refusal that names no field.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, field: None, message: message.into(), retry_after: None }
    }

    /// A field that is out of range.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Invalid, message).at(field)
    }

    /// The refusal, for this field.
    #[must_use]
    pub fn at(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    /// The refusal, with advice when to ask again.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// There is no such job of the caller's.
    pub(crate) fn no_such_job() -> Self {
        Self::new(RefusalKind::NotFound, "there is no such job of yours")
    }

    /// Something that the server needs does not answer now.
    fn unavailable(message: &str) -> Self {
        Self::new(RefusalKind::Unavailable, message).retry_after(UNAVAILABLE_WAIT)
    }

    /// Something that should work failed. What it was goes to the log, and not to whoever asked.
    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %Causes(error), "a request failed");
        Self::new(RefusalKind::Internal, "the server failed to answer this; its log says why")
    }

    /// The headers that go with it: when to ask again, and how to give a key.
    pub(crate) fn with_headers(&self, mut response: Response) -> Response {
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.kind == RefusalKind::Unauthorized {
            let challenge = HeaderValue::from_static("Basic realm=\"diffusion studio\", charset=\"UTF-8\"");
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// When to ask again if something that the server needs does not answer.
const UNAVAILABLE_WAIT: Duration = Duration::from_secs(5);

impl From<StoreError> for Refusal {
    /// Jobs that cannot be kept.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::new(RefusalKind::StorageFull, "the disk of the server is full"),
            StoreError::Unreachable(error) => {
                tracing::warn!(error = %Causes(&error), "the database does not answer");
                Self::unavailable("the server cannot keep jobs at the moment; ask again in a few seconds")
            }
            other => Self::internal(&other),
        }
    }
}

impl From<FileCacheError> for Refusal {
    /// Files that cannot be kept or read.
    fn from(error: FileCacheError) -> Self {
        match error {
            FileCacheError::Full(_) => Self::new(RefusalKind::StorageFull, error.to_string()),
            FileCacheError::Unreachable(_) => {
                tracing::warn!(error = %Causes(&error), "the store does not answer");
                Self::unavailable("the server cannot keep or read pictures at the moment; ask again in a few seconds")
            }
            FileCacheError::Other(_) => Self::internal(&error),
        }
    }
}

/// An error with all its causes, for the log.
pub(crate) struct Causes<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// A refusal as JSON.
#[derive(Serialize, ToSchema)]
pub struct RefusalBody {
    error: RefusalError,
}

/// What is wrong.
#[derive(Serialize, ToSchema)]
struct RefusalError {
    /// A word for programs.
    code: String,
    /// A sentence for people.
    message: String,
    /// The field that is wrong, if it is one.
    field: Option<String>,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = RefusalError { code: self.kind.code().to_owned(), message: self.message.clone(), field: self.field.clone() };
        self.with_headers((self.kind.status(), Json(RefusalBody { error })).into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_to_wait_is_told_whole_seconds() {
        let refusal = Refusal::new(RefusalKind::QueueFull, "full").retry_after(Duration::from_millis(1_200));
        let response = refusal.into_response();
        assert_eq!((response.status(), &response.headers()[RETRY_AFTER]), (StatusCode::TOO_MANY_REQUESTS, &HeaderValue::from(2)));
    }
}
