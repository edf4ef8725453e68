//! The files of a FLUX.1 model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType, Tensor};
use diffusion_core::checkpoint::{Checkpoint, PublishedNames};
use diffusion_core::{Part, Precision, Residency};
use diffusion_schedulers::schedules::{FlowShift, ResolutionShift};

use super::config::{DistilledGuidance, FluxConfig, PATCH_CHANNELS};
use super::text_encoders::FluxTextEncoders;
use super::transformer::FluxTransformer;
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
pub struct FluxFiles {
    /// The file or folder that was given.
    pub path: PathBuf,
    transformer: (Checkpoint, FluxConfig),
    clip_l: Option<ClipFile>,
    t5: Option<T5File>,
    decoder: DecoderFile,
    shift: Shift,
}

/// How noise levels are shifted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shift {
    /// By a constant: schnell, whose constant is 1.
    Constant(FlowShift),
    /// By the number of patches: dev.
    ByResolution(ResolutionShift),
}

const LAYOUT: Layout = Layout {
    kind: ModelKind::FluxTransformer,
    pipeline_class: "FluxPipeline",
    clip_l: Some(TextPart::CLIP_L),
    clip_g: None,
    t5: Some(TextPart { folder: "text_encoder_2", tokenizer: "tokenizer_2", ..TextPart::T5 }),
};

/// Pixels on the side of a patch.
const PATCH_PIXELS: usize = 16;

impl FluxFiles {
    /// Open a model: a diffusers folder, or a single `.safetensors` file of either layout with or without text encoders.
    ///
    /// # Errors
    /// [`PipelineError`] naming the file and what is wrong or missing: all that can be known without reading weights.
    pub fn open(path: &Path, parts: &ModelParts) -> Result<Self, PipelineError> {
        let source = Source::open(path, parts, LAYOUT)?;
        let (checkpoint, config) = source.transformer()?;
        let config = match config {
            Some(config) => FluxConfig::from_json(&config)?,
            None => FluxConfig::from_checkpoint(&checkpoint)
                .ok_or_else(|| PipelineError::other_model(checkpoint.path(), "a whole FLUX.1 transformer", LAYOUT.kind))?,
        };
        refuse_other_pipelines(&checkpoint, &config)?;
        let (clip_l, t5) = (source.clip_l(parts)?, source.t5(parts)?);
        if clip_l.is_none() && t5.is_none() {
            return Err(source.missing("text encoder", "--clip-l and --t5xxl (either of them)"));
        }
        let shift = match source.config_file("scheduler/scheduler_config.json") {
            Some(path) => {
                let scheduler = SchedulerConfig::read(&path)?;
                if scheduler.use_dynamic_shifting {
                    Shift::ByResolution(ResolutionShift {
                        shifts: [scheduler.base_shift, scheduler.max_shift],
                        token_counts: [scheduler.base_image_seq_len, scheduler.max_image_seq_len],
                    })
                } else {
                    Shift::Constant(FlowShift::new(scheduler.shift)?)
                }
            }
            None if config.guidance == DistilledGuidance::Embedded => Shift::ByResolution(ResolutionShift::flux()),
            None => Shift::Constant(FlowShift::new(1.0)?),
        };
        let decoder = source.decoder(parts, AutoencoderKlConfig::flux())?;
        let files = Self { path: path.to_owned(), transformer: (checkpoint, config), clip_l, t5, decoder, shift };
        files.check()?;
        Ok(files)
    }

    /// Sizes of the transformer.
    pub fn config(&self) -> &FluxConfig {
        &self.transformer.1
    }

    pub(super) fn shift(&self) -> Shift {
        self.shift
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
        let tokens = patches + settings.max_sequence_length;
        let activations = plan::transformer_activations(tokens, config.hidden_size(), settings);
        let mut parts = Vec::new();
        if let Some(clip) = &self.clip_l {
            parts.push(PlannedPart::new("CLIP-L", Stage::Text, &clip.checkpoint, text, 0).kept());
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
        if let Some(clip) = &self.clip_l {
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
        let FluxConfig { joint_attention_dim, pooled_projection_dim, .. } = *self.config();
        if let Some(t5) = &self.t5 {
            t5.require_width(t5.config.hidden_size, joint_attention_dim)?;
        }
        match &self.clip_l {
            Some(clip) => clip.require_width(clip.config.pooled_size(), pooled_projection_dim),
            None => Ok(()),
        }
    }

    /// What published files call the parameters of the networks that there are.
    pub fn published_names(&self) -> BTreeMap<Part, PublishedNames> {
        let mut names = BTreeMap::from([(Part::Transformer, self.config().published_names())]);
        names.extend(self.clip_l.as_ref().map(|clip| (Part::ClipL, clip.config.published_names())));
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
    ) -> Result<FluxTransformer, PipelineError> {
        let (checkpoint, config) = &self.transformer;
        Ok(FluxTransformer::load(checkpoint.clone(), config, precision, residency, device)?)
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
    ) -> Result<FluxTextEncoders, PipelineError> {
        let clip = |file: &ClipFile| file.load(precision, device);
        let t5 = |file: &T5File| file.load(precision, residency, device);
        Ok(FluxTextEncoders {
            clip_l: self.clip_l.as_ref().map(clip).transpose()?,
            t5: self.t5.as_ref().map(t5).transpose()?,
            joint_attention_dim: self.config().joint_attention_dim,
            pooled_projection_dim: self.config().pooled_projection_dim,
        })
    }

    /// Give back the memory that reading the text encoders took.
    pub fn release_text_encoders(&self) {
        let clip = self.clip_l.iter().map(|clip| &clip.checkpoint);
        clip.chain(self.t5.iter().map(|t5| &t5.checkpoint)).for_each(Checkpoint::release);
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

/// Models of the family that need another picture besides the prompt.
fn refuse_other_pipelines(checkpoint: &Checkpoint, config: &FluxConfig) -> Result<(), PipelineError> {
    /// Numbers of an inpainting mask in a patch: 8 x 8 pixels a cell, four cells.
    const MASK_CHANNELS: usize = 256;
    const CONTROL: usize = 2 * PATCH_CHANNELS;
    const FILL: usize = 2 * PATCH_CHANNELS + MASK_CHANNELS;
    let found = match config.in_channels {
        PATCH_CHANNELS => return Ok(()),
        CONTROL => "FLUX.1 Canny or Depth, which draws after a control picture".to_owned(),
        FILL => "FLUX.1 Fill, which fills a masked picture".to_owned(),
        other => format!("a FLUX.1 transformer with {other} input channels"),
    };
    let expected = "FLUX.1-dev, -schnell or a finetune of them (64 input channels), which draw from a prompt alone".to_owned();
    Err(PipelineError::OtherModel { path: checkpoint.path().to_owned(), expected, found })
}
