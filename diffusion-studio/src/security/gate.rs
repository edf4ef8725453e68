//! What every request passes first.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum_extra::extract::SignedCookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use uuid::Uuid;

use super::caller::Caller;
use super::origin::check_origin;
use crate::api::refused;
use crate::refusal::{Refusal, RefusalKind};
use crate::studio::Studio;

const SESSION: &str = "studio_session";
/// What needs no key: health for those who start servers, and pictures, whose names nobody can guess.
const OPEN_PATHS: [&str; 2] = ["/health/", "/images/"];
/// Where a browser gets its session. Programs keep no cookies, and are told apart by keys and addresses.
const PAGE: &str = "/";

/// Refuse who may not ask, and tell handlers who does.
pub(crate) async fn gate(State(studio): State<Studio>, mut request: Request, next: Next) -> Response {
    let config = studio.config();
    let (headers, path) = (request.headers(), request.uri().path().to_owned());
    if let Err(refusal) = check_origin(request.method(), headers, &config.listen, &config.allowed_origins) {
        return refused(&path, refusal);
    }
    let is_open = OPEN_PATHS.iter().any(|start| path.starts_with(start));
    let key = config.keys.name_of(headers).map(|name| format!("key:{name}"));
    if !config.keys.is_empty() && key.is_none() && !is_open {
        let message = "a key is needed: as a bearer token, or as the password of basic authentication";
        return refused(&path, Refusal::new(RefusalKind::Unauthorized, message));
    }
    let jar = SignedCookieJar::from_headers(headers, studio.secret().0.clone());
    let known = jar.get(SESSION).map(|cookie| cookie.value().to_owned());
    let new = (known.is_none() && path == PAGE).then(|| Uuid::new_v4().to_string());
    let session = known.or_else(|| new.clone()).map(|id| format!("session:{id}"));
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical().to_string());
    let source = key.clone().unwrap_or_else(|| format!("address:{}", address.unwrap_or_default()));
    let user = key.or_else(|| session.clone()).unwrap_or_else(|| source.clone());
    let owner = session.unwrap_or_else(|| user.clone());
    request.extensions_mut().insert(Caller { user, owner, source });
    let response = next.run(request).await;
    match new {
        Some(id) => (jar.add(session_cookie(id)), response).into_response(),
        None => response,
    }
}

fn session_cookie(id: String) -> Cookie<'static> {
    let mut cookie = Cookie::new(SESSION, id);
    cookie.set_http_only(true);
    // Links from elsewhere lead to one's own session; requests that change something are checked by origin.
    cookie.set_same_site(SameSite::Lax);
    cookie.set_path("/");
    cookie.make_permanent();
    cookie
}
