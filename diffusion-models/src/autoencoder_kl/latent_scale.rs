//! Scale and shift of latents.

use burn::tensor::Tensor;

use super::config::AutoencoderKlConfig;

/// How the latents of the network become those of an autoencoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct LatentScale {
    pub(super) factor: f64,
    shift: f64,
}

impl LatentScale {
    pub(super) fn of(config: &AutoencoderKlConfig) -> Self {
        Self { factor: config.scaling_factor, shift: config.shift_factor }
    }

    pub(super) fn scaled(self, latents: Tensor<4>) -> Tensor<4> {
        latents.sub_scalar(self.shift).mul_scalar(self.factor)
    }

    pub(super) fn unscaled(self, latents: Tensor<4>) -> Tensor<4> {
        latents.div_scalar(self.factor).add_scalar(self.shift)
    }
}
