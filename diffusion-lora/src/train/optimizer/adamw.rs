//! Adam with decoupled weight decay.

use burn::tensor::{Device, Tensor};

use super::state::{OptimizerState, OptimizerStateError, zeros};
use super::{Optimizer, assert_lengths};

/// Settings of [`AdamW`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWSettings {
    /// How much of the running means of gradients and of their squares stays at each step.
    pub betas: [f64; 2],
    /// Added to the root of the second mean.
    pub epsilon: f64,
    /// The part of a parameter that a learning rate of 1 would take away at each step.
    pub weight_decay: f64,
}

impl Default for AdamWSettings {
    /// Those of diffusers' training scripts.
    fn default() -> Self {
        Self { betas: [0.9, 0.999], epsilon: 1e-8, weight_decay: 1e-4 }
    }
}

/// Adam with decoupled weight decay, arXiv 1711.05101, in the order of operations of `torch.optim.AdamW`.
#[derive(Clone, Debug)]
pub struct AdamW {
    settings: AdamWSettings,
    device: Device,
    shapes: Vec<[usize; 2]>,
    steps: u64,
    first_moments: Vec<Tensor<2>>,
    second_moments: Vec<Tensor<2>>,
}

impl AdamW {
    /// One that has seen no gradient yet, for parameters of these shapes.
    pub fn new(settings: AdamWSettings, shapes: &[[usize; 2]], device: &Device) -> Self {
        let zeros = || zeros(shapes.iter().copied(), device);
        let (first_moments, second_moments) = (zeros(), zeros());
        Self { settings, device: device.clone(), shapes: shapes.to_vec(), steps: 0, first_moments, second_moments }
    }
}

impl Optimizer for AdamW {
    fn step(&mut self, parameters: &mut [Tensor<2>], gradients: &[Tensor<2>], learning_rate: f64) {
        assert_lengths(self.shapes.len(), parameters, gradients);
        let AdamWSettings { betas, epsilon, weight_decay } = self.settings;
        self.steps += 1;
        let [first_bias, second_bias] = betas.map(|beta| 1.0 - beta.powf(self.steps as f64));
        let moments = self.first_moments.iter_mut().zip(&mut self.second_moments);
        for ((parameter, gradient), (first, second)) in parameters.iter_mut().zip(gradients).zip(moments) {
            *first = first.clone() + (gradient.clone() - first.clone()).mul_scalar(1.0 - betas[0]);
            *second = second.clone().mul_scalar(betas[1]) + gradient.clone().mul_scalar(1.0 - betas[1]) * gradient.clone();
            let denominator = second.clone().sqrt().div_scalar(second_bias.sqrt()).add_scalar(epsilon);
            let step = first.clone().mul_scalar(learning_rate / first_bias) / denominator;
            *parameter = parameter.clone().mul_scalar(1.0 - learning_rate * weight_decay) - step;
        }
    }

    fn state(&self) -> OptimizerState {
        let state = OptimizerState::default().with_count("steps", self.steps);
        state.with_tensors("first_moment", &self.first_moments).with_tensors("second_moment", &self.second_moments)
    }

    fn restore(&mut self, mut state: OptimizerState) -> Result<(), OptimizerStateError> {
        let mut tensors = |name| state.take_tensors(name, self.shapes.iter().copied(), &self.device);
        let (first_moments, second_moments) = (tensors("first_moment")?, tensors("second_moment")?);
        let steps = state.take_count("steps")?;
        state.finish()?;
        (self.first_moments, self.second_moments, self.steps) = (first_moments, second_moments, steps);
        Ok(())
    }
}
