//! What takes part in attention.

use burn::tensor::Tensor;

/// Queries, keys and values of some tokens, as projections give them: each `[batch, len, num_heads * head_dim]`.
#[derive(Clone, Debug)]
pub struct Attending {
    /// What the tokens ask.
    pub query: Tensor<3>,
    /// What they are asked by.
    pub key: Tensor<3>,
    /// What they answer.
    pub value: Tensor<3>,
}
