//! What there is to choose from.

use axum::Json;
use axum::extract::{Query, State};
use diffusion_models::{GuidanceKind, GuidanceMethod, NoiseShift, Settings, StepCache};
use diffusion_schedulers::kind::{SamplerKind, ScheduleKind};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::config::Limits;
use crate::refusal::{Refusal, RefusalBody, RefusalKind};
use crate::registry::{LoraEntry, ModelEntry};
use crate::request::{JobKind, PictureFormat};
use crate::studio::Studio;

/// The models.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelsView {
    /// The model for those who name none.
    default: String,
    models: Vec<ModelView>,
}

/// A model.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelView {
    name: String,
    family: &'static str,
    /// Whether its weights are in memory.
    loaded: bool,
    /// Bytes of its weights.
    bytes: usize,
    defaults: DefaultsView,
    /// What `guidance_scale` means: `classifier-free`, `distilled` or `none`.
    guidance: &'static str,
    /// Whether it reads a negative prompt without further settings.
    negative_prompt: bool,
    /// Both sides of an image are multiples of this.
    side_multiple: usize,
    /// Most pixels on a side, if there is a limit.
    max_side: Option<usize>,
    /// Number of blocks that skip-layer guidance may leave out.
    skippable_blocks: Option<usize>,
    /// Whether it starts from images.
    img2img: bool,
}

/// What is drawn with unless a request says.
#[derive(Serialize, ToSchema)]
pub(crate) struct DefaultsView {
    width: usize,
    height: usize,
    steps: usize,
    guidance_scale: Option<f64>,
    sampler: String,
    schedule: Option<String>,
    shift: Option<String>,
    max_sequence_length: usize,
}

fn model_view(studio: &Studio, model: &ModelEntry) -> ModelView {
    let Settings { width, height, num_steps, sampler, schedule, shift, max_sequence_length, .. } = &model.defaults;
    let (guidance, guidance_scale) = match model.info.guidance {
        GuidanceKind::ClassifierFree => ("classifier-free", Some(model.defaults.guidance_scale)),
        GuidanceKind::Distilled => ("distilled", model.defaults.distilled_guidance),
        GuidanceKind::None => ("none", None),
    };
    let geometry = model.info.geometry;
    ModelView {
        name: model.name.clone(),
        family: model.info.family,
        loaded: studio.queue().loaded_models().contains(&model.name),
        bytes: model.bytes,
        defaults: DefaultsView {
            width: *width,
            height: *height,
            steps: *num_steps,
            guidance_scale,
            sampler: sampler.to_string(),
            schedule: schedule.map(|schedule| schedule.to_string()),
            shift: shift.as_ref().map(NoiseShift::to_string),
            max_sequence_length: *max_sequence_length,
        },
        guidance,
        negative_prompt: model.info.guidance == GuidanceKind::ClassifierFree,
        side_multiple: geometry.side_step(),
        max_side: geometry.max_side,
        skippable_blocks: model.info.skippable_blocks,
        img2img: model.has_image_encoder,
    }
}

/// The models.
#[utoipa::path(get, path = "/api/v1/models", tag = "lists", responses((status = 200, body = ModelsView)))]
pub(super) async fn models(State(studio): State<Studio>) -> Json<ModelsView> {
    let registry = studio.registry();
    Json(ModelsView {
        default: registry.default_model().name.clone(),
        models: registry.models().iter().map(|model| model_view(&studio, model)).collect(),
    })
}

/// The LoRAs.
#[derive(Serialize, ToSchema)]
pub(crate) struct LorasView {
    loras: Vec<LoraView>,
}

/// A LoRA.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoraView {
    name: String,
    /// Size of its file.
    bytes: u64,
    /// Modules that it patches.
    modules: usize,
    /// How its names are spelt.
    dialect: String,
    /// Its largest rank.
    rank: Option<usize>,
    /// Words that it was trained to answer to.
    triggers: Vec<String>,
    /// Whether it fits the model that was asked about.
    fits: Option<bool>,
    /// Why it does not fit, or cannot be read.
    problem: Option<String>,
}

/// Which model LoRAs are compared with.
#[derive(Deserialize, IntoParams)]
pub(super) struct LorasQuery {
    /// Name of a model.
    model: Option<String>,
}

fn lora_view(entry: &LoraEntry, model: Option<&ModelEntry>) -> LoraView {
    let report = entry.contents();
    let problem = match (model, entry.lora()) {
        (Some(model), Ok(_)) => entry.problem_with(model),
        (_, Err(problem)) => Some(problem.to_owned()),
        (None, Ok(_)) => None,
    };
    let dialects = report.iter().flat_map(|report| &report.dialects).map(ToString::to_string).collect::<Vec<_>>();
    LoraView {
        name: entry.name.clone(),
        bytes: entry.bytes,
        modules: report.as_ref().map_or(0, |report| report.num_adapters),
        dialect: dialects.join(", "),
        rank: report.and_then(|report| report.ranks).map(|(_, largest)| largest),
        triggers: entry.triggers.clone(),
        fits: model.map(|_| problem.is_none()),
        problem,
    }
}

async fn list_loras(studio: &Studio, model: Option<String>, rescan: bool) -> Result<Json<LorasView>, Refusal> {
    let unknown = |name: &String| Refusal::new(RefusalKind::UnknownModel, format!("there is no model \"{name}\"")).at("model");
    let model = match &model {
        Some(name) => Some(studio.registry().model(name).cloned().ok_or_else(|| unknown(name))?),
        None => None,
    };
    let list = {
        let studio = studio.clone();
        move || {
            let loras = &studio.registry().loras;
            if rescan {
                loras.rescan();
            }
            loras.all().iter().map(|entry| lora_view(entry, model.as_deref())).collect()
        }
    };
    Ok(Json(LorasView { loras: studio.blocking(list).await? }))
}

/// The LoRAs of the folder.
#[utoipa::path(get, path = "/api/v1/loras", tag = "lists", params(LorasQuery),
    responses((status = 200, body = LorasView), (status = 404, body = RefusalBody)))]
pub(super) async fn loras(State(studio): State<Studio>, Query(query): Query<LorasQuery>) -> Result<Json<LorasView>, Refusal> {
    list_loras(&studio, query.model, false).await
}

/// Look into the folder again.
#[utoipa::path(post, path = "/api/v1/loras/rescan", tag = "lists", params(LorasQuery),
    responses((status = 200, body = LorasView), (status = 404, body = RefusalBody)))]
pub(super) async fn rescan_loras(
    State(studio): State<Studio>,
    Query(query): Query<LorasQuery>,
) -> Result<Json<LorasView>, Refusal> {
    list_loras(&studio, query.model, true).await
}

/// Samplers and schedules.
#[derive(Serialize, ToSchema)]
pub(crate) struct SamplersView {
    samplers: Vec<SamplerView>,
    schedules: Vec<ScheduleView>,
}

/// A sampler.
#[derive(Serialize, ToSchema)]
pub(crate) struct SamplerView {
    name: &'static str,
    label: &'static str,
    /// Whether it adds noise.
    stochastic: bool,
}

/// A noise schedule.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScheduleView {
    name: &'static str,
    label: &'static str,
}

/// Samplers and schedules.
#[utoipa::path(get, path = "/api/v1/samplers", tag = "lists", responses((status = 200, body = SamplersView)))]
pub(super) async fn samplers() -> Json<SamplersView> {
    let sampler = |kind: &SamplerKind| SamplerView {
        name: kind.name(),
        label: crate::sampler_names::sampler_label(*kind),
        stochastic: kind.is_stochastic(),
    };
    let schedule =
        |kind: &ScheduleKind| ScheduleView { name: kind.name(), label: crate::sampler_names::schedule_label(Some(*kind)) };
    Json(SamplersView {
        samplers: SamplerKind::ALL.iter().map(sampler).collect(),
        schedules: ScheduleKind::ALL.iter().map(schedule).collect(),
    })
}

/// What the server can do.
#[derive(Serialize, ToSchema)]
pub(crate) struct CapabilitiesView {
    version: &'static str,
    kinds: Vec<JobKind>,
    output_formats: Vec<PictureFormat>,
    guidance_methods: Vec<String>,
    step_caches: Vec<String>,
    limits: LimitsView,
    /// Whether a picture that one user drew answers the same request of another.
    shared_cache: bool,
    device: String,
    precision: String,
}

/// What requests may ask for.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "these are the names of the protocol")]
pub(crate) struct LimitsView {
    max_pixels: usize,
    max_steps: usize,
    max_count: usize,
    max_loras: usize,
    max_queue: usize,
    max_queue_per_user: usize,
    max_body_bytes: usize,
    max_prompt_chars: usize,
}

/// What the server can do.
#[utoipa::path(get, path = "/api/v1/capabilities", tag = "lists", responses((status = 200, body = CapabilitiesView)))]
pub(super) async fn capabilities(State(studio): State<Studio>) -> Json<CapabilitiesView> {
    let config = studio.config();
    let Limits { pixels, steps, count, loras, prompt_chars, body_bytes, .. } = config.limits;
    let methods = [
        GuidanceMethod::ClassifierFree,
        GuidanceMethod::ZeroStar { zero_steps: 1 },
        GuidanceMethod::AdaptiveProjected { eta: 0.0, norm_threshold: None, momentum: 0.0 },
    ];
    Json(CapabilitiesView {
        version: env!("CARGO_PKG_VERSION"),
        kinds: JobKind::ALL.to_vec(),
        output_formats: PictureFormat::ALL.to_vec(),
        guidance_methods: methods.iter().map(ToString::to_string).collect(),
        step_caches: [StepCache::FIRST_BLOCK, StepCache::EASY].iter().map(ToString::to_string).collect(),
        limits: LimitsView {
            max_pixels: pixels,
            max_steps: steps,
            max_count: count,
            max_loras: loras,
            max_queue: config.max_queue,
            max_queue_per_user: config.max_queue_per_user,
            max_body_bytes: body_bytes,
            max_prompt_chars: prompt_chars,
        },
        shared_cache: config.shares_cache,
        device: config.device.to_string(),
        precision: studio.registry().default_model().options.precision.to_string(),
    })
}
