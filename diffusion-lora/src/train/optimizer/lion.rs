//! Lion: steps of one length, in the direction of a sign.

use burn::tensor::{Device, Tensor};

use super::state::{OptimizerState, OptimizerStateError, zeros};
use super::{Optimizer, assert_lengths};

/// Settings of [`Lion`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LionSettings {
    /// How much of the momentum counts for a step, and how much of it stays.
    pub betas: [f64; 2],
    /// The part of a parameter that a learning rate of 1 would take away at each step.
    pub weight_decay: f64,
}

impl Default for LionSettings {
    /// The paper's betas, and no decay.
    fn default() -> Self {
        Self { betas: [0.9, 0.99], weight_decay: 0.0 }
    }
}

/// Every number of a parameter moves by the learning rate, in the direction of the sign of its momentum. Rates are three to ten
/// times smaller than those of `AdamW`.
///
/// Reference: arXiv 2302.06675, algorithm 2.
#[derive(Clone, Debug)]
pub struct Lion {
    settings: LionSettings,
    device: Device,
    shapes: Vec<[usize; 2]>,
    momenta: Vec<Tensor<2>>,
}

impl Lion {
    /// One that has seen no gradient yet, for parameters of these shapes.
    pub fn new(settings: LionSettings, shapes: &[[usize; 2]], device: &Device) -> Self {
        let momenta = zeros(shapes.iter().copied(), device);
        Self { settings, device: device.clone(), shapes: shapes.to_vec(), momenta }
    }
}

impl Optimizer for Lion {
    fn step(&mut self, parameters: &mut [Tensor<2>], gradients: &[Tensor<2>], learning_rate: f64) {
        assert_lengths(self.shapes.len(), parameters, gradients);
        let LionSettings { betas, weight_decay } = self.settings;
        for ((parameter, gradient), momentum) in parameters.iter_mut().zip(gradients).zip(&mut self.momenta) {
            let mixed = |beta: f64| momentum.clone().mul_scalar(beta) + gradient.clone().mul_scalar(1.0 - beta);
            let (direction, kept) = (mixed(betas[0]).sign(), mixed(betas[1]));
            let decayed = parameter.clone().mul_scalar(1.0 - learning_rate * weight_decay);
            *parameter = decayed - direction.mul_scalar(learning_rate);
            *momentum = kept;
        }
    }

    fn state(&self) -> OptimizerState {
        OptimizerState::default().with_tensors("momentum", &self.momenta)
    }

    fn restore(&mut self, mut state: OptimizerState) -> Result<(), OptimizerStateError> {
        let momenta = state.take_tensors("momentum", self.shapes.iter().copied(), &self.device)?;
        state.finish()?;
        self.momenta = momenta;
        Ok(())
    }
}
