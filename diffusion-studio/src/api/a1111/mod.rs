//! The protocol of AUTOMATIC1111's web interface, which many programs for chats and pictures speak: `/sdapi/v1`.
//!
//! Reference: `modules/api/api.py` and `modules/api/models.py` of stable-diffusion-webui.

mod answer;
mod asked;
mod control;
mod discovery;
mod error;
mod generate;
mod options;
mod png_info;
mod progress;
mod prompt;
mod schema;
mod state;
mod translate;

use axum::routing::{get, post};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use error::SdError;
use state::A1111;

use crate::studio::Studio;

/// What its paths begin with.
pub(super) const PATH: &str = "/sdapi/v1";

/// The routes of the protocol.
pub(crate) fn routes(studio: &Studio) -> OpenApiRouter<Studio> {
    let routes = OpenApiRouter::new()
        .routes(routes!(generate::txt2img))
        .routes(routes!(generate::img2img))
        .routes(routes!(progress::progress))
        .routes(routes!(control::interrupt))
        .routes(routes!(control::skip))
        .routes(routes!(control::refresh_loras))
        .routes(routes!(options::options, options::set_options))
        .routes(routes!(png_info::png_info))
        .routes(routes!(discovery::models))
        .routes(routes!(discovery::samplers))
        .routes(routes!(discovery::schedulers))
        .routes(routes!(discovery::loras))
        .routes(routes!(discovery::memory))
        // What clients ask for as they start, and what has no meaning here.
        .route("/upscalers", get(discovery::upscalers))
        .route("/embeddings", get(discovery::embeddings))
        .route("/scripts", get(discovery::scripts))
        .route("/cmd-flags", get(discovery::empty_object))
        .route("/unload-checkpoint", post(control::nothing_to_do_object))
        .route("/reload-checkpoint", post(control::nothing_to_do_object))
        .route("/refresh-checkpoints", post(control::nothing_to_do))
        .route("/refresh-vae", post(control::nothing_to_do))
        .route("/refresh-embeddings", post(control::nothing_to_do))
        .route("/extra-single-image", post(control::no_upscalers))
        .route("/extra-batch-images", post(control::no_upscalers))
        .route("/interrogate", post(control::no_captions));
    let routes = EMPTY_LISTS.iter().fold(routes, |routes, path| routes.route(path, get(discovery::empty_list)));
    let routes = routes.fallback(error::no_such_endpoint).with_state(A1111::new(studio.clone()));
    OpenApiRouter::new().nest(PATH, routes)
}

/// Lists of what there is none of.
const EMPTY_LISTS: [&str; 8] = [
    "/sd-vae",
    "/latent-upscale-modes",
    "/hypernetworks",
    "/face-restorers",
    "/realesrgan-models",
    "/prompt-styles",
    "/script-info",
    "/extensions",
];
