//! Adaptive layer norm: normalised without weights of its own, then scaled and shifted by the conditioning.

use burn::tensor::Tensor;
use diffusion_core::ops;

/// Epsilon of the transformer blocks' norms.
const EPSILON: f64 = 1e-6;

/// What the conditioning does to one half of a block. Each is `[batch, hidden_size]`.
pub(crate) struct Modulation {
    pub(crate) shift: Tensor<2>,
    pub(crate) scale: Tensor<2>,
    /// Factor of what the half adds to its input.
    pub(crate) gate: Tensor<2>,
}

impl Modulation {
    pub(crate) fn new([shift, scale, gate]: [Tensor<2>; 3]) -> Self {
        Self { shift, scale, gate }
    }

    /// `norm(x) (1 + scale) + shift`.
    pub(crate) fn apply(&self, x: Tensor<3>) -> Tensor<3> {
        modulated_norm(x, &self.shift, &self.scale)
    }
}

/// What a projection made of the conditioning, cut into `N` modulations of equal width.
///
/// # Shapes
/// - all: `[batch, output_size]`; results: `[batch, output_size / N]`
pub(crate) fn modulations<const N: usize>(all: &Tensor<2>) -> [Tensor<2>; N] {
    let width = all.dims()[1] / N;
    std::array::from_fn(|index| all.clone().narrow(1, index * width, width))
}

/// `norm(x) (1 + scale) + shift`, the norm computed in f32.
///
/// # Shapes
/// - x and result: `[batch, seq_len, hidden_size]`; shift, scale: `[batch, hidden_size]`
pub(crate) fn modulated_norm(x: Tensor<3>, shift: &Tensor<2>, scale: &Tensor<2>) -> Tensor<3> {
    ops::modulated_norm(x, shift, scale, EPSILON)
}
