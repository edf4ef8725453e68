//! Sizes of a T5 encoder.

use std::path::Path;

use serde::Deserialize;

use diffusion_core::config::{ConfigError, read_json, require_epsilon, require_layers, require_sizes};

/// Sizes of a T5 v1.1 encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct T5Config {
    /// Rows of the token table.
    pub vocab_size: usize,
    /// Width of the token vectors.
    pub hidden_size: usize,
    /// Width of one attention head; heads times this need not be the hidden size.
    pub head_dim: usize,
    /// Number of attention heads.
    pub num_heads: usize,
    /// Inner width of the feed-forward layers.
    pub inner_size: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Number of buckets of relative positions.
    pub num_buckets: usize,
    /// Distance from which on all positions share a bucket.
    pub max_distance: usize,
    /// Epsilon of the norms.
    pub norm_epsilon: f64,
}

#[derive(Deserialize)]
struct Json {
    vocab_size: usize,
    d_model: usize,
    d_kv: usize,
    num_heads: usize,
    d_ff: usize,
    num_layers: usize,
    relative_attention_num_buckets: usize,
    #[serde(default = "default_max_distance")]
    relative_attention_max_distance: usize,
    layer_norm_epsilon: f64,
    feed_forward_proj: String,
}

/// What transformers takes where old configurations say nothing.
fn default_max_distance() -> usize {
    128
}

impl T5Config {
    /// T5 v1.1 XXL, as Stable Diffusion 3 and FLUX.1 use it.
    pub fn xxl() -> Self {
        Self {
            vocab_size: 32128,
            hidden_size: 4096,
            head_dim: 64,
            num_heads: 64,
            inner_size: 10240,
            num_layers: 24,
            num_buckets: 32,
            max_distance: 128,
            norm_epsilon: 1e-6,
        }
    }

    /// Read a transformers `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read, has a number out of range, or is of a T5 without gated GELU, as the first
    /// release was.
    pub fn from_json(path: &Path) -> Result<Self, ConfigError> {
        let json: Json = read_json(path)?;
        require_layers(path, [("num_layers", json.num_layers)])?;
        require_sizes(
            path,
            [
                ("vocab_size", json.vocab_size),
                ("d_model", json.d_model),
                ("d_kv", json.d_kv),
                ("num_heads", json.num_heads),
                ("d_ff", json.d_ff),
                ("relative_attention_num_buckets", json.relative_attention_num_buckets),
                ("relative_attention_max_distance", json.relative_attention_max_distance),
            ],
        )?;
        require_sizes(path, [("num_heads times d_kv", json.num_heads * json.d_kv)])?;
        require_epsilon(path, "layer_norm_epsilon", json.layer_norm_epsilon)?;
        if json.feed_forward_proj != "gated-gelu" {
            return Err(ConfigError::unsupported(path, "feed_forward_proj", "gated-gelu (T5 v1.1)", json.feed_forward_proj));
        }
        let buckets = json.relative_attention_num_buckets;
        if buckets < 4 || !buckets.is_multiple_of(4) || json.relative_attention_max_distance <= buckets / 4 {
            return Err(ConfigError::unsupported(
                path,
                "relative_attention_num_buckets",
                "a multiple of 4, below four times relative_attention_max_distance",
                buckets,
            ));
        }
        Ok(Self {
            vocab_size: json.vocab_size,
            hidden_size: json.d_model,
            head_dim: json.d_kv,
            num_heads: json.num_heads,
            inner_size: json.d_ff,
            num_layers: json.num_layers,
            num_buckets: buckets,
            max_distance: json.relative_attention_max_distance,
            norm_epsilon: json.layer_norm_epsilon,
        })
    }
}
