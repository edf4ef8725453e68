//! From what clients ask for to what is drawn.

use diffusion_models::GuidanceKind;
use diffusion_schedulers::kind::{SamplerKind, ScheduleKind};
use serde_json::Value;

use super::asked::{Asked, AskedInit, shown};
use super::prompt::read_prompt;
use crate::api::foreign::masks::inverted_mask;
use crate::refusal::{Refusal, RefusalKind};
use crate::registry::{ModelEntry, Registry};
use crate::request::{JobRequest, LoraRequest, PictureFormat, decode_picture};
use crate::sampler_names::{sampler_named, schedule_named};

/// A request, and what there is to say about how it was understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Translated {
    pub(super) request: JobRequest,
    pub(super) notes: Vec<String>,
}

/// Share of the noise that the protocol starts from an image with.
const DENOISING_STRENGTH: f64 = 0.75;

/// What is drawn for a client whose model is `model`.
///
/// # Errors
/// [`Refusal`] naming the field.
pub(super) fn translate(asked: Asked, model: &ModelEntry) -> Result<Translated, Refusal> {
    let prompt = read_prompt("prompt", &asked.prompt)?;
    let negative_prompt = read_prompt("negative_prompt", &asked.negative_prompt)?;
    let mut notes = [prompt.notes, negative_prompt.notes].concat();
    notes.extend(without_effect(&asked));
    let sampling = sampling(&asked, &mut notes)?;
    let (guidance_scale, true_cfg_scale) = scales(&asked, model.info.guidance, &mut notes);
    let listed = asked.loras.iter().map(listed_lora).collect::<Result<Vec<_>, _>>()?;
    let request = JobRequest {
        model: Some(model.name.clone()),
        prompt: prompt.text,
        negative_prompt: negative_prompt.text,
        width: asked.width,
        height: asked.height,
        steps: asked.steps,
        guidance_scale,
        true_cfg_scale,
        sampler: sampling.sampler.map(|sampler| sampler.name().to_owned()),
        schedule: sampling.schedule.map(|schedule| schedule.name().to_owned()),
        seed: asked.seed,
        count: Some(asked.batch_size.saturating_mul(asked.n_iter)),
        loras: [prompt.loras, negative_prompt.loras, listed].concat(),
        output_format: asked.samples_format.as_deref().map(picture_format).transpose()?,
        ..JobRequest::default()
    };
    let request = match asked.init {
        None => request,
        Some(init) => with_init(request, init, asked.denoising_strength, &mut notes)?,
    };
    Ok(Translated { request, notes })
}

/// The model that a client names: by its name, or as lists of other programs have it, with an extension or a hash after it.
///
/// # Errors
/// [`RefusalKind::UnknownModel`].
pub(super) fn model_named<'a>(registry: &'a Registry, title: &str) -> Result<&'a ModelEntry, Refusal> {
    let bare = match title.rsplit_once(" [") {
        Some((name, _)) if title.ends_with(']') => name,
        _ => title,
    };
    let bare = [".safetensors", ".gguf", ".ckpt"].iter().find_map(|extension| bare.strip_suffix(extension)).unwrap_or(bare);
    let caseless = || registry.models().iter().find(|model| model.name.eq_ignore_ascii_case(bare));
    let found = registry.model(title).or_else(|| registry.model(bare)).or_else(caseless);
    found.map(AsRef::as_ref).ok_or_else(|| {
        let message = format!("there is no model {:?}; there are {}", shown(title), registry.names());
        Refusal::new(RefusalKind::UnknownModel, message).at("model")
    })
}

/// Where nothing is chosen, the model's own is used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sampling {
    sampler: Option<SamplerKind>,
    schedule: Option<ScheduleKind>,
}

/// Samplers of AUTOMATIC1111 and Forge that have no counterpart. Programs have them in their lists, so they are no mistake.
const FOREIGN_SAMPLERS: [&str; 15] = [
    "restart",
    "plms",
    "lms",
    "lms karras",
    "dpm2",
    "dpm2 karras",
    "dpm2 a",
    "dpm2 a karras",
    "dpm fast",
    "dpm adaptive",
    "heunpp2",
    "ddim cfg++",
    "euler cfg++",
    "euler a cfg++",
    "ddpm",
];
/// Schedules of theirs that have none.
const FOREIGN_SCHEDULES: [&str; 7] = [
    "polyexponential",
    "karras exponential",
    "align your steps",
    "align your steps gits",
    "align your steps 11",
    "align your steps 32",
    "turbo",
];

fn is_one_of(name: &str, names: &[&str]) -> bool {
    let plain =
        |name: &str| -> String { name.chars().filter(|c| !matches!(c, ' ' | '_' | '-')).flat_map(char::to_lowercase).collect() };
    let name = plain(name.strip_prefix("k_").unwrap_or(name));
    names.iter().any(|known| plain(known) == name)
}

fn sampling(asked: &Asked, notes: &mut Vec<String>) -> Result<Sampling, Refusal> {
    let mut sampling = Sampling::default();
    if let Some(name) = &asked.scheduler {
        match schedule_named(name) {
            Ok(schedule) => sampling.schedule = schedule,
            Err(_) if is_one_of(name, &FOREIGN_SCHEDULES) => {
                notes.push(format!("scheduler: there is no {name:?} here; the model's own schedule was used"));
            }
            Err(error) => return Err(Refusal::invalid("scheduler", error.to_string())),
        }
    }
    if let Some(name) = &asked.sampler {
        match sampler_named(name) {
            Ok((sampler, schedule)) => {
                sampling.sampler = Some(sampler);
                // A schedule in the sampler's name counts before the other one.
                sampling.schedule = schedule.or(sampling.schedule);
            }
            Err(_) if is_one_of(name, &FOREIGN_SAMPLERS) => {
                notes.push(format!("sampler_name: there is no {name:?} here; the model's own sampler was used"));
            }
            Err(error) => return Err(Refusal::new(RefusalKind::NotFound, error.to_string()).at("sampler")),
        }
    }
    Ok(sampling)
}

/// The guidance scale of the model's authors, and classifier-free guidance where they meant something else.
fn scales(asked: &Asked, guidance: GuidanceKind, notes: &mut Vec<String>) -> (Option<f64>, Option<f64>) {
    let (cfg_scale, distilled) = (asked.cfg_scale, asked.distilled_cfg_scale);
    match guidance {
        GuidanceKind::ClassifierFree => (cfg_scale, None),
        // Forge has both fields; what has one means the guidance that the model has.
        GuidanceKind::Distilled => {
            if distilled.is_some() {
                (distilled, cfg_scale.filter(|&scale| scale > 1.0))
            } else {
                let has_scale = cfg_scale.is_some();
                notes.extend(has_scale.then(|| {
                    "cfg_scale: this model takes its guidance as an input, and so was this scale; distilled_cfg_scale names it so".to_owned()
                }));
                (cfg_scale, None)
            }
        }
        GuidanceKind::None => {
            let is_guided = cfg_scale.is_some_and(|scale| scale > 1.0) || distilled.is_some();
            notes.extend(is_guided.then(|| "cfg_scale: this model was distilled to draw without guidance".to_owned()));
            (None, None)
        }
    }
}

/// A LoRA as stable-diffusion.cpp has it in lists.
fn listed_lora(lora: &Value) -> Result<LoraRequest, Refusal> {
    let text = |name: &str| lora.get(name).and_then(Value::as_str);
    let weight = ["multiplier", "weight", "scale"].iter().find_map(|name| lora.get(*name));
    let name = text("path").or_else(|| text("name")).map(str::to_owned);
    let weight = weight.map_or(Some(1.0), Value::as_f64);
    let lora = name.zip(weight).map(|(name, weight)| LoraRequest { name, weight });
    lora.ok_or_else(|| Refusal::invalid("lora", "expected a list of {\"path\": name, \"multiplier\": number}"))
}

fn picture_format(name: &str) -> Result<PictureFormat, Refusal> {
    let refusal = || Refusal::invalid("override_settings.samples_format", "expected png, jpg or webp");
    PictureFormat::named(name).ok_or_else(refusal)
}

fn with_init(
    request: JobRequest,
    init: AskedInit,
    strength: Option<f64>,
    notes: &mut Vec<String>,
) -> Result<JobRequest, Refusal> {
    /// Start from what is there, in place of colours or noise.
    const ORIGINAL: usize = 1;
    let mask = match init.mask {
        Some(mask) if init.is_mask_inverted => Some(inverted_mask("mask", &decode_picture("mask", &mask)?)?),
        mask => mask,
    };
    if init.resize_mode != 0 {
        notes.push("resize_mode: images are stretched to the size that is drawn, which is the mode 0".to_owned());
    }
    if mask.is_some() && init.inpainting_fill.is_some_and(|fill| fill != ORIGINAL) {
        notes.push("inpainting_fill: what is redrawn starts from the image that is there, which is the mode 1".to_owned());
    }
    if mask.is_some() && init.inpaint_full_res {
        notes.push("inpaint_full_res: the whole picture is drawn, and not an enlarged part of it".to_owned());
    }
    let mask_feather = mask.is_some().then_some(init.mask_blur);
    let strength = Some(strength.unwrap_or(DENOISING_STRENGTH));
    Ok(JobRequest { image: Some(init.image), mask, mask_feather, strength, ..request })
}

/// A sentence for each field that was given and changes nothing.
fn without_effect(asked: &Asked) -> Vec<String> {
    let is_other = |name: &String| !["automatic", "none"].iter().any(|own| name.eq_ignore_ascii_case(own));
    let given = [
        (!asked.styles.is_empty(), "styles: there are none"),
        (asked.subseed_strength > 0.0, "subseed_strength: seeds are not mixed"),
        (asked.restore_faces, "restore_faces: faces are not restored"),
        (asked.tiling, "tiling: pictures are not made to be tiled"),
        (asked.refiner.is_some(), "refiner_checkpoint: there is no refiner"),
        (asked.clip_skip > 1, "clip_skip: the text encoders are used as the model was trained with them"),
        (asked.vae.as_ref().is_some_and(is_other), "sd_vae: the model's own autoencoder was used"),
    ];
    given.into_iter().filter(|(is_given, _)| *is_given).map(|(_, sentence)| sentence.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(sampler: &str, scheduler: &str) -> Asked {
        Asked { sampler: Some(sampler.to_owned()), scheduler: Some(scheduler.to_owned()), ..Asked::default() }
    }

    #[test]
    fn names_choose_or_are_noted_or_refused() {
        let chosen = |name: &str, scheduler: &str| {
            let mut notes = Vec::new();
            sampling(&asked(name, scheduler), &mut notes).map(|found| (found.sampler, found.schedule, notes.len()))
        };
        let (euler, karras) = (Some(SamplerKind::Euler), Some(ScheduleKind::Karras));
        assert_eq!(chosen("Euler", "automatic"), Ok((euler, None, 0)));
        assert_eq!(chosen("k_euler", "karras"), Ok((euler, karras, 0)));
        assert_eq!(chosen("Euler Karras", "Automatic"), Ok((euler, karras, 0)));
        assert_eq!(chosen("Euler Karras", "simple"), Ok((euler, karras, 0)));
        for name in ["Restart", "PLMS", "DPM2 a", "dpm_adaptive", "LMS Karras", "k_lms"] {
            assert_eq!(chosen(name, "Automatic"), Ok((None, None, 1)), "{name}");
        }
        assert_eq!(chosen("Euler", "polyexponential"), Ok((euler, None, 1)));
        assert_eq!(chosen("Euler", "Align Your Steps"), Ok((euler, None, 1)));
        let refusal = chosen("Eulre", "automatic").unwrap_err();
        assert_eq!((refusal.kind, refusal.field.as_deref()), (RefusalKind::NotFound, Some("sampler")));
        assert_eq!(chosen("Euler", "kerras").unwrap_err().field.as_deref(), Some("scheduler"));
    }

    #[test]
    fn scales_mean_what_the_model_has() {
        let both = Asked { cfg_scale: Some(3.0), distilled_cfg_scale: Some(2.5), ..Asked::default() };
        let one = Asked { cfg_scale: Some(7.0), ..Asked::default() };
        let of = |asked: &Asked, kind| {
            let mut notes = Vec::new();
            (scales(asked, kind, &mut notes), notes.len())
        };
        assert_eq!(of(&both, GuidanceKind::ClassifierFree), ((Some(3.0), None), 0));
        assert_eq!(of(&one, GuidanceKind::ClassifierFree), ((Some(7.0), None), 0));
        assert_eq!(of(&both, GuidanceKind::Distilled), ((Some(2.5), Some(3.0)), 0));
        assert_eq!(of(&one, GuidanceKind::Distilled), ((Some(7.0), None), 1));
        assert_eq!(of(&one, GuidanceKind::None), ((None, None), 1));
        assert_eq!(of(&Asked::default(), GuidanceKind::None), ((None, None), 0));
    }

    #[test]
    fn loras_in_lists_have_names_and_weights() {
        let read = |json: &str| listed_lora(&serde_json::from_str(json).unwrap());
        let ink = |weight| Ok(LoraRequest { name: "ink".to_owned(), weight });
        assert_eq!(read(r#"{"path":"ink","multiplier":0.5}"#), ink(0.5));
        assert_eq!(read(r#"{"name":"ink"}"#), ink(1.0));
        for json in ["3", r#"{"multiplier":1}"#, r#"{"path":"ink","multiplier":"x"}"#] {
            assert_eq!(read(json).unwrap_err().field.as_deref(), Some("lora"));
        }
    }

    #[test]
    fn an_image_is_started_from_as_the_protocol_has_it() {
        let mut notes = Vec::new();
        let init = AskedInit { image: "a".to_owned(), mask: Some("b".to_owned()), mask_blur: 4, ..AskedInit::default() };
        let request = with_init(JobRequest::default(), init.clone(), None, &mut notes).unwrap();
        let expected = JobRequest {
            image: Some("a".to_owned()),
            mask: Some("b".to_owned()),
            mask_feather: Some(4),
            strength: Some(0.75),
            ..JobRequest::default()
        };
        assert_eq!((request, notes.len()), (expected, 0));
        let other = AskedInit { resize_mode: 1, inpainting_fill: Some(0), inpaint_full_res: true, ..init };
        with_init(JobRequest::default(), other, Some(0.5), &mut notes).unwrap();
        assert_eq!(notes.len(), 3);
    }
}
