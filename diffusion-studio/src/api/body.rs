//! Bodies of requests.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;

use crate::refusal::{Refusal, RefusalKind};

/// A body of JSON. What is wrong with it is told by field.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.is_empty() && !kind.to_ascii_lowercase().contains("json") {
            let message = "the body is to be JSON, with content-type application/json";
            return Err(Refusal::new(RefusalKind::Malformed, message));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|error| {
            let kind = if error.status().as_u16() == 413 { RefusalKind::TooLarge } else { RefusalKind::Malformed };
            Refusal::new(kind, error.body_text())
        })?;
        parse(&bytes).map(Self)
    }
}

/// An object of JSON.
///
/// # Errors
/// [`RefusalKind::Malformed`] if it is no JSON, [`RefusalKind::Invalid`] naming the field if it is another value.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    // Lists would pass for objects whose fields are absent.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Refusal::new(RefusalKind::Invalid, "expected an object, and not a list"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.classify() != serde_json::error::Category::Data {
            return Refusal::new(RefusalKind::Malformed, format!("this is no JSON: {inner}"));
        }
        let refusal = Refusal::new(RefusalKind::Invalid, inner.to_string());
        if path == "." { refusal } else { refusal.at(path) }
    })?;
    reader.end().map_err(|error| Refusal::new(RefusalKind::Malformed, format!("this is no JSON: {error}")))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::JobRequest;

    #[test]
    fn the_field_that_is_wrong_is_named() {
        let refused = |json: &str| {
            let refusal = parse::<JobRequest>(json.as_bytes()).unwrap_err();
            (refusal.kind, refusal.field)
        };
        assert_eq!(refused("{"), (RefusalKind::Malformed, None));
        assert_eq!(refused("{} {}"), (RefusalKind::Malformed, None));
        assert_eq!(refused("[]"), (RefusalKind::Invalid, None));
        assert_eq!(refused(r#"{"width":"wide"}"#), (RefusalKind::Invalid, Some("width".to_owned())));
        assert_eq!(refused(r#"{"loras":[{"name":3}]}"#), (RefusalKind::Invalid, Some("loras[0].name".to_owned())));
        assert_eq!(refused(r#"{"wide":3}"#), (RefusalKind::Invalid, Some("wide".to_owned())));
    }
}
