//! Endpoints that end, refresh and unload.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::error::SdError;
use super::state::A1111;
use crate::refusal::{Refusal, RefusalKind};
use crate::security::Caller;

/// End the caller's job that runs, or the first one that waits. Nobody else's.
#[utoipa::path(post, path = "/interrupt", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn interrupt(State(a1111): State<A1111>, caller: Caller) -> Result<Json<Value>, SdError> {
    end_first(&a1111, &caller).await?;
    Ok(Json(json!({})))
}

/// As [`interrupt`]: all images of a job are drawn together.
#[utoipa::path(post, path = "/skip", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn skip(State(a1111): State<A1111>, caller: Caller) -> Result<Json<Value>, SdError> {
    end_first(&a1111, &caller).await?;
    Ok(Json(Value::Null))
}

async fn end_first(a1111: &A1111, caller: &Caller) -> Result<(), Refusal> {
    if let Some(job) = a1111.studio.running_of(caller) {
        a1111.studio.cancel(job.job.id, caller).await?;
    }
    Ok(())
}

/// Look into the folder of LoRAs again.
#[utoipa::path(post, path = "/refresh-loras", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn refresh_loras(State(a1111): State<A1111>) -> Result<Json<Value>, SdError> {
    let studio = a1111.studio.clone();
    a1111.studio.blocking(move || studio.registry().loras.rescan()).await?;
    Ok(Json(Value::Null))
}

/// The server loads and unloads models by itself, as memory needs it.
pub(super) async fn nothing_to_do() -> Json<Value> {
    Json(Value::Null)
}

/// As [`nothing_to_do`].
pub(super) async fn nothing_to_do_object() -> Json<Value> {
    Json(json!({}))
}

/// There are no upscalers.
pub(super) async fn no_upscalers() -> SdError {
    SdError(Refusal::new(RefusalKind::Unsupported, "pictures are not enlarged here; draw them at the size that is wanted"))
}

/// Pictures are not described.
pub(super) async fn no_captions() -> SdError {
    SdError(Refusal::new(RefusalKind::Unsupported, "pictures are not described here; there is no model for it"))
}
