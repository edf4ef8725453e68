//! What operators ask a server.

use std::sync::OnceLock;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::studio::Studio;

pub(crate) fn routes() -> OpenApiRouter<Studio> {
    describe_metrics();
    OpenApiRouter::new().routes(routes!(live)).routes(routes!(ready)).routes(routes!(metrics_text))
}

/// How a server is.
#[derive(Serialize, ToSchema)]
pub(crate) struct HealthView {
    status: &'static str,
}

/// Whether the server runs.
#[utoipa::path(get, path = "/health/live", tag = "operation", responses((status = 200, body = HealthView)))]
async fn live() -> Json<HealthView> {
    Json(HealthView { status: "live" })
}

/// Whether the server takes jobs.
#[utoipa::path(get, path = "/health/ready", tag = "operation",
    responses((status = 200, body = HealthView), (status = 503, body = HealthView)))]
async fn ready(State(studio): State<Studio>) -> (StatusCode, Json<HealthView>) {
    if studio.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(HealthView { status: "ending" }));
    }
    if !studio.jobs().is_ready() {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(HealthView { status: "unavailable" }));
    }
    (StatusCode::OK, Json(HealthView { status: "ready" }))
}

/// Measurements, as Prometheus reads them.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, content_type = "text/plain")))]
async fn metrics_text(State(studio): State<Studio>) -> impl IntoResponse {
    metrics::gauge!("studio_queue_waiting").set(studio.queue().len() as f64);
    metrics::gauge!("studio_queue_running").set(studio.queue().running().len() as f64);
    metrics::gauge!("studio_pictures_bytes").set(studio.pictures().bytes() as f64);
    let text = recorder().map(PrometheusHandle::render).unwrap_or_default();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// Bounds of histograms of seconds: from a repeat out of the cache to a large picture on a small machine.
const SECONDS: [f64; 12] = [0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

/// The recorder of this process; `None` if the program that mounts the server has one of its own.
fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    let install = || {
        let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS);
        builder.ok()?.install_recorder().ok()
    };
    RECORDER.get_or_init(install).as_ref()
}

fn describe_metrics() {
    recorder();
    metrics::describe_gauge!("studio_queue_waiting", "Jobs that wait");
    metrics::describe_gauge!("studio_queue_running", "Jobs that are drawn");
    metrics::describe_gauge!("studio_workers", "Workers that are there, where several share a queue");
    metrics::describe_gauge!("studio_pictures_bytes", "Bytes of finished pictures");
    metrics::describe_gauge!("studio_weights_bytes", "Bytes of weights of denoising networks in memory");
    metrics::describe_counter!("studio_jobs", "Jobs that ended, by how");
    metrics::describe_counter!("studio_jobs_refused", "Jobs that were refused because there were too many");
    metrics::describe_counter!("studio_picture_cache_hits", "Jobs that were answered without a step");
    metrics::describe_counter!("studio_prompts_encoded", "Prompts that text encoders encoded");
    metrics::describe_counter!("studio_prompts_read", "Prompts that were encoded before, read from the disk");
    metrics::describe_histogram!("studio_job_wait_seconds", "Seconds from asking to the start");
    metrics::describe_histogram!("studio_job_run_seconds", "Seconds from the start to the end");
    metrics::describe_histogram!("studio_step_seconds", "Seconds of a step");
}
