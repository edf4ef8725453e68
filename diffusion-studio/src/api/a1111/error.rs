//! Refusals in the form of the protocol.

use axum::Json;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::refusal::{Refusal, RefusalKind};

/// A refusal in the form of the protocol.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::api) struct SdError(pub(in crate::api) Refusal);

impl From<Refusal> for SdError {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

/// Fields of ours by what the protocol calls them.
const FIELDS: [(&str, &str); 9] = [
    ("model", "override_settings.sd_model_checkpoint"),
    ("guidance_scale", "cfg_scale"),
    ("true_cfg_scale", "cfg_scale"),
    ("sampler", "sampler_name"),
    ("schedule", "scheduler"),
    ("count", "batch_size"),
    ("image", "init_images"),
    ("strength", "denoising_strength"),
    ("mask_feather", "mask_blur"),
];

/// What is wrong.
#[derive(Serialize, ToSchema)]
pub(super) struct SdErrorBody {
    /// A word for programs.
    error: &'static str,
    /// A sentence for people.
    detail: String,
    body: &'static str,
    /// The sentence after the field.
    errors: String,
    /// The field that is wrong, if it is one.
    field: Option<String>,
}

impl IntoResponse for SdError {
    fn into_response(self) -> Response {
        let Self(refusal) = self;
        let field = refusal.field.as_deref();
        let field = field.map(|field| match FIELDS.iter().find(|(ours, _)| *ours == field) {
            Some((_, theirs)) => *theirs,
            // LoRAs come in the prompt.
            None if field.starts_with("loras") => "prompt",
            None => field,
        });
        let body = SdErrorBody {
            error: refusal.kind.code(),
            detail: refusal.message.clone(),
            body: "",
            errors: field.map_or_else(|| refusal.message.clone(), |field| format!("{field}: {}", refusal.message)),
            field: field.map(str::to_owned),
        };
        let response = (refusal.kind.status(), Json(body)).into_response();
        refusal.with_headers(response)
    }
}

/// The answer to a path that is none.
pub(super) async fn no_such_endpoint(uri: Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    let refusal = Refusal::new(RefusalKind::NotFound, format!("there is no endpoint {path}"));
    let mut response = SdError(refusal).into_response();
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
