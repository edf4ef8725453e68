//! What a picture says about how it was drawn.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::body::Body;
use crate::refusal::{Refusal, RefusalBody};
use crate::request::{JobRequest, decode_picture};
use crate::studio::Studio;

/// A picture.
#[derive(Deserialize, ToSchema)]
pub(crate) struct InspectRequest {
    /// Base64, or a data URL.
    image: String,
}

/// What a picture says about how it was drawn.
#[derive(Serialize, ToSchema)]
pub(crate) struct InspectView {
    /// The text, as programs of this kind write it.
    parameters: Option<String>,
    /// What it means here.
    settings: Option<JobRequest>,
}

/// What a picture says about how it was drawn.
#[utoipa::path(post, path = "/api/v1/inspect", tag = "lists", request_body = InspectRequest,
    responses((status = 200, body = InspectView), (status = 413, body = RefusalBody), (status = 422, body = RefusalBody)))]
pub(super) async fn inspect(
    State(studio): State<Studio>,
    Body(request): Body<InspectRequest>,
) -> Result<Json<InspectView>, Refusal> {
    let parameters = studio.blocking(move || {
        let bytes = decode_picture("image", &request.image)?;
        Ok::<_, Refusal>(crate::parameters::read(&bytes))
    });
    let parameters = parameters.await??;
    let settings = parameters.as_deref().map(|text| crate::parameters::as_request(text, studio.registry()));
    Ok(Json(InspectView { parameters, settings }))
}
