//! Where noise comes from: generators of numbers, and the noise of whole runs.

use std::fmt::Debug;

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::sigmas::Sigmas;

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

pub(super) fn host_tensor(values: Vec<f32>, shape: [usize; 4], device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}
