//! A running mean of parameters, which is often better than the last of them.

use burn::tensor::Tensor;

use super::setting_error::SettingError;

/// An exponential moving average of parameters.
///
/// At the n-th update it keeps the part `min(decay, n / (9 + n))` of what it was, and nothing at the first, so that it forgets
/// where training began.
///
/// Reference: diffusers 0.42.1 `training_utils.py`, `EMAModel` with its defaults, whose step is `n - 1`.
#[derive(Clone, Debug)]
pub struct MovingAverage {
    decay: f64,
    updates: u64,
    parameters: Vec<Tensor<2>>,
}

impl MovingAverage {
    /// The average of nothing yet, which are these parameters. `decay` is the part that is kept in the long run, below 1: 0.99
    /// remembers a hundred steps.
    pub fn new(decay: f64, parameters: &[Tensor<2>]) -> Self {
        Self::restored(decay, 0, parameters.to_vec())
    }

    /// Whether there is an average of this decay.
    ///
    /// # Errors
    /// [`SettingError`] if it is not in [0, 1).
    pub fn check(decay: f64) -> Result<(), SettingError> {
        SettingError::unless_part("decay of the average", decay)
    }

    /// An average as it was after some updates.
    pub fn restored(decay: f64, updates: u64, parameters: Vec<Tensor<2>>) -> Self {
        Self { decay, updates, parameters }
    }

    /// Take in the parameters after a step.
    ///
    /// # Panics
    /// If there are not as many, of the same shapes, as there were.
    pub fn update(&mut self, parameters: &[Tensor<2>]) {
        assert_eq!(parameters.len(), self.parameters.len(), "an average is one of the same parameters");
        self.updates += 1;
        let forgotten = 1.0 - self.kept();
        for (average, parameter) in self.parameters.iter_mut().zip(parameters) {
            *average = average.clone() - (average.clone() - parameter.clone()).mul_scalar(forgotten);
        }
    }

    /// The part that the last update kept.
    fn kept(&self) -> f64 {
        let step = self.updates.saturating_sub(1) as f64;
        if step == 0.0 { 0.0 } else { self.decay.min((1.0 + step) / (10.0 + step)) }
    }

    /// The averages, in the order of the parameters.
    pub fn parameters(&self) -> &[Tensor<2>] {
        &self.parameters
    }

    /// How many updates there were.
    pub fn updates(&self) -> u64 {
        self.updates
    }
}
