//! Seeded noise, drawn on the host: the same on every device, and the same as a published program's where one is named.
//!
//! A [`NormalGenerator`] gives numbers: [`TorchGenerator`] those of torch on a CPU, [`PhiloxGenerator`] those of torch on
//! an NVIDIA GPU. A [`NoiseSource`] gives the noise that stochastic samplers add between two noise levels: either
//! generator is one, and [`BrownianTree`] is one whose noise depends on the levels only.

mod brownian_tree;
mod per_image;
mod philox;
mod seed_sequence;
mod torch;

use std::fmt::Debug;

use burn::tensor::{DType, Device, Tensor, TensorData};

pub use brownian_tree::BrownianTree;
pub use per_image::PerImage;
pub use philox::PhiloxGenerator;
pub use torch::TorchGenerator;

use crate::sigmas::Sigmas;

/// Latents of standard normal noise, `torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))`.
pub fn latent_noise(seed: u64, shape: [usize; 4], device: &Device) -> Tensor<4> {
    TorchGenerator::new(seed).latents(shape, device)
}

/// A seeded stream of standard normal numbers.
pub trait NormalGenerator {
    /// The next `len` numbers.
    fn normal(&mut self, len: usize) -> Vec<f32>;

    /// The next numbers as latents: `[batch, channels, height, width]`.
    fn latents(&mut self, shape: [usize; 4], device: &Device) -> Tensor<4> {
        host_tensor(self.normal(shape.iter().product()), shape, device)
    }
}

/// Where the noise of stochastic samplers comes from: a value that serves many runs, each with the same noise.
///
/// A generator is a source whose every run goes on from the state it is in. After the starting latents were drawn from it,
/// the samplers' noise is that of diffusers, which draws all from one generator; one that is fresh gives `ComfyUI`'s, which
/// seeds a second one.
pub trait NoiseSource: Debug + Send + Sync {
    /// Begin the noise of a run through `sigmas` with latents of this shape.
    fn begin(&self, shape: [usize; 4], sigmas: &Sigmas, device: &Device) -> Box<dyn NoiseStream>;
}

/// The noise of one run.
pub trait NoiseStream {
    /// Standard normal noise for the way from `sigma` down to `next`, in float 32.
    fn between(&mut self, sigma: f64, next: f64) -> Tensor<4>;
}

impl<G: NormalGenerator + Clone + Debug + Send + Sync + 'static> NoiseSource for G {
    fn begin(&self, shape: [usize; 4], _sigmas: &Sigmas, device: &Device) -> Box<dyn NoiseStream> {
        Box::new(Drawn { generator: self.clone(), shape, device: device.clone() })
    }
}

/// Noise that is drawn in the order in which it is asked for, whatever the levels.
struct Drawn<G> {
    generator: G,
    shape: [usize; 4],
    device: Device,
}

impl<G: NormalGenerator> NoiseStream for Drawn<G> {
    fn between(&mut self, _sigma: f64, _next: f64) -> Tensor<4> {
        self.generator.latents(self.shape, &self.device)
    }
}

fn host_tensor(values: Vec<f32>, shape: [usize; 4], device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}
