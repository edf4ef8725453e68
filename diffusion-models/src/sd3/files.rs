//! The parts of a model where they lie in files: one diffusers folder, one all-in-one file, or several files.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType};
use diffusion_core::Precision;
use diffusion_core::checkpoint::Checkpoint;
use diffusion_schedulers::schedules::FlowShift;
use serde::Deserialize;

use super::config::Sd3Config;
use super::text_encoders::Sd3TextEncoders;
use super::transformer::Sd3Transformer;
use crate::autoencoder_kl::AutoencoderKlConfig;
use crate::clip::{ClipConfig, ClipTextEncoder, ClipTokenizer};
use crate::config::{ConfigError, read_json};
use crate::detect::{AUTOENCODER_PREFIXES, ModelKind, TRANSFORMER_PREFIXES, part};
use crate::error::PipelineError;
use crate::image_decoder::{DecoderFile, ImageDecoder};
use crate::t5::{T5Config, T5Encoder, T5Tokenizer};

/// Parts of a model that lie in files of their own, in place of those of the model's file or folder.
#[derive(Clone, Debug, Default)]
pub struct Sd3Parts {
    /// A diffusers folder whose configurations and tokenizers go with a single file. Needed where sizes cannot be told
    /// from the tensors, as with miniatures.
    pub config: Option<PathBuf>,
    /// CLIP-L.
    pub clip_l: Option<PathBuf>,
    /// CLIP-G.
    pub clip_g: Option<PathBuf>,
    /// T5 XXL.
    pub t5xxl: Option<PathBuf>,
    /// An autoencoder, full or tiny.
    pub vae: Option<PathBuf>,
}

/// The files of a model, opened and checked to the last name and shape, no weight read.
#[derive(Clone, Debug)]
pub struct Sd3Files {
    /// The file or folder that was given.
    pub path: PathBuf,
    transformer: (Checkpoint, Sd3Config),
    clip_l: Option<(Checkpoint, ClipConfig, ClipTokenizer)>,
    clip_g: Option<(Checkpoint, ClipConfig, ClipTokenizer)>,
    t5: Option<(Checkpoint, T5Config, T5Tokenizer)>,
    decoder: DecoderFile,
    schedule: FlowShift,
}

/// Where in an all-in-one file, and in which folders of a diffusers pipeline, a text encoder lies.
struct TextPart {
    name: &'static str,
    folder: &'static str,
    tokenizer: &'static str,
    prefix: &'static str,
}

const CLIP_L: TextPart =
    TextPart { name: "CLIP-L", folder: "text_encoder", tokenizer: "tokenizer", prefix: "text_encoders.clip_l.transformer." };
const CLIP_G: TextPart =
    TextPart { name: "CLIP-G", folder: "text_encoder_2", tokenizer: "tokenizer_2", prefix: "text_encoders.clip_g.transformer." };
const T5: TextPart =
    TextPart { name: "T5", folder: "text_encoder_3", tokenizer: "tokenizer_3", prefix: "text_encoders.t5xxl.transformer." };

/// Tensors of training that published files carry along.
const IGNORED_PREFIXES: [&str; 2] = ["model_ema.", "loss."];

#[derive(Deserialize)]
struct ModelIndex {
    #[serde(rename = "_class_name")]
    class_name: String,
    #[serde(flatten)]
    components: std::collections::BTreeMap<String, serde_json::Value>,
}

impl ModelIndex {
    /// A component of `[null, null]` is absent.
    fn has(&self, component: &str) -> bool {
        let entry = self.components.get(component).and_then(serde_json::Value::as_array);
        entry.is_some_and(|entry| entry.iter().all(serde_json::Value::is_string))
    }
}

#[derive(Deserialize)]
struct SchedulerJson {
    #[serde(rename = "_class_name")]
    class_name: String,
    #[serde(default = "default_shift")]
    shift: f64,
    #[serde(default)]
    use_dynamic_shifting: bool,
    #[serde(default)]
    use_karras_sigmas: Option<bool>,
    #[serde(default)]
    use_exponential_sigmas: Option<bool>,
    #[serde(default)]
    use_beta_sigmas: Option<bool>,
    #[serde(default)]
    shift_terminal: Option<f64>,
}

/// The shift of all released models.
const RELEASED_SHIFT: f64 = 3.0;

/// What diffusers takes where a configuration says nothing.
fn default_shift() -> f64 {
    1.0
}

/// A part of the model, and the diffusers folder of its configuration where there is one.
struct Located {
    checkpoint: Checkpoint,
    config: Option<PathBuf>,
    /// Whether the weights lie in a diffusers folder, where the configuration tells all.
    in_folder: bool,
}

impl Sd3Files {
    /// Open a model: a diffusers folder, or a single `.safetensors` file of either layout with or without text encoders.
    ///
    /// # Errors
    /// [`PipelineError`] naming the file and what is wrong or missing: all that can be known without reading weights.
    pub fn open(path: &Path, parts: &Sd3Parts) -> Result<Self, PipelineError> {
        let source = Source::open(path, parts)?;
        let transformer = source.transformer()?;
        let clip_l = source.text(&CLIP_L, parts.clip_l.as_deref())?.map(|found| source.clip(found, &CLIP_L)).transpose()?;
        let clip_g = source.text(&CLIP_G, parts.clip_g.as_deref())?.map(|found| source.clip(found, &CLIP_G)).transpose()?;
        let t5 = source.text(&T5, parts.t5xxl.as_deref())?.map(|found| source.t5(found)).transpose()?;
        if clip_l.is_none() && clip_g.is_none() && t5.is_none() {
            return Err(PipelineError::MissingPart {
                path: path.to_owned(),
                part: "text encoder",
                option: "--clip-l, --clip-g and --t5xxl (any of them)",
            });
        }
        let decoder = source.decoder(parts.vae.as_deref())?;
        let files = Self { path: path.to_owned(), transformer, clip_l, clip_g, t5, decoder, schedule: source.schedule()? };
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

    /// Length that T5's tokenizer asks for; the limit of the reference, if there is no T5.
    pub fn t5_length(&self) -> usize {
        self.t5.as_ref().map_or(usize::MAX, |(_, _, tokenizer)| tokenizer.max_length())
    }

    /// Names, shapes and types of every part, against modules that are made but never filled.
    fn check(&self) -> Result<(), PipelineError> {
        let device = Device::default();
        let (checkpoint, config) = &self.transformer;
        config.rename(checkpoint.clone())?.check(&config.init(FloatDType::F32, &device))?;
        for (checkpoint, config, _) in self.clip_l.iter().chain(&self.clip_g) {
            config.rename(checkpoint.clone())?.check(&config.init(&device))?;
        }
        if let Some((checkpoint, config, _)) = &self.t5 {
            config.rename(checkpoint.clone())?.check(&config.init(&device))?;
        }
        self.decoder.check(&device)
    }

    /// Load the transformer.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    pub fn load_transformer(&self, precision: Precision, device: &Device) -> Result<Sd3Transformer, PipelineError> {
        let (checkpoint, config) = &self.transformer;
        Ok(Sd3Transformer::load(checkpoint.clone(), config, precision, device)?)
    }

    /// Load the text encoders that there are.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    pub fn load_text_encoders(&self, precision: Precision, device: &Device) -> Result<Sd3TextEncoders, PipelineError> {
        let clip = |part: &Option<(Checkpoint, ClipConfig, ClipTokenizer)>| {
            let load = |(checkpoint, config, tokenizer): &(Checkpoint, ClipConfig, ClipTokenizer)| {
                Ok((tokenizer.clone(), ClipTextEncoder::load(checkpoint.clone(), config, precision, device)?))
            };
            part.as_ref().map(load).transpose()
        };
        let t5 = |(checkpoint, config, tokenizer): &(Checkpoint, T5Config, T5Tokenizer)| {
            Ok((tokenizer.clone(), T5Encoder::load(checkpoint.clone(), config, precision, device)?))
        };
        let t5: Option<Result<_, PipelineError>> = self.t5.as_ref().map(t5);
        Ok(Sd3TextEncoders {
            clip_l: clip(&self.clip_l).map_err(PipelineError::Checkpoint)?,
            clip_g: clip(&self.clip_g).map_err(PipelineError::Checkpoint)?,
            t5: t5.transpose()?,
            joint_attention_dim: self.config().joint_attention_dim,
            pooled_projection_dim: self.config().pooled_projection_dim,
        })
    }

    /// Give back the memory that reading the text encoders took.
    pub fn release_text_encoders(&self) {
        let clips = self.clip_l.iter().chain(&self.clip_g).map(|(checkpoint, ..)| checkpoint);
        clips.chain(self.t5.iter().map(|(checkpoint, ..)| checkpoint)).for_each(Checkpoint::release);
    }

    /// Load the decoder.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    pub fn load_decoder(&self, precision: Precision, device: &Device) -> Result<ImageDecoder, PipelineError> {
        self.decoder.load(precision, device)
    }
}

/// Where the parts are looked for.
enum Source {
    Folder { path: PathBuf, index: ModelIndex },
    File { checkpoint: Checkpoint, config: Option<PathBuf> },
}

impl Source {
    fn open(path: &Path, parts: &Sd3Parts) -> Result<Self, PipelineError> {
        if let Some(config) = parts.config.as_deref().filter(|config| !config.is_dir()) {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(ConfigError::Read { path: config.join("transformer/config.json"), source }.into());
        }
        if path.is_dir() {
            let index_path = path.join("model_index.json");
            if !index_path.exists() {
                return Err(PipelineError::NoModelIndex { path: path.to_owned() });
            }
            let index: ModelIndex = read_json(&index_path)?;
            if index.class_name != "StableDiffusion3Pipeline" {
                let expected = "StableDiffusion3Pipeline".to_owned();
                return Err(PipelineError::OtherModel { path: index_path, expected, found: index.class_name });
            }
            return Ok(Self::Folder { path: path.to_owned(), index });
        }
        let checkpoint = Checkpoint::open(path)?;
        let kind = ModelKind::of(&checkpoint);
        if kind != ModelKind::Sd3Transformer {
            return Err(PipelineError::other_model(path, ModelKind::Sd3Transformer, kind));
        }
        let source = Self::File { checkpoint, config: parts.config.clone() };
        source.refuse_unknown_tensors()?;
        Ok(source)
    }

    /// An all-in-one file must be used up by its parts; a bare transformer is checked when it is loaded.
    fn refuse_unknown_tensors(&self) -> Result<(), PipelineError> {
        let Self::File { checkpoint, .. } = self else { return Ok(()) };
        let parts =
            [TRANSFORMER_PREFIXES[0], AUTOENCODER_PREFIXES[0], AUTOENCODER_PREFIXES[1], CLIP_L.prefix, CLIP_G.prefix, T5.prefix];
        if checkpoint.under(TRANSFORMER_PREFIXES[0]).is_empty() {
            return Ok(());
        }
        let known = |name: &str| parts.iter().chain(&IGNORED_PREFIXES).any(|prefix| name.starts_with(prefix));
        let unknown = |name: &str| !known(name) && !name.ends_with("logit_scale");
        let names: Vec<String> = checkpoint.tensors().map(|(name, _)| name.to_owned()).filter(|name| unknown(name)).collect();
        if names.is_empty() { Ok(()) } else { Err(PipelineError::UnknownTensors { path: checkpoint.path().to_owned(), names }) }
    }

    /// The folder that configurations and tokenizers are read from.
    fn config_folder(&self) -> Option<&Path> {
        match self {
            Self::Folder { path, .. } => Some(path),
            Self::File { config, .. } => config.as_deref(),
        }
    }

    fn config_file(&self, file: &str) -> Option<PathBuf> {
        self.config_folder().map(|folder| folder.join(file)).filter(|file| file.exists())
    }

    fn transformer(&self) -> Result<(Checkpoint, Sd3Config), PipelineError> {
        let checkpoint = match self {
            Self::Folder { path, .. } => Checkpoint::open(&path.join("transformer"))?,
            Self::File { checkpoint, .. } => part(checkpoint, &TRANSFORMER_PREFIXES),
        };
        let kind = ModelKind::of(&checkpoint);
        if kind != ModelKind::Sd3Transformer {
            return Err(PipelineError::other_model(checkpoint.path(), ModelKind::Sd3Transformer, kind));
        }
        let config = match self.config_folder() {
            Some(folder) => Sd3Config::from_json(&folder.join("transformer/config.json"))?,
            None => Sd3Config::from_checkpoint(&checkpoint)
                .ok_or_else(|| PipelineError::other_model(checkpoint.path(), "a whole Stable Diffusion 3 transformer", kind))?,
        };
        Ok((checkpoint, config))
    }

    /// A text encoder: the file given for it, or else the model's own.
    fn text(&self, part: &TextPart, given: Option<&Path>) -> Result<Option<Located>, PipelineError> {
        let config = self.config_file(&format!("{}/config.json", part.folder));
        if let Some(path) = given {
            let checkpoint = Checkpoint::open(path)?;
            let (kind, big_g) = (ModelKind::of(&checkpoint), ClipConfig::is_big_g(&checkpoint));
            let expected = match part.name {
                "T5" => kind == ModelKind::T5,
                // Miniatures have few layers; their configuration tells them apart.
                "CLIP-G" => kind == ModelKind::Clip && (big_g || config.is_some()),
                _ => kind == ModelKind::Clip && !big_g,
            };
            if !expected {
                return Err(PipelineError::other_model(path, part.name, kind));
            }
            return Ok(Some(Located { checkpoint, config, in_folder: false }));
        }
        match self {
            Self::Folder { path, index } => {
                let folder = path.join(part.folder);
                if !index.has(part.folder) {
                    return Ok(None);
                }
                Ok(Some(Located { checkpoint: Checkpoint::open(&folder)?, config, in_folder: true }))
            }
            Self::File { checkpoint, .. } => {
                let checkpoint = checkpoint.under(part.prefix);
                Ok((!checkpoint.is_empty()).then_some(Located { checkpoint, config, in_folder: false }))
            }
        }
    }

    fn clip(&self, found: Located, part: &TextPart) -> Result<(Checkpoint, ClipConfig, ClipTokenizer), PipelineError> {
        let is_g = part.name == CLIP_G.name;
        let mut config = match &found.config {
            Some(config) => ClipConfig::from_json(config)?,
            None if is_g => ClipConfig::big_g(),
            None => ClipConfig::large(),
        };
        // CLIP-L's pooled embedding is not projected. diffusers folders project it by an identity matrix; single files
        // have none, or OpenAI's, which the model was not trained with.
        if !is_g && !found.in_folder {
            config.projection_size = None;
        }
        let tokenizer = match self.config_file(part.tokenizer) {
            Some(folder) => ClipTokenizer::from_dir(&folder)?,
            None => embedded_clip(is_g, part)?,
        };
        Ok((found.checkpoint, config, tokenizer))
    }

    fn t5(&self, found: Located) -> Result<(Checkpoint, T5Config, T5Tokenizer), PipelineError> {
        let config = found.config.as_deref().map_or_else(|| Ok(T5Config::xxl()), T5Config::from_json)?;
        let tokenizer = match self.config_file(T5.tokenizer) {
            Some(folder) => T5Tokenizer::from_dir(&folder)?,
            None => embedded_t5()?,
        };
        Ok((found.checkpoint, config, tokenizer))
    }

    fn decoder(&self, given: Option<&Path>) -> Result<DecoderFile, PipelineError> {
        let config = self.config_file("vae/config.json");
        let checkpoint = match (given, self) {
            (Some(path), _) => {
                let checkpoint = Checkpoint::open(path)?;
                if ModelKind::of(&checkpoint) == ModelKind::AutoencoderTiny {
                    return Ok(DecoderFile::Tiny(checkpoint));
                }
                part(&checkpoint, &AUTOENCODER_PREFIXES)
            }
            (None, Self::Folder { path, .. }) => Checkpoint::open(&path.join("vae"))?,
            (None, Self::File { checkpoint, .. }) => part(checkpoint, &AUTOENCODER_PREFIXES[..2]),
        };
        if checkpoint.is_empty() {
            return Err(PipelineError::MissingPart {
                path: checkpoint.path().to_owned(),
                part: "autoencoder (VAE)",
                option: "--vae",
            });
        }
        let kind = ModelKind::of(&checkpoint);
        if kind != ModelKind::AutoencoderKl {
            return Err(PipelineError::other_model(checkpoint.path(), ModelKind::AutoencoderKl, kind));
        }
        let config = match config {
            Some(config) => AutoencoderKlConfig::from_diffusers_json(&config)?,
            None => AutoencoderKlConfig::sd3().sized_as(&checkpoint)?,
        };
        Ok(DecoderFile::Kl(checkpoint, config))
    }

    fn schedule(&self) -> Result<FlowShift, PipelineError> {
        let Some(path) = self.config_file("scheduler/scheduler_config.json") else {
            return Ok(FlowShift::new(RELEASED_SHIFT)?);
        };
        let json: SchedulerJson = read_json(&path)?;
        let flag = |flag: Option<bool>| flag == Some(true);
        let respaced = flag(json.use_karras_sigmas) || flag(json.use_exponential_sigmas) || flag(json.use_beta_sigmas);
        if json.class_name != "FlowMatchEulerDiscreteScheduler" {
            let expected = "FlowMatchEulerDiscreteScheduler";
            return Err(ConfigError::unsupported(&path, "_class_name", expected, json.class_name).into());
        }
        if json.use_dynamic_shifting || respaced || json.shift_terminal.is_some() {
            let field = "use_dynamic_shifting, use_*_sigmas or shift_terminal";
            return Err(ConfigError::unsupported(&path, field, "false or null", "set").into());
        }
        Ok(FlowShift::new(json.shift)?)
    }
}

#[cfg(feature = "embedded-tokenizers")]
fn embedded_clip(is_g: bool, _: &TextPart) -> Result<ClipTokenizer, PipelineError> {
    Ok(if is_g { ClipTokenizer::embedded_clip_g() } else { ClipTokenizer::embedded_clip_l() }?)
}

#[cfg(feature = "embedded-tokenizers")]
fn embedded_t5() -> Result<T5Tokenizer, PipelineError> {
    Ok(T5Tokenizer::embedded()?)
}

#[cfg(not(feature = "embedded-tokenizers"))]
fn embedded_clip(_: bool, part: &TextPart) -> Result<ClipTokenizer, PipelineError> {
    Err(PipelineError::MissingPart { path: part.tokenizer.into(), part: "tokenizer", option: "--config (a diffusers folder)" })
}

#[cfg(not(feature = "embedded-tokenizers"))]
fn embedded_t5() -> Result<T5Tokenizer, PipelineError> {
    Err(PipelineError::MissingPart { path: T5.tokenizer.into(), part: "tokenizer", option: "--config (a diffusers folder)" })
}
