//! Bodies of requests.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;

use super::fields::Fields;
use crate::refusal::{Refusal, RefusalKind};

/// A body, or why there is none.
pub(crate) type Body = Result<Bytes, BytesRejection>;

/// The fields of a body of JSON.
///
/// # Errors
/// [`RefusalKind::TooLarge`] if it is larger than is taken, [`RefusalKind::Malformed`] if it is no object.
pub(crate) fn fields_of(body: Body) -> Result<Fields, Refusal> {
    Fields::of_json(&whole(body)?)
}

/// All of a body.
///
/// # Errors
/// [`RefusalKind::TooLarge`] if it is larger than is taken, [`RefusalKind::Malformed`] if it breaks off.
pub(crate) fn whole(body: Body) -> Result<Bytes, Refusal> {
    body.map_err(|rejection| {
        let is_too_large = rejection.status() == RefusalKind::TooLarge.status();
        Refusal::new(if is_too_large { RefusalKind::TooLarge } else { RefusalKind::Malformed }, rejection.body_text())
    })
}
