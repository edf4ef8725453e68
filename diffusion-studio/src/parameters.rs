//! Prompt and settings in the files of pictures.

use diffusion_app::image_file::read_parameters;
use diffusion_app::infotext::{Infotext, LoraTag, take_lora_tags};
use diffusion_models::{GuidanceKind, Settings};

use crate::registry::Registry;
use crate::request::{Drawing, JobRequest, LoraRequest, LoraUse};
use crate::sampler_names::{sampler_label, sampler_named, schedule_label};

/// Digits of hashes that are written into pictures, as AUTOMATIC1111 does.
const HASH_DIGITS: usize = 10;

/// What an image of a drawing is drawn from, as other programs read it.
pub(crate) fn infotext(drawing: &Drawing, seed: u64, registry: &Registry) -> Infotext {
    let Settings { width, height, num_steps, sampler, schedule, guidance_scale, distilled_guidance, skip_layers, .. } =
        &drawing.settings;
    let tagged = |prompt: String, lora: &LoraUse| format!("{prompt} <lora:{}:{}>", lora.name, lora.weight);
    let hash = |name: &str| Some(registry.loras.find(name)?.digest().ok()?[..HASH_DIGITS].to_owned());
    let hashes = drawing.loras.iter().filter_map(|lora| Some((lora.name.clone(), hash(&lora.name)?)));
    let skipped = skip_layers
        .iter()
        .flat_map(|guidance| [("Skip layers", format!("{:?}", guidance.layers)), ("SLG scale", guidance.scale.to_string())]);
    Infotext {
        prompt: drawing.loras.iter().fold(drawing.prompt.clone(), tagged),
        negative_prompt: drawing.negative_prompt.clone(),
        steps: Some(*num_steps),
        sampler: Some(sampler_label(*sampler).to_owned()),
        schedule_type: Some(schedule_label(*schedule).to_owned()),
        cfg_scale: Some(*guidance_scale),
        distilled_cfg_scale: *distilled_guidance,
        seed: Some(seed),
        size: Some((*width, *height)),
        model_hash: registry.model(&drawing.model).map(|model| model.short_hash().to_owned()),
        model: Some(drawing.model.clone()),
        denoising_strength: drawing.init.as_ref().map(|init| init.strength),
        others: skipped.map(|(key, value)| (key.to_owned(), value)).collect(),
        lora_hashes: hashes.collect(),
        version: Some(concat!("diffusion-studio ", env!("CARGO_PKG_VERSION")).to_owned()),
        ..Infotext::default()
    }
}

/// The text in a picture, if there is one.
pub(crate) fn read(bytes: &[u8]) -> Option<String> {
    read_parameters(bytes)
}

/// What a text means here: models and LoRAs that are not here are left out, and so is what cannot be told.
pub(crate) fn as_request(text: &str, registry: &Registry) -> JobRequest {
    let Ok(infotext) = text.parse::<Infotext>();
    let (prompt, tags) = take_lora_tags(&infotext.prompt).unwrap_or_else(|_| (infotext.prompt.clone(), Vec::new()));
    let model = infotext.model.filter(|model| registry.model(model).is_some());
    let guidance = model.as_ref().and_then(|model| registry.model(model)).unwrap_or(registry.default_model()).info.guidance;
    let (guidance_scale, true_cfg_scale) = match guidance {
        GuidanceKind::ClassifierFree => (infotext.cfg_scale, None),
        _ => (infotext.distilled_cfg_scale, infotext.cfg_scale.filter(|&scale| scale > 1.0)),
    };
    let sampler = infotext.sampler.and_then(|sampler| sampler_named(&sampler).ok());
    let named = |name: &String| crate::sampler_names::schedule_named(name).ok().flatten();
    let schedule = infotext.schedule_type.as_ref().and_then(named).or_else(|| sampler.and_then(|(_, schedule)| schedule));
    let is_here =
        |LoraTag { name, weight }| registry.loras.find(&name).map(|entry| LoraRequest { name: entry.name.clone(), weight });
    JobRequest {
        model,
        prompt,
        negative_prompt: infotext.negative_prompt,
        width: infotext.size.map(|(width, _)| width),
        height: infotext.size.map(|(_, height)| height),
        steps: infotext.steps,
        guidance_scale,
        true_cfg_scale,
        sampler: sampler.map(|(sampler, _)| sampler.to_string()),
        schedule: schedule.map(|schedule| schedule.to_string()),
        seed: infotext.seed,
        loras: tags.into_iter().filter_map(is_here).collect(),
        ..JobRequest::default()
    }
}
