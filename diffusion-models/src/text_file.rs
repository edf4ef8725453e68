//! The files of text encoders, with their tokenizers.

use std::path::Path;

use diffusion_core::Loading;
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::weights::ComponentId;

use crate::clip::{ClipConfig, ClipTextEncoder, ClipTokenizer};
use crate::component_file::NetworkFile;
use crate::components::CLIP_G;
use crate::detect::FileKind;
use crate::error::PipelineError;
use crate::prompt_encoder::TokenizedText;
use crate::source::{Origin, Source};
use crate::t5::{T5Config, T5Encoder, T5Tokenizer};
use crate::tokenizer::TokenizerError;
use diffusion_core::config::ConfigError;

/// A text encoder's tensors, sizes and tokenizer.
#[derive(Clone, Debug)]
pub(crate) struct TextFile<C, T> {
    pub(crate) file: NetworkFile<C>,
    pub(crate) tokenizer: T,
}

/// What becomes of the pooled embedding of a CLIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PooledText {
    /// It is projected if the configuration says so.
    AsConfigured,
    /// It stays as it is, whatever the file holds.
    Unprojected,
}

pub(crate) type ClipFile = TextFile<ClipConfig, ClipTokenizer>;
pub(crate) type T5File = TextFile<T5Config, T5Tokenizer>;

impl<C, T> TextFile<C, T> {
    /// Refuse an encoder whose results the transformer cannot take.
    pub(crate) fn require_width(&self, found: usize, expected: usize) -> Result<(), PipelineError> {
        if found == expected {
            return Ok(());
        }
        let path = self.file.checkpoint.path().to_owned();
        let expected = format!("one of width {expected}, which the transformer takes");
        Err(PipelineError::OtherModel { path, expected, found: format!("a text encoder of width {found}") })
    }
}

impl ClipFile {
    /// CLIP-L or CLIP-G, if there is one.
    pub(crate) fn open(source: &Source, id: ComponentId, pooled: PooledText) -> Result<Option<Self>, PipelineError> {
        let Some(component) = source.family().component(id) else { return Ok(None) };
        let Some((checkpoint, origin)) = source.component(component)? else { return Ok(None) };
        let config_path = source.config_of(id, &format!("{}/config.json", component.folder));
        let is_g = id == CLIP_G;
        if origin == Origin::Given {
            if source.kind_of(&checkpoint) == FileKind::Clip && !ClipConfig::has_text_tower(&checkpoint) {
                let found = "the vision tower of a CLIP, without the text encoder";
                return Err(PipelineError::other_model(checkpoint.path(), id, found));
            }
            let big_g = ClipConfig::is_big_g(&checkpoint);
            // Miniatures have few layers; their configuration tells them apart.
            let fits = if is_g { big_g || config_path.is_some() } else { !big_g };
            refuse_other(source, &checkpoint, id, FileKind::Clip, fits)?;
        }
        let config = match &config_path {
            Some(path) => ClipConfig::from_json(path)?,
            None if is_g => ClipConfig::big_g(),
            None => ClipConfig::large(),
        };
        // CLIP-L's pooled embedding is not projected. diffusers folders of Stable Diffusion 3 project it by an identity
        // matrix; single files have none, or OpenAI's, which the model was not trained with.
        let unprojected = pooled == PooledText::Unprojected || !is_g && origin != Origin::Folder;
        let config = if unprojected { config.unprojected() } else { config };
        let tokenizer = match component.tokenizer.and_then(|folder| source.config_of(id, folder)) {
            Some(folder) => ClipTokenizer::from_dir(&folder)?,
            None => embedded_clip(id)?,
        };
        let told_by = config_path.as_deref().unwrap_or(checkpoint.path());
        refuse_fewer(told_by, "vocab_size", config.vocab_size, tokenizer.vocab_size())?;
        refuse_fewer(told_by, "max_position_embeddings", config.max_positions, tokenizer.max_length())?;
        Ok(Some(Self { file: NetworkFile { component, checkpoint, config }, tokenizer }))
    }

    /// Add the tokens of a text.
    pub(crate) fn tokenize(&self, text: &str, into: &mut TokenizedText) -> Result<(), TokenizerError> {
        into.add(self.tokenizer.encode(text, self.tokenizer.max_length())?, self.file.component.id);
        Ok(())
    }

    /// The encoder with its tokenizer.
    pub(crate) fn load(&self, loading: &Loading<'_>) -> Result<(ClipTokenizer, ClipTextEncoder), CheckpointError> {
        let NetworkFile { component, checkpoint, config } = &self.file;
        let encoder = ClipTextEncoder::load(checkpoint.clone(), config, &loading.of(component.id))?;
        Ok((self.tokenizer.clone(), encoder))
    }
}

impl T5File {
    /// T5, if there is one.
    pub(crate) fn open(source: &Source, id: ComponentId) -> Result<Option<Self>, PipelineError> {
        let Some(component) = source.family().component(id) else { return Ok(None) };
        let Some((checkpoint, origin)) = source.component(component)? else { return Ok(None) };
        if origin == Origin::Given {
            refuse_other(source, &checkpoint, id, FileKind::T5, true)?;
        }
        let config_path = source.config_of(id, &format!("{}/config.json", component.folder));
        let config = config_path.as_deref().map_or_else(|| Ok(T5Config::xxl()), T5Config::from_json)?;
        let tokenizer = match component.tokenizer.and_then(|folder| source.config_of(id, folder)) {
            Some(folder) => T5Tokenizer::from_dir(&folder)?,
            None => embedded_t5(id)?,
        };
        let told_by = config_path.as_deref().unwrap_or(checkpoint.path());
        refuse_fewer(told_by, "vocab_size", config.vocab_size, tokenizer.vocab_size())?;
        Ok(Some(Self { file: NetworkFile { component, checkpoint, config }, tokenizer }))
    }

    /// Add the tokens of a text, so many.
    pub(crate) fn tokenize(&self, text: &str, length: usize, into: &mut TokenizedText) -> Result<(), TokenizerError> {
        into.add(self.tokenizer.encode(text, length)?, self.file.component.id);
        Ok(())
    }

    /// The encoder with its tokenizer.
    pub(crate) fn load(&self, loading: &Loading<'_>) -> Result<(T5Tokenizer, T5Encoder), CheckpointError> {
        let NetworkFile { component, checkpoint, config } = &self.file;
        let encoder = T5Encoder::load(checkpoint.clone(), config, &loading.of(component.id))?;
        Ok((self.tokenizer.clone(), encoder))
    }
}

/// Refuse a file that was given for a component and holds something else.
fn refuse_other(
    source: &Source,
    checkpoint: &Checkpoint,
    id: ComponentId,
    expected: FileKind,
    fits: bool,
) -> Result<(), PipelineError> {
    let kind = source.kind_of(checkpoint);
    if kind == expected && fits { Ok(()) } else { Err(PipelineError::other_model(checkpoint.path(), id, kind)) }
}

/// Refuse a text encoder that has fewer tokens or positions than its tokenizer.
fn refuse_fewer(path: &Path, field: &'static str, encoder: usize, tokenizer: usize) -> Result<(), ConfigError> {
    if encoder >= tokenizer {
        return Ok(());
    }
    Err(ConfigError::unsupported(path, field, format!("at least {tokenizer}, as its tokenizer has"), encoder))
}

/// The tokenizer of a CLIP that this build carries.
fn embedded_clip(component: ComponentId) -> Result<ClipTokenizer, PipelineError> {
    #[cfg(feature = "embedded-tokenizers")]
    return Ok(if component == CLIP_G { ClipTokenizer::embedded_clip_g() } else { ClipTokenizer::embedded_clip_l() }?);
    #[cfg(not(feature = "embedded-tokenizers"))]
    Err(PipelineError::NoTokenizer { component })
}

/// The tokenizer of T5 that this build carries.
#[cfg_attr(feature = "embedded-tokenizers", expect(unused_variables, reason = "errors of other builds name it"))]
fn embedded_t5(component: ComponentId) -> Result<T5Tokenizer, PipelineError> {
    #[cfg(feature = "embedded-tokenizers")]
    return Ok(T5Tokenizer::embedded()?);
    #[cfg(not(feature = "embedded-tokenizers"))]
    Err(PipelineError::NoTokenizer { component })
}
