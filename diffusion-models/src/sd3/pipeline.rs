//! Stable Diffusion 3 as a family of the pipeline.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use diffusion_core::checkpoint::PublishedNames;
use diffusion_core::{Application, Part, PartChanges, Precision, Residency, SigmaSchedule, Sigmas};
use diffusion_schedulers::kind::SamplerKind;
use diffusion_schedulers::schedules::{FlowShift, ResolutionShift, SigmaTable};

use super::config::{QkNorm, Sd3Config};
use super::files::Sd3Files;
use super::text_encoders::Sd3TextEncoders;
use super::transformer::{Sd3Conditioning, Sd3Transformer};
use crate::autoencoder_kl::AutoencoderKlConfig;
use crate::error::PipelineError;
use crate::family::{Family, Prompt, Question, Step};
use crate::image_decoder::{ImageDecoder, Tiling};
use crate::latent_rgb::LatentRgb;
use crate::model_source::ModelParts;
use crate::pipeline::{CELL, Pipeline};
use crate::plan::Plan;
use crate::settings::{Guidance, NoiseShift, Settings};
use crate::step_cache::StepCache;

/// Stable Diffusion 3 and 3.5: Medium, Large and Large Turbo.
#[derive(Clone, Copy, Debug)]
pub struct Sd3;

impl Sd3 {
    /// The shift, by a constant or by the picture's size.
    fn shift(files: &Sd3Files, settings: &Settings) -> Result<FlowShift, PipelineError> {
        let patches = (settings.width / PATCH_PIXELS) * (settings.height / PATCH_PIXELS);
        Ok(match settings.shift {
            None => files.schedule(),
            Some(NoiseShift::Constant(shift)) => FlowShift::new(shift)?,
            Some(NoiseShift::ByResolution) => ResolutionShift::sd3().schedule(patches)?.shift(),
        })
    }
}

/// Pixels on the side of a patch.
const PATCH_PIXELS: usize = 16;

/// Stable Diffusion 3 and 3.5, from a prompt to a picture.
pub type Sd3Pipeline = Pipeline<Sd3>;

/// The longest sequence that T5 sees unless asked otherwise.
const MAX_SEQUENCE_LENGTH: usize = 256;

impl Family for Sd3 {
    type Files = Sd3Files;
    type TextEncoders = Sd3TextEncoders;
    type Transformer = Sd3Transformer;
    type Conditioning = Sd3Conditioning;

    fn open(path: &Path, parts: &ModelParts) -> Result<Sd3Files, PipelineError> {
        Sd3Files::open(path, parts)
    }

    /// A Turbo model has the tensors of Large, so it is told by the word in its file's or folder's name.
    ///
    /// Reference: Stability-AI/sd3.5 `sd3_infer.py#L502-L528`.
    fn default_settings(files: &Sd3Files) -> Settings {
        let config = files.config();
        let turbo = files.path.file_name().is_some_and(|name| name.to_string_lossy().to_lowercase().contains("turbo"));
        let large = config.num_layers >= Sd3Config::large_3_5().num_layers;
        let (num_steps, guidance_scale) = match config.qk_norm {
            QkNorm::RootMeanSquare if large && turbo => (4, 1.0),
            QkNorm::RootMeanSquare if large => (40, 4.5),
            _ => (50, 5.0),
        };
        Settings {
            width: config.sample_size * CELL,
            height: config.sample_size * CELL,
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
            max_sequence_length: files.t5_length().min(MAX_SEQUENCE_LENGTH),
            skip_layers: None,
            step_cache: StepCache::Off,
            tiling: Tiling::Whole,
        }
    }

    fn check(files: &Sd3Files, settings: &Settings) -> Result<(), PipelineError> {
        let Settings { width, height, .. } = *settings;
        let config = files.config();
        let largest = config.position_table_size * config.patch_size * CELL;
        if width > largest || height > largest {
            let reason = format!("the model's position table ends at {largest} pixels a side");
            return Err(PipelineError::Size { width, height, reason });
        }
        if settings.true_cfg_scale > 1.0 {
            let expected = "1: Stable Diffusion 3 guides by the guidance scale alone";
            return Err(PipelineError::setting("true guidance scale", expected, settings.true_cfg_scale));
        }
        let num_layers = config.num_layers;
        let mut skipped = settings.skip_layers.iter().flat_map(|guidance| &guidance.layers);
        match skipped.find(|&&layer| layer >= num_layers) {
            Some(layer) => {
                Err(PipelineError::setting("layer to skip", format!("below {num_layers}, the number of layers"), layer))
            }
            None => Ok(()),
        }
    }

    fn latent_channels(files: &Sd3Files) -> usize {
        files.config().in_channels
    }

    fn latent_rgb(files: &Sd3Files) -> Option<LatentRgb> {
        let published = AutoencoderKlConfig::sd3().latent_channels;
        (files.config().in_channels == published).then_some(LatentRgb::SD3)
    }

    fn sigmas(files: &Sd3Files, settings: &Settings) -> Result<Sigmas, PipelineError> {
        let shift = Self::shift(files, settings)?;
        if settings.shift != Some(NoiseShift::ByResolution) {
            return Ok(shift.sigmas(settings.num_steps)?);
        }
        // With this shift diffusers does not shift the ends before the rest.
        let even = FlowShift::new(1.0)?.sigmas(settings.num_steps)?;
        Ok(Sigmas::new(even.as_slice().iter().map(|&sigma| shift.apply(sigma)).collect())?)
    }

    fn sigma_table(files: &Sd3Files, settings: &Settings) -> Result<SigmaTable, PipelineError> {
        Ok(SigmaTable::flow(Self::shift(files, settings)?.shift())?)
    }

    fn classifier_free_scale(settings: &Settings) -> f64 {
        settings.guidance_scale
    }

    fn plan(files: &Sd3Files, settings: &Settings, precision: Precision) -> Plan {
        files.plan(settings, precision)
    }

    fn load_text_encoders(
        files: &Sd3Files,
        precision: Precision,
        residency: Residency,
        device: &Device,
    ) -> Result<Sd3TextEncoders, PipelineError> {
        files.load_text_encoders(precision, residency, device)
    }

    fn release_text_encoders(files: &Sd3Files) {
        files.release_text_encoders();
    }

    fn load_transformer(
        files: &Sd3Files,
        precision: Precision,
        residency: Residency,
        device: &Device,
    ) -> Result<Sd3Transformer, PipelineError> {
        files.load_transformer(precision, residency, device)
    }

    fn published_names(files: &Sd3Files) -> BTreeMap<Part, PublishedNames> {
        files.published_names()
    }

    fn change_text_encoders(
        encoders: Sd3TextEncoders,
        changes: &PartChanges,
        application: Application,
    ) -> Result<Sd3TextEncoders, PipelineError> {
        Ok(encoders.change_weights(changes, application)?)
    }

    fn load_decoder(files: &Sd3Files, precision: Precision, device: &Device) -> Result<ImageDecoder, PipelineError> {
        files.load_decoder(precision, device)
    }

    fn encode_image(
        files: &Sd3Files,
        image: Tensor<4>,
        precision: Precision,
        device: &Device,
    ) -> Result<Tensor<4>, PipelineError> {
        files.encode_image(image, precision, device)
    }

    fn encode(
        encoders: &Sd3TextEncoders,
        text: &str,
        settings: &Settings,
        device: &Device,
    ) -> Result<Sd3Conditioning, PipelineError> {
        Ok(encoders.encode(text, settings.max_sequence_length, device)?)
    }

    fn batched(conditionings: &[&Sd3Conditioning]) -> Sd3Conditioning {
        Sd3Conditioning::batched(conditionings)
    }

    fn velocity(transformer: &Sd3Transformer, _: &Settings, question: Question<'_, Sd3Conditioning>) -> Tensor<4> {
        let Question { latents, sigma, conditioning, skipped_layers, cache } = question;
        match cache {
            Some(cache) => transformer.forward_cached(latents, sigma, conditioning, cache),
            None => transformer.forward(latents, sigma, conditioning, skipped_layers),
        }
    }

    fn first_not_finite(
        transformer: &Sd3Transformer,
        prompt: &Prompt<Sd3Conditioning>,
        _: &Settings,
        step: Step,
        latents: Tensor<4>,
    ) -> Option<String> {
        let mut watch = crate::watch::FirstNotFinite::default();
        let conditionings = [Some(&prompt.positive), prompt.negative.as_ref()];
        for conditioning in conditionings.into_iter().flatten() {
            transformer.forward_watched(latents.clone(), step.sigma, conditioning, &[], &mut watch);
        }
        watch.place()
    }
}
