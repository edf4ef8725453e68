//! From a prompt to a picture.

mod denoise;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use diffusion_core::checkpoint::PublishedNames;
use diffusion_core::image::RgbImage;
use diffusion_core::mask::Mask;
use diffusion_core::noise::{BrownianTree, PerPicture, latent_noise};
use diffusion_core::{
    Application, ChangeWeights, LoadedNetwork, Part, PartChanges, Precision, Residency, Sampler, SamplerStep, SigmaSchedule,
    Sigmas, WeightChanges,
};
use diffusion_schedulers::kind::SamplerSettings;
use diffusion_schedulers::schedules::{CustomSigmas, ShiftTerminal};

use crate::encoded_prompts::{EncodedPrompts, PromptKey};
use crate::error::PipelineError;
use crate::family::{Family, Prompt};
use crate::image_decoder::{ImageDecoder, Tiling};
use crate::latent_rgb::LatentRgb;
use crate::model_source::ModelParts;
use crate::plan::Plan;
use crate::settings::Settings;
use crate::starting_picture::StartingPicture;
use crate::step_cache::StepCacheReport;

/// From a prompt to a picture.
///
/// The stages [`encode_prompt`](Self::encode_prompt), [`denoise`](Self::denoise) and [`decode`](Self::decode) load their
/// part of the model when it is first needed; [`generate`](Self::generate) runs all three, and lets go of the text
/// encoders before it loads the transformer. Set another part to `None` to free it.
#[derive(Debug)]
pub struct Pipeline<F: Family> {
    /// The model's files.
    pub files: F::Files,
    /// The text encoders, once loaded.
    pub text_encoders: Option<F::TextEncoders>,
    /// The transformer, once loaded.
    pub transformer: Option<F::Transformer>,
    /// The decoder, once loaded.
    pub decoder: Option<ImageDecoder>,
    /// Whether large networks stay in memory or are read from their files block by block.
    pub residency: Residency,
    /// How often the network was asked in the last run, and what the step cache did.
    pub step_cache_report: StepCacheReport,
    precision: Precision,
    device: Device,
    changes: PartChanges,
    application: Application,
    encoded: EncodedPrompts<F::Conditioning>,
}

/// Sides of a picture are multiples of this: eight pixels a latent cell, two cells a patch.
const SIZE_STEP: usize = 16;
/// More steps than anybody needs.
const MAX_STEPS: usize = 100_000;
/// Pixels on the side of a latent cell.
pub(crate) const CELL: usize = 8;

impl<F: Family> Pipeline<F> {
    /// Open a model: a diffusers folder, or a single file with or without its text encoders.
    ///
    /// # Errors
    /// [`PipelineError`] naming the file and what is wrong: all that can be known without reading weights.
    pub fn open(path: &Path, parts: &ModelParts, precision: Precision, device: &Device) -> Result<Self, PipelineError> {
        let files = F::open(path, parts)?;
        Ok(Self {
            files,
            text_encoders: None,
            transformer: None,
            decoder: None,
            residency: Residency::Resident,
            step_cache_report: StepCacheReport::default(),
            precision,
            device: device.clone(),
            changes: PartChanges::new(),
            application: Application::default(),
            encoded: EncodedPrompts::default(),
        })
    }

    /// The device that it draws on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Colours of the latents, for previews in the step callback, if they are known.
    pub fn latent_rgb(&self) -> Option<LatentRgb> {
        F::latent_rgb(&self.files)
    }

    /// The settings that the model's authors recommend.
    pub fn default_settings(&self) -> Settings {
        F::default_settings(&self.files)
    }

    /// Check settings before any work is spent on them.
    ///
    /// # Errors
    /// [`PipelineError`] naming the setting, what it may be and what it is.
    pub fn check(&self, settings: &Settings) -> Result<(), PipelineError> {
        let Settings { width, height, .. } = *settings;
        if width == 0 || height == 0 || width % SIZE_STEP != 0 || height % SIZE_STEP != 0 {
            let reason = format!("both sides must be multiples of {SIZE_STEP}, above 0");
            return Err(PipelineError::Size { width, height, reason });
        }
        for (setting, value) in [("guidance scale", settings.guidance_scale), ("true guidance scale", settings.true_cfg_scale)] {
            if !value.is_finite() {
                return Err(PipelineError::setting(setting, "a finite number", value));
            }
        }
        if settings.max_sequence_length == 0 {
            return Err(PipelineError::setting("maximum sequence length", "at least 1", 0));
        }
        settings.guidance.check()?;
        settings.step_cache.check()?;
        F::check(&self.files, settings)?;
        self.sampler(settings)?;
        self.sigmas(settings).map(drop)
    }

    /// The noise levels of a run.
    ///
    /// # Errors
    /// [`PipelineError`] if there is no such run, or the schedule does not suit the model.
    pub fn sigmas(&self, settings: &Settings) -> Result<Sigmas, PipelineError> {
        if let Some(sigmas) = &settings.sigmas {
            return Ok(sigmas.clone());
        }
        if settings.num_steps > MAX_STEPS {
            return Err(PipelineError::setting("number of steps", format!("at most {MAX_STEPS}"), settings.num_steps));
        }
        let sigmas = match settings.schedule {
            Some(kind) => kind.build(&F::sigma_table(&self.files, settings)?)?.sigmas(settings.num_steps)?,
            None => F::sigmas(&self.files, settings)?,
        };
        let Some(terminal) = settings.shift_terminal else { return Ok(sigmas) };
        let num_steps = sigmas.num_steps();
        Ok(ShiftTerminal { inner: CustomSigmas(sigmas), terminal }.sigmas(num_steps)?)
    }

    /// What to tell a user about these settings: choices that work, but not well.
    ///
    /// # Errors
    /// [`PipelineError`] if there is no such run.
    pub fn warnings(&self, settings: &Settings) -> Result<Vec<String>, PipelineError> {
        let table = F::sigma_table(&self.files, settings)?;
        let schedule = settings.schedule.filter(|_| settings.sigmas.is_none()).and_then(|kind| kind.warning(&table));
        let sampler = settings.sampler.warning(table.path(), &self.sigmas(settings)?, F::classifier_free_scale(settings));
        Ok(sampler.map(|warning| warning.to_string()).into_iter().chain(schedule.map(|warning| warning.to_string())).collect())
    }

    fn sampler(&self, settings: &Settings) -> Result<Box<dyn Sampler + Send + Sync>, PipelineError> {
        let table = F::sigma_table(&self.files, settings)?;
        let noise = PerPicture::new(settings.sampler_seeds.iter().map(|&seed| BrownianTree::new(seed)));
        Ok(settings.sampler.build(&SamplerSettings::of(&table, noise))?)
    }

    /// How much memory a run with these settings will take.
    pub fn plan(&self, settings: &Settings) -> Plan {
        F::plan(&self.files, settings, self.precision)
    }

    /// Encode a prompt, and the negative prompt if `settings` have a use for it. The last prompts are kept, each with the
    /// changes of the text encoders that it was encoded with, and not encoded again.
    ///
    /// # Errors
    /// [`PipelineError`] if the text encoders cannot be loaded.
    pub fn encode_prompt(
        &mut self,
        prompt: &str,
        negative: &str,
        settings: &Settings,
    ) -> Result<Prompt<F::Conditioning>, PipelineError> {
        let mut prompts = self.encode_prompts(&[prompt], negative, settings)?;
        Ok(prompts.remove(0))
    }

    /// Encode prompts, each with the same negative prompt, which is encoded once, if `settings` have a use for it.
    ///
    /// # Errors
    /// [`PipelineError`] if the text encoders cannot be loaded.
    pub fn encode_prompts(
        &mut self,
        prompts: &[&str],
        negative: &str,
        settings: &Settings,
    ) -> Result<Vec<Prompt<F::Conditioning>>, PipelineError> {
        let negative = F::uses_negative_prompt(settings).then_some(negative);
        let mut encoded: Vec<Prompt<F::Conditioning>> = Vec::new();
        for prompt in prompts {
            let known = encoded.last().and_then(|last| last.negative.clone());
            encoded.push(self.encode_anew(prompt, negative, known, settings)?);
        }
        Ok(encoded)
    }

    /// Encode a prompt that is not kept; `known` is the negative prompt, if it is encoded already.
    fn encode_anew(
        &mut self,
        prompt: &str,
        negative: Option<&str>,
        known: Option<F::Conditioning>,
        settings: &Settings,
    ) -> Result<Prompt<F::Conditioning>, PipelineError> {
        let key = PromptKey::new([Some(prompt), negative], settings, &self.changes);
        if let Some(encoded) = self.encoded.get(&key) {
            return Ok(encoded);
        }
        let encoders = match &mut self.text_encoders {
            Some(encoders) => encoders,
            empty => {
                let encoders = F::load_text_encoders(&self.files, self.precision, self.residency, &self.device)?;
                empty.insert(F::change_text_encoders(encoders, &self.changes, self.application)?)
            }
        };
        let encode = |text: &str| F::encode(encoders, text, settings, &self.device);
        let negative = match known {
            Some(known) => Some(known),
            None => negative.map(encode).transpose()?,
        };
        let encoded = Prompt { positive: encode(prompt)?, negative };
        self.encoded.keep(key, &encoded);
        Ok(encoded)
    }

    /// Free the text encoders, which are loaded again if another prompt is encoded.
    pub fn free_text_encoders(&mut self) {
        self.text_encoders = None;
        F::release_text_encoders(&self.files);
    }

    /// Standard normal noise for a seed, the same on every device and the same as torch's on a CPU.
    pub fn noise(&self, seed: u64, settings: &Settings) -> Tensor<4> {
        latent_noise(seed, self.latent_shape(settings), &self.device)
    }

    /// The noise of each of these seeds, as one batch: `[seeds, channels, height, width]`.
    ///
    /// # Panics
    /// If there are no seeds.
    pub fn noises(&self, seeds: &[u64], settings: &Settings) -> Tensor<4> {
        Tensor::cat(seeds.iter().map(|&seed| self.noise(seed, settings)).collect(), 0)
    }

    /// Shape of the latents of one picture.
    pub fn latent_shape(&self, settings: &Settings) -> [usize; 4] {
        [1, F::latent_channels(&self.files), settings.height / CELL, settings.width / CELL]
    }

    /// A picture to start from, and with a mask, which part of it to draw anew.
    ///
    /// # Errors
    /// As [`encode_image`](Self::encode_image); [`PipelineError::MaskSize`] if the mask has another size than the picture.
    pub fn starting_picture(
        &self,
        image: &RgbImage,
        mask: Option<&Mask>,
        strength: f64,
    ) -> Result<StartingPicture, PipelineError> {
        let expected = (image.width, image.height);
        if let Some(mask) = mask.filter(|mask| (mask.width, mask.height) != expected) {
            return Err(PipelineError::MaskSize { found: (mask.width, mask.height), expected });
        }
        let repaint = mask.map(|mask| mask.cells(CELL, &self.device));
        Ok(StartingPicture { latents: self.encode_image(image)?, strength, repaint })
    }

    /// A picture's latents, the mean of what the autoencoder's encoder gives, `[1, 16, height / 8, width / 8]`.
    ///
    /// # Errors
    /// [`PipelineError`] if its sides are not multiples of 16, or the encoder cannot be loaded.
    pub fn encode_image(&self, image: &RgbImage) -> Result<Tensor<4>, PipelineError> {
        let RgbImage { width, height, .. } = *image;
        if width == 0 || height == 0 || width % SIZE_STEP != 0 || height % SIZE_STEP != 0 {
            let reason = format!("both sides of the picture to start from must be multiples of {SIZE_STEP}");
            return Err(PipelineError::Size { width, height, reason });
        }
        F::encode_image(&self.files, image.to_tensor(&self.device), self.precision, &self.device)
    }

    /// From latents to pictures.
    ///
    /// # Errors
    /// [`PipelineError`] if the decoder cannot be loaded.
    pub fn decode(&mut self, latents: Tensor<4>, tiling: Tiling) -> Result<Vec<RgbImage>, PipelineError> {
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            empty => empty.insert(F::load_decoder(&self.files, self.precision, &self.device)?),
        };
        Ok(RgbImage::from_tensor(decoder.decode(latents, tiling)))
    }

    /// Draw one picture: all stages, the text encoders freed before the transformer is loaded.
    ///
    /// # Errors
    /// As the stages.
    pub fn generate(
        &mut self,
        prompt: &str,
        negative: &str,
        seed: u64,
        settings: &Settings,
        on_step: &mut dyn FnMut(SamplerStep) -> ControlFlow<()>,
    ) -> Result<RgbImage, PipelineError> {
        self.check(settings)?;
        let prompt = self.encode_prompt(prompt, negative, settings)?;
        self.free_text_encoders();
        let latents = self.denoise(&prompt, self.noise(seed, settings), settings, on_step)?;
        let mut images = self.decode(latents, settings.tiling)?;
        Ok(images.remove(0))
    }
}

impl<F: Family> ChangeWeights for Pipeline<F> {
    type Error = PipelineError;

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn published_names(&self) -> BTreeMap<Part, PublishedNames> {
        F::published_names(&self.files)
    }

    fn change_weights(&mut self, changes: PartChanges, application: Application) -> Result<(), PipelineError> {
        self.changes = changes;
        self.application = application;
        // What fails here stays unloaded, and is loaded with the changes when it is needed.
        if let Some(transformer) = self.transformer.take() {
            let none = WeightChanges::default();
            let changes = self.changes.get(&Part::Transformer).unwrap_or(&none);
            self.transformer = Some(transformer.change_weights(changes, application)?);
        }
        if let Some(encoders) = self.text_encoders.take() {
            self.text_encoders = Some(F::change_text_encoders(encoders, &self.changes, application)?);
        }
        Ok(())
    }
}
