//! The protocol of OpenAI for images and lists of models: `/v1`.
//!
//! Reference: `openai/types/image*.py` and `openai/resources/images.py` of the package `openai`.

mod answer;
mod asked;
mod error;
mod extra_args;
mod form;
mod generate;
mod model_names;
mod models;
mod partials;
mod schema;
mod size;
mod stream;
mod usage;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use error::OpenAiError;

use crate::studio::Studio;

/// What its paths begin with.
pub(super) const PATH: &str = "/v1";

/// The routes of the protocol.
pub(crate) fn routes() -> OpenApiRouter<Studio> {
    let routes = OpenApiRouter::new()
        .routes(routes!(generate::generations))
        .routes(routes!(generate::edits))
        .routes(routes!(generate::variations))
        .routes(routes!(models::models))
        .routes(routes!(models::model))
        .fallback(error::no_such_endpoint);
    OpenApiRouter::new().nest(PATH, routes)
}
