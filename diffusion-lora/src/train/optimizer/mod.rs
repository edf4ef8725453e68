//! Optimisers: from gradients to changed parameters.
//!
//! They work on lists of plain f32 matrices in a fixed order, on any device, and know nothing of what the matrices are for.

mod adafactor;
mod adamw;
mod lion;
mod prodigy;
mod settings;
mod state;

use std::fmt::Debug;

use burn::tensor::Tensor;

pub use adafactor::{Adafactor, AdafactorSettings};
pub use adamw::{AdamW, AdamWSettings};
pub use lion::{Lion, LionSettings};
pub use prodigy::{Prodigy, ProdigySettings};
pub use settings::OptimizerSettings;
pub use state::{OptimizerState, OptimizerStateError};

/// Changes parameters by their gradients, and remembers what it has seen of them.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use diffusion_lora::train::{Optimizer, OptimizerSettings};
///
/// let settings: OptimizerSettings = "lion".parse()?;
/// let device = Device::flex();
/// let mut optimizer = settings.build(&[[1, 2]], &device);
/// let mut parameters = [Tensor::<2>::zeros([1, 2], &device)];
/// optimizer.step(&mut parameters, &[Tensor::from_floats([[0.5, -3.0]], &device)], 0.1);
/// assert_eq!(parameters[0].clone().into_data().try_to_vec::<f32>()?, [-0.1, 0.1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Optimizer: Debug + Send {
    /// Change the parameters by one step. `learning_rate` is that of this step, any schedule applied; at 0 nothing moves.
    ///
    /// # Panics
    /// If there are not as many parameters and gradients, of the same shapes, as the optimiser was built for.
    fn step(&mut self, parameters: &mut [Tensor<2>], gradients: &[Tensor<2>], learning_rate: f64);

    /// All that it remembers. An optimiser of the same settings and shapes that is restored from it goes on as this one, to the
    /// bit.
    fn state(&self) -> OptimizerState;

    /// Remember what another one did. Nothing changes if that is not possible.
    ///
    /// # Errors
    /// [`OptimizerStateError`] if the state is one of another kind of optimiser, or of other parameters.
    fn restore(&mut self, state: OptimizerState) -> Result<(), OptimizerStateError>;

    /// How far a parameter moves with steady gradients, where the optimiser finds that itself; else the given rate.
    fn effective_learning_rate(&self, learning_rate: f64) -> f64 {
        learning_rate
    }
}

/// Fail if the lists of a step are not those that the optimiser was built for.
fn assert_lengths(expected: usize, parameters: &[Tensor<2>], gradients: &[Tensor<2>]) {
    assert_eq!(parameters.len(), expected, "an optimiser steps the parameters that it was built for");
    assert_eq!(gradients.len(), expected, "every parameter has a gradient");
}
