//! `txt2img` and `img2img`.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::Value;

use super::answer::Answer;
use super::asked::Asked;
use super::error::{SdError, SdErrorBody};
use super::schema::{Img2imgBody, Txt2imgBody};
use super::state::A1111;
use super::translate::{Translated, model_named, translate};
use crate::api::foreign::body::{Body, fields_of};
use crate::api::foreign::fields::Fields;
use crate::api::foreign::waited::{self, ended, pictures};
use crate::jobs::Status;
use crate::refusal::Refusal;
use crate::security::Caller;

/// Images of a prompt.
#[utoipa::path(post, path = "/txt2img", tag = "a1111", request_body = Txt2imgBody,
    responses((status = 200, body = Answer), (status = 400, body = SdErrorBody), (status = 404, body = SdErrorBody), (status = 422, body = SdErrorBody),
        (status = 429, body = SdErrorBody)))]
pub(super) async fn txt2img(
    State(a1111): State<A1111>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Answer>, SdError> {
    let fields = fields_of(body)?;
    let asked = Asked::read(&fields)?;
    Ok(Json(draw(&a1111, &caller, &headers, fields, asked).await?))
}

/// Images of a prompt and an image, or a part of it.
#[utoipa::path(post, path = "/img2img", tag = "a1111", request_body = Img2imgBody,
    responses((status = 200, body = Answer), (status = 400, body = SdErrorBody), (status = 404, body = SdErrorBody), (status = 422, body = SdErrorBody),
        (status = 413, body = SdErrorBody), (status = 429, body = SdErrorBody)))]
pub(super) async fn img2img(
    State(a1111): State<A1111>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Answer>, SdError> {
    let mut fields = fields_of(body)?;
    let asked = Asked::read_with_image(&fields)?;
    if asked.init.as_ref().is_some_and(|init| !init.is_echoed) {
        fields.set("init_images", Value::Null);
        fields.set("mask", Value::Null);
    }
    Ok(Json(draw(&a1111, &caller, &headers, fields, asked).await?))
}

async fn draw(a1111: &A1111, caller: &Caller, headers: &HeaderMap, fields: Fields, asked: Asked) -> Result<Answer, Refusal> {
    let studio = &a1111.studio;
    let name = asked.model.clone().unwrap_or_else(|| a1111.model_of(caller));
    let (registry, sends_images) = (studio.clone(), asked.sends_images);
    // A mask may have to be decoded.
    let translated = studio.blocking(move || translate(asked, model_named(registry.registry(), &name)?)).await?;
    let Translated { request, notes } = translated?;
    let job = waited::submit(studio, caller, request, headers).await?;
    let state = job.finished().await?;
    // Who interrupts gets what was finished before.
    if state.status != Status::Cancelled || state.images.is_empty() {
        ended(&state)?;
    }
    let pictures = pictures(studio, &state).await?;
    let model = studio.registry().model(&job.drawing().model).map(AsRef::as_ref);
    Ok(Answer::new(job.job(), &state, model, notes, fields, &pictures).showing(sends_images))
}
