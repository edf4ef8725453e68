//! What a convolution computes.

use super::window::Window;
use crate::product::{Activation, Residual, Weight};

/// What is computed for each pixel: `activation(sum + bias + residual)`.
#[derive(Clone, Copy)]
pub struct Convolution<'a> {
    /// Which pixels are summed.
    pub window: Window,
    /// `[outputs, channels x kernel]`, the kernel of each pair of channels row by row.
    pub weight: Weight<'a>,
    /// One for each output.
    pub bias: Option<&'a [f32]>,
    /// Added to the sum.
    pub residual: Residual<'a>,
    /// Applied last.
    pub activation: Activation,
}

impl<'a> Convolution<'a> {
    /// The sums alone.
    pub fn new(window: Window, weight: Weight<'a>) -> Self {
        Self { window, weight, bias: None, residual: Residual::None, activation: Activation::None }
    }
}
