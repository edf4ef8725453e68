//! The two-layer network that embeds timesteps and pooled text.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use diffusion_core::ops::Activation;
use diffusion_core::weights::{Projection, ProjectionConfig};

/// `output(silu(input(x)))`.
#[derive(Module, Debug)]
pub(crate) struct ConditioningMlp {
    input: Projection,
    output: Projection,
}

impl ConditioningMlp {
    pub(crate) fn new(input_size: usize, hidden_size: usize, device: &Device) -> Self {
        Self {
            input: ProjectionConfig::new(input_size, hidden_size).init(device),
            output: ProjectionConfig::new(hidden_size, hidden_size).init(device),
        }
    }

    /// # Shapes
    /// - x: `[batch, input_size]`, result: `[batch, hidden_size]`
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.output.forward(self.input.forward_activated(x, Activation::Silu))
    }
}
