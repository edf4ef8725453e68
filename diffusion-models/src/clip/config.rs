//! Sizes of a CLIP text encoder.

use std::path::Path;

use diffusion_core::checkpoint::Checkpoint;
use serde::Deserialize;

use super::keys;
use diffusion_core::config::{ConfigError, read_json, require_epsilon, require_layers, require_sizes};

/// Sizes of a CLIP text encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipConfig {
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// Longest sequence, in tokens.
    pub max_positions: usize,
    /// Width of the token vectors.
    pub hidden_size: usize,
    /// Inner width of the feed-forward layers.
    pub inner_size: usize,
    /// Number of layers.
    pub num_layers: usize,
    /// Number of attention heads.
    pub num_heads: usize,
    /// Activation of the feed-forward layers.
    pub activation: ClipActivation,
    /// Epsilon of the layer norms.
    pub norm_epsilon: f64,
    /// How the end of the text is found.
    pub end_of_text: EndOfText,
    /// Width that the pooled embedding is projected to; `None` leaves it unprojected.
    pub projection_size: Option<usize>,
}

/// Activation of CLIP's feed-forward layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClipActivation {
    /// `x σ(1.702 x)`: CLIP-L.
    QuickGelu,
    /// `x Φ(x)`: CLIP-G.
    Gelu,
}

/// Which token's vector is the pooled embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOfText {
    /// The first of the largest id, as OpenAI's code and all configurations with `eos_token_id: 2` have it.
    LargestId,
    /// The first token of this id.
    Token(u32),
}

#[derive(Deserialize)]
struct Json {
    vocab_size: usize,
    max_position_embeddings: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_act: ClipActivation,
    layer_norm_eps: f64,
    eos_token_id: u32,
    projection_dim: usize,
    #[serde(default)]
    architectures: Vec<String>,
}

impl ClipConfig {
    /// CLIP-L without projection, as Stable Diffusion 3 and FLUX.1 use it.
    pub fn large() -> Self {
        Self {
            vocab_size: 49408,
            max_positions: 77,
            hidden_size: 768,
            inner_size: 3072,
            num_layers: 12,
            num_heads: 12,
            activation: ClipActivation::QuickGelu,
            norm_epsilon: 1e-5,
            end_of_text: EndOfText::LargestId,
            projection_size: None,
        }
    }

    /// CLIP-G (OpenCLIP ViT-bigG-14) with its projection.
    pub fn big_g() -> Self {
        Self {
            hidden_size: 1280,
            inner_size: 5120,
            num_layers: 32,
            num_heads: 20,
            activation: ClipActivation::Gelu,
            projection_size: Some(1280),
            ..Self::large()
        }
    }

    /// Read a transformers `config.json`, of a text encoder or of a whole CLIP. The pooled embedding is projected if the class
    /// is `CLIPTextModelWithProjection`.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read, has a number out of range, or names heads that do not divide the width.
    pub fn from_json(path: &Path) -> Result<Self, ConfigError> {
        /// Configurations of early releases say 2 where the tokenizer's end token is 49407.
        const LEGACY_EOS: u32 = 2;
        let json: Json = read_text_part(path)?;
        require_layers(path, [("num_hidden_layers", json.num_hidden_layers)])?;
        require_sizes(
            path,
            [
                ("vocab_size", json.vocab_size),
                ("max_position_embeddings", json.max_position_embeddings),
                ("hidden_size", json.hidden_size),
                ("intermediate_size", json.intermediate_size),
                ("num_attention_heads", json.num_attention_heads),
                ("projection_dim", json.projection_dim),
            ],
        )?;
        if !json.hidden_size.is_multiple_of(json.num_attention_heads) {
            let expected = format!("a divisor of hidden_size, {}", json.hidden_size);
            return Err(ConfigError::unsupported(path, "num_attention_heads", expected, json.num_attention_heads));
        }
        require_epsilon(path, "layer_norm_eps", json.layer_norm_eps)?;
        if json.eos_token_id as usize >= json.vocab_size {
            let expected = format!("a token below vocab_size, {}", json.vocab_size);
            return Err(ConfigError::unsupported(path, "eos_token_id", expected, json.eos_token_id));
        }
        let projected = json.architectures.iter().any(|class| class == "CLIPTextModelWithProjection");
        Ok(Self {
            vocab_size: json.vocab_size,
            max_positions: json.max_position_embeddings,
            hidden_size: json.hidden_size,
            inner_size: json.intermediate_size,
            num_layers: json.num_hidden_layers,
            num_heads: json.num_attention_heads,
            activation: json.hidden_act,
            norm_epsilon: json.layer_norm_eps,
            end_of_text: if json.eos_token_id == LEGACY_EOS { EndOfText::LargestId } else { EndOfText::Token(json.eos_token_id) },
            projection_size: projected.then_some(json.projection_dim),
        })
    }

    /// The same sizes, the pooled embedding not projected.
    #[must_use]
    pub fn unprojected(self) -> Self {
        Self { projection_size: None, ..self }
    }

    /// Width of the pooled embedding.
    pub fn pooled_size(&self) -> usize {
        self.projection_size.unwrap_or(self.hidden_size)
    }

    /// Whether a checkpoint holds the text tower of a CLIP, alone or beside the vision tower.
    pub fn has_text_tower(checkpoint: &Checkpoint) -> bool {
        keys::TEXT_TOWER_SIGNS.into_iter().any(|sign| checkpoint.get(sign).is_some())
    }

    /// Whether a checkpoint holds CLIP-G rather than CLIP-L: by its 32 layers.
    pub fn is_big_g(checkpoint: &Checkpoint) -> bool {
        keys::BIG_G_SIGNS.into_iter().any(|sign| checkpoint.get(sign).is_some())
    }
}

/// The configuration of the text encoder: the file's own, or `text_config` in that of a whole CLIP.
fn read_text_part(path: &Path) -> Result<Json, ConfigError> {
    let mut json: serde_json::Value = read_json(path)?;
    let text = json.get_mut("text_config").map(serde_json::Value::take);
    let part = text.filter(serde_json::Value::is_object).unwrap_or(json);
    serde_json::from_value(part).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
}
