//! How far the job of a caller is.

use axum::Json;
use axum::extract::{RawQuery, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use diffusion_app::image_file::{JPEG_QUALITY, OutputFormat, encode_image};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::timestamp;
use super::error::SdError;
use super::state::A1111;
use crate::clock;
use crate::jobs::{JobState, LiveJob, Stage};
use crate::request::JobKind;
use crate::security::Caller;

/// How far a job is.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
pub(super) struct SdProgress {
    /// Share of the work that is done.
    progress: f64,
    /// Seconds that are left.
    eta_relative: f64,
    state: SdState,
    /// A small picture of what it will be like.
    current_image: Option<String>,
    textinfo: Option<String>,
    current_task: Option<String>,
}

#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
struct SdState {
    skipped: bool,
    interrupted: bool,
    stopping_generation: bool,
    job: &'static str,
    job_count: usize,
    job_timestamp: String,
    job_no: usize,
    sampling_step: usize,
    sampling_steps: usize,
}

/// How far the caller's job is that runs, or waits; else, the one that runs, without its picture.
#[utoipa::path(get, path = "/progress", tag = "a1111",
    params(("skip_current_image" = Option<String>, Query, description = "true leaves the preview out")),
    responses((status = 200, body = SdProgress)))]
pub(super) async fn progress(
    State(a1111): State<A1111>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<SdProgress>, SdError> {
    let studio = &a1111.studio;
    let (job, is_own) = match studio.running_of(&caller) {
        Some(own) => (own, true),
        None => match studio.queue().running().into_iter().next() {
            Some(other) => (other, false),
            None => return Ok(Json(SdProgress::default())),
        },
    };
    let state = job.state();
    let eta = studio.expected(&job).and_then(|expected| expected.eta);
    let mut progress = progress_of(&job, &state, eta);
    let wants_image = is_own && !skips_image(query.as_deref().unwrap_or_default());
    if let Some(preview) = state.preview.filter(|_| wants_image) {
        let encode = move || encode_image(&preview.picture, OutputFormat::Png, JPEG_QUALITY, "");
        progress.current_image = studio.blocking(encode).await?.ok().map(|bytes| STANDARD.encode(bytes));
    }
    Ok(Json(progress))
}

/// Whether a query says that the preview is not wanted.
fn skips_image(query: &str) -> bool {
    query.split('&').any(|pair| match pair.split_once('=') {
        Some(("skip_current_image", value)) => value == "1" || value.eq_ignore_ascii_case("true"),
        _ => false,
    })
}

fn progress_of(job: &LiveJob, state: &JobState, eta: Option<f64>) -> SdProgress {
    let job = &job.job;
    let done = state.progress.as_ref();
    let (job_no, job_count) = (done.map_or(0, |done| done.image.saturating_sub(1)), job.drawing.seeds.len());
    let (step, steps) = done.map_or((0, job.drawing.settings.num_steps), |done| (done.step, done.steps));
    let share = if state.started_at.is_some() { share(job_no, job_count, step, steps) } else { 0.0 };
    let elapsed = state.started_at.map_or(0.0, |started| clock::now() - started);
    // AUTOMATIC1111 knows no better than the share; measurements do.
    let by_share = if share > 0.0 { elapsed / share - elapsed } else { 0.0 };
    let textinfo = match done.map(|done| done.stage) {
        None if state.started_at.is_none() => Some("Waiting...".to_owned()),
        Some(Stage::Load) => Some("Loading weights...".to_owned()),
        _ => None,
    };
    SdProgress {
        progress: share,
        eta_relative: eta.unwrap_or(by_share).max(0.0),
        state: SdState {
            job: if job.drawing.kind == JobKind::Txt2img { "scripts_txt2img" } else { "scripts_img2img" },
            job_count,
            job_timestamp: timestamp(job.queued_at),
            job_no,
            sampling_step: step,
            sampling_steps: steps,
            ..SdState::default()
        },
        current_image: None,
        textinfo,
        current_task: Some(format!("task({})", job.id)),
    }
}

/// Share of the work that is done.
///
/// Reference: `progressapi` in `modules/api/api.py`.
fn share(job_no: usize, job_count: usize, step: usize, steps: usize) -> f64 {
    /// A job that has begun is not at 0, which stands for none.
    const BEGUN: f64 = 0.01;
    let count = job_count.max(1) as f64;
    (BEGUN + job_no as f64 / count + step as f64 / steps.max(1) as f64 / count).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_the_protocol() {
        assert_eq!(share(0, 1, 0, 28), 0.01);
        assert_eq!(share(0, 1, 14, 28), 0.51);
        assert_eq!(share(1, 2, 14, 28), 0.76);
        assert_eq!(share(1, 2, 28, 28), 1.0);
        assert_eq!(share(0, 0, 0, 0), 0.01);
    }

    #[test]
    fn the_preview_is_left_out_on_request() {
        assert!(skips_image("skip_current_image=true") && skips_image("a=b&skip_current_image=True"));
        assert!(!skips_image("") && !skips_image("skip_current_image=false") && !skips_image("true"));
    }

    #[test]
    fn nothing_to_do_is_zero() {
        let idle = serde_json::to_value(SdProgress::default()).unwrap();
        assert_eq!((&idle["progress"], &idle["eta_relative"], &idle["current_image"]), (&0.0.into(), &0.0.into(), &().into()));
        assert_eq!((&idle["state"]["job_count"], &idle["state"]["job"]), (&0.into(), &"".into()));
    }
}
