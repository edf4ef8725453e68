//! Networks that predict noise or `v`, sampled as a velocity field.

use burn::tensor::{DType, Tensor};
use diffusion_core::{Evaluation, ScheduleError, VelocityError};

/// The meaning of a network's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// The noise ε.
    Epsilon,
    /// `v = α ε - σ x₀` in variables that preserve the variance.
    V,
    /// The image x₀.
    Image,
}

impl Prediction {
    /// The velocity `dx/dσ` of latents on the variance-exploding path, from the output of the network.
    ///
    /// Reference: diffusers `scheduling_euler_discrete.py#L775` at 58eb52c; arXiv 2202.00512, appendix D.
    pub fn velocity(self, latents: Tensor<4>, sigma: f64, output: Tensor<4>) -> Tensor<4> {
        let output = output.cast(DType::F32);
        let variance = sigma * sigma + 1.0;
        match self {
            Self::Epsilon => output,
            Self::V => latents * (sigma / variance) + output * (1.0 / variance.sqrt()),
            Self::Image => (latents - output) / sigma,
        }
    }
}

/// The noise levels of a model trained with `x = sqrt(ᾱ) x₀ + sqrt(1 - ᾱ) ε` at whole timesteps: Stable Diffusion 1, 2 or XL.
///
/// Samplers see the model on the variance-exploding path: latents divided by `sqrt(ᾱ)`, at `σ = sqrt((1 - ᾱ) / ᾱ)`.
///
/// ```
/// use std::ops::ControlFlow;
/// use burn::tensor::Tensor;
/// use diffusion_core::{Sampler, SamplerRun, SigmaSchedule};
/// use diffusion_schedulers::samplers::Euler;
/// use diffusion_schedulers::schedules::{Karras, SigmaRange, SigmaTable};
/// use diffusion_schedulers::variance_preserving::{Prediction, VariancePreserving};
///
/// let model = VariancePreserving::scaled_linear(0.00085, 0.012, 1000)?;
/// let sigmas = Karras::new(SigmaRange::of_table(&SigmaTable::variance_preserving(&model))).sigmas(10)?;
/// // A network that finds no noise in what it sees.
/// let mut velocity = model.velocity_field(Prediction::Epsilon, |at| Ok(at.latents.zeros_like()));
/// let noise = Tensor::<4>::ones([1, 4, 8, 8], &Default::default()) * sigmas.first();
/// let image = Euler.sample(SamplerRun {
///     velocity: &mut velocity,
///     latents: noise.clone(),
///     sigmas: &sigmas,
///     on_step: &mut |_| ControlFlow::Continue(()),
/// })?;
/// assert!(image.all_close(noise, None, None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct VariancePreserving {
    /// Level of every timestep, rising.
    sigmas: Vec<f64>,
}

impl VariancePreserving {
    /// A model whose share of noise per step, β, rises evenly from `start` to `end`.
    ///
    /// # Errors
    /// [`ScheduleError::Setting`] unless `0 < start <= end < 1` and there are at least two timesteps.
    pub fn linear(start: f64, end: f64, num_timesteps: usize) -> Result<Self, ScheduleError> {
        Self::of_betas(start, end, num_timesteps, |share| start + (end - start) * share)
    }

    /// A model whose square root of β rises evenly: Stable Diffusion, with 0.00085, 0.012 and 1000.
    ///
    /// # Errors
    /// [`ScheduleError::Setting`] unless `0 < start <= end < 1` and there are at least two timesteps.
    pub fn scaled_linear(start: f64, end: f64, num_timesteps: usize) -> Result<Self, ScheduleError> {
        let roots = (start.sqrt(), end.sqrt());
        Self::of_betas(start, end, num_timesteps, |share| (roots.0 + (roots.1 - roots.0) * share).powi(2))
    }

    fn of_betas(start: f64, end: f64, num_timesteps: usize, beta: impl Fn(f64) -> f64) -> Result<Self, ScheduleError> {
        let refuse = |setting, expected, found| Err(ScheduleError::Setting { setting, expected, found });
        if !(start > 0.0 && start < 1.0) {
            return refuse("first beta", "a number between 0 and 1", start);
        }
        if !(end >= start && end < 1.0) {
            return refuse("last beta", "a number between the first beta and 1", end);
        }
        if num_timesteps < 2 {
            return refuse("number of timesteps", "at least 2", num_timesteps as f64);
        }
        let mut alpha_bar = 1.0;
        let sigmas = (0..num_timesteps).map(|i| {
            alpha_bar *= 1.0 - beta(i as f64 / (num_timesteps - 1) as f64);
            ((1.0 - alpha_bar) / alpha_bar).sqrt()
        });
        Ok(Self { sigmas: sigmas.collect() })
    }

    /// The same with the last level moved up to almost pure noise, and the others in proportion, for models trained so. The
    /// last ᾱ is 4.9e-8 and not zero, so that σ stays finite.
    ///
    /// Reference: `ComfyUI` `comfy/model_sampling.py#L5` at a125cd8; arXiv 2305.08891, algorithm 1.
    pub fn with_zero_terminal_snr(self) -> Self {
        const LAST_ALPHA_BAR: f64 = 4.897_345_189_085_343_5e-8;
        let root = |sigma: &f64| (1.0 / (sigma * sigma + 1.0)).sqrt();
        let (first, last) = (self.sigmas.first().map_or(1.0, root), self.sigmas.last().map_or(0.0, root));
        let moved = |sigma: &f64| {
            let alpha_bar = ((root(sigma) - last) * first / (first - last)).powi(2).max(LAST_ALPHA_BAR);
            ((1.0 - alpha_bar) / alpha_bar).sqrt()
        };
        Self { sigmas: self.sigmas.iter().map(moved).collect() }
    }

    /// The level of every timestep, rising.
    pub fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    /// The level of a timestep, on the straight line between its neighbours if it is not a whole number. Timesteps outside
    /// the training have the level of its ends.
    pub fn sigma(&self, timestep: f64) -> f64 {
        let last = self.sigmas.len() - 1;
        let timestep = timestep.clamp(0.0, last as f64);
        let low = timestep as usize;
        let share = timestep - low as f64;
        self.sigmas[low] * (1.0 - share) + self.sigmas[(low + 1).min(last)] * share
    }

    /// The timestep of a level, on the straight line between its neighbours' logarithms. Levels outside the training have
    /// the timestep of its ends.
    pub fn timestep(&self, sigma: f64) -> f64 {
        let above = self.sigmas.partition_point(|&level| level <= sigma);
        if above == 0 || sigma.is_nan() {
            return 0.0;
        }
        if above == self.sigmas.len() {
            return (above - 1) as f64;
        }
        let (low, high) = (self.sigmas[above - 1], self.sigmas[above]);
        (above - 1) as f64 + (sigma / low).ln() / (high / low).ln()
    }

    /// The velocity field of a network that takes timesteps, and latents that preserve the variance. An error of the network
    /// becomes that of the velocity.
    pub fn velocity_field<'a>(
        &'a self,
        prediction: Prediction,
        mut network: impl FnMut(TimestepEvaluation) -> Result<Tensor<4>, VelocityError> + 'a,
    ) -> impl FnMut(Evaluation) -> Result<Tensor<4>, VelocityError> + 'a {
        move |Evaluation { latents, sigma, step }| {
            let preserving = to_preserving(latents.clone(), sigma);
            let output = network(TimestepEvaluation { latents: preserving, timestep: self.timestep(sigma), step })?;
            Ok(prediction.velocity(latents, sigma, output))
        }
    }
}

/// One evaluation of a network that takes timesteps: an [`Evaluation`] in the network's own variables.
#[derive(Clone, Debug)]
pub struct TimestepEvaluation {
    /// The noisy latents, in variables that preserve the variance.
    pub latents: Tensor<4>,
    /// The timestep of their noise level, not always a whole number.
    pub timestep: f64,
    /// Index of the sampler's step, from 0.
    pub step: usize,
}

/// Turn latents from the variables of samplers into those of the network: divide them by `sqrt(1 + σ²)`.
pub fn to_preserving(latents: Tensor<4>, sigma: f64) -> Tensor<4> {
    latents / (sigma * sigma + 1.0).sqrt()
}

/// Turn latents from the variables of the network into those of samplers: multiply them by `sqrt(1 + σ²)`.
pub fn to_exploding(latents: Tensor<4>, sigma: f64) -> Tensor<4> {
    latents * (sigma * sigma + 1.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn stable_diffusion() -> VariancePreserving {
        VariancePreserving::scaled_linear(0.00085, 0.012, 1000).unwrap()
    }

    #[test]
    fn levels_are_those_of_stable_diffusion() {
        let model = stable_diffusion();
        assert!((model.sigma(0.0) - 0.029_167_2).abs() < 1e-6 && (model.sigma(999.0) - 14.614_641).abs() < 1e-4);
        assert!((1.0 / (model.sigma(999.0).powi(2) + 1.0) - 0.004_660_10).abs() < 1e-8);
        let zero = model.with_zero_terminal_snr();
        assert!((zero.sigma(0.0) - 0.029_167_2).abs() < 1e-6 && (zero.sigma(999.0) - 4518.7).abs() < 1.0);
    }

    #[test]
    fn timesteps_and_levels_lead_to_each_other() {
        let model = stable_diffusion();
        for timestep in [0.0, 1.0, 500.0, 999.0] {
            assert!((model.timestep(model.sigma(timestep)) - timestep).abs() < 1e-9);
        }
        assert_eq!((model.timestep(0.0), model.timestep(1e9), model.timestep(f64::NAN)), (0.0, 999.0, 0.0));
    }

    #[test]
    fn all_predictions_of_one_image_give_one_velocity() {
        let (image, noise, sigma) = (0.3, -1.7, 2.5f64);
        let one = |value: f64| Tensor::<4>::full([1, 1, 1, 1], value, &Device::flex());
        let alpha = 1.0 / (sigma * sigma + 1.0).sqrt();
        let v = alpha * noise - sigma * alpha * image;
        for (prediction, output) in [(Prediction::Epsilon, noise), (Prediction::V, v), (Prediction::Image, image)] {
            let velocity = prediction.velocity(one(image + sigma * noise), sigma, one(output));
            assert!((velocity.into_scalar::<f32>() - noise as f32).abs() < 1e-6, "{prediction:?}");
        }
    }

    #[test]
    fn impossible_betas_are_refused() {
        assert!(VariancePreserving::linear(0.0, 0.02, 1000).is_err());
        assert!(VariancePreserving::linear(0.02, 0.01, 1000).is_err());
        assert!(VariancePreserving::linear(0.01, 1.0, 1000).is_err());
        assert!(VariancePreserving::linear(0.01, f64::NAN, 1000).is_err());
        assert!(VariancePreserving::linear(0.01, 0.02, 1).is_err());
    }
}
