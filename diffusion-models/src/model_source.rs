//! Where the parts of a model lie: in one diffusers folder, in one all-in-one file, or in several files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::{Precision, Residency};
use serde::Deserialize;

use crate::autoencoder_kl::AutoencoderKlConfig;
use crate::clip::{ClipConfig, ClipTextEncoder, ClipTokenizer};
use crate::config::{ConfigError, read_json};
use crate::detect::ModelKind;
use crate::error::PipelineError;
use crate::image_decoder::DecoderFile;
use crate::t5::{T5Config, T5Encoder, T5Tokenizer};

/// Parts of a model that lie in files of their own, in place of those of the model's file or folder.
#[derive(Clone, Debug, Default)]
pub struct ModelParts {
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

/// A text encoder's weights, sizes and tokenizer.
#[derive(Clone, Debug)]
pub(crate) struct TextFile<C, T> {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) config: C,
    pub(crate) tokenizer: T,
}

pub(crate) type ClipFile = TextFile<ClipConfig, ClipTokenizer>;
pub(crate) type T5File = TextFile<T5Config, T5Tokenizer>;

impl<C, T> TextFile<C, T> {
    /// Refuse an encoder whose results the transformer cannot take.
    pub(crate) fn require_width(&self, found: usize, expected: usize) -> Result<(), PipelineError> {
        if found == expected {
            return Ok(());
        }
        let path = self.checkpoint.path().to_owned();
        let expected = format!("one of width {expected}, which the transformer takes");
        Err(PipelineError::OtherModel { path, expected, found: format!("a text encoder of width {found}") })
    }
}

impl ClipFile {
    /// Names, shapes and types, against an encoder that is made but never filled.
    pub(crate) fn check(&self, device: &Device) -> Result<(), CheckpointError> {
        self.config.rename(self.checkpoint.clone())?.check(&self.config.init(device))
    }

    /// The encoder with its tokenizer.
    pub(crate) fn load(
        &self,
        precision: Precision,
        device: &Device,
    ) -> Result<(ClipTokenizer, ClipTextEncoder), CheckpointError> {
        let encoder = ClipTextEncoder::load(self.checkpoint.clone(), &self.config, precision, device)?;
        Ok((self.tokenizer.clone(), encoder))
    }
}

impl T5File {
    /// Names, shapes and types, against an encoder that is made but never filled.
    pub(crate) fn check(&self, device: &Device) -> Result<(), CheckpointError> {
        self.config.rename(self.checkpoint.clone())?.check(&self.config.init(device))
    }

    /// The encoder with its tokenizer.
    pub(crate) fn load(
        &self,
        precision: Precision,
        residency: Residency,
        device: &Device,
    ) -> Result<(T5Tokenizer, T5Encoder), CheckpointError> {
        let encoder = T5Encoder::load(self.checkpoint.clone(), &self.config, precision, residency, device)?;
        Ok((self.tokenizer.clone(), encoder))
    }
}

/// What a family's files are called.
pub(crate) struct Layout {
    /// The transformer's kind.
    pub(crate) kind: ModelKind,
    /// Class name in `model_index.json`.
    pub(crate) pipeline_class: &'static str,
    pub(crate) clip_l: Option<TextPart>,
    pub(crate) clip_g: Option<TextPart>,
    pub(crate) t5: Option<TextPart>,
}

/// Where in a diffusers folder, and in all-in-one files, a text encoder lies.
#[derive(Clone, Copy)]
pub(crate) struct TextPart {
    pub(crate) name: &'static str,
    pub(crate) folder: &'static str,
    pub(crate) tokenizer: &'static str,
    pub(crate) prefix: &'static str,
}

impl TextPart {
    pub(crate) const CLIP_L: Self =
        Self { name: "CLIP-L", folder: "text_encoder", tokenizer: "tokenizer", prefix: "text_encoders.clip_l.transformer." };
    pub(crate) const CLIP_G: Self =
        Self { name: "CLIP-G", folder: "text_encoder_2", tokenizer: "tokenizer_2", prefix: "text_encoders.clip_g.transformer." };
    /// T5 as the third text encoder; FLUX.1 has it as the second.
    pub(crate) const T5: Self =
        Self { name: "T5", folder: "text_encoder_3", tokenizer: "tokenizer_3", prefix: "text_encoders.t5xxl.transformer." };
}

/// Prefixes of the denoising network in all-in-one files; none in files that hold nothing else.
const TRANSFORMER_PREFIX: &str = "model.diffusion_model.";
/// Prefixes of the autoencoder, likewise.
const AUTOENCODER_PREFIXES: [&str; 2] = ["first_stage_model.", "vae."];
/// Tensors of training that published files carry along.
const IGNORED_PREFIXES: [&str; 2] = ["model_ema.", "loss."];

/// Where the parts are looked for.
pub(crate) struct Source {
    place: Place,
    layout: Layout,
}

enum Place {
    Folder { path: PathBuf, index: ModelIndex },
    File { checkpoint: Checkpoint, config: Option<PathBuf> },
}

#[derive(Deserialize)]
struct ModelIndex {
    #[serde(rename = "_class_name")]
    class_name: String,
    #[serde(flatten)]
    components: BTreeMap<String, serde_json::Value>,
}

impl ModelIndex {
    /// A component of `[null, null]` is absent.
    fn has(&self, component: &str) -> bool {
        let entry = self.components.get(component).and_then(serde_json::Value::as_array);
        entry.is_some_and(|entry| entry.iter().all(serde_json::Value::is_string))
    }
}

/// Which model a file or folder holds, for programs that draw with any.
///
/// # Errors
/// [`PipelineError`] if it cannot be opened, or is a folder without `model_index.json`.
pub fn model_kind(path: &Path) -> Result<ModelKind, PipelineError> {
    if path.is_dir() {
        return Ok(match read_index(path)?.class_name.as_str() {
            "StableDiffusion3Pipeline" => ModelKind::Sd3Transformer,
            "FluxPipeline" => ModelKind::FluxTransformer,
            "StableDiffusionPipeline" | "StableDiffusionXLPipeline" => ModelKind::StableDiffusionUnet,
            _ => ModelKind::Unknown,
        });
    }
    Ok(ModelKind::of(&Checkpoint::open(path)?))
}

fn read_index(folder: &Path) -> Result<ModelIndex, PipelineError> {
    let path = folder.join("model_index.json");
    if !path.exists() {
        return Err(PipelineError::NoModelIndex { path: folder.to_owned() });
    }
    Ok(read_json(&path)?)
}

impl Source {
    /// Open a folder or file of the family that `layout` describes.
    pub(crate) fn open(path: &Path, parts: &ModelParts, layout: Layout) -> Result<Self, PipelineError> {
        if let Some(config) = parts.config.as_deref().filter(|config| !config.is_dir()) {
            let source = io::Error::from(io::ErrorKind::NotFound);
            return Err(ConfigError::Read { path: config.join("transformer/config.json"), source }.into());
        }
        if path.is_dir() {
            let index = read_index(path)?;
            if index.class_name != layout.pipeline_class {
                let (path, expected) = (path.join("model_index.json"), layout.pipeline_class.to_owned());
                return Err(PipelineError::OtherModel { path, expected, found: index.class_name });
            }
            return Ok(Self { place: Place::Folder { path: path.to_owned(), index }, layout });
        }
        let checkpoint = Checkpoint::open(path)?;
        let kind = ModelKind::of(&checkpoint);
        if kind != layout.kind {
            return Err(PipelineError::other_model(path, layout.kind, kind));
        }
        let source = Self { place: Place::File { checkpoint, config: parts.config.clone() }, layout };
        source.refuse_unknown_tensors()?;
        Ok(source)
    }

    /// An all-in-one file must be used up by its parts; a bare transformer is checked when it is loaded.
    fn refuse_unknown_tensors(&self) -> Result<(), PipelineError> {
        let Place::File { checkpoint, .. } = &self.place else { return Ok(()) };
        if checkpoint.under(TRANSFORMER_PREFIX).is_empty() {
            return Ok(());
        }
        let texts = [&self.layout.clip_l, &self.layout.clip_g, &self.layout.t5];
        let texts = texts.into_iter().flatten().map(|part| part.prefix);
        let prefixes: Vec<&str> =
            [TRANSFORMER_PREFIX].into_iter().chain(AUTOENCODER_PREFIXES).chain(IGNORED_PREFIXES).chain(texts).collect();
        let known = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix)) || name.ends_with("logit_scale");
        let names: Vec<String> = checkpoint.tensors().map(|(name, _)| name.to_owned()).filter(|name| !known(name)).collect();
        if names.is_empty() { Ok(()) } else { Err(PipelineError::UnknownTensors { path: checkpoint.path().to_owned(), names }) }
    }

    /// A configuration or tokenizer of the model's own part. A diffusers folder has one, and opening it tells if not; the
    /// folder that goes with a single file may lack it.
    pub(crate) fn config_file(&self, file: &str) -> Option<PathBuf> {
        match &self.place {
            Place::Folder { path, .. } => Some(path.join(file)),
            Place::File { .. } => self.config_beside(file),
        }
    }

    /// A configuration or tokenizer for a part that lies in a file of its own: what there is in the folder.
    fn config_beside(&self, file: &str) -> Option<PathBuf> {
        let folder = match &self.place {
            Place::Folder { path, .. } => Some(path),
            Place::File { config, .. } => config.as_ref(),
        };
        folder.map(|folder| folder.join(file)).filter(|file| file.exists())
    }

    /// One of the two, by whether a part was given a file of its own.
    fn config_of(&self, given: Option<&Path>, file: &str) -> Option<PathBuf> {
        if given.is_some() { self.config_beside(file) } else { self.config_file(file) }
    }

    /// The transformer's weights, and its configuration where there is a folder of them.
    pub(crate) fn transformer(&self) -> Result<(Checkpoint, Option<PathBuf>), PipelineError> {
        let (checkpoint, config) = match &self.place {
            Place::Folder { path, .. } => (Checkpoint::open(&path.join("transformer"))?, Some(path)),
            Place::File { checkpoint, config } => {
                let part = checkpoint.under(TRANSFORMER_PREFIX);
                (if part.is_empty() { checkpoint.clone() } else { part }, config.as_ref())
            }
        };
        let kind = ModelKind::of(&checkpoint);
        if kind != self.layout.kind {
            return Err(PipelineError::other_model(checkpoint.path(), self.layout.kind, kind));
        }
        Ok((checkpoint, config.map(|folder| folder.join("transformer/config.json"))))
    }

    /// CLIP-L, if there is one.
    pub(crate) fn clip_l(&self, parts: &ModelParts) -> Result<Option<ClipFile>, PipelineError> {
        self.clip(self.layout.clip_l, parts.clip_l.as_deref())
    }

    /// CLIP-G, if there is one.
    pub(crate) fn clip_g(&self, parts: &ModelParts) -> Result<Option<ClipFile>, PipelineError> {
        self.clip(self.layout.clip_g, parts.clip_g.as_deref())
    }

    fn clip(&self, part: Option<TextPart>, given: Option<&Path>) -> Result<Option<ClipFile>, PipelineError> {
        let Some(part) = part else { return refuse_given(given, "CLIP-G") };
        let config_path = self.config_of(given, &format!("{}/config.json", part.folder));
        let is_g = part.name == TextPart::CLIP_G.name;
        let fits = |checkpoint: &Checkpoint| {
            let big_g = ClipConfig::is_big_g(checkpoint);
            // Miniatures have few layers; their configuration tells them apart.
            ModelKind::of(checkpoint) == ModelKind::Clip && (if is_g { big_g || config_path.is_some() } else { !big_g })
        };
        let Some((checkpoint, in_folder)) = self.text(part, given, fits)? else { return Ok(None) };
        let mut config = match &config_path {
            Some(path) => ClipConfig::from_json(path)?,
            None if is_g => ClipConfig::big_g(),
            None => ClipConfig::large(),
        };
        // CLIP-L's pooled embedding is not projected. diffusers folders of Stable Diffusion 3 project it by an identity
        // matrix; single files have none, or OpenAI's, which the model was not trained with.
        if !is_g && !in_folder {
            config.projection_size = None;
        }
        let tokenizer = match self.config_of(given, part.tokenizer) {
            Some(folder) => ClipTokenizer::from_dir(&folder)?,
            None => embedded_clip(is_g)?,
        };
        let told_by = config_path.as_deref().unwrap_or(checkpoint.path());
        refuse_fewer(told_by, "vocab_size", config.vocab_size, tokenizer.vocab_size())?;
        refuse_fewer(told_by, "max_position_embeddings", config.max_positions, tokenizer.max_length())?;
        Ok(Some(TextFile { checkpoint, config, tokenizer }))
    }

    /// T5, if there is one.
    pub(crate) fn t5(&self, parts: &ModelParts) -> Result<Option<T5File>, PipelineError> {
        let given = parts.t5xxl.as_deref();
        let Some(part) = self.layout.t5 else { return refuse_given(given, "T5") };
        let fits = |checkpoint: &Checkpoint| ModelKind::of(checkpoint) == ModelKind::T5;
        let Some((checkpoint, _)) = self.text(part, given, fits)? else { return Ok(None) };
        let config_path = self.config_of(given, &format!("{}/config.json", part.folder));
        let config = config_path.as_deref().map_or_else(|| Ok(T5Config::xxl()), T5Config::from_json)?;
        let tokenizer = match self.config_of(given, part.tokenizer) {
            Some(folder) => T5Tokenizer::from_dir(&folder)?,
            None => embedded_t5()?,
        };
        let told_by = config_path.as_deref().unwrap_or(checkpoint.path());
        refuse_fewer(told_by, "vocab_size", config.vocab_size, tokenizer.vocab_size())?;
        Ok(Some(TextFile { checkpoint, config, tokenizer }))
    }

    /// A text encoder's weights: the file given for it, or else the model's own; and whether they lie in a diffusers folder.
    fn text(
        &self,
        part: TextPart,
        given: Option<&Path>,
        fits: impl Fn(&Checkpoint) -> bool,
    ) -> Result<Option<(Checkpoint, bool)>, PipelineError> {
        if let Some(path) = given {
            let checkpoint = Checkpoint::open(path)?;
            let own = checkpoint.under(part.prefix);
            let checkpoint = if own.is_empty() { checkpoint } else { own };
            if !fits(&checkpoint) {
                return Err(PipelineError::other_model(path, part.name, ModelKind::of(&checkpoint)));
            }
            return Ok(Some((checkpoint, false)));
        }
        match &self.place {
            Place::Folder { path, index } if index.has(part.folder) => {
                Ok(Some((Checkpoint::open(&path.join(part.folder))?, true)))
            }
            Place::Folder { .. } => Ok(None),
            Place::File { checkpoint, .. } => {
                let checkpoint = checkpoint.under(part.prefix);
                Ok((!checkpoint.is_empty()).then_some((checkpoint, false)))
            }
        }
    }

    /// The decoder: of the file given for it, or else the model's own. `published` tells what a checkpoint cannot: the scale
    /// of the latents.
    pub(crate) fn decoder(&self, parts: &ModelParts, published: AutoencoderKlConfig) -> Result<DecoderFile, PipelineError> {
        let under_prefix = |checkpoint: &Checkpoint| {
            AUTOENCODER_PREFIXES.iter().map(|prefix| checkpoint.under(prefix)).find(|part| !part.is_empty())
        };
        let checkpoint = match (&parts.vae, &self.place) {
            (Some(path), _) => {
                let checkpoint = Checkpoint::open(path)?;
                if ModelKind::of(&checkpoint) == ModelKind::AutoencoderTiny {
                    return Ok(DecoderFile::Tiny(checkpoint));
                }
                Some(under_prefix(&checkpoint).unwrap_or(checkpoint))
            }
            (None, Place::Folder { path, .. }) => Some(Checkpoint::open(&path.join("vae"))?),
            (None, Place::File { checkpoint, .. }) => under_prefix(checkpoint),
        };
        let Some(checkpoint) = checkpoint else { return Err(self.missing("autoencoder (VAE)", "--vae")) };
        let kind = ModelKind::of(&checkpoint);
        if kind != ModelKind::AutoencoderKl {
            return Err(PipelineError::other_model(checkpoint.path(), ModelKind::AutoencoderKl, kind));
        }
        let config = match self.config_of(parts.vae.as_deref(), "vae/config.json") {
            Some(config) => AutoencoderKlConfig::from_diffusers_json(&config)?,
            None => published.clone().sized_as(&checkpoint)?,
        };
        let latents = |config: &AutoencoderKlConfig| (config.latent_channels, config.downscale());
        if latents(&config) != latents(&published) {
            let describe = |(channels, cell)| format!("an autoencoder of {channels} channels for {cell} x {cell} pixels");
            let (expected, found) = (describe(latents(&published)), describe(latents(&config)));
            return Err(PipelineError::OtherModel { path: checkpoint.path().to_owned(), expected, found });
        }
        Ok(DecoderFile::Kl(checkpoint, config))
    }

    /// The error for a part that is in none of the files.
    pub(crate) fn missing(&self, part: &'static str, option: &'static str) -> PipelineError {
        let path = match &self.place {
            Place::Folder { path, .. } => path.clone(),
            Place::File { checkpoint, .. } => checkpoint.path().to_owned(),
        };
        PipelineError::MissingPart { path, part, option }
    }
}

/// Refuse a text encoder that has fewer tokens or positions than its tokenizer.
fn refuse_fewer(path: &Path, field: &'static str, encoder: usize, tokenizer: usize) -> Result<(), ConfigError> {
    if encoder >= tokenizer {
        return Ok(());
    }
    Err(ConfigError::unsupported(path, field, format!("at least {tokenizer}, as its tokenizer has"), encoder))
}

/// A file for a part that the family does not have.
fn refuse_given<T>(given: Option<&Path>, part: &str) -> Result<Option<T>, PipelineError> {
    match given {
        Some(path) => Err(PipelineError::setting("text encoder", format!("none: this model has no {part}"), path.display())),
        None => Ok(None),
    }
}

#[cfg(feature = "embedded-tokenizers")]
fn embedded_clip(is_g: bool) -> Result<ClipTokenizer, PipelineError> {
    Ok(if is_g { ClipTokenizer::embedded_clip_g() } else { ClipTokenizer::embedded_clip_l() }?)
}

#[cfg(feature = "embedded-tokenizers")]
fn embedded_t5() -> Result<T5Tokenizer, PipelineError> {
    Ok(T5Tokenizer::embedded()?)
}

#[cfg(not(feature = "embedded-tokenizers"))]
fn embedded_clip(_: bool) -> Result<ClipTokenizer, PipelineError> {
    Err(PipelineError::MissingPart { path: "tokenizer".into(), part: "tokenizer", option: "--config (a diffusers folder)" })
}

#[cfg(not(feature = "embedded-tokenizers"))]
fn embedded_t5() -> Result<T5Tokenizer, PipelineError> {
    Err(PipelineError::MissingPart { path: "tokenizer".into(), part: "tokenizer", option: "--config (a diffusers folder)" })
}
