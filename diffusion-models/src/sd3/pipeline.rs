//! From a prompt to a picture.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use diffusion_core::image::RgbImage;
use diffusion_core::noise::latent_noise;
use diffusion_core::{Precision, SampleError, Sampler, SamplerStep, SigmaSchedule, Sigmas};
use diffusion_schedulers::guidance::{SkipLayerGuidance, classifier_free};
use diffusion_schedulers::samplers::Euler;

use super::config::{QkNorm, Sd3Config};
use super::files::{Sd3Files, Sd3Parts};
use super::text_encoders::Sd3TextEncoders;
use super::transformer::{Sd3Conditioning, Sd3Transformer};
use crate::error::PipelineError;
use crate::image_decoder::{ImageDecoder, Tiling};

/// Stable Diffusion 3 and 3.5, from a prompt to a picture.
///
/// The stages [`encode_prompt`](Self::encode_prompt), [`denoise`](Self::denoise) and [`decode`](Self::decode) load their
/// part of the model when it is first needed; [`generate`](Self::generate) runs all three, and lets go of the text
/// encoders before it loads the transformer. Set another part to `None` to free it.
#[derive(Debug)]
pub struct Sd3Pipeline {
    /// The model's files.
    pub files: Sd3Files,
    /// The text encoders, once loaded.
    pub text_encoders: Option<Sd3TextEncoders>,
    /// The transformer, once loaded.
    pub transformer: Option<Sd3Transformer>,
    /// The decoder, once loaded.
    pub decoder: Option<ImageDecoder>,
    precision: Precision,
    device: Device,
}

/// How to draw.
#[derive(Clone, Debug)]
pub struct Sd3Settings {
    /// Width in pixels, a multiple of 16.
    pub width: usize,
    /// Height in pixels, a multiple of 16.
    pub height: usize,
    /// Number of steps.
    pub num_steps: usize,
    /// Scale of classifier-free guidance; 1 or less runs without it and ignores the negative prompt.
    pub guidance_scale: f64,
    /// Tokens that T5 sees.
    pub max_sequence_length: usize,
    /// Skip-layer guidance, on top of classifier-free guidance.
    pub skip_layers: Option<SkipLayerGuidance>,
    /// Whether the picture is decoded whole or in tiles.
    pub tiling: Tiling,
}

/// An encoded prompt, with the negative one where guidance needs it. Can be kept and used again.
#[derive(Clone, Debug)]
pub struct Sd3Prompt {
    /// What the picture shall show.
    pub positive: Sd3Conditioning,
    /// What it shall not.
    pub negative: Option<Sd3Conditioning>,
}

/// Sides of a picture are multiples of this: eight pixels a latent cell, two cells a patch.
const SIZE_STEP: usize = 16;
/// Pixels on the side of a latent cell.
const CELL: usize = 8;
/// The longest sequence that T5 sees unless asked otherwise.
const MAX_SEQUENCE_LENGTH: usize = 256;

impl Sd3Pipeline {
    /// Open a model: a diffusers folder, or a single file with or without its text encoders.
    ///
    /// # Errors
    /// [`PipelineError`] naming the file and what is wrong: all that can be known without reading weights.
    pub fn open(path: &Path, parts: &Sd3Parts, precision: Precision, device: &Device) -> Result<Self, PipelineError> {
        let files = Sd3Files::open(path, parts)?;
        Ok(Self { files, text_encoders: None, transformer: None, decoder: None, precision, device: device.clone() })
    }

    /// The settings that the model's authors recommend.
    ///
    /// A Turbo model has the tensors of Large, so it is told by the word in its file's or folder's name.
    ///
    /// Reference: Stability-AI/sd3.5 `sd3_infer.py#L502-L528`.
    pub fn default_settings(&self) -> Sd3Settings {
        let config = self.files.config();
        let turbo = self.files.path.to_string_lossy().to_lowercase().contains("turbo");
        let large = config.num_layers >= Sd3Config::large_3_5().num_layers;
        let (num_steps, guidance_scale) = match config.qk_norm {
            QkNorm::RootMeanSquare if large && turbo => (4, 1.0),
            QkNorm::RootMeanSquare if large => (40, 4.5),
            _ => (50, 5.0),
        };
        Sd3Settings {
            width: config.sample_size * CELL,
            height: config.sample_size * CELL,
            num_steps,
            guidance_scale,
            max_sequence_length: self.files.t5_length().min(MAX_SEQUENCE_LENGTH),
            skip_layers: None,
            tiling: Tiling::Whole,
        }
    }

    /// Check settings before any work is spent on them.
    ///
    /// # Errors
    /// [`PipelineError`] naming the setting, what it may be and what it is.
    pub fn check(&self, settings: &Sd3Settings) -> Result<(), PipelineError> {
        let Sd3Settings { width, height, .. } = *settings;
        let refuse = |reason| Err(PipelineError::Size { width, height, reason });
        if width == 0 || height == 0 || width % SIZE_STEP != 0 || height % SIZE_STEP != 0 {
            return refuse(format!("both sides must be multiples of {SIZE_STEP}, above 0"));
        }
        let largest = self.files.config().position_table_size * SIZE_STEP;
        if width > largest || height > largest {
            return refuse(format!("the model's position table ends at {largest} pixels a side"));
        }
        self.sigmas(settings)?;
        let out_of_range = |setting, expected: String, found: String| Err(PipelineError::Setting { setting, expected, found });
        if !settings.guidance_scale.is_finite() {
            return out_of_range("guidance scale", "a finite number".to_owned(), settings.guidance_scale.to_string());
        }
        if settings.max_sequence_length == 0 {
            return out_of_range("maximum sequence length", "at least 1".to_owned(), "0".to_owned());
        }
        let num_layers = self.files.config().num_layers;
        let skipped = settings.skip_layers.iter().flat_map(|guidance| &guidance.layers);
        if let Some(layer) = skipped.copied().find(|&layer| layer >= num_layers) {
            return out_of_range("layer to skip", format!("below {num_layers}, the number of layers"), layer.to_string());
        }
        Ok(())
    }

    fn sigmas(&self, settings: &Sd3Settings) -> Result<Sigmas, PipelineError> {
        Ok(self.files.schedule().sigmas(settings.num_steps)?)
    }

    /// Encode a prompt, and the negative prompt if `settings` guide.
    ///
    /// # Errors
    /// [`PipelineError`] if the text encoders cannot be loaded.
    pub fn encode_prompt(&mut self, prompt: &str, negative: &str, settings: &Sd3Settings) -> Result<Sd3Prompt, PipelineError> {
        let encoders = match &mut self.text_encoders {
            Some(encoders) => encoders,
            empty => empty.insert(self.files.load_text_encoders(self.precision, &self.device)?),
        };
        let encode = |text: &str| encoders.encode(text, settings.max_sequence_length, &self.device);
        let negative = (settings.guidance_scale > 1.0).then(|| encode(negative)).transpose()?;
        Ok(Sd3Prompt { positive: encode(prompt)?, negative })
    }

    /// Free the text encoders, which are loaded again if another prompt is encoded.
    pub fn free_text_encoders(&mut self) {
        self.text_encoders = None;
        self.files.release_text_encoders();
    }

    /// Standard normal noise for a seed, the same on every device and the same as torch's on a CPU.
    pub fn noise(&self, seed: u64, settings: &Sd3Settings) -> Tensor<4> {
        latent_noise(seed, self.latent_shape(settings), &self.device)
    }

    /// Shape of the latents of one picture.
    pub fn latent_shape(&self, settings: &Sd3Settings) -> [usize; 4] {
        [1, self.files.config().in_channels, settings.height / CELL, settings.width / CELL]
    }

    /// From noise to latents. `on_step` hears of every step and may cancel.
    ///
    /// # Errors
    /// [`PipelineError`] if the settings are impossible, the transformer cannot be loaded, a step gives numbers that are
    /// not finite, or `on_step` cancels.
    pub fn denoise(
        &mut self,
        prompt: &Sd3Prompt,
        noise: Tensor<4>,
        settings: &Sd3Settings,
        on_step: &mut dyn FnMut(SamplerStep) -> ControlFlow<()>,
    ) -> Result<Tensor<4>, PipelineError> {
        self.check(settings)?;
        let sigmas = self.sigmas(settings)?;
        let transformer = match &mut self.transformer {
            Some(transformer) => transformer,
            empty => empty.insert(self.files.load_transformer(self.precision, &self.device)?),
        };
        let guided = GuidedVelocity::new(transformer, prompt, settings, &sigmas);
        let mut not_finite = false;
        let mut watched = |step: SamplerStep| {
            not_finite = !step.latents.clone().sum().into_scalar::<f32>().is_finite();
            if not_finite { ControlFlow::Break(()) } else { on_step(step) }
        };
        let result = Euler.sample(&mut |x, sigma| guided.velocity(x, sigma), noise, &sigmas, &mut watched);
        match result {
            Err(SampleError::Cancelled { index, num_steps }) if not_finite => Err(PipelineError::NotFinite { index, num_steps }),
            result => Ok(result?),
        }
    }

    /// From latents to pictures.
    ///
    /// # Errors
    /// [`PipelineError`] if the decoder cannot be loaded.
    pub fn decode(&mut self, latents: Tensor<4>, tiling: Tiling) -> Result<Vec<RgbImage>, PipelineError> {
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            empty => empty.insert(self.files.load_decoder(self.precision, &self.device)?),
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
        settings: &Sd3Settings,
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

/// The transformer's velocity with all guidance applied.
struct GuidedVelocity<'a> {
    transformer: &'a Sd3Transformer,
    positive: &'a Sd3Conditioning,
    /// Negative and positive prompt as one batch, if there is guidance.
    both: Option<Sd3Conditioning>,
    settings: &'a Sd3Settings,
    sigmas: &'a Sigmas,
}

impl<'a> GuidedVelocity<'a> {
    fn new(transformer: &'a Sd3Transformer, prompt: &'a Sd3Prompt, settings: &'a Sd3Settings, sigmas: &'a Sigmas) -> Self {
        let negative = prompt.negative.as_ref().filter(|_| settings.guidance_scale > 1.0);
        let both = negative.map(|negative| Sd3Conditioning::batched(negative, &prompt.positive));
        Self { transformer, positive: &prompt.positive, both, settings, sigmas }
    }

    fn velocity(&self, x: Tensor<4>, sigma: f64) -> Tensor<4> {
        let Some(both) = &self.both else {
            return self.transformer.forward(x, sigma, self.positive, &[]);
        };
        let twice = Tensor::cat(vec![x.clone(), x.clone()], 0);
        let velocities = self.transformer.forward(twice, sigma, both, &[]);
        let [negative, positive] = [0, 1].map(|row| velocities.clone().narrow(0, row, 1));
        let guided = classifier_free(positive.clone(), negative, self.settings.guidance_scale);
        match &self.settings.skip_layers {
            Some(guidance) if guidance.applies_to(self.step_of(sigma), self.sigmas.num_steps()) => {
                let skipped = self.transformer.forward(x, sigma, self.positive, &guidance.layers);
                guidance.apply(guided, positive, skipped)
            }
            _ => guided,
        }
    }

    /// Index of the step that a noise level belongs to.
    fn step_of(&self, sigma: f64) -> usize {
        self.sigmas.as_slice().iter().rposition(|&level| level >= sigma).unwrap_or(0)
    }
}
