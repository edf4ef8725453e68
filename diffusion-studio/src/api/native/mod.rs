//! The server's own protocol.

mod events;
mod history;
mod inspect;
mod job_view;
mod jobs;
mod lists;
mod pictures;
mod plan;
mod queue;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::studio::Studio;

/// The routes of the protocol.
pub(crate) fn routes() -> OpenApiRouter<Studio> {
    OpenApiRouter::new()
        .routes(routes!(jobs::submit))
        .routes(routes!(jobs::show, jobs::cancel))
        .routes(routes!(events::events))
        .routes(routes!(jobs::preview))
        .routes(routes!(queue::queue))
        .routes(routes!(history::history))
        .routes(routes!(history::forget))
        .routes(routes!(lists::models))
        .routes(routes!(lists::loras))
        .routes(routes!(lists::rescan_loras))
        .routes(routes!(lists::samplers))
        .routes(routes!(lists::capabilities))
        .routes(routes!(plan::plan))
        .routes(routes!(inspect::inspect))
        .routes(routes!(pictures::input))
        .routes(routes!(pictures::picture))
}
