//! Seeded noise, drawn on the host: the same on every device, and the same as a published program's where one is named.
//!
//! A [`NormalGenerator`] gives numbers: [`TorchGenerator`] those of torch on a CPU, [`PhiloxGenerator`] those of torch on
//! an NVIDIA GPU. A [`NoiseSource`] gives the noise that stochastic samplers add between two noise levels: either
//! generator is one, and [`BrownianTree`] is one whose noise depends on the levels only.

mod brownian_tree;
mod per_image;
mod philox;
mod seed_sequence;
mod source;
mod torch;

use burn::tensor::{Device, Tensor};

pub use brownian_tree::BrownianTree;
pub use per_image::PerImage;
pub use philox::PhiloxGenerator;
pub use source::{NoiseSource, NoiseStream, NormalGenerator};
pub use torch::TorchGenerator;

/// Latents of standard normal noise, `torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))`.
pub fn latent_noise(seed: u64, shape: [usize; 4], device: &Device) -> Tensor<4> {
    TorchGenerator::new(seed).latents(shape, device)
}
