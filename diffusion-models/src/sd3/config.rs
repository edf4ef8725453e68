//! Sizes of the transformer, and how a checkpoint tells them.

use std::collections::BTreeSet;
use std::path::Path;

use diffusion_core::checkpoint::Checkpoint;
use serde::Deserialize;

use diffusion_core::config::{ConfigError, read_json, require_layers, require_sizes};

/// Sizes of a Stable Diffusion 3 transformer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sd3Config {
    /// Number of joint blocks.
    pub num_layers: usize,
    /// Number of attention heads.
    pub num_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Latent pixels on the side of a patch.
    pub patch_size: usize,
    /// Latent channels, in and out.
    pub in_channels: usize,
    /// Width of the text tokens.
    pub joint_attention_dim: usize,
    /// Width of the pooled text embedding.
    pub pooled_projection_dim: usize,
    /// Patches on the side of the position table; no image may have more.
    pub position_table_size: usize,
    /// Whether queries and keys are normalised.
    pub qk_norm: QkNorm,
    /// Blocks with a second attention over image tokens alone (MMDiT-X).
    pub dual_attention_layers: Vec<usize>,
    /// Latent pixels on the side of the default image.
    pub sample_size: usize,
}

/// Whether queries and keys are normalised before attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QkNorm {
    /// Not at all: Stable Diffusion 3 Medium.
    None,
    /// By their root mean square, per head: Stable Diffusion 3.5.
    RootMeanSquare,
}

#[derive(Deserialize)]
struct Json {
    num_layers: usize,
    num_attention_heads: usize,
    attention_head_dim: usize,
    patch_size: usize,
    in_channels: usize,
    #[serde(default)]
    out_channels: Option<usize>,
    joint_attention_dim: usize,
    caption_projection_dim: usize,
    pooled_projection_dim: usize,
    pos_embed_max_size: usize,
    #[serde(default)]
    qk_norm: Option<String>,
    #[serde(default)]
    dual_attention_layers: Vec<usize>,
    sample_size: usize,
}

impl Sd3Config {
    /// Stable Diffusion 3.5 Large and Large Turbo, 8 billion parameters.
    pub fn large_3_5() -> Self {
        Self {
            num_layers: 38,
            num_heads: 38,
            head_dim: 64,
            patch_size: 2,
            in_channels: 16,
            joint_attention_dim: 4096,
            pooled_projection_dim: 2048,
            position_table_size: 192,
            qk_norm: QkNorm::RootMeanSquare,
            dual_attention_layers: Vec::new(),
            sample_size: 128,
        }
    }

    /// Stable Diffusion 3.5 Medium, 2.5 billion parameters.
    pub fn medium_3_5() -> Self {
        Self {
            num_layers: 24,
            num_heads: 24,
            position_table_size: 384,
            dual_attention_layers: (0..13).collect(),
            ..Self::large_3_5()
        }
    }

    /// Stable Diffusion 3 Medium, 2 billion parameters.
    pub fn medium_3() -> Self {
        Self { num_layers: 24, num_heads: 24, qk_norm: QkNorm::None, ..Self::large_3_5() }
    }

    /// Width of the token vectors.
    pub fn hidden_size(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Read a diffusers `transformer/config.json`.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read or asks for what this transformer does not do.
    pub fn from_json(path: &Path) -> Result<Self, ConfigError> {
        let json: Json = read_json(path)?;
        require_layers(path, [("num_layers", json.num_layers)])?;
        require_sizes(
            path,
            [
                ("num_attention_heads", json.num_attention_heads),
                ("attention_head_dim", json.attention_head_dim),
                ("patch_size", json.patch_size),
                ("in_channels", json.in_channels),
                ("joint_attention_dim", json.joint_attention_dim),
                ("pooled_projection_dim", json.pooled_projection_dim),
                ("pos_embed_max_size", json.pos_embed_max_size),
                ("sample_size", json.sample_size),
            ],
        )?;
        let qk_norm = match json.qk_norm.as_deref() {
            None => QkNorm::None,
            Some("rms_norm") => QkNorm::RootMeanSquare,
            Some(other) => return Err(ConfigError::unsupported(path, "qk_norm", "null or rms_norm", other)),
        };
        let config = Self {
            num_layers: json.num_layers,
            num_heads: json.num_attention_heads,
            head_dim: json.attention_head_dim,
            patch_size: json.patch_size,
            in_channels: json.in_channels,
            joint_attention_dim: json.joint_attention_dim,
            pooled_projection_dim: json.pooled_projection_dim,
            position_table_size: json.pos_embed_max_size,
            qk_norm,
            dual_attention_layers: json.dual_attention_layers,
            sample_size: json.sample_size,
        };
        let hidden_size = config.hidden_size();
        require_sizes(path, [("num_attention_heads times attention_head_dim", hidden_size)])?;
        if let Some(&layer) = config.dual_attention_layers.iter().find(|&&layer| layer >= config.num_layers) {
            let expected = format!("layers below num_layers, {}", config.num_layers);
            return Err(ConfigError::unsupported(path, "dual_attention_layers", expected, layer));
        }
        if json.caption_projection_dim != hidden_size {
            return Err(ConfigError::unsupported(path, "caption_projection_dim", hidden_size, json.caption_projection_dim));
        }
        if let Some(out_channels) = json.out_channels.filter(|&channels| channels != json.in_channels) {
            return Err(ConfigError::unsupported(path, "out_channels", json.in_channels, out_channels));
        }
        Ok(config)
    }

    /// The sizes that a checkpoint of a released model or a finetune of one tells by its tensors, under the names of
    /// either layout without prefix. `None` if it is no such transformer, or one whose heads are not of the published width.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Option<Self> {
        // An empty tensor can have any size in its other dimensions.
        let shape = |name: &str| checkpoint.shape(name).filter(|shape| !shape.contains(&0));
        let either = |original: &str, diffusers: &str| shape(original).or_else(|| shape(diffusers));
        let &[hidden_size, in_channels, patch_size, _] = either("x_embedder.proj.weight", "pos_embed.proj.weight")? else {
            return None;
        };
        let &[_, joint_attention_dim] = either("context_embedder.weight", "context_embedder.weight")? else { return None };
        let pooled = either("y_embedder.mlp.0.weight", "time_text_embed.text_embedder.linear_1.weight")?;
        let &[_, table_len, _] = either("pos_embed", "pos_embed.pos_embed")? else { return None };
        // Counted over all tensors of a block, so that a missing one is missed by its name later.
        let blocks_with = |part: &str| -> BTreeSet<usize> {
            let names = checkpoint.tensors().map(|(name, _)| name).filter(|name| name.contains(part));
            let numbered = |name: &str| {
                let rest = name.strip_prefix("joint_blocks.").or_else(|| name.strip_prefix("transformer_blocks."))?;
                rest.split_once('.')?.0.parse().ok()
            };
            names.filter_map(numbered).collect()
        };
        let num_layers = blocks_with("").len();
        let normed = !blocks_with(".attn.ln_q.").is_empty() || !blocks_with(".attn.norm_q.").is_empty();
        let large = Self::large_3_5();
        if num_layers == 0 || hidden_size % large.head_dim != 0 {
            return None;
        }
        Some(Self {
            num_layers,
            num_heads: hidden_size / large.head_dim,
            patch_size,
            in_channels,
            joint_attention_dim,
            pooled_projection_dim: *pooled.get(1)?,
            position_table_size: table_len.isqrt(),
            qk_norm: if normed { QkNorm::RootMeanSquare } else { QkNorm::None },
            dual_attention_layers: blocks_with(".attn2.").into_iter().collect(),
            ..large
        })
    }
}
