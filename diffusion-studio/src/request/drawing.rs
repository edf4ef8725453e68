//! What is drawn, with nothing left open.

use diffusion_models::{Guidance, GuidanceEvaluation, GuidanceKind, GuidanceMethod, NoiseShift, Settings, StepCache, Tiling};
use diffusion_schedulers::guidance::{GuidanceInterval, SkipLayerGuidance};
use serde::{Deserialize, Serialize};

use super::job_kind::JobKind;
use super::job_request::{GuidanceRequest, JobRequest, LoraRequest, NoiseShiftRequest, SkipLayersRequest, StepCacheRequest};
use super::picture_format::PictureFormat;
use crate::jobs::Needs;
use crate::registry::Registry;

/// What is drawn, with nothing left open: the same drawing gives the same images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drawing {
    /// What is drawn from.
    pub kind: JobKind,
    /// Name of the model.
    pub model: String,
    /// What the images show.
    pub prompt: String,
    /// What they do not show.
    pub negative_prompt: String,
    /// A seed for each image.
    pub seeds: Vec<u64>,
    /// How to draw.
    pub settings: Settings,
    /// LoRAs in the order in which they are applied.
    pub loras: Vec<LoraUse>,
    /// An image to start from.
    pub init: Option<InitInput>,
    /// How images are written.
    pub output: Output,
}

/// A LoRA with its weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoraUse {
    /// Its name in the registry.
    pub name: String,
    /// How strong it is.
    pub weight: f64,
}

/// An image to start from, by the names of its files among the inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InitInput {
    /// The image.
    pub image: String,
    /// The mask.
    pub mask: Option<String>,
    /// How far to go from the image.
    pub strength: f64,
    /// Pixels over which the edge of the mask rises.
    pub mask_feather: usize,
}

/// How images are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The format.
    pub format: PictureFormat,
    /// Quality of a JPEG, from 1 to 100.
    pub quality: Option<u8>,
}

/// URL of an input by the name of its file.
pub(crate) const INPUT_URL: &str = "/api/v1/inputs/";

impl Drawing {
    /// The request that asks for this drawing: everything is filled in. `guidance` is what the model's authors mean by the
    /// guidance scale.
    pub fn as_request(&self, guidance: GuidanceKind) -> JobRequest {
        let Settings { width, height, num_steps, sampler, schedule, shift, shift_terminal, sigmas, .. } = &self.settings;
        let (guidance_scale, true_cfg_scale) = match guidance {
            GuidanceKind::ClassifierFree => (Some(self.settings.guidance_scale), None),
            _ => (self.settings.distilled_guidance, Some(self.settings.guidance_scale).filter(|&scale| scale > 1.0)),
        };
        let input = |name: &String| format!("{INPUT_URL}{name}");
        let init = self.init.as_ref();
        JobRequest {
            kind: Some(self.kind),
            model: Some(self.model.clone()),
            prompt: self.prompt.clone(),
            negative_prompt: self.negative_prompt.clone(),
            width: Some(*width),
            height: Some(*height),
            steps: Some(*num_steps),
            guidance_scale,
            true_cfg_scale,
            sampler: Some(sampler.to_string()),
            schedule: schedule.map(|schedule| schedule.to_string()),
            shift: shift.map(|shift| match shift {
                NoiseShift::Constant(factor) => NoiseShiftRequest::Factor(factor),
                NoiseShift::ByResolution => NoiseShiftRequest::Name(shift.to_string()),
            }),
            shift_terminal: *shift_terminal,
            sigmas: sigmas.as_ref().map(|sigmas| sigmas.as_slice().to_vec()),
            seed: self.seeds.first().copied(),
            count: Some(self.seeds.len()),
            loras: self.loras.iter().map(|lora| LoraRequest { name: lora.name.clone(), weight: lora.weight }).collect(),
            image: init.map(|init| input(&init.image)),
            mask: init.and_then(|init| init.mask.as_ref()).map(input),
            strength: init.map(|init| init.strength),
            mask_feather: init.map(|init| init.mask_feather),
            tile_vae: self.settings.tiling == Tiling::Tiled,
            max_sequence_length: Some(self.settings.max_sequence_length),
            guidance: guidance_request(&self.settings.guidance),
            skip_layers: self.settings.skip_layers.as_ref().map(skip_layers_request),
            step_cache: step_cache_request(self.settings.step_cache),
            output_format: Some(self.output.format),
            quality: self.output.quality,
        }
    }

    /// What it needs in a worker's memory.
    ///
    /// # Errors
    /// A sentence if a LoRA is no longer there, or cannot be read.
    pub(crate) fn needs(&self, registry: &Registry) -> Result<Needs, String> {
        let contents = self.loras.iter().map(|lora| registry.loras.digest(&lora.name)).collect::<Result<Vec<_>, _>>()?;
        Ok(needs(&self.model, &self.loras, &contents))
    }

    /// How often the network is evaluated in a step, about: twice with classifier-free guidance.
    pub(crate) fn passes(&self) -> usize {
        1 + usize::from(self.settings.is_guided()) + usize::from(self.settings.skip_layers.is_some())
    }
}

/// A model with its LoRAs, spelled one way: names, weights, and what tells the contents of their files.
pub(crate) fn needs(model: &str, loras: &[LoraUse], contents: &[String]) -> Needs {
    let spell = |(lora, contents): (&LoraUse, &String)| format!("{}:{}@{}", lora.name, lora.weight, &contents[..16]);
    let loras: Vec<String> = loras.iter().zip(contents).map(spell).collect();
    Needs { model: model.into(), loras: loras.join(",").into() }
}

/// `None` for plain guidance.
fn guidance_request(guidance: &Guidance) -> Option<GuidanceRequest> {
    if *guidance == Guidance::default() {
        return None;
    }
    let common = GuidanceRequest {
        method: Some(guidance.method.to_string()),
        rescale: guidance.rescale,
        interval: guidance.interval.map(|GuidanceInterval { start, end }| [start, end]),
        sequential: guidance.evaluation == GuidanceEvaluation::Sequential,
        ..GuidanceRequest::default()
    };
    Some(match guidance.method {
        GuidanceMethod::ZeroStar { zero_steps } => GuidanceRequest { zero_steps: Some(zero_steps), ..common },
        GuidanceMethod::AdaptiveProjected { eta, norm_threshold, momentum } => {
            GuidanceRequest { eta, norm_threshold, momentum, ..common }
        }
        _ => common,
    })
}

fn skip_layers_request(skip: &SkipLayerGuidance) -> SkipLayersRequest {
    let SkipLayerGuidance { layers, scale, start, stop } = skip.clone();
    SkipLayersRequest { layers, scale: Some(scale), start: Some(start), stop: Some(stop) }
}

fn step_cache_request(cache: StepCache) -> Option<StepCacheRequest> {
    match cache {
        StepCache::FirstBlock { threshold } | StepCache::Easy { threshold, .. } => {
            Some(StepCacheRequest { method: cache.to_string(), threshold: Some(threshold) })
        }
        _ => None,
    }
}
