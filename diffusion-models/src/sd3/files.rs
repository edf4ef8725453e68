//! The files of a Stable Diffusion 3 model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType, Tensor};
use diffusion_core::checkpoint::{Checkpoint, PublishedNames};
use diffusion_core::{Part, Precision, Residency};
use diffusion_schedulers::schedules::FlowShift;

use super::config::Sd3Config;
use super::text_encoders::Sd3TextEncoders;
use super::transformer::Sd3Transformer;
use crate::autoencoder_kl::AutoencoderKlConfig;
use crate::detect::ModelKind;
use crate::error::PipelineError;
use crate::image_decoder::{DecoderFile, ImageDecoder};
use crate::model_source::{ClipFile, Layout, ModelParts, Source, T5File, TextPart};
use crate::plan::{self, Plan, PlannedPart, Stage};
use crate::scheduler_config::SchedulerConfig;
use crate::settings::Settings;

/// The files of a model, opened and checked to the last name and shape, no weight read.
#[derive(Clone, Debug)]
pub struct Sd3Files {
    /// The file or folder that was given.
    pub path: PathBuf,
    transformer: (Checkpoint, Sd3Config),
    clip_l: Option<ClipFile>,
    clip_g: Option<ClipFile>,
    t5: Option<T5File>,
    decoder: DecoderFile,
    schedule: FlowShift,
}

const LAYOUT: Layout = Layout {
    kind: ModelKind::Sd3Transformer,
    pipeline_class: "StableDiffusion3Pipeline",
    clip_l: Some(TextPart::CLIP_L),
    clip_g: Some(TextPart::CLIP_G),
    t5: Some(TextPart::T5),
};

/// The shift of all released models.
const RELEASED_SHIFT: f64 = 3.0;

/// Pixels on the side of a patch.
const PATCH_PIXELS: usize = 16;
/// Tokens of CLIP.
const CLIP_TOKENS: usize = 77;

impl Sd3Files {
    /// Open a model: a diffusers folder, or a single `.safetensors` file of either layout with or without text encoders.
    ///
    /// # Errors
    /// [`PipelineError`] naming the file and what is wrong or missing: all that can be known without reading weights.
    pub fn open(path: &Path, parts: &ModelParts) -> Result<Self, PipelineError> {
        let source = Source::open(path, parts, LAYOUT)?;
        let (checkpoint, config) = source.transformer()?;
        let config = match config {
            Some(config) => Sd3Config::from_json(&config)?,
            None => Sd3Config::from_checkpoint(&checkpoint).ok_or_else(|| {
                PipelineError::other_model(
                    checkpoint.path(),
                    "a whole one with heads of the published width; others need their configuration (--config)",
                    LAYOUT.kind,
                )
            })?,
        };
        let (clip_l, clip_g, t5) = (source.clip_l(parts)?, source.clip_g(parts)?, source.t5(parts)?);
        if clip_l.is_none() && clip_g.is_none() && t5.is_none() {
            return Err(source.missing("text encoder", "--clip-l, --clip-g and --t5xxl (any of them)"));
        }
        let shift = match source.config_file("scheduler/scheduler_config.json") {
            Some(path) => {
                let scheduler = SchedulerConfig::read(&path)?;
                if scheduler.use_dynamic_shifting {
                    let field = "use_dynamic_shifting";
                    return Err(crate::config::ConfigError::unsupported(&path, field, false, true).into());
                }
                scheduler.shift
            }
            None => RELEASED_SHIFT,
        };
        let autoencoder = AutoencoderKlConfig { latent_channels: config.in_channels, ..AutoencoderKlConfig::sd3() };
        let files = Self {
            path: path.to_owned(),
            transformer: (checkpoint, config),
            clip_l,
            clip_g,
            t5,
            decoder: source.decoder(parts, autoencoder)?,
            schedule: FlowShift::new(shift)?,
        };
        files.check()?;
        Ok(files)
    }

    /// Sizes of the transformer.
    pub fn config(&self) -> &Sd3Config {
        &self.transformer.1
    }

    /// The noise schedule that belongs to the model.
    pub fn schedule(&self) -> FlowShift {
        self.schedule
    }

    /// Length that T5's tokenizer asks for; no limit if there is no T5.
    pub fn t5_length(&self) -> usize {
        self.t5.as_ref().map_or(usize::MAX, |t5| t5.tokenizer.max_length())
    }

    /// How much memory the parts take.
    pub(super) fn plan(&self, settings: &Settings, precision: Precision) -> Plan {
        let text = precision.with_f32_compute();
        let (checkpoint, config) = &self.transformer;
        let patches = (settings.width / PATCH_PIXELS) * (settings.height / PATCH_PIXELS);
        let tokens = patches + settings.max_sequence_length + CLIP_TOKENS;
        let activations = plan::transformer_activations(tokens, config.hidden_size(), settings);
        let mut parts = Vec::new();
        for (name, clip) in [("CLIP-L", &self.clip_l), ("CLIP-G", &self.clip_g)] {
            if let Some(clip) = clip {
                parts.push(PlannedPart::new(name, Stage::Text, &clip.checkpoint, text, 0).kept());
            }
        }
        if let Some(t5) = &self.t5 {
            parts.push(PlannedPart::new("T5", Stage::Text, &t5.checkpoint, text, 0));
        }
        parts.push(PlannedPart::new("transformer", Stage::Denoise, checkpoint, precision, activations));
        let pixels = plan::decoder_activations(settings);
        parts.push(PlannedPart::converted("autoencoder", Stage::Decode, self.decoder.checkpoint(), precision, pixels));
        Plan::new(parts)
    }

    /// Names, shapes and types of every part, against modules that are made but never filled.
    fn check(&self) -> Result<(), PipelineError> {
        let device = Device::default();
        let (checkpoint, config) = &self.transformer;
        config.rename(checkpoint.clone())?.check(&config.init(FloatDType::F32, &device))?;
        for clip in self.clip_l.iter().chain(&self.clip_g) {
            clip.check(&device)?;
        }
        if let Some(t5) = &self.t5 {
            t5.check(&device)?;
        }
        self.check_widths()?;
        self.decoder.check(&device)
    }

    /// Whether the text encoders give what the transformer takes.
    fn check_widths(&self) -> Result<(), PipelineError> {
        let Sd3Config { joint_attention_dim, pooled_projection_dim, .. } = *self.config();
        if let Some(t5) = &self.t5 {
            t5.require_width(t5.config.hidden_size, joint_attention_dim)?;
        }
        for clip in self.clip_l.iter().chain(&self.clip_g) {
            clip.require_width(clip.config.pooled_size(), clip.config.hidden_size)?;
        }
        // Both CLIPs side by side make up the pooled embedding; one alone leaves room for the other.
        let width = |clip: &Option<ClipFile>| clip.as_ref().map_or(0, |clip| clip.config.hidden_size);
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

    /// What published files call the parameters of the networks that there are.
    pub fn published_names(&self) -> BTreeMap<Part, PublishedNames> {
        let mut names = BTreeMap::from([(Part::Transformer, self.config().published_names())]);
        for (part, clip) in [(Part::ClipL, &self.clip_l), (Part::ClipG, &self.clip_g)] {
            names.extend(clip.as_ref().map(|clip| (part, clip.config.published_names())));
        }
        names.extend(self.t5.as_ref().map(|t5| (Part::T5, t5.config.published_names())));
        names
    }

    /// Load the transformer.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    pub fn load_transformer(
        &self,
        precision: Precision,
        residency: Residency,
        device: &Device,
    ) -> Result<Sd3Transformer, PipelineError> {
        let (checkpoint, config) = &self.transformer;
        Ok(Sd3Transformer::load(checkpoint.clone(), config, precision, residency, device)?)
    }

    /// Load the text encoders that there are.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    pub fn load_text_encoders(
        &self,
        precision: Precision,
        residency: Residency,
        device: &Device,
    ) -> Result<Sd3TextEncoders, PipelineError> {
        let clip = |file: &ClipFile| file.load(precision, device);
        let t5 = |file: &T5File| file.load(precision, residency, device);
        Ok(Sd3TextEncoders {
            clip_l: self.clip_l.as_ref().map(clip).transpose()?,
            clip_g: self.clip_g.as_ref().map(clip).transpose()?,
            t5: self.t5.as_ref().map(t5).transpose()?,
            joint_attention_dim: self.config().joint_attention_dim,
            pooled_projection_dim: self.config().pooled_projection_dim,
        })
    }

    /// Give back the memory that reading the text encoders took.
    pub fn release_text_encoders(&self) {
        let clips = self.clip_l.iter().chain(&self.clip_g).map(|clip| &clip.checkpoint);
        clips.chain(self.t5.iter().map(|t5| &t5.checkpoint)).for_each(Checkpoint::release);
    }

    /// Latents of a picture, loading the encoder for it.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`]; [`PipelineError::MissingPart`] if the autoencoder is a tiny decoder alone.
    pub fn encode_image(&self, image: Tensor<4>, precision: Precision, device: &Device) -> Result<Tensor<4>, PipelineError> {
        self.decoder.encode_image(image, precision, device)
    }

    /// Load the decoder.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    pub fn load_decoder(&self, precision: Precision, device: &Device) -> Result<ImageDecoder, PipelineError> {
        self.decoder.load(precision, device)
    }
}
