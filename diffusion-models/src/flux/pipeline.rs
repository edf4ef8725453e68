//! FLUX.1 as a family of the pipeline.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use diffusion_core::checkpoint::PublishedNames;
use diffusion_core::{Application, Part, PartChanges, Precision, Residency, ScheduleError, Sigmas};
use diffusion_schedulers::kind::SamplerKind;
use diffusion_schedulers::schedules::{FlowShift, ResolutionShift, SigmaTable};

use super::config::DistilledGuidance;
use super::files::{FluxFiles, Shift};
use super::text_encoders::FluxTextEncoders;
use super::transformer::{FluxConditioning, FluxTransformer};
use crate::error::PipelineError;
use crate::family::{Family, Prompt, Question, Step};
use crate::image_decoder::{ImageDecoder, Tiling};
use crate::latent_rgb::LatentRgb;
use crate::model_source::ModelParts;
use crate::pipeline::Pipeline;
use crate::plan::Plan;
use crate::settings::{Guidance, NoiseShift, Settings};
use crate::step_cache::StepCache;

/// FLUX.1-dev, FLUX.1-schnell and their finetunes.
#[derive(Clone, Copy, Debug)]
pub struct Flux;

impl Flux {
    fn shift(files: &FluxFiles, settings: &Settings) -> Result<Shift, PipelineError> {
        Ok(match (settings.shift, files.shift()) {
            (Some(NoiseShift::Constant(shift)), _) => Shift::Constant(FlowShift::new(shift)?),
            (Some(NoiseShift::ByResolution), Shift::Constant(_)) => Shift::ByResolution(ResolutionShift::flux()),
            (_, of_model) => of_model,
        })
    }
}

/// FLUX.1, from a prompt to a picture.
pub type FluxPipeline = Pipeline<Flux>;

/// Pixels on the side of a patch.
const PATCH_PIXELS: usize = 16;

impl Family for Flux {
    type Files = FluxFiles;
    type TextEncoders = FluxTextEncoders;
    type Transformer = FluxTransformer;
    type Conditioning = FluxConditioning;

    fn open(path: &Path, parts: &ModelParts) -> Result<FluxFiles, PipelineError> {
        FluxFiles::open(path, parts)
    }

    /// Reference: diffusers `pipeline_flux.py#L609-L628` and `docs/source/en/api/pipelines/flux.md` at 58eb52c.
    fn default_settings(files: &FluxFiles) -> Settings {
        let (num_steps, guidance_scale, t5_length) = match files.config().guidance {
            DistilledGuidance::Embedded => (28, 3.5, 512),
            DistilledGuidance::None => (4, 0.0, 256),
        };
        Settings {
            width: 1024,
            height: 1024,
            num_steps,
            sampler: SamplerKind::Euler,
            sampler_seeds: vec![0],
            schedule: None,
            shift: None,
            shift_terminal: None,
            sigmas: None,
            guidance_scale,
            true_cfg_scale: 1.0,
            guidance: Guidance::default(),
            max_sequence_length: files.t5_length().min(t5_length),
            skip_layers: None,
            step_cache: StepCache::Off,
            tiling: Tiling::Whole,
        }
    }

    fn check(_: &FluxFiles, settings: &Settings) -> Result<(), PipelineError> {
        match &settings.skip_layers {
            Some(guidance) => {
                let expected = "none: skip-layer guidance is for Stable Diffusion 3";
                Err(PipelineError::setting("layers to skip", expected, format!("{:?}", guidance.layers)))
            }
            None => Ok(()),
        }
    }

    fn latent_channels(_: &FluxFiles) -> usize {
        16
    }

    fn latent_rgb(_: &FluxFiles) -> Option<LatentRgb> {
        Some(LatentRgb::FLUX)
    }

    /// Evenly spaced from 1 to 1 / steps, then shifted.
    ///
    /// Reference: black-forest-labs/flux `sampling.py#L277-L305` at 802fb47; diffusers `pipeline_flux.py#L821-L841`.
    fn sigmas(files: &FluxFiles, settings: &Settings) -> Result<Sigmas, PipelineError> {
        let num_steps = settings.num_steps;
        if num_steps == 0 {
            return Err(ScheduleError::TooFew { found: 1 }.into());
        }
        let shift = Self::shift(files, settings)?;
        let shifted = |sigma: f64| match shift {
            Shift::Constant(shift) => shift.apply(sigma),
            Shift::ByResolution(shift) => shift.apply(sigma, tokens(settings)),
        };
        let even = (0..num_steps).map(|i| 1.0 - i as f64 / num_steps as f64);
        Ok(Sigmas::new(even.map(shifted).chain([0.0]).collect())?)
    }

    fn sigma_table(files: &FluxFiles, settings: &Settings) -> Result<SigmaTable, PipelineError> {
        Ok(match Self::shift(files, settings)? {
            Shift::Constant(shift) => SigmaTable::flow(shift.shift())?,
            Shift::ByResolution(shift) => SigmaTable::flux(shift.mu(tokens(settings)))?,
        })
    }

    fn classifier_free_scale(settings: &Settings) -> f64 {
        settings.true_cfg_scale
    }

    fn plan(files: &FluxFiles, settings: &Settings, precision: Precision) -> Plan {
        files.plan(settings, precision)
    }

    fn load_text_encoders(
        files: &FluxFiles,
        precision: Precision,
        residency: Residency,
        device: &Device,
    ) -> Result<FluxTextEncoders, PipelineError> {
        files.load_text_encoders(precision, residency, device)
    }

    fn release_text_encoders(files: &FluxFiles) {
        files.release_text_encoders();
    }

    fn load_transformer(
        files: &FluxFiles,
        precision: Precision,
        residency: Residency,
        device: &Device,
    ) -> Result<FluxTransformer, PipelineError> {
        files.load_transformer(precision, residency, device)
    }

    fn published_names(files: &FluxFiles) -> BTreeMap<Part, PublishedNames> {
        files.published_names()
    }

    fn change_text_encoders(
        encoders: FluxTextEncoders,
        changes: &PartChanges,
        application: Application,
    ) -> Result<FluxTextEncoders, PipelineError> {
        Ok(encoders.change_weights(changes, application)?)
    }

    fn load_decoder(files: &FluxFiles, precision: Precision, device: &Device) -> Result<ImageDecoder, PipelineError> {
        files.load_decoder(precision, device)
    }

    fn encode_image(
        files: &FluxFiles,
        image: Tensor<4>,
        precision: Precision,
        device: &Device,
    ) -> Result<Tensor<4>, PipelineError> {
        files.encode_image(image, precision, device)
    }

    fn encode(
        encoders: &FluxTextEncoders,
        text: &str,
        settings: &Settings,
        device: &Device,
    ) -> Result<FluxConditioning, PipelineError> {
        Ok(encoders.encode(text, settings, device)?)
    }

    fn batched(conditionings: &[&FluxConditioning]) -> FluxConditioning {
        FluxConditioning::batched(conditionings)
    }

    fn velocity(transformer: &FluxTransformer, settings: &Settings, question: Question<'_, FluxConditioning>) -> Tensor<4> {
        let Question { latents, sigma, conditioning, cache, .. } = question;
        let conditioning = with_guidance(conditioning, settings);
        match cache {
            Some(cache) => transformer.forward_cached(latents, sigma, &conditioning, cache),
            None => transformer.forward(latents, sigma, &conditioning),
        }
    }

    fn first_not_finite(
        transformer: &FluxTransformer,
        prompt: &Prompt<FluxConditioning>,
        settings: &Settings,
        step: Step,
        latents: Tensor<4>,
    ) -> Option<String> {
        let mut watch = crate::watch::FirstNotFinite::default();
        for conditioning in [Some(&prompt.positive), prompt.negative.as_ref()].into_iter().flatten() {
            transformer.forward_watched(latents.clone(), step.sigma, &with_guidance(conditioning, settings), &mut watch);
        }
        watch.place()
    }
}

/// Patches of the picture.
fn tokens(settings: &Settings) -> usize {
    (settings.width / PATCH_PIXELS) * (settings.height / PATCH_PIXELS)
}

/// The encoded prompt under these settings' guidance, which may differ from those it was encoded under.
fn with_guidance(conditioning: &FluxConditioning, settings: &Settings) -> FluxConditioning {
    FluxConditioning { distilled_guidance: settings.guidance_scale, ..conditioning.clone() }
}
