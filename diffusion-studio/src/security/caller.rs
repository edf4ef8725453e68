//! Who asks.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::refusal::{Refusal, RefusalKind};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// With whom jobs take turns: a key, a session of the page, or an address.
    pub user: String,
    /// Whose jobs are seen and cancelled: a session of the page, or the user.
    pub owner: String,
    /// What limits count by: a key, or an address.
    pub source: String,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Refusal::new(RefusalKind::Unauthorized, "nobody knows who asks"))
    }
}
