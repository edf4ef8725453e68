//! Every image of a batch with noise of its own.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use super::source::{NoiseSource, NoiseStream};
use crate::sigmas::Sigmas;

/// One source for each image of a batch. Each image gets the noise that it gets alone.
#[derive(Clone, Debug)]
pub struct PerImage(Vec<Arc<dyn NoiseSource>>);

impl PerImage {
    /// The sources, in the order of the images.
    pub fn new<S: NoiseSource + 'static>(sources: impl IntoIterator<Item = S>) -> Self {
        Self(sources.into_iter().map(|source| Arc::new(source) as Arc<dyn NoiseSource>).collect())
    }
}

impl NoiseSource for PerImage {
    /// # Panics
    /// If the number of images is not the number of sources.
    fn begin(&self, shape: [usize; 4], sigmas: &Sigmas, device: &Device) -> Box<dyn NoiseStream> {
        let [batch, channels, height, width] = shape;
        assert_eq!(batch, self.0.len(), "every image needs a noise source of its own");
        let alone = [1, channels, height, width];
        Box::new(Streams(self.0.iter().map(|source| source.begin(alone, sigmas, device)).collect()))
    }
}

struct Streams(Vec<Box<dyn NoiseStream>>);

impl NoiseStream for Streams {
    fn between(&mut self, sigma: f64, next: f64) -> Tensor<4> {
        Tensor::cat(self.0.iter_mut().map(|stream| stream.between(sigma, next)).collect(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::BrownianTree;
    use super::*;

    #[test]
    fn every_image_gets_the_noise_of_its_seed() {
        let (device, sigmas) = (Device::flex(), Sigmas::new(vec![1.0, 0.5, 0.0]).unwrap());
        let begin = |seeds: &[u64]| {
            let shape = [seeds.len(), 2, 3, 4];
            PerImage::new(seeds.iter().map(|&seed| BrownianTree::new(seed))).begin(shape, &sigmas, &device)
        };
        let together = begin(&[7, 8]).between(1.0, 0.5);
        let alone = [7, 8].map(|seed| begin(&[seed]).between(1.0, 0.5));
        assert_eq!(together.into_data(), Tensor::cat(alone.to_vec(), 0).into_data());
    }
}
