//! Refusals in the form of the protocol.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::refusal::{Refusal, RefusalKind};

/// A refusal in the form of the protocol.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::api) struct OpenAiError(pub(in crate::api) Refusal);

impl From<Refusal> for OpenAiError {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

/// Fields of ours by what the protocol calls them.
const FIELDS: [(&str, &str); 5] =
    [("width", "size"), ("height", "size"), ("count", "n"), ("schedule", "scheduler"), ("quality", "output_compression")];

/// The body of an error, and of an event that tells one.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct OpenAiErrorBody {
    error: Description,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = OpenAiErrorDescription)]
struct Description {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    code: &'static str,
    param: Option<String>,
}

impl OpenAiError {
    /// The body.
    pub(super) fn body(&self) -> OpenAiErrorBody {
        let Self(refusal) = self;
        let param = refusal.field.as_deref().map(|field| match FIELDS.iter().find(|(ours, _)| *ours == field) {
            Some((_, theirs)) => (*theirs).to_owned(),
            None => field.replace("].weight", "].scale"),
        });
        let kind = match self.status() {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let code = match refusal.kind {
            RefusalKind::Invalid | RefusalKind::Malformed => "invalid_value",
            RefusalKind::Unauthorized => "invalid_api_key",
            RefusalKind::RateLimited => "rate_limit_exceeded",
            other => other.code(),
        };
        OpenAiErrorBody { error: Description { message: refusal.message.clone(), kind, code, param } }
    }

    /// The protocol calls a value that cannot be a bad request.
    fn status(&self) -> StatusCode {
        match self.0.kind {
            RefusalKind::Invalid | RefusalKind::Unsupported => StatusCode::BAD_REQUEST,
            other => other.status(),
        }
    }

    /// Whether the same request would fail again: clients ask twice more unless they are told so.
    fn is_final(&self) -> bool {
        matches!(self.0.kind, RefusalKind::Conflict | RefusalKind::Internal | RefusalKind::StorageFull)
    }
}

impl IntoResponse for OpenAiError {
    fn into_response(self) -> Response {
        let mut response = self.0.with_headers((self.status(), Json(self.body())).into_response());
        if self.is_final() {
            response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
        }
        response
    }
}

/// The answer to a path that is none.
pub(super) async fn no_such_endpoint(uri: Uri) -> OpenAiError {
    let path: String = uri.path().chars().take(200).collect();
    OpenAiError(Refusal::new(RefusalKind::NotFound, format!("there is no endpoint {path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(refusal: Refusal) -> serde_json::Value {
        serde_json::to_value(OpenAiError(refusal).body()).unwrap()
    }

    #[test]
    fn fields_have_the_names_of_the_protocol() {
        assert_eq!(json(Refusal::invalid("width", "no"))["error"]["param"], "size");
        assert_eq!(json(Refusal::invalid("loras[1].weight", "no"))["error"]["param"], "loras[1].scale");
        let error = json(Refusal::invalid("steps", "no"));
        let expected = serde_json::json!({
            "error": { "message": "no", "type": "invalid_request_error", "code": "invalid_value", "param": "steps" }
        });
        assert_eq!(error, expected);
        assert_eq!(json(Refusal::new(RefusalKind::UnknownModel, "no"))["error"]["code"], "model_not_found");
    }

    #[test]
    fn what_fails_again_is_not_asked_for_again() {
        let retry = |kind| OpenAiError(Refusal::new(kind, "no")).into_response().headers().get("x-should-retry").cloned();
        assert_eq!(retry(RefusalKind::Conflict), Some(HeaderValue::from_static("false")));
        assert_eq!(retry(RefusalKind::QueueFull), None);
        assert_eq!(retry(RefusalKind::ShuttingDown), None);
    }
}
