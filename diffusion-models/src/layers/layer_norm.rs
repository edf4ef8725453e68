//! Adaptive layer norm: normalised without weights of its own, then scaled and shifted by the conditioning.

use burn::tensor::{DType, FloatDType, Tensor, module};
use diffusion_core::weights::Projection;

/// Epsilon of the transformer blocks' norms.
const EPSILON: f64 = 1e-6;

/// What the conditioning does to one half of a block. Each is `[batch, hidden_size]`.
pub(crate) struct Modulation {
    pub(crate) shift: Tensor<2>,
    pub(crate) scale: Tensor<2>,
    pub(crate) gate: Tensor<2>,
}

impl Modulation {
    pub(crate) fn new([shift, scale, gate]: [Tensor<2>; 3]) -> Self {
        Self { shift, scale, gate }
    }

    /// `norm(x) (1 + scale) + shift`.
    pub(crate) fn apply(&self, x: Tensor<3>) -> Tensor<3> {
        modulated_norm(x, self.shift.clone(), self.scale.clone())
    }

    /// `gate` times an update, for every token.
    pub(crate) fn gated(&self, update: Tensor<3>) -> Tensor<3> {
        update * self.gate.clone().unsqueeze_dim(1)
    }
}

/// What `projection` makes of the conditioning, cut into `N` modulations of equal width.
///
/// # Shapes
/// - conditioning: `[batch, hidden_size]`; results: `[batch, output_size / N]`
pub(crate) fn modulations<const N: usize>(projection: &Projection, conditioning: Tensor<2>) -> [Tensor<2>; N] {
    let all = projection.forward(conditioning);
    let width = all.dims()[1] / N;
    std::array::from_fn(|index| all.clone().narrow(1, index * width, width))
}

/// `norm(x) (1 + scale) + shift`, the norm computed in f32.
///
/// # Shapes
/// - x and result: `[batch, seq_len, hidden_size]`; shift, scale: `[batch, hidden_size]`
pub(crate) fn modulated_norm(x: Tensor<3>, shift: Tensor<2>, scale: Tensor<2>) -> Tensor<3> {
    let [batch, _, _] = x.dims();
    let compute: FloatDType = x.dtype().into();
    let x = x.cast(DType::F32);
    let [shift, scale] = [shift, scale].map(|modulation| modulation.cast(DType::F32));
    // One fused operation per image: its modulation takes the place of the norm's weights.
    let norm_of = |row: usize| {
        let of_row = |modulation: &Tensor<2>| modulation.clone().narrow(0, row, 1).squeeze_dim::<1>(0);
        module::layer_norm(x.clone().narrow(0, row, 1), of_row(&scale) + 1.0, Some(of_row(&shift)), EPSILON)
    };
    let normed = if batch == 1 { norm_of(0) } else { Tensor::cat((0..batch).map(norm_of).collect(), 0) };
    normed.cast(compute)
}
