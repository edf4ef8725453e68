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

    /// The same numbers, of which autodiff knows nothing.
    #[must_use]
    pub fn without_autodiff(self) -> Self {
        Self { tokens: self.tokens.without_autodiff(), pooled: self.pooled.without_autodiff() }
    }

    /// The sum of the products with the numbers of another one that autodiff watches: its gradient with respect to these is this
    /// one. `None` if autodiff watches nothing of the other.
    ///
    /// # Panics
    /// If they differ in shape.
    #[cfg(feature = "autodiff")]
    pub fn product(&self, watched: &Self) -> Option<Tensor<1>> {
        let Self { tokens, pooled } = watched;
        let of_tokens = tokens.is_tracked().then(|| (tokens.clone() * self.tokens.clone()).sum());
        let of_pooled = pooled.is_tracked().then(|| (pooled.clone() * self.pooled.clone()).sum());
        of_tokens.into_iter().chain(of_pooled).reduce(|sum, other| sum + other)
    }

    /// Number of texts.
    pub fn batch_size(&self) -> usize {
        self.pooled.dims()[0]
    }
}
