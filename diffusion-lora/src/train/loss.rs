//! How far a velocity is from what it should be.

use burn::tensor::{Tensor, TensorData};

use super::batch::Batch;

/// The loss of a batch, and its gradient with respect to the velocity.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The weighted sum of mean squared errors.
    pub value: f64,
    /// Mean squared error of each picture, without weight.
    pub of_pictures: Vec<f64>,
    /// `[batch, channels, height, width]`
    pub gradient: Tensor<4>,
}

impl Batch {
    /// The latents at their noise levels, `(1 - σ) latents + σ noise`.
    ///
    /// # Shapes
    /// - result: as the latents
    pub fn noisy(&self) -> Tensor<4> {
        let level = self.per_picture(self.sigmas.iter().map(|&sigma| sigma as f32));
        self.latents.clone() * (1.0 - level.clone()) + self.noise.clone() * level
    }

    /// The loss of a velocity that a network gave for [`noisy`](Self::noisy) latents. `weighting` is the factor of an error at a
    /// noise level, besides the weights of the pictures.
    ///
    /// # Shapes
    /// - velocity: as the latents
    pub fn loss(&self, velocity: Tensor<4>, weighting: impl Fn(f64) -> f64) -> Loss {
        let [batch, channels, height, width] = velocity.dims();
        let numbers = (channels * height * width) as f64;
        let error = velocity - (self.noise.clone() - self.latents.clone());
        let squares = error.clone().square().reshape([batch, channels * height * width]).sum_dim(1);
        let of_pictures: Vec<f64> = squares.into_data().iter::<f32>().map(|sum| f64::from(sum) / numbers).collect();
        let factors: Vec<f64> = self.weights.iter().zip(&self.sigmas).map(|(weight, &sigma)| weight * weighting(sigma)).collect();
        let value = of_pictures.iter().zip(&factors).map(|(error, factor)| error * factor).sum();
        let gradient = error * self.per_picture(factors.iter().map(|factor| (2.0 * factor / numbers) as f32));
        Loss { value, of_pictures, gradient }
    }

    /// A number for each picture.
    fn per_picture(&self, values: impl Iterator<Item = f32>) -> Tensor<4> {
        let values: Vec<f32> = values.collect();
        let len = values.len();
        Tensor::from_data(TensorData::new(values, [len, 1, 1, 1]), &self.latents.device())
    }
}
