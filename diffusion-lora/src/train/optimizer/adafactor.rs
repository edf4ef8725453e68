//! Adafactor: second moments as a product of a column and a row.

use burn::tensor::{Device, Tensor};

use super::state::{OptimizerState, OptimizerStateError, zeros};
use super::{Optimizer, assert_lengths};

/// Settings of [`Adafactor`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdafactorSettings {
    /// Added to squares of gradients.
    pub epsilon: f64,
    /// The smallest size of a parameter, where the learning rate goes by sizes.
    pub smallest_scale: f64,
    /// The largest root of the mean square of a step, before the learning rate.
    pub clip_threshold: f64,
    /// The mean of squares at step t forgets t to this power; negative.
    pub decay_rate: f64,
    /// How much of the running mean of steps stays, where there is one.
    pub beta1: Option<f64>,
    /// The part of a parameter that a learning rate of 1 would take away at each step.
    pub weight_decay: f64,
    /// Multiply the learning rate with the root of the mean square of a parameter.
    pub scale_parameter: bool,
    /// In place of the learning rate that is given, use the inverse root of the number of steps, at most 0.01.
    pub relative_step: bool,
    /// Start relative steps at 1e-6, growing by as much with each.
    pub warmup_init: bool,
}

impl Default for AdafactorSettings {
    /// Those of the reference, but with the learning rate that is given, as trainers of LoRAs use it.
    fn default() -> Self {
        Self {
            epsilon: 1e-30,
            smallest_scale: 1e-3,
            clip_threshold: 1.0,
            decay_rate: -0.8,
            beta1: None,
            weight_decay: 0.0,
            scale_parameter: false,
            relative_step: false,
            warmup_init: false,
        }
    }
}

/// Adafactor, arXiv 1804.04235: of second moments, only sums over rows and over columns are kept.
///
/// Reference: transformers 5.24.0 `optimization.py`, `Adafactor`.
#[derive(Clone, Debug)]
pub struct Adafactor {
    settings: AdafactorSettings,
    device: Device,
    shapes: Vec<[usize; 2]>,
    steps: u64,
    /// Means over columns, `[rows, 1]`.
    row_moments: Vec<Tensor<2>>,
    /// Means over rows, `[1, columns]`.
    column_moments: Vec<Tensor<2>>,
    /// Running means of steps; none without `beta1`.
    first_moments: Vec<Tensor<2>>,
}

/// The largest relative step.
const LARGEST_RELATIVE_STEP: f64 = 1e-2;
/// How fast relative steps grow at the start.
const WARM_UP: f64 = 1e-6;

impl Adafactor {
    /// One that has seen no gradient yet, for parameters of these shapes.
    pub fn new(settings: AdafactorSettings, shapes: &[[usize; 2]], device: &Device) -> Self {
        let (row_moments, column_moments) = (zeros(rows(shapes), device), zeros(columns(shapes), device));
        let first_moments = zeros(settings.with_momentum(shapes), device);
        let shapes = shapes.to_vec();
        Self { settings, device: device.clone(), shapes, steps: 0, row_moments, column_moments, first_moments }
    }
}

fn rows(shapes: &[[usize; 2]]) -> impl Iterator<Item = [usize; 2]> {
    shapes.iter().map(|[rows, _]| [*rows, 1])
}

fn columns(shapes: &[[usize; 2]]) -> impl Iterator<Item = [usize; 2]> {
    shapes.iter().map(|[_, columns]| [1, *columns])
}

impl AdafactorSettings {
    /// The shapes that have a running mean of steps.
    fn with_momentum<'s>(&self, shapes: &'s [[usize; 2]]) -> impl Iterator<Item = [usize; 2]> + use<'s> {
        let count = if self.beta1.is_some() { shapes.len() } else { 0 };
        shapes.iter().copied().take(count)
    }

    /// The learning rate of a step, before the size of a parameter.
    fn rate(&self, learning_rate: f64, step: u64) -> f64 {
        let step = step as f64;
        let largest = if self.warmup_init { WARM_UP * step } else { LARGEST_RELATIVE_STEP };
        if self.relative_step { largest.min(1.0 / step.sqrt()) } else { learning_rate }
    }
}

/// The root of the mean square, `[1, 1]`.
fn root_mean_square(tensor: Tensor<2>) -> Tensor<2> {
    let root_count = (tensor.dims().iter().product::<usize>() as f64).sqrt();
    tensor.square().sum().sqrt().div_scalar(root_count).reshape([1, 1])
}

impl Optimizer for Adafactor {
    fn step(&mut self, parameters: &mut [Tensor<2>], gradients: &[Tensor<2>], learning_rate: f64) {
        assert_lengths(self.shapes.len(), parameters, gradients);
        let settings = self.settings;
        self.steps += 1;
        let rate = settings.rate(learning_rate, self.steps);
        let forgotten = (self.steps as f64).powf(settings.decay_rate);
        let kept = 1.0 - forgotten;
        for (index, (parameter, gradient)) in parameters.iter_mut().zip(gradients).enumerate() {
            let squares = gradient.clone().square().add_scalar(settings.epsilon);
            let (row, column) = (&mut self.row_moments[index], &mut self.column_moments[index]);
            *row = row.clone().mul_scalar(kept) + squares.clone().mean_dim(1).mul_scalar(forgotten);
            *column = column.clone().mul_scalar(kept) + squares.mean_dim(0).mul_scalar(forgotten);
            let of_rows = (row.clone() / row.clone().mean_dim(0)).sqrt().recip();
            let update = of_rows * column.clone().sqrt().recip() * gradient.clone();
            let excess = root_mean_square(update.clone()).div_scalar(settings.clip_threshold).clamp_min(1.0);
            let rates = if settings.scale_parameter {
                root_mean_square(parameter.clone()).clamp_min(settings.smallest_scale).mul_scalar(rate)
            } else {
                Tensor::full([1, 1], rate, &self.device)
            };
            let mut update = update / excess * rates.clone();
            if let (Some(beta), Some(first)) = (settings.beta1, self.first_moments.get_mut(index)) {
                *first = first.clone().mul_scalar(beta) + update.mul_scalar(1.0 - beta);
                update = first.clone();
            }
            let decay = parameter.clone() * rates.mul_scalar(settings.weight_decay);
            *parameter = parameter.clone() - decay - update;
        }
    }

    fn state(&self) -> OptimizerState {
        let state = OptimizerState::default().with_count("steps", self.steps);
        let state = state.with_tensors("row_moment", &self.row_moments).with_tensors("column_moment", &self.column_moments);
        state.with_tensors("first_moment", &self.first_moments)
    }

    fn restore(&mut self, mut state: OptimizerState) -> Result<(), OptimizerStateError> {
        let row_moments = state.take_tensors("row_moment", rows(&self.shapes), &self.device)?;
        let column_moments = state.take_tensors("column_moment", columns(&self.shapes), &self.device)?;
        let first_moments = state.take_tensors("first_moment", self.settings.with_momentum(&self.shapes), &self.device)?;
        let steps = state.take_count("steps")?;
        state.finish()?;
        (self.row_moments, self.column_moments, self.first_moments) = (row_moments, column_moments, first_moments);
        self.steps = steps;
        Ok(())
    }

    fn effective_learning_rate(&self, learning_rate: f64) -> f64 {
        self.settings.rate(learning_rate, self.steps.max(1))
    }
}
