//! Pictures of prompts, and of pictures.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use super::answer::{Answer, Common, base_url};
use super::asked::Asked;
use super::error::{OpenAiError, OpenAiErrorBody};
use super::form::{Form, SentForm};
use super::model_names::model_meant;
use super::schema::{EditBody, GenerationBody, VariationBody};
use super::stream::{EventNames, stream};
use super::usage::Usage;
use crate::api::foreign::body::{Body, fields_of};
use crate::api::foreign::masks::mask_of_alpha;
use crate::api::foreign::waited;
use crate::refusal::Refusal;
use crate::request::{JobRequest, check_size};
use crate::security::Caller;
use crate::studio::Studio;

/// Pictures of a prompt.
#[utoipa::path(post, path = "/images/generations", tag = "openai", request_body = GenerationBody,
    responses((status = 200, body = Answer), (status = 400, body = OpenAiErrorBody), (status = 404, body = OpenAiErrorBody),
        (status = 413, body = OpenAiErrorBody), (status = 429, body = OpenAiErrorBody)))]
pub(super) async fn generations(
    State(studio): State<Studio>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, OpenAiError> {
    let asked = Asked::read(fields_of(body)?)?.with_prompt()?;
    let request = asked.request(model_meant(&studio, asked.model.as_deref())?)?;
    Ok(draw(&studio, &caller, &headers, &asked, request, EventNames::GENERATION).await?)
}

/// A picture changed as a prompt says: all of it, or where its mask is transparent.
#[utoipa::path(post, path = "/images/edits", tag = "openai", request_body(content = EditBody, content_type = "multipart/form-data"),
    responses((status = 200, body = Answer), (status = 400, body = OpenAiErrorBody), (status = 404, body = OpenAiErrorBody),
        (status = 413, body = OpenAiErrorBody), (status = 429, body = OpenAiErrorBody)))]
pub(super) async fn edits(
    State(studio): State<Studio>,
    caller: Caller,
    headers: HeaderMap,
    form: SentForm,
) -> Result<Response, OpenAiError> {
    let form = Form::read(form).await?;
    let image = Some(form.image()?);
    let asked = Asked::read(form.fields)?.with_prompt()?;
    let mask = match form.mask {
        None => None,
        Some(mask) => Some(studio.blocking(move || mask_of(&mask)).await??),
    };
    let request = asked.request(model_meant(&studio, asked.model.as_deref())?)?;
    // What is masked is drawn anew; without a mask, the picture is to be known again.
    let strength = request.strength.or(mask.is_some().then_some(1.0));
    let request = JobRequest { image, mask, strength, ..request };
    Ok(draw(&studio, &caller, &headers, &asked, request, EventNames::EDIT).await?)
}

/// A picture that resembles another one.
#[utoipa::path(post, path = "/images/variations", tag = "openai", request_body(content = VariationBody, content_type = "multipart/form-data"),
    responses((status = 200, body = Answer), (status = 400, body = OpenAiErrorBody), (status = 404, body = OpenAiErrorBody),
        (status = 413, body = OpenAiErrorBody), (status = 429, body = OpenAiErrorBody)))]
pub(super) async fn variations(
    State(studio): State<Studio>,
    caller: Caller,
    headers: HeaderMap,
    form: SentForm,
) -> Result<Response, OpenAiError> {
    let form = Form::read(form).await?;
    let image = Some(form.image()?);
    let asked = Asked::read(form.fields)?;
    let request = asked.request(model_meant(&studio, asked.model.as_deref())?)?;
    Ok(draw(&studio, &caller, &headers, &asked, JobRequest { image, ..request }, EventNames::EDIT).await?)
}

fn mask_of(bytes: &[u8]) -> Result<String, Refusal> {
    check_size("mask", bytes)?;
    mask_of_alpha("mask", bytes)
}

async fn draw(
    studio: &Studio,
    caller: &Caller,
    headers: &HeaderMap,
    asked: &Asked,
    request: JobRequest,
    names: EventNames,
) -> Result<Response, Refusal> {
    let job = waited::submit(studio, caller, request, headers).await?;
    let common = Common::of(job.job(), asked.quality);
    if asked.streams {
        return Ok(stream(studio.clone(), job, common, asked.partial_images, names));
    }
    let state = waited::finished(&job).await?;
    let pictures = waited::pictures(studio, &state).await?;
    let usage = Usage::of(studio, job.drawing(), pictures.len()).await?;
    let base = asked.wants_urls.then(|| base_url(headers));
    Ok(Json(Answer::new(&state, &pictures, common, usage, base.as_deref())).into_response())
}
