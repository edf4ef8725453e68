//! FLUX.1 as a model.

use burn::tensor::Device;
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::weights::PatchTarget;
use diffusion_core::{Loading, ScheduleError, Sigmas};
use diffusion_schedulers::path::NoisePath;
use diffusion_schedulers::schedules::{FlowShift, ResolutionShift, SchedulerConfig, SigmaTable};

use super::config::{DistilledGuidance, FluxConfig, PATCH_CHANNELS};
use super::latent_colors::LATENT_RGB;
use super::patches::PATCH;
use super::prompt_encoder::FluxPromptEncoder;
use super::transformer::FluxTransformer;
use crate::autoencoder_file::AutoencoderFile;
use crate::autoencoder_kl::AutoencoderKlConfig;
use crate::clip::ClipConfig;
use crate::component_file::{ComponentFile, NetworkFile};
use crate::components::{CLIP_L, Component, T5XXL};
use crate::error::PipelineError;
use crate::family::Family;
use crate::family_profile::FamilyProfile;
use crate::left_out::LeftOut;
use crate::model::{GuidanceKind, ImageGeometry, Model, ModelInfo, ModelSchedule};
use crate::prompt_encoder::{PromptEncoder, TokenizedText};
use crate::settings::Settings;
use crate::source::Source;
use crate::t5::T5Config;
use crate::text_file::{ClipFile, PooledText, T5File};
use crate::training_advice::{TrainingAdvice, TrainingShift};
use diffusion_core::network::{Denoiser, boxed_denoiser};
use diffusion_schedulers::kind::NoiseShift;

/// Tokens that T5 may be asked for, if its tokenizer does not say.
const MOST_TOKENS: usize = 512;
/// T5 is the second text encoder.
const T5: Component = Component { folder: "text_encoder_2", tokenizer: Some("tokenizer_2"), ..Component::T5 };

pub(crate) const FAMILY: Family = Family {
    profile: FamilyProfile {
        name: "FLUX.1",
        transformer: "a FLUX.1 transformer",
        signs: &["double_blocks.0.", "single_transformer_blocks.0."],
        counter_signs: &[],
        transformer_class: "FluxTransformer2DModel",
        pipeline_classes: &["FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline"],
        other_pipelines: &[
            ("FluxFillPipeline", "needs an image and a mask as further inputs of its transformer"),
            ("FluxControlPipeline", "needs a control image as a further input of its transformer"),
            ("FluxControlImg2ImgPipeline", "needs a control image as a further input of its transformer"),
            ("FluxControlInpaintPipeline", "needs a control image as a further input of its transformer"),
            ("FluxControlNetPipeline", "needs a ControlNet and a control image"),
            ("FluxControlNetImg2ImgPipeline", "needs a ControlNet and a control image"),
            ("FluxControlNetInpaintPipeline", "needs a ControlNet and a control image"),
            ("FluxKontextPipeline", "needs an image to edit as further tokens of its transformer"),
            ("FluxKontextInpaintPipeline", "needs an image to edit as further tokens of its transformer"),
            ("FluxPriorReduxPipeline", "turns an image into a prompt and draws nothing itself"),
        ],
        components: &[Component::CLIP_L, T5, Component::TRANSFORMER, Component::VAE],
        gguf: ("flux", "double_blocks.0.img_attn.norm.key_norm.scale"),
    },
    released,
    open: |source| Ok(Box::new(FluxModel::open(source)?)),
};

fn released() -> Vec<(&'static str, Vec<PatchTarget>)> {
    let targets = |config: &FluxConfig| {
        vec![
            Component::CLIP_L.patch_target(&ClipConfig::large()),
            T5.patch_target(&T5Config::xxl()),
            Component::TRANSFORMER.patch_target(config),
        ]
    };
    vec![("FLUX.1-dev", targets(&FluxConfig::dev())), ("FLUX.1-schnell", targets(&FluxConfig::schnell()))]
}

/// FLUX.1-dev, FLUX.1-schnell or a finetune of them.
#[derive(Clone, Debug)]
pub struct FluxModel {
    info: ModelInfo,
    transformer: NetworkFile<FluxConfig>,
    clip_l: Option<ClipFile>,
    t5: Option<T5File>,
    autoencoder: AutoencoderFile,
    /// A constant for schnell, which is 1; by the number of image tokens for dev.
    shift: SchedulerConfig,
}

impl FluxModel {
    fn open(source: &Source) -> Result<Self, PipelineError> {
        let (checkpoint, config) = source.transformer()?;
        let config = match config {
            Some(config) => FluxConfig::from_json(&config)?,
            None => FluxConfig::from_checkpoint(&checkpoint).ok_or_else(|| {
                PipelineError::other_model(checkpoint.path(), "a whole FLUX.1 transformer", source.kind_of(&checkpoint))
            })?,
        };
        refuse_other_pipelines(&checkpoint, &config)?;
        let (clip_l, t5) = (ClipFile::open(source, CLIP_L, PooledText::Unprojected)?, T5File::open(source, T5XXL)?);
        if clip_l.is_none() && t5.is_none() {
            return Err(source.missing(&[CLIP_L, T5XXL]));
        }
        let shift = match source.config_file("scheduler/scheduler_config.json") {
            Some(path) => SchedulerConfig::read(&path)?,
            None if config.guidance == DistilledGuidance::Embedded => SchedulerConfig::ByResolution(ResolutionShift::flux()),
            None => SchedulerConfig::Constant(FlowShift::new(1.0)?),
        };
        let published = AutoencoderKlConfig::flux();
        let most_tokens = t5.as_ref().map_or(MOST_TOKENS, |t5| t5.tokenizer.max_length());
        let mut model = Self {
            info: info(source, &config, &published, most_tokens),
            transformer: NetworkFile { component: &Component::TRANSFORMER, checkpoint, config },
            clip_l,
            t5,
            autoencoder: AutoencoderFile::open(source, &published)?,
            shift,
        };
        for file in model.components() {
            file.check()?;
        }
        model.check_widths()?;
        model.info.left_out = LeftOut::of(source, &model.components());
        Ok(model)
    }

    /// Sizes of the transformer.
    pub fn config(&self) -> &FluxConfig {
        &self.transformer.config
    }

    /// Whether the text encoders give what the transformer takes.
    fn check_widths(&self) -> Result<(), PipelineError> {
        let FluxConfig { joint_attention_dim, pooled_projection_dim, .. } = *self.config();
        if let Some(t5) = &self.t5 {
            t5.require_width(t5.file.config.hidden_size, joint_attention_dim)?;
        }
        match &self.clip_l {
            Some(clip) => clip.require_width(clip.file.config.pooled_size(), pooled_projection_dim),
            None => Ok(()),
        }
    }

    /// Load the transformer.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    pub fn load_transformer(&self, loading: &Loading<'_>) -> Result<FluxTransformer, PipelineError> {
        let NetworkFile { component, checkpoint, config } = &self.transformer;
        Ok(FluxTransformer::load(checkpoint.clone(), config, &loading.of(component.id))?)
    }

    /// Load the text encoders that there are.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    pub fn load_text_encoders(&self, loading: &Loading<'_>) -> Result<FluxPromptEncoder, PipelineError> {
        let clips = self.load_clips(loading)?;
        Ok(FluxPromptEncoder { t5: self.t5.as_ref().map(|t5| t5.load(loading)).transpose()?, ..clips })
    }

    /// The text encoders that there are, T5 missing.
    fn load_clips(&self, loading: &Loading<'_>) -> Result<FluxPromptEncoder, PipelineError> {
        Ok(FluxPromptEncoder {
            clip_l: self.clip_l.as_ref().map(|clip| clip.load(loading)).transpose()?,
            t5: None,
            joint_attention_dim: self.config().joint_attention_dim,
            pooled_projection_dim: self.config().pooled_projection_dim,
            device: Device::clone(loading.device),
        })
    }
}

/// Models of the family that need another image besides the prompt.
fn refuse_other_pipelines(checkpoint: &Checkpoint, config: &FluxConfig) -> Result<(), PipelineError> {
    /// Numbers of an inpainting mask in a patch: 8 x 8 pixels a latent pixel, four latent pixels.
    const MASK_CHANNELS: usize = 256;
    const CONTROL: usize = 2 * PATCH_CHANNELS;
    const FILL: usize = 2 * PATCH_CHANNELS + MASK_CHANNELS;
    let found = match config.in_channels {
        PATCH_CHANNELS => return Ok(()),
        CONTROL => "FLUX.1 Canny or Depth, which draws after a control image".to_owned(),
        FILL => "FLUX.1 Fill, which fills a masked image".to_owned(),
        other => format!("a FLUX.1 transformer with {other} input channels"),
    };
    let expected = "FLUX.1-dev, -schnell or a finetune of them (64 input channels), which draw from a prompt alone".to_owned();
    Err(PipelineError::OtherModel { path: checkpoint.path().to_owned(), expected, found })
}

/// Reference: diffusers `pipeline_flux.py#L609-L628` and `docs/source/en/api/pipelines/flux.md` at 58eb52c.
/// Reference: kohya-ss/sd-scripts `docs/flux_train_network.md` at 48d368f, for the guidance and the shift.
fn training_advice(config: &FluxConfig) -> TrainingAdvice {
    let guided = config.guidance == DistilledGuidance::Embedded;
    let caution = "a model distilled to few steps loses that by training, unless an assistant LoRA is on while it is trained";
    TrainingAdvice {
        architecture: if guided { "flux-1-dev" } else { "flux-1-schnell" },
        learning_rate: 1e-4,
        max_gradient_norm: 1.0,
        shift: if guided { TrainingShift::ByResolution } else { TrainingShift::Constant(1.0) },
        caption_dropout: 0.0,
        distilled_guidance: guided.then_some(1.0),
        caution: (!guided).then_some(caution),
    }
}

fn info(source: &Source, config: &FluxConfig, autoencoder: &AutoencoderKlConfig, most_tokens: usize) -> ModelInfo {
    let (num_steps, distilled_guidance, recommended_tokens, guidance) = match config.guidance {
        DistilledGuidance::Embedded => (28, Some(3.5), 512, GuidanceKind::Distilled),
        DistilledGuidance::None => (4, None, 256, GuidanceKind::None),
    };
    let max_sequence_length = most_tokens.min(recommended_tokens);
    ModelInfo {
        family: FAMILY.profile.name,
        path: source.path().to_owned(),
        geometry: ImageGeometry {
            latent_channels: autoencoder.latent_channels,
            downscale_factor: autoencoder.downscale(),
            patch_size: PATCH,
            max_side: None,
        },
        defaults: Settings { num_steps, distilled_guidance, max_sequence_length, ..Settings::default() },
        guidance,
        noise_path: NoisePath::Flow,
        latent_rgb: Some(LATENT_RGB),
        skippable_blocks: None,
        hidden_size: config.hidden_size(),
        clip_tokens: 0,
        max_sequence_length: most_tokens,
        training: training_advice(config),
        left_out: Vec::new(),
    }
}

impl Model for FluxModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn components(&self) -> Vec<&dyn ComponentFile> {
        let clip = self.clip_l.iter().map(|clip| &clip.file as &dyn ComponentFile);
        let t5 = self.t5.iter().map(|t5| &t5.file as &dyn ComponentFile);
        clip.chain(t5).chain([&self.transformer as _, &self.autoencoder as _]).collect()
    }

    fn autoencoder(&self) -> &AutoencoderFile {
        &self.autoencoder
    }

    /// Evenly spaced from 1 to 1 / steps, then shifted.
    ///
    /// Reference: black-forest-labs/flux `sampling.py#L277-L305` at 802fb47; diffusers `pipeline_flux.py#L821-L841`.
    fn schedule(&self, settings: &Settings) -> Result<ModelSchedule, PipelineError> {
        let (num_steps, tokens) = (settings.num_steps, self.info.geometry.tokens(settings));
        if num_steps == 0 {
            return Err(ScheduleError::TooFew { found: 1 }.into());
        }
        let shift = match (settings.shift, self.shift) {
            (Some(NoiseShift::Constant(shift)), _) => SchedulerConfig::Constant(FlowShift::new(shift)?),
            (Some(NoiseShift::ByResolution), SchedulerConfig::Constant(_)) => {
                SchedulerConfig::ByResolution(ResolutionShift::flux())
            }
            (_, of_model) => of_model,
        };
        let table = match shift {
            SchedulerConfig::Constant(shift) => SigmaTable::flow(shift.shift())?,
            SchedulerConfig::ByResolution(shift) => {
                self.info.geometry.shift(&shift, settings)?;
                SigmaTable::flux(shift.mu(tokens))?
            }
        };
        let shifted = |sigma: f64| match shift {
            SchedulerConfig::Constant(shift) => shift.apply(sigma),
            SchedulerConfig::ByResolution(shift) => shift.apply(sigma, tokens),
        };
        let even = (0..num_steps).map(|i| 1.0 - i as f64 / num_steps as f64);
        Ok(ModelSchedule { table, released: Sigmas::new(even.map(shifted).chain([0.0]).collect())? })
    }

    fn tokenize(&self, text: &str, max_sequence_length: usize) -> Result<TokenizedText, PipelineError> {
        let FluxConfig { joint_attention_dim: token_width, pooled_projection_dim: pooled_width, .. } = *self.config();
        let mut tokens = TokenizedText { ids: Vec::new(), truncated: Vec::new(), token_width, pooled_width };
        if let Some(t5) = &self.t5 {
            t5.tokenize(text, max_sequence_length, &mut tokens)?;
        }
        if let Some(clip_l) = &self.clip_l {
            clip_l.tokenize(text, &mut tokens)?;
        }
        Ok(tokens)
    }

    fn load_prompt_encoder(&self, loading: &Loading<'_>) -> Result<Box<dyn PromptEncoder>, PipelineError> {
        Ok(Box::new(self.load_text_encoders(loading)?))
    }

    fn load_clip_encoders(&self, loading: &Loading<'_>) -> Result<Box<dyn PromptEncoder>, PipelineError> {
        Ok(Box::new(self.load_clips(loading)?))
    }

    fn load_denoiser(&self, loading: &Loading<'_>) -> Result<Box<dyn Denoiser>, PipelineError> {
        Ok(boxed_denoiser(self.load_transformer(loading)?, loading))
    }
}
