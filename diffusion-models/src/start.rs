//! Where a run starts.

use burn::tensor::Tensor;

use diffusion_schedulers::InitLatents;

/// Where a run starts: as many images as seeds.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Seeds of the noise, of the start and of the samplers that add some: one for each image.
    pub seeds: Vec<u64>,
    /// The noise of the start in place of the seeds', `[seeds, channels, height, width]`.
    pub noise: Option<Tensor<4>>,
    /// An image to start from, for all seeds.
    pub init: Option<InitLatents>,
}

impl Start {
    /// From the noise of these seeds.
    pub fn from_seeds(seeds: &[u64]) -> Self {
        Self { seeds: seeds.to_vec(), ..Self::default() }
    }

    /// From this noise, of one image; the samplers that add noise take that of seed 0.
    pub fn from_noise(noise: Tensor<4>) -> Self {
        Self { seeds: vec![0], noise: Some(noise), init: None }
    }
}
