//! Pictures, finished and sent.

use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use crate::refusal::{Refusal, RefusalBody, RefusalKind};
use crate::request::PictureFormat;
use crate::studio::Studio;

/// Files never change under their names.
const FOR_EVER: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

fn no_such_picture() -> Refusal {
    Refusal::new(RefusalKind::NotFound, "there is no such picture, or it made room for newer ones")
}

/// A finished image. Its name cannot be guessed, and no key is asked for.
#[utoipa::path(get, path = "/images/{id}/{file}", tag = "history",
    params(("id" = Uuid, Path, description = "What tells its contents"), ("file" = String, Path, description = "As in `0.png`")),
    responses((status = 200, content_type = "image/png"), (status = 404, body = RefusalBody)))]
pub(super) async fn picture(
    State(studio): State<Studio>,
    path: Result<Path<(Uuid, String)>, axum::extract::rejection::PathRejection>,
) -> Result<Response, Refusal> {
    let Path((id, file)) = path.map_err(|_| no_such_picture())?;
    let (index, extension) = file.split_once('.').ok_or_else(no_such_picture)?;
    let index: usize = index.parse().map_err(|_| no_such_picture())?;
    let format = PictureFormat::ALL.into_iter().find(|format| format.extension() == extension).ok_or_else(no_such_picture)?;
    let name = format!("{id}-{index}.{extension}");
    let read = {
        let studio = studio.clone();
        move || studio.pictures().read(&name)
    };
    let bytes = studio.blocking(read).await??.ok_or_else(no_such_picture)?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(format.mime())), (CACHE_CONTROL, FOR_EVER)], bytes).into_response())
}

/// A picture that was sent, by the name that a job's request gives it.
#[utoipa::path(get, path = "/api/v1/inputs/{name}", tag = "history", params(("name" = String, Path)),
    responses((status = 200, content_type = "image/*"), (status = 404, body = RefusalBody)))]
pub(super) async fn input(State(studio): State<Studio>, Path(name): Path<String>) -> Result<Response, Refusal> {
    let read = {
        let studio = studio.clone();
        move || studio.inputs().read(&name)
    };
    let bytes = studio.blocking(read).await??.ok_or_else(no_such_picture)?;
    let mime = image::guess_format(&bytes).map_or("application/octet-stream", |format| format.to_mime_type());
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(mime)), (CACHE_CONTROL, FOR_EVER)], bytes).into_response())
}
