//! The linear layer whose weight may be stored narrower than it computes.

use burn::module::{Module, Param};
use burn::tensor::{Device, FloatDType, Tensor, assert_shape};

use super::attached_weight::AttachedWeight;
use super::parameter::uninitialized;
use crate::ops;

/// A linear layer, `y = x Wᵀ + b`, with its weight as published: `[output_size, input_size]`, in any float type or packed.
///
/// Not called `Linear`, and not Burn's: that one stores its weight transposed, so every file would have to be copied.
#[derive(Module, Debug)]
pub struct Projection {
    /// `[output_size, input_size]`; its values may be [packed](AttachedWeight) beside it.
    pub weight: Param<Tensor<2>>,
    /// `[output_size]`.
    pub bias: Option<Param<Tensor<1>>>,
}

/// Sizes of a [`Projection`].
#[derive(Clone, Copy, Debug)]
pub struct ProjectionConfig {
    /// Width of the input.
    pub input_size: usize,
    /// Width of the output.
    pub output_size: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

impl ProjectionConfig {
    /// A projection with bias.
    pub fn new(input_size: usize, output_size: usize) -> Self {
        Self { input_size, output_size, bias: true }
    }

    /// A projection without bias.
    pub fn without_bias(input_size: usize, output_size: usize) -> Self {
        Self { bias: false, ..Self::new(input_size, output_size) }
    }

    /// Make the layer, without allocating: weights are zeros until a checkpoint is loaded.
    pub fn init(&self, device: &Device) -> Projection {
        Projection {
            weight: uninitialized([self.output_size, self.input_size], device),
            bias: self.bias.then(|| uninitialized([self.output_size], device)),
        }
    }
}

impl Projection {
    /// Apply the layer to the last axis, computing in the type of `input`.
    ///
    /// # Shapes
    /// - input: `[.., input_size]`, output: `[.., output_size]`
    /// # Panics
    /// If the last axis of `input` is not `input_size`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let [output_size, input_size] = self.weight.lazy_shape().dims();
        assert_shape!(input, [.., input_size]);
        let mut dims = input.dims();
        let compute: FloatDType = input.dtype().into();
        let rows = dims[..D - 1].iter().product();
        dims[D - 1] = output_size;

        let input = input.reshape([rows, input_size]);
        let attached = self.weight.reparameterization::<AttachedWeight>();
        let stored = match attached.and_then(|attached| attached.packed.as_ref()) {
            Some(packed) => packed.unpack(compute),
            None => ops::cast(self.weight.base(), compute),
        };
        let adapter = attached.and_then(AttachedWeight::adapter);
        let output = match (adapter.as_ref().and_then(|adapter| adapter.low_rank()), adapter) {
            (Some(low_rank), _) => input.clone().matmul(stored.transpose()) + low_rank.forward(input),
            (None, Some(adapter)) => input.matmul(adapter.widened(stored, compute).transpose()),
            (None, None) => input.matmul(stored.transpose()),
        };
        let output = match &self.bias {
            Some(bias) => output + bias.val().cast(compute).unsqueeze(),
            None => output,
        };
        output.reshape(dims)
    }
}
