//! An encoded text.

use burn::tensor::Tensor;

/// An encoded text, as denoising networks take it.
#[derive(Clone, Debug)]
pub struct Conditioning {
    /// A vector per text token, `[batch, text_len, joint_attention_dim]`.
    pub tokens: Tensor<3>,
    /// A vector per text, `[batch, pooled_projection_dim]`.
    pub pooled: Tensor<2>,
}

impl Conditioning {
    /// Conditionings of equal length as one batch.
    ///
    /// # Panics
    /// If there are none, or their lengths differ.
    pub fn batch(parts: &[&Self]) -> Self {
        Self {
            tokens: Tensor::cat(parts.iter().map(|part| part.tokens.clone()).collect(), 0),
            pooled: Tensor::cat(parts.iter().map(|part| part.pooled.clone()).collect(), 0),
        }
    }

    /// The same text `times` over.
    #[must_use]
    pub fn repeated(&self, times: usize) -> Self {
        Self { tokens: self.tokens.clone().repeat_dim(0, times), pooled: self.pooled.clone().repeat_dim(0, times) }
    }

    /// Number of texts.
    pub fn batch_size(&self) -> usize {
        self.pooled.dims()[0]
    }
}
