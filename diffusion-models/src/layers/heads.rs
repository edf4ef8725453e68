//! Between token vectors and attention heads.

use burn::tensor::Tensor;

/// `[batch, seq_len, num_heads * head_dim]` to `[batch, num_heads, seq_len, head_dim]`.
pub(crate) fn split_heads(x: Tensor<3>, num_heads: usize) -> Tensor<4> {
    let [batch, seq_len, width] = x.dims();
    x.reshape([batch, seq_len, num_heads, width / num_heads]).swap_dims(1, 2)
}

/// `[batch, num_heads, seq_len, head_dim]` to `[batch, seq_len, num_heads * head_dim]`.
pub(crate) fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, num_heads, seq_len, head_dim] = x.dims();
    x.swap_dims(1, 2).reshape([batch, seq_len, num_heads * head_dim])
}
