//! From what is asked for to what is drawn.

use diffusion_core::Sigmas;
use diffusion_models::{
    Guidance, GuidanceEvaluation, GuidanceKind, GuidanceMethod, NoiseShift, Pipeline, Settings, StepCache, Tiling,
};
use diffusion_schedulers::guidance::{GuidanceInterval, SkipLayerGuidance};

use super::drawing::{Drawing, InitInput, LoraUse, Output};
use super::job_kind::JobKind;
use super::job_request::{GuidanceRequest, JobRequest, LoraRequest, NoiseShiftRequest, SkipLayersRequest, StepCacheRequest};
use super::pictures::Inputs;
use super::refused::refused;
use crate::config::Limits;
use crate::refusal::{Refusal, RefusalKind};
use crate::registry::{ModelEntry, Registry};
use crate::sampler_names::{sampler_named, schedule_named};

/// How far to go from an image, unless the caller says.
const STRENGTH: f64 = 0.6;
/// Seeds that are drawn are short enough to be typed.
const SEED_LIMIT: u64 = 1 << 32;

/// A drawing, and what there is to say about it.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) drawing: Drawing,
    pub(crate) warnings: Vec<String>,
}

/// The drawing that a request asks for, checked against its model before it is queued.
///
/// # Errors
/// [`Refusal`] naming the field.
pub(crate) fn resolve(request: &JobRequest, registry: &Registry, inputs: &Inputs, limits: &Limits) -> Result<Resolved, Refusal> {
    let model = match &request.model {
        None => registry.default_model(),
        Some(name) => registry.model(name).ok_or_else(|| unknown_model(name, registry))?,
    };
    check_texts(request, limits)?;
    let settings = settings(request, model)?;
    check_pixels(&settings, limits)?;
    let seeds = seeds(request, limits)?;
    let loras = loras(request, registry, model, limits)?;
    let pipeline = model.checker();
    pipeline.check(&settings).map_err(refused)?;
    check_memory(&pipeline, &settings, limits)?;
    let mut warnings: Vec<String> = pipeline.warnings(&settings).map_err(refused)?.iter().map(ToString::to_string).collect();
    warnings.extend(without_effect(request, model, &settings));
    let init = init(request, inputs, &settings)?;
    if let Some(init) = &init {
        pipeline.check_strength(init.strength, &settings).map_err(refused)?;
    }
    // Pictures are decoded without holding up others.
    drop(pipeline);
    warnings.extend(init.iter().flat_map(|init| inputs.warnings(init, settings.width, settings.height)));
    let kind = match &init {
        None => JobKind::Txt2img,
        Some(InitInput { mask: None, .. }) => JobKind::Img2img,
        Some(_) => JobKind::Inpaint,
    };
    if let Some(wanted) = request.kind.filter(|&wanted| wanted != kind) {
        let what = serde_json::to_string(&wanted).unwrap_or_default();
        let needs = match wanted {
            JobKind::Txt2img => "neither image nor mask",
            JobKind::Img2img => "an image and no mask",
            JobKind::Inpaint => "an image and a mask",
        };
        return Err(Refusal::invalid("kind", format!("{what} takes {needs}")));
    }
    let output = Output { format: request.output_format.unwrap_or_default(), quality: request.quality };
    if output.quality.is_some_and(|quality| !(1..=100).contains(&quality)) {
        return Err(Refusal::invalid("quality", "expected a whole number from 1 to 100"));
    }
    let drawing = Drawing {
        kind,
        model: model.name.clone(),
        prompt: request.prompt.clone(),
        negative_prompt: request.negative_prompt.clone(),
        seeds,
        settings,
        loras,
        init,
        output,
    };
    Ok(Resolved { drawing, warnings })
}

fn unknown_model(name: &str, registry: &Registry) -> Refusal {
    let name: String = name.chars().take(100).collect();
    Refusal::new(RefusalKind::UnknownModel, format!("there is no model \"{name}\"; there are {}", registry.names())).at("model")
}

fn check_texts(request: &JobRequest, limits: &Limits) -> Result<(), Refusal> {
    for (field, text) in [("prompt", &request.prompt), ("negative_prompt", &request.negative_prompt)] {
        if text.chars().count() > limits.prompt_chars {
            return Err(Refusal::invalid(field, format!("at most {} characters are read", limits.prompt_chars)));
        }
        if text.contains('\0') {
            return Err(Refusal::invalid(field, "a text has no NUL in it"));
        }
    }
    Ok(())
}

fn check_pixels(settings: &Settings, limits: &Limits) -> Result<(), Refusal> {
    let Settings { width, height, num_steps, .. } = *settings;
    if width.saturating_mul(height) > limits.pixels {
        let problem = format!("{width} x {height} pixels are more than this server draws, {}", limits.pixels);
        return Err(Refusal::invalid(if width >= height { "width" } else { "height" }, problem));
    }
    if num_steps > limits.steps {
        return Err(Refusal::invalid("steps", format!("this server draws at most {} steps", limits.steps)));
    }
    Ok(())
}

fn check_memory(pipeline: &Pipeline, settings: &Settings, limits: &Limits) -> Result<(), Refusal> {
    let Some(memory) = limits.memory else { return Ok(()) };
    match pipeline.plan(settings, 1).on(&pipeline.options().device).shortage(memory) {
        Some(shortage) => Err(Refusal::invalid("width", shortage.to_string())),
        None => Ok(()),
    }
}

fn seeds(request: &JobRequest, limits: &Limits) -> Result<Vec<u64>, Refusal> {
    let count = request.count.unwrap_or(1);
    if !(1..=limits.count).contains(&count) {
        return Err(Refusal::invalid("count", format!("expected a whole number from 1 to {}", limits.count)));
    }
    let first = request.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u128() as u64 % SEED_LIMIT);
    Ok((0..count as u64).map(|image| first.wrapping_add(image)).collect())
}

fn loras(request: &JobRequest, registry: &Registry, model: &ModelEntry, limits: &Limits) -> Result<Vec<LoraUse>, Refusal> {
    if request.loras.len() > limits.loras {
        return Err(Refusal::invalid("loras", format!("at most {} LoRAs are applied at once", limits.loras)));
    }
    let mut uses = Vec::with_capacity(request.loras.len());
    for (index, LoraRequest { name, weight }) in request.loras.iter().enumerate() {
        let field = |field: &str| format!("loras[{index}].{field}");
        let entry = registry.loras.find(name).ok_or_else(|| {
            let name: String = name.chars().take(100).collect();
            Refusal::invalid(field("name"), format!("there is no LoRA \"{name}\"; the list of LoRAs has the names"))
        })?;
        if let Some(problem) = entry.problem_with(model) {
            return Err(Refusal::invalid(field("name"), format!("the LoRA \"{}\" cannot be used: {problem}", entry.name)));
        }
        if !weight.is_finite() || weight.abs() > MAX_WEIGHT {
            return Err(Refusal::invalid(field("weight"), format!("expected a number from -{MAX_WEIGHT} to {MAX_WEIGHT}")));
        }
        uses.push(LoraUse { name: entry.name.clone(), weight: *weight });
    }
    Ok(uses)
}

/// Weights beyond which there is nothing but noise.
const MAX_WEIGHT: f64 = 100.0;

fn init(request: &JobRequest, inputs: &Inputs, settings: &Settings) -> Result<Option<InitInput>, Refusal> {
    let Some(image) = &request.image else {
        return match &request.mask {
            Some(_) => Err(Refusal::invalid("mask", "a mask needs an image that it lies on")),
            None => Ok(None),
        };
    };
    let (image, size) = inputs.take("image", image)?;
    let mask = match &request.mask {
        None => None,
        Some(mask) => {
            let (mask, mask_size) = inputs.take("mask", mask)?;
            if mask_size != size {
                let (found, expected) = (mask_size, size);
                let problem = format!(
                    "the mask is {} x {} pixels, its image {} x {}; give them the same size",
                    found.0, found.1, expected.0, expected.1
                );
                return Err(Refusal::invalid("mask", problem));
            }
            Some(mask)
        }
    };
    let mask_feather = request.mask_feather.unwrap_or(0);
    if mask_feather > settings.width.max(settings.height) {
        return Err(Refusal::invalid("mask_feather", "expected no more pixels than the image has a side"));
    }
    Ok(Some(InitInput { image, mask, strength: request.strength.unwrap_or(STRENGTH), mask_feather }))
}

/// The model's settings, with what was asked for in their place.
fn settings(request: &JobRequest, model: &ModelEntry) -> Result<Settings, Refusal> {
    let mut settings = model.defaults.clone();
    let set = |setting: &mut usize, asked: Option<usize>| *setting = asked.unwrap_or(*setting);
    set(&mut settings.width, request.width);
    set(&mut settings.height, request.height);
    set(&mut settings.num_steps, request.steps);
    set(&mut settings.max_sequence_length, request.max_sequence_length);
    if let Some(sampler) = &request.sampler {
        // Names as "DPM++ 2M Karras" say a schedule as well.
        let (sampler, schedule) = sampler_named(sampler).map_err(|error| named("sampler", &error))?;
        (settings.sampler, settings.schedule) = (sampler, schedule.or(settings.schedule));
    }
    if let Some(schedule) = &request.schedule {
        settings.schedule = schedule_named(schedule).map_err(|error| named("schedule", &error))?;
    }
    settings.shift = request.shift.as_ref().map(noise_shift).transpose()?;
    settings.shift_terminal = request.shift_terminal;
    if let Some(sigmas) = &request.sigmas {
        let sigmas = Sigmas::new(sigmas.clone()).map_err(|error| named("sigmas", &error))?;
        settings.num_steps = sigmas.num_steps();
        settings.sigmas = Some(sigmas);
    }
    set_scales(&mut settings, request, model.info.guidance)?;
    settings.guidance = request.guidance.as_ref().map(guidance).transpose()?.unwrap_or_default();
    settings.skip_layers = request.skip_layers.as_ref().map(skip_layers);
    settings.step_cache = request.step_cache.as_ref().map(step_cache).transpose()?.unwrap_or_default();
    settings.tiling = if request.tile_vae { Tiling::Tiled } else { Tiling::Whole };
    Ok(settings)
}

/// The guidance scale is what the authors of each model call so.
fn set_scales(settings: &mut Settings, request: &JobRequest, kind: GuidanceKind) -> Result<(), Refusal> {
    match (kind, request.guidance_scale) {
        (GuidanceKind::ClassifierFree, Some(scale)) => settings.guidance_scale = scale,
        (GuidanceKind::Distilled, Some(guidance)) => settings.distilled_guidance = Some(guidance),
        _ => {}
    }
    match (kind, request.true_cfg_scale) {
        (GuidanceKind::ClassifierFree, Some(_)) => {
            let problem = "this is for models made to do without classifier-free guidance; use guidance_scale for this one";
            Err(Refusal::invalid("true_cfg_scale", problem))
        }
        (_, scale) => {
            settings.guidance_scale = scale.unwrap_or(settings.guidance_scale);
            Ok(())
        }
    }
}

fn noise_shift(shift: &NoiseShiftRequest) -> Result<NoiseShift, Refusal> {
    match shift {
        NoiseShiftRequest::Factor(factor) => Ok(NoiseShift::Constant(*factor)),
        NoiseShiftRequest::Name(name) => name.parse().map_err(|error| named("shift", &error)),
    }
}

fn guidance(request: &GuidanceRequest) -> Result<Guidance, Refusal> {
    let method = request.method.as_deref().unwrap_or("cfg").parse().map_err(|error| named("guidance.method", &error))?;
    let method = match method {
        GuidanceMethod::ZeroStar { zero_steps } => {
            GuidanceMethod::ZeroStar { zero_steps: request.zero_steps.unwrap_or(zero_steps) }
        }
        GuidanceMethod::AdaptiveProjected { .. } => GuidanceMethod::AdaptiveProjected {
            eta: request.eta,
            norm_threshold: request.norm_threshold,
            momentum: request.momentum,
        },
        other => other,
    };
    let evaluation = if request.sequential { GuidanceEvaluation::Sequential } else { GuidanceEvaluation::Batched };
    let interval = request.interval.map(|[start, end]| GuidanceInterval { start, end });
    Ok(Guidance { method, rescale: request.rescale, interval, evaluation })
}

fn skip_layers(request: &SkipLayersRequest) -> SkipLayerGuidance {
    let default = SkipLayerGuidance::of_layers(request.layers.clone());
    SkipLayerGuidance {
        scale: request.scale.unwrap_or(default.scale),
        start: request.start.unwrap_or(default.start),
        stop: request.stop.unwrap_or(default.stop),
        ..default
    }
}

fn step_cache(request: &StepCacheRequest) -> Result<StepCache, Refusal> {
    let named: StepCache = request.method.parse().map_err(|error| named("step_cache.method", &error))?;
    Ok(match (named, request.threshold) {
        (StepCache::FirstBlock { .. }, Some(threshold)) => StepCache::FirstBlock { threshold },
        (StepCache::Easy { start, stop, .. }, Some(threshold)) => StepCache::Easy { threshold, start, stop },
        (cache, _) => cache,
    })
}

/// A sentence for every field that was given and has no effect.
fn without_effect(request: &JobRequest, model: &ModelEntry, settings: &Settings) -> Vec<String> {
    let mut sentences = Vec::new();
    if model.info.guidance == GuidanceKind::None && request.guidance_scale.is_some() {
        sentences.push("guidance_scale has no effect with this model, which was distilled to draw without".to_owned());
    }
    if !settings.is_guided() {
        let given = [
            ("negative_prompt", !request.negative_prompt.is_empty()),
            ("guidance", request.guidance.is_some()),
            ("skip_layers", request.skip_layers.is_some()),
        ];
        let given = given.into_iter().filter(|(_, given)| *given);
        sentences.extend(given.map(|(field, _)| format!("{field} has no effect without classifier-free guidance")));
    }
    sentences
}

fn named(field: &str, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::invalid(field, error.to_string())
}
