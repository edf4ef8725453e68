//! Stable Diffusion 3 as a model.

use std::path::Path;

use burn::tensor::Device;
use diffusion_core::weights::PatchTarget;
use diffusion_core::{Loading, SigmaSchedule, Sigmas};
use diffusion_schedulers::path::NoisePath;
use diffusion_schedulers::schedules::{FlowShift, ResolutionShift, SchedulerConfig, SigmaTable};

use super::config::{QkNorm, Sd3Config};
use super::latent_colors::LATENT_RGB;
use super::prompt_encoder::Sd3PromptEncoder;
use super::transformer::Sd3Transformer;
use crate::autoencoder_file::AutoencoderFile;
use crate::autoencoder_kl::AutoencoderKlConfig;
use crate::clip::ClipConfig;
use crate::component_file::{ComponentFile, NetworkFile};
use crate::components::{CLIP_G, CLIP_L, Component, T5XXL};
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
use diffusion_core::config::ConfigError;
use diffusion_core::network::{Denoiser, boxed_denoiser};
use diffusion_schedulers::kind::NoiseShift;

pub(crate) const FAMILY: Family = Family {
    profile: FamilyProfile {
        name: "Stable Diffusion 3",
        transformer: "a Stable Diffusion 3 transformer",
        signs: &["joint_blocks.0.", "transformer_blocks.0.attn.add_q_proj.weight"],
        // diffusers' names of double blocks are the same in FLUX.1.
        counter_signs: &["single_transformer_blocks.0."],
        transformer_class: "SD3Transformer2DModel",
        pipeline_classes: &[
            "StableDiffusion3Pipeline",
            "StableDiffusion3Img2ImgPipeline",
            "StableDiffusion3InpaintPipeline",
            "StableDiffusion3PAGPipeline",
            "StableDiffusion3PAGImg2ImgPipeline",
        ],
        other_pipelines: &[
            ("StableDiffusion3ControlNetPipeline", "needs a ControlNet and a control image"),
            ("StableDiffusion3ControlNetInpaintingPipeline", "needs a ControlNet and a control image"),
            ("StableDiffusion3InstructPix2PixPipeline", "needs an image to edit as a further input of its transformer"),
        ],
        components: &[Component::CLIP_L, Component::CLIP_G, Component::T5, Component::TRANSFORMER, Component::VAE],
        gguf: ("sd3", "joint_blocks.0.context_block.attn.qkv.weight"),
    },
    released,
    open: |source| Ok(Box::new(Sd3Model::open(source)?)),
};

/// The shift of all released models.
const RELEASED_SHIFT: f64 = 3.0;
/// The longest sequence that T5 sees unless asked otherwise.
const MAX_SEQUENCE_LENGTH: usize = 256;
/// The longest one that it may be asked for, if its tokenizer does not say.
const MOST_TOKENS: usize = 512;
/// Tokens of CLIP.
const CLIP_TOKENS: usize = 77;

fn released() -> Vec<(&'static str, Vec<PatchTarget>)> {
    let models = [
        ("Stable Diffusion 3 Medium", Sd3Config::medium_3()),
        ("Stable Diffusion 3.5 Medium", Sd3Config::medium_3_5()),
        ("Stable Diffusion 3.5 Large", Sd3Config::large_3_5()),
    ];
    let targets = |config: &Sd3Config| {
        vec![
            Component::CLIP_L.patch_target(&ClipConfig::large()),
            Component::CLIP_G.patch_target(&ClipConfig::big_g()),
            Component::T5.patch_target(&T5Config::xxl()),
            Component::TRANSFORMER.patch_target(config),
        ]
    };
    models.into_iter().map(|(name, config)| (name, targets(&config))).collect()
}

/// Stable Diffusion 3 or 3.5: Medium, Large or Large Turbo.
#[derive(Clone, Debug)]
pub struct Sd3Model {
    info: ModelInfo,
    transformer: NetworkFile<Sd3Config>,
    clip_l: Option<ClipFile>,
    clip_g: Option<ClipFile>,
    t5: Option<T5File>,
    autoencoder: AutoencoderFile,
    schedule: FlowShift,
}

impl Sd3Model {
    fn open(source: &Source) -> Result<Self, PipelineError> {
        let (checkpoint, config) = source.transformer()?;
        let config = match config {
            Some(config) => Sd3Config::from_json(&config)?,
            None => Sd3Config::from_checkpoint(&checkpoint).ok_or_else(|| {
                let expected = "a whole one with heads of the published width; others need a diffusers folder's configuration";
                PipelineError::other_model(checkpoint.path(), expected, source.kind_of(&checkpoint))
            })?,
        };
        let clip = |id| ClipFile::open(source, id, PooledText::AsConfigured);
        let (clip_l, clip_g) = (clip(CLIP_L)?, clip(CLIP_G)?);
        let t5 = T5File::open(source, T5XXL)?;
        if clip_l.is_none() && clip_g.is_none() && t5.is_none() {
            return Err(source.missing(&[CLIP_L, CLIP_G, T5XXL]));
        }
        let shift = match source.config_file("scheduler/scheduler_config.json") {
            Some(path) => {
                let SchedulerConfig::Constant(shift) = SchedulerConfig::read(&path)? else {
                    let expected = "false; a shift by resolution is a setting of a run";
                    return Err(ConfigError::unsupported(&path, "use_dynamic_shifting", expected, true).into());
                };
                shift
            }
            None => FlowShift::new(RELEASED_SHIFT)?,
        };
        let published = AutoencoderKlConfig { latent_channels: config.in_channels, ..AutoencoderKlConfig::sd3() };
        let most_tokens = t5.as_ref().map_or(MOST_TOKENS, |t5| t5.tokenizer.max_length());
        let mut model = Self {
            info: info(source, &config, published.downscale(), most_tokens),
            transformer: NetworkFile { component: &Component::TRANSFORMER, checkpoint, config },
            clip_l,
            clip_g,
            t5,
            autoencoder: AutoencoderFile::open(source, &published)?,
            schedule: shift,
        };
        for file in model.components() {
            file.check()?;
        }
        model.check_widths()?;
        model.check_lengths(source)?;
        model.info.left_out = LeftOut::of(source, &model.components());
        Ok(model)
    }

    /// Sizes of the transformer.
    pub fn config(&self) -> &Sd3Config {
        &self.transformer.config
    }

    /// Whether the text encoders give what the transformer takes.
    fn check_widths(&self) -> Result<(), PipelineError> {
        let Sd3Config { joint_attention_dim, pooled_projection_dim, .. } = *self.config();
        if let Some(t5) = &self.t5 {
            t5.require_width(t5.file.config.hidden_size, joint_attention_dim)?;
        }
        for clip in self.clip_l.iter().chain(&self.clip_g) {
            clip.require_width(clip.file.config.pooled_size(), clip.file.config.hidden_size)?;
        }
        // Both CLIPs side by side make up the pooled embedding; one alone leaves room for the other.
        let width = |clip: &Option<ClipFile>| clip.as_ref().map_or(0, |clip| clip.file.config.hidden_size);
        let (clip_l, clip_g) = (width(&self.clip_l), width(&self.clip_g));
        match (&self.clip_l, &self.clip_g) {
            (Some(_), Some(file)) => file.require_width(clip_g, pooled_projection_dim.saturating_sub(clip_l)),
            (Some(file), None) | (None, Some(file)) => {
                let width = clip_l + clip_g;
                file.require_width(width, width.min(pooled_projection_dim.saturating_sub(1)))
            }
            (None, None) => Ok(()),
        }
    }

    /// Whether both CLIPs see as many tokens, for their results lie side by side.
    fn check_lengths(&self, source: &Source) -> Result<(), PipelineError> {
        let (Some(clip_l), Some(clip_g)) = (&self.clip_l, &self.clip_g) else { return Ok(()) };
        let (length, expected) = (clip_l.tokenizer.max_length(), clip_g.tokenizer.max_length());
        if length == expected {
            return Ok(());
        }
        let expected = format!("{expected}, as the tokenizer of {CLIP_G} has");
        let told_by = source.config_of(CLIP_L, "tokenizer/tokenizer_config.json");
        let path = told_by.as_deref().unwrap_or(clip_l.file.checkpoint.path());
        Err(ConfigError::unsupported(path, "model_max_length", expected, length).into())
    }

    /// Load the transformer.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    pub fn load_transformer(&self, loading: &Loading<'_>) -> Result<Sd3Transformer, PipelineError> {
        let NetworkFile { component, checkpoint, config } = &self.transformer;
        Ok(Sd3Transformer::load(checkpoint.clone(), config, &loading.of(component.id))?)
    }

    /// Load the text encoders that there are.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    pub fn load_text_encoders(&self, loading: &Loading<'_>) -> Result<Sd3PromptEncoder, PipelineError> {
        let clips = self.load_clips(loading)?;
        Ok(Sd3PromptEncoder { t5: self.t5.as_ref().map(|t5| t5.load(loading)).transpose()?, ..clips })
    }

    /// The text encoders that there are, T5 missing.
    fn load_clips(&self, loading: &Loading<'_>) -> Result<Sd3PromptEncoder, PipelineError> {
        let clip = |file: &ClipFile| file.load(loading);
        Ok(Sd3PromptEncoder {
            clip_l: self.clip_l.as_ref().map(clip).transpose()?,
            clip_g: self.clip_g.as_ref().map(clip).transpose()?,
            t5: None,
            joint_attention_dim: self.config().joint_attention_dim,
            pooled_projection_dim: self.config().pooled_projection_dim,
            device: Device::clone(loading.device),
        })
    }
}

/// A Turbo model has the tensors of Large, so it is told by the word in its file's or folder's name.
///
/// Reference: Stability-AI/sd3.5 `sd3_infer.py#L502-L528`.
/// Reference: bghira/SimpleTuner `documentation/quickstart/SD3.md` at bc8e6ab, for the larger model, which training breaks easily.
fn training_advice(config: &Sd3Config, turbo: bool) -> TrainingAdvice {
    let large = config.num_layers >= Sd3Config::large_3_5().num_layers;
    let caution = if large && turbo {
        Some(
            "a model distilled to few steps loses that by training; train on the model that it was made from, and draw with this",
        )
    } else if large {
        Some("this model breaks at high learning rates: at mosaics in sample pictures, begin again with a lower one")
    } else {
        None
    };
    TrainingAdvice {
        architecture: match config.qk_norm {
            QkNorm::RootMeanSquare if large && turbo => "stable-diffusion-3-5-large-turbo",
            QkNorm::RootMeanSquare if large => "stable-diffusion-3-5-large",
            QkNorm::RootMeanSquare => "stable-diffusion-3-5-medium",
            QkNorm::None => "stable-diffusion-3-medium",
        },
        learning_rate: if large { 5e-5 } else { 1e-4 },
        max_gradient_norm: if large { 0.1 } else { 1.0 },
        shift: TrainingShift::Constant(RELEASED_SHIFT),
        caption_dropout: 0.05,
        distilled_guidance: None,
        caution,
    }
}

fn info(source: &Source, config: &Sd3Config, downscale_factor: usize, most_tokens: usize) -> ModelInfo {
    let path = source.path();
    let turbo = is_called_turbo(path);
    let large = config.num_layers >= Sd3Config::large_3_5().num_layers;
    let (num_steps, guidance_scale) = match config.qk_norm {
        QkNorm::RootMeanSquare if large && turbo => (4, 1.0),
        QkNorm::RootMeanSquare if large => (40, 4.5),
        _ => (50, 5.0),
    };
    let (patch_size, side) = (config.patch_size, config.sample_size * downscale_factor);
    let published = AutoencoderKlConfig::sd3().latent_channels;
    ModelInfo {
        family: FAMILY.profile.name,
        path: path.to_owned(),
        geometry: ImageGeometry {
            latent_channels: config.in_channels,
            downscale_factor,
            patch_size,
            max_side: Some(config.position_table_size * patch_size * downscale_factor),
        },
        defaults: Settings {
            width: side,
            height: side,
            num_steps,
            guidance_scale,
            max_sequence_length: most_tokens.min(MAX_SEQUENCE_LENGTH),
            ..Settings::default()
        },
        guidance: GuidanceKind::ClassifierFree,
        noise_path: NoisePath::Flow,
        latent_rgb: (config.in_channels == published).then_some(LATENT_RGB),
        skippable_blocks: Some(config.num_layers),
        hidden_size: config.hidden_size(),
        clip_tokens: CLIP_TOKENS,
        max_sequence_length: most_tokens,
        training: training_advice(config, turbo),
        left_out: Vec::new(),
    }
}

/// Whether a file or folder has the word in its name. A folder of the Hugging Face cache is called by its commit, and lies in one
/// that is called by the model: `models--ORG--NAME/snapshots/COMMIT`.
fn is_called_turbo(path: &Path) -> bool {
    let has_word = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().to_lowercase().contains("turbo"));
    let snapshots = path.parent().filter(|folder| folder.file_name().is_some_and(|name| name == "snapshots"));
    has_word(path) || snapshots.and_then(Path::parent).is_some_and(has_word)
}

impl Model for Sd3Model {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn components(&self) -> Vec<&dyn ComponentFile> {
        let clips = self.clip_l.iter().chain(&self.clip_g).map(|clip| &clip.file as &dyn ComponentFile);
        let t5 = self.t5.iter().map(|t5| &t5.file as &dyn ComponentFile);
        clips.chain(t5).chain([&self.transformer as _, &self.autoencoder as _]).collect()
    }

    fn autoencoder(&self) -> &AutoencoderFile {
        &self.autoencoder
    }

    fn schedule(&self, settings: &Settings) -> Result<ModelSchedule, PipelineError> {
        let shift = match settings.shift {
            None => self.schedule,
            Some(NoiseShift::Constant(shift)) => FlowShift::new(shift)?,
            Some(NoiseShift::ByResolution) => self.info.geometry.shift(&ResolutionShift::sd3(), settings)?,
        };
        let released = if settings.shift == Some(NoiseShift::ByResolution) {
            // With this shift diffusers does not shift the ends before the rest.
            let even = FlowShift::new(1.0)?.sigmas(settings.num_steps)?;
            Sigmas::new(even.as_slice().iter().map(|&sigma| shift.apply(sigma)).collect())?
        } else {
            shift.sigmas(settings.num_steps)?
        };
        Ok(ModelSchedule { table: SigmaTable::flow(shift.shift())?, released })
    }

    fn tokenize(&self, text: &str, max_sequence_length: usize) -> Result<TokenizedText, PipelineError> {
        let Sd3Config { joint_attention_dim: token_width, pooled_projection_dim: pooled_width, .. } = *self.config();
        let mut tokens = TokenizedText { ids: Vec::new(), truncated: Vec::new(), token_width, pooled_width };
        for clip in self.clip_l.iter().chain(&self.clip_g) {
            clip.tokenize(text, &mut tokens)?;
        }
        if let Some(t5) = &self.t5 {
            t5.tokenize(text, max_sequence_length, &mut tokens)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turbo_is_told_by_the_name_of_a_file_or_folder_and_of_a_model_in_the_cache() {
        for path in
            ["sd3.5_large_turbo.safetensors", "a/SD3.5-Turbo", "hub/models--stabilityai--sd3.5-large-turbo/snapshots/0123"]
        {
            assert!(is_called_turbo(path.as_ref()), "{path}");
        }
        for path in ["turbo/sd3.5_large.safetensors", "hub/models--stabilityai--sd3.5-large/snapshots/0123", "snapshots", "/"] {
            assert!(!is_called_turbo(path.as_ref()), "{path}");
        }
    }
}
