//! Sizes of the transformer, and how a checkpoint tells them.

use std::path::Path;

use diffusion_core::checkpoint::Checkpoint;
use serde::Deserialize;

use diffusion_core::config::{ConfigError, read_json, require_layers, require_sizes};

/// Sizes of a FLUX.1 transformer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FluxConfig {
    /// Numbers in a patch that goes in: 64, or more for models that also see a control image or a mask.
    pub in_channels: usize,
    /// Number of double blocks, which keep image and text apart.
    pub num_double_layers: usize,
    /// Number of single blocks, which do not.
    pub num_single_layers: usize,
    /// Number of attention heads.
    pub num_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Width of the text tokens.
    pub joint_attention_dim: usize,
    /// Width of the pooled text embedding.
    pub pooled_projection_dim: usize,
    /// How many of a head's numbers turn with each axis of the position: image, row, column.
    pub rope_dims: [usize; 3],
    /// Whether the model takes its guidance as an input.
    pub guidance: DistilledGuidance,
}

/// Whether a model takes its guidance as an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DistilledGuidance {
    /// FLUX.1-dev: the guidance scale is embedded like a timestep.
    Embedded,
    /// FLUX.1-schnell: there is none.
    None,
}

#[derive(Deserialize)]
struct Json {
    in_channels: usize,
    num_layers: usize,
    num_single_layers: usize,
    num_attention_heads: usize,
    attention_head_dim: usize,
    joint_attention_dim: usize,
    pooled_projection_dim: usize,
    #[serde(default)]
    guidance_embeds: bool,
    #[serde(default = "released_rope_dims")]
    axes_dims_rope: [usize; 3],
    #[serde(default = "one")]
    patch_size: usize,
}

/// What diffusers takes where a configuration says nothing.
fn released_rope_dims() -> [usize; 3] {
    [16, 56, 56]
}
fn one() -> usize {
    1
}

/// Numbers in a patch of latents: 16 channels of two by two latent pixels.
pub(super) const PATCH_CHANNELS: usize = 64;

impl FluxConfig {
    /// FLUX.1-dev, 12 billion parameters.
    pub fn dev() -> Self {
        Self {
            in_channels: PATCH_CHANNELS,
            num_double_layers: 19,
            num_single_layers: 38,
            num_heads: 24,
            head_dim: 128,
            joint_attention_dim: 4096,
            pooled_projection_dim: 768,
            rope_dims: released_rope_dims(),
            guidance: DistilledGuidance::Embedded,
        }
    }

    /// FLUX.1-schnell.
    pub fn schnell() -> Self {
        Self { guidance: DistilledGuidance::None, ..Self::dev() }
    }

    /// Width of the token vectors.
    pub fn hidden_size(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Inner width of the feed-forward layers.
    pub fn inner_size(&self) -> usize {
        4 * self.hidden_size()
    }

    /// Read a diffusers `transformer/config.json`.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read or contradicts itself.
    pub fn from_json(path: &Path) -> Result<Self, ConfigError> {
        let json: Json = read_json(path)?;
        require_layers(path, [("num_layers", json.num_layers), ("num_single_layers", json.num_single_layers)])?;
        let [first, second, third] = json.axes_dims_rope;
        require_sizes(
            path,
            [
                ("in_channels", json.in_channels),
                ("num_attention_heads", json.num_attention_heads),
                ("attention_head_dim", json.attention_head_dim),
                ("joint_attention_dim", json.joint_attention_dim),
                ("pooled_projection_dim", json.pooled_projection_dim),
                ("axes_dims_rope", first.max(second).max(third)),
            ],
        )?;
        let hidden_size = json.num_attention_heads * json.attention_head_dim;
        require_sizes(path, [("num_attention_heads times attention_head_dim", hidden_size)])?;
        let guidance = if json.guidance_embeds { DistilledGuidance::Embedded } else { DistilledGuidance::None };
        let config = Self {
            in_channels: json.in_channels,
            num_double_layers: json.num_layers,
            num_single_layers: json.num_single_layers,
            num_heads: json.num_attention_heads,
            head_dim: json.attention_head_dim,
            joint_attention_dim: json.joint_attention_dim,
            pooled_projection_dim: json.pooled_projection_dim,
            rope_dims: json.axes_dims_rope,
            guidance,
        };
        let turned: usize = config.rope_dims.iter().sum();
        if turned != config.head_dim || config.rope_dims.iter().any(|dim| dim % 2 != 0) {
            let expected = format!("even numbers that add up to attention_head_dim, {}", config.head_dim);
            return Err(ConfigError::unsupported(path, "axes_dims_rope", expected, format!("{:?}", config.rope_dims)));
        }
        if json.patch_size != 1 {
            return Err(ConfigError::unsupported(path, "patch_size", 1, json.patch_size));
        }
        Ok(config)
    }

    /// More layers than any model has.
    const MAX_LAYERS: usize = 1000;

    /// The sizes that a checkpoint of a released model or a finetune of one tells by its tensors, under the names of
    /// either layout without prefix. `None` if it is no such transformer.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Option<Self> {
        let either = |original: &str, diffusers: &str| checkpoint.shape(original).or_else(|| checkpoint.shape(diffusers));
        let count = |original: (&str, &str), diffusers: (&str, &str)| {
            let name = |(before, after): (&str, &str), i: usize| format!("{before}{i}{after}");
            (0..Self::MAX_LAYERS).take_while(|&i| either(&name(original, i), &name(diffusers, i)).is_some()).count()
        };
        let &[hidden_size, in_channels] = either("img_in.weight", "x_embedder.weight")? else { return None };
        let &[_, joint_attention_dim] = either("txt_in.weight", "context_embedder.weight")? else { return None };
        let pooled = "time_text_embed.text_embedder.linear_1.weight";
        let &[_, pooled_projection_dim] = either("vector_in.in_layer.weight", pooled)? else { return None };
        let guidance = "time_text_embed.guidance_embedder.linear_1.weight";
        if [hidden_size, in_channels, joint_attention_dim, pooled_projection_dim].contains(&0) {
            return None;
        }
        let guided = either("guidance_in.in_layer.weight", guidance).is_some();
        let dev = Self::dev();
        Some(Self {
            in_channels,
            num_double_layers: count(("double_blocks.", ".img_mod.lin.weight"), ("transformer_blocks.", ".norm1.linear.weight")),
            num_single_layers: count(
                ("single_blocks.", ".modulation.lin.weight"),
                ("single_transformer_blocks.", ".norm.linear.weight"),
            ),
            num_heads: hidden_size / dev.head_dim,
            joint_attention_dim,
            pooled_projection_dim,
            guidance: if guided { DistilledGuidance::Embedded } else { DistilledGuidance::None },
            ..dev
        })
    }
}
