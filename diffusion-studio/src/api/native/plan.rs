//! How much memory and time a job will take, before it is queued.

use axum::Json;
use axum::extract::State;
use diffusion_app::memory::available_memory;
use diffusion_core::Residency;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::body::Body;
use crate::refusal::{Refusal, RefusalBody};
use crate::request::JobRequest;
use crate::studio::Studio;

/// Memory and time of a job, both estimates.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanView {
    /// Most bytes at once if all weights of a stage stay in memory.
    peak_resident: usize,
    /// Most bytes at once if weights are streamed from their files.
    peak_streamed: usize,
    /// Bytes that are free, if anybody tells.
    available: Option<usize>,
    /// `resident` or `streamed`.
    residency: &'static str,
    /// Whether it fits at all.
    fits: bool,
    components: Vec<PlannedView>,
    /// Seconds from its start to its end, if that was measured.
    eta_seconds: Option<f64>,
    /// What there is to say about the request.
    warnings: Vec<String>,
}

/// Memory of a component.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlannedView {
    name: &'static str,
    weights: usize,
    working: usize,
}

/// How much memory and time a job will take. Nothing is queued.
#[utoipa::path(post, path = "/api/v1/plan", tag = "jobs", request_body = JobRequest,
    responses((status = 200, body = PlanView), (status = 404, body = RefusalBody), (status = 422, body = RefusalBody)))]
pub(super) async fn plan(State(studio): State<Studio>, Body(request): Body<JobRequest>) -> Result<Json<PlanView>, Refusal> {
    let resolved = studio.resolve(request).await?;
    let drawing = resolved.drawing;
    let model = studio.registry().model(&drawing.model).ok_or_else(Refusal::no_such_job)?;
    let whole = model.checker().plan(&drawing.settings, 1);
    // Memory is that of the server's device; what is placed elsewhere takes none of it.
    let plan = whole.on(&model.options.device);
    let available = available_memory(studio.config().device);
    // What is loaded of this model is not needed once more.
    let is_loaded = studio.queue().loaded_models().contains(&drawing.model);
    let streams = !is_loaded && available.is_some_and(|available| plan.residency(available) == Residency::Streamed);
    let component = |component: &diffusion_models::PlannedComponent| PlannedView {
        name: component.id.name(),
        weights: component.weights,
        working: component.working,
    };
    Ok(Json(PlanView {
        peak_resident: plan.peak_resident,
        peak_streamed: plan.peak_streamed,
        available,
        residency: if streams { "streamed" } else { "resident" },
        fits: studio.config().limits.memory.is_none_or(|memory| plan.shortage(memory).is_none()),
        components: whole.components.iter().map(component).collect(),
        eta_seconds: studio.queue().speeds(|speeds| speeds.drawing(&drawing)),
        warnings: resolved.warnings,
    }))
}
