//! The protocols that programs speak with the server.

mod a1111;
pub(crate) mod body;
mod foreign;
mod native;
mod openai;
mod refused;

pub(crate) use refused::refused;
use utoipa_axum::router::OpenApiRouter;

use crate::studio::Studio;

/// The routes of all protocols.
pub(crate) fn routes(studio: &Studio) -> OpenApiRouter<Studio> {
    native::routes().merge(openai::routes()).merge(a1111::routes(studio))
}
