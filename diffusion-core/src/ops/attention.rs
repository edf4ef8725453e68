//! Scaled dot-product attention.

use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Tensor, module};

/// Settings of [`attention`]. The default is plain attention with scale `1 / sqrt(head_dim)`.
#[derive(Clone, Debug, Default)]
pub struct AttentionOptions {
    /// Factor of the scores in place of `1 / sqrt(head_dim)`.
    pub scale: Option<f64>,
    /// Whether a position sees only itself and what comes before.
    pub causal: bool,
    /// Added to the scores, `[1 or batch, num_heads, query_len, key_len]`.
    pub bias: Option<Tensor<4>>,
}

/// `softmax(scale Q Kᵀ + bias) V`.
///
/// # Shapes
/// - query: `[batch, num_heads, query_len, head_dim]`; key, value: `[batch, num_heads, key_len, head_dim]`
/// - result: `[batch, num_heads, query_len, head_dim]`
pub fn attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, options: AttentionOptions) -> Tensor<4> {
    let AttentionOptions { scale, causal, bias } = options;
    let options = AttentionModuleOptions { scale, is_causal: causal, ..Default::default() };
    module::attention(query, key, value, None, bias, options)
}
