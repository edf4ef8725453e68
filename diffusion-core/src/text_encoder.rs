//! Text encoders: token ids to embeddings.

use burn::tensor::{Int, Tensor};

use crate::checkpoint::CheckpointError;

/// What a text encoder says of a prompt.
#[derive(Clone, Debug)]
pub struct TextEmbedding {
    /// One vector per token, `[batch, seq_len, hidden_size]`.
    pub hidden_states: Tensor<3>,
    /// One vector per prompt, `[batch, pooled_size]`, where the encoder has one.
    pub pooled: Option<Tensor<2>>,
}

/// Turns token ids into embeddings.
///
/// There is no padding mask: the pipelines of Stable Diffusion 3 and FLUX.1 let their encoders attend to padding, and
/// the released transformers were trained that way.
pub trait TextEncoder {
    /// Encode a batch of token ids.
    ///
    /// # Shapes
    /// - `token_ids`: `[batch, seq_len]`
    /// # Errors
    /// [`CheckpointError`] if the encoder's file was written to since it was opened.
    fn encode(&self, token_ids: Tensor<2, Int>) -> Result<TextEmbedding, CheckpointError>;
}
