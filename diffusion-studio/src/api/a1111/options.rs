//! The options of the web interface, of which the model is the one that counts.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::error::{SdError, SdErrorBody};
use super::schema::OptionsBody;
use super::state::A1111;
use super::translate::model_named;
use crate::api::foreign::body::{Body, fields_of};
use crate::security::Caller;

/// The options. There is no `forge_preset` among them, by which clients tell Forge.
#[utoipa::path(get, path = "/options", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn options(State(a1111): State<A1111>, caller: Caller) -> Json<Value> {
    Json(json!({
        "sd_model_checkpoint": a1111.model_of(&caller),
        "sd_checkpoint_hash": "",
        "samples_format": "png",
        "sd_vae": "Automatic",
        "CLIP_stop_at_last_layers": 1,
    }))
}

/// Choose the model that this caller draws with from now on. Other options are passed over, as clients send all of them back.
#[utoipa::path(post, path = "/options", tag = "a1111", request_body = OptionsBody,
    responses((status = 200, body = Value), (status = 404, body = SdErrorBody), (status = 422, body = SdErrorBody)))]
pub(super) async fn set_options(State(a1111): State<A1111>, caller: Caller, body: Body) -> Result<Json<Value>, SdError> {
    let fields = fields_of(body)?;
    if let Some(title) = fields.word("sd_model_checkpoint")? {
        let model = model_named(a1111.studio.registry(), title).map_err(|refusal| refusal.at("sd_model_checkpoint"))?;
        a1111.chosen.insert(caller.owner, model.name.as_str().into());
    }
    Ok(Json(Value::Null))
}
