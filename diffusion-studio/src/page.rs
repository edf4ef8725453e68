//! The page where people draw.

use axum::Router;
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY as CSP, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rust_embed::RustEmbed;

use crate::refusal::{Refusal, RefusalKind};
use crate::studio::Studio;

/// The files of the page.
#[derive(RustEmbed)]
#[folder = "page/"]
struct Files;

/// The page takes nothing from anywhere else, and nothing that is written into it runs.
pub(crate) const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; \
     manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

pub(crate) fn routes() -> Router<Studio> {
    let index = |headers: HeaderMap| async move { file("index.html", &headers) };
    Router::new()
        .route("/", get(index))
        .route("/assets/{*path}", get(|Path(path): Path<String>, headers: HeaderMap| async move { file(&path, &headers) }))
}

/// A file of the page; browsers ask whether it is still the same.
fn file(path: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
    let file = Files::get(path).ok_or_else(|| Refusal::new(RefusalKind::NotFound, "the page has no such file"))?;
    let tag = format!("\"{}\"", STANDARD.encode(file.metadata.sha256_hash()));
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let mime = file.metadata.mimetype().to_owned();
    let headers = [
        (CONTENT_TYPE, if mime.starts_with("text/") { format!("{mime}; charset=utf-8") } else { mime }),
        (ETAG, tag),
        (CACHE_CONTROL, "no-cache".to_owned()),
    ];
    Ok((headers, [(CSP, CONTENT_SECURITY_POLICY)], file.data).into_response())
}
