//! The list of models.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::error::{OpenAiError, OpenAiErrorBody};
use super::model_names::model_meant;
use crate::refusal::{Refusal, RefusalKind};
use crate::studio::Studio;

/// All models.
#[utoipa::path(get, path = "/models", tag = "openai", responses((status = 200, body = Value)))]
pub(super) async fn models(State(studio): State<Studio>) -> Json<Value> {
    let models: Vec<Value> = studio.registry().models().iter().map(|model| described(&model.name)).collect();
    Json(json!({ "object": "list", "data": models }))
}

/// One model, by its name or one that stands for it.
#[utoipa::path(get, path = "/models/{name}", tag = "openai", params(("name" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = OpenAiErrorBody)))]
pub(super) async fn model(
    State(studio): State<Studio>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, OpenAiError> {
    let Path(name) = name.map_err(|rejection| Refusal::new(RefusalKind::Malformed, rejection.body_text()))?;
    model_meant(&studio, Some(&name))?;
    Ok(Json(described(&name)))
}

fn described(name: &str) -> Value {
    json!({ "id": name, "object": "model", "created": 0, "owned_by": "local" })
}
