//! All protocols in front of a server.

use std::any::Any;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::TraceLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::refusal::{Refusal, RefusalKind};
use crate::security::gate;
use crate::studio::Studio;
use crate::{api, operation, page};

/// What stands at the head of the description of all endpoints.
#[derive(OpenApi)]
#[openapi(info(title = "Diffusion studio", description = "Draws images with Stable Diffusion 3, 3.5 and FLUX.1"))]
struct Description;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// All protocols in front of a server, the page included.
pub fn router(studio: &Studio) -> Router {
    let config = studio.config();
    let described = OpenApiRouter::with_openapi(Description::openapi()).merge(api::routes(studio)).merge(operation::routes());
    let (routes, description) = described.split_for_parts();
    let routes = routes
        .merge(page::routes())
        .route("/openapi.json", get(|| async move { Json(description) }))
        .fallback(no_such_place)
        .method_not_allowed_fallback(other_method)
        .layer(DefaultBodyLimit::max(config.limits.body_bytes))
        .layer(from_fn_with_state(studio.clone(), gate))
        .layer(from_fn(answer_options))
        .layer(from_fn(harden))
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(TraceLayer::new_for_http().make_span_with(span))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid));
    let routes = match cors(&config.allowed_origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.with_state(studio.clone())
}

async fn no_such_place() -> Refusal {
    Refusal::new(RefusalKind::NotFound, "there is nothing at this path; /openapi.json lists the endpoints")
}

async fn other_method(method: Method, uri: Uri) -> Response {
    api::refused(uri.path(), Refusal::new(RefusalKind::MethodNotAllowed, format!("this path does not take {method}")))
}

/// Programs look by OPTIONS whether a path is there.
async fn answer_options(request: Request, next: Next) -> Response {
    if request.method() != Method::OPTIONS {
        return next.run(request).await;
    }
    (StatusCode::NO_CONTENT, [(ALLOW, "GET, HEAD, POST, DELETE, OPTIONS")]).into_response()
}

/// What keeps a browser from making more of an answer than it is.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("referrer-policy", HeaderValue::from_static("same-origin"));
    headers.entry("content-security-policy").or_insert(page::CONTENT_SECURITY_POLICY);
    response
}

fn answer_panic(panic: Box<dyn Any + Send>) -> Response {
    let message = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(message, "a request panicked");
    Refusal::new(RefusalKind::Internal, "the server failed to answer this; its log says why").into_response()
}

fn span(request: &Request) -> tracing::Span {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    tracing::info_span!("request", method = %request.method(), path = request.uri().path(), id)
}

fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.trim_end_matches('/').parse().ok()).collect();
    (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods(AllowMethods::list([Method::GET, Method::POST, Method::DELETE, Method::OPTIONS]))
            .allow_headers(AllowHeaders::list([
                CONTENT_TYPE,
                axum::http::header::AUTHORIZATION,
                HeaderName::from_static("idempotency-key"),
            ]))
            .expose_headers([REQUEST_ID, axum::http::header::RETRY_AFTER, axum::http::header::LOCATION])
    })
}
