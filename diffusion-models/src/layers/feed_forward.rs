//! The feed-forward half of a transformer block.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use diffusion_core::ops::Activation;
use diffusion_core::weights::{Projection, ProjectionConfig};

/// `output(gelu(input(x)))`, with the tanh approximation of GELU.
#[derive(Module, Debug)]
pub(crate) struct FeedForward {
    input: Projection,
    output: Projection,
}

impl FeedForward {
    pub(crate) fn new(hidden_size: usize, inner_size: usize, device: &Device) -> Self {
        Self {
            input: ProjectionConfig::new(hidden_size, inner_size).init(device),
            output: ProjectionConfig::new(inner_size, hidden_size).init(device),
        }
    }

    /// The same layer, its products exact whatever the precision.
    pub(crate) fn exact(self) -> Self {
        Self { input: self.input.exact(), output: self.output.exact() }
    }

    /// `residual + gate · output(gelu(input(x)))`.
    ///
    /// # Shapes
    /// - residual, x and result: `[batch, seq_len, hidden_size]`, gate: `[batch, hidden_size]`
    pub(crate) fn forward_onto(&self, residual: &Tensor<3>, x: Tensor<3>, gate: &Tensor<2>) -> Tensor<3> {
        let inner = self.input.forward_activated(x, Activation::GeluTanh);
        self.output.forward_onto(residual, inner, Some(gate))
    }
}
