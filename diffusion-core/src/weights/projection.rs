//! The linear layer whose weight may be stored narrower than it computes.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, FloatDType, Tensor, assert_shape};

use super::attached_weight::{Adapter, AttachedWeight};
use super::packed_weight::PackedWeight;
use super::parameter::uninitialized;
use crate::ops::{self, Activation, Epilogue, HeadNorm, Linear, Products, StoredMatrix};

/// A linear layer, `y = x Wᵀ + b`, with its weight as published: `[output_size, input_size]`, in any float type or packed.
///
/// Not called `Linear`, and not Burn's: that one stores its weight transposed, so every file would have to be copied.
#[derive(Module, Debug)]
pub struct Projection {
    /// `[output_size, input_size]`; its values may be [packed](AttachedWeight) beside it.
    pub weight: Param<Tensor<2>>,
    /// `[output_size]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Whether its products are exact, whatever the precision; see [`exact`](Self::exact).
    #[module(skip)]
    pub is_exact: bool,
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
            is_exact: false,
        }
    }
}

impl Projection {
    /// The same layer, its operands never rounded, whatever the precision.
    #[must_use]
    pub fn exact(self) -> Self {
        Self { is_exact: true, ..self }
    }

    /// Apply the layer to the last axis, computing in the type of `input`.
    ///
    /// # Shapes
    /// - input: `[.., input_size]`, output: `[.., output_size]`
    /// # Panics
    /// If the last axis of `input` is not `input_size`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.forward_then(input, self.products(), Epilogue::None)
    }

    /// [`forward`](Self::forward) with operands that are not rounded, whatever the precision: for numbers that all others depend
    /// on, such as the conditioning, or that nothing evens out any more, such as the velocity.
    pub fn forward_exactly<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.forward_then(input, Products::Exact, Epilogue::None)
    }

    /// `activation(forward(input))`.
    pub fn forward_activated<const D: usize>(&self, input: Tensor<D>, activation: Activation) -> Tensor<D> {
        self.forward_then(input, self.products(), Epilogue::Activation(activation))
    }

    /// `residual + gate · forward(input)`; without a gate, the sum.
    ///
    /// # Shapes
    /// - input: `[batch, len, input_size]`, residual and result: `[batch, len, output_size]`, gate: `[batch, output_size]`
    pub fn forward_onto(&self, residual: &Tensor<3>, input: Tensor<3>, gate: Option<&Tensor<2>>) -> Tensor<3> {
        self.forward_then(input, self.products(), Epilogue::Residual { residual, gate })
    }

    /// Queries or keys: `forward(input)`, whose heads are normalised and turned.
    ///
    /// # Shapes
    /// - input: `[batch, len, input_size]`, result: `[batch, len, num_heads * head_dim]`
    pub fn forward_heads(&self, input: Tensor<3>, norm: HeadNorm<'_>) -> Tensor<3> {
        self.forward_then(input, self.products(), Epilogue::Heads(norm))
    }

    /// How exactly this layer computes its product. What lies between layers, attention, is as exact as they are.
    pub fn products(&self) -> Products {
        if self.is_exact {
            return Products::Exact;
        }
        self.weight.reparameterization::<AttachedWeight>().map_or(Products::Exact, |attached| attached.products)
    }

    fn forward_then<const D: usize>(&self, input: Tensor<D>, products: Products, epilogue: Epilogue<'_>) -> Tensor<D> {
        let attached = self.weight.reparameterization::<AttachedWeight>();
        let packed = attached.and_then(|attached| attached.packed.as_ref());
        let [output_size, input_size] = packed.map_or_else(|| self.weight.lazy_shape().dims(), PackedWeight::shape);
        assert_shape!(input, [.., input_size]);
        let mut dims = input.dims();
        let rows = dims[..D - 1].iter().product();
        dims[D - 1] = output_size;

        let compute: FloatDType = input.dtype().into();
        let input = input.reshape([rows, input_size]);
        let adapter = attached.and_then(AttachedWeight::adapter);
        let low_rank = adapter.as_ref().and_then(|adapter| adapter.low_rank());
        let factors = attached.and_then(|attached| attached.factors.as_ref());
        let weight = MatrixInUse {
            values: packed.map_or_else(|| Values::Plain(self.weight.base()), |packed| Values::Packed(packed.clone())),
            adapter: adapter.filter(|_| low_rank.is_none()),
            products,
        };
        let bias = self.bias.as_ref().map(Param::val);
        #[cfg(all(feature = "flex", feature = "autodiff"))]
        if factors.is_none()
            && let Some(output) = weight.recorded_product(&input, bias.as_ref(), low_rank.as_ref())
        {
            return epilogue.apply(output).reshape(dims);
        }
        let beside =
            [low_rank.map(|low_rank| low_rank.forward(input.clone())), factors.map(|factors| factors.forward(input.clone()))];
        let beside = beside.into_iter().flatten().reduce(|sum, other| sum + other);
        if let Some(output) = weight.product(&input, bias.as_ref(), beside.as_ref(), epilogue) {
            return output.reshape(dims);
        }
        let output = if weight.is_trained() {
            input.matmul(weight.widened(compute).transpose())
        } else {
            ops::frozen_product(input, move |compute| weight.widened(compute))
        };
        let output = beside.into_iter().fold(output, |output, beside| output + beside);
        let output = match bias {
            Some(bias) => output + bias.cast(compute).unsqueeze(),
            None => output,
        };
        epilogue.apply(output).reshape(dims)
    }
}

/// What a product needs to make its matrix, now and for the backward pass.
struct MatrixInUse {
    values: Values,
    /// What is done to the weight itself.
    adapter: Option<Arc<Adapter>>,
    products: Products,
}

/// The values as they are stored.
#[derive(Clone)]
enum Values {
    Plain(Tensor<2>),
    Packed(PackedWeight),
}

#[cfg(all(feature = "flex", feature = "autodiff"))]
impl ops::StoredValues for Values {
    fn with(&self, body: &mut dyn FnMut(StoredMatrix<'_>)) {
        match self {
            Self::Plain(values) => body(StoredMatrix::Plain(&values.clone().without_autodiff())),
            Self::Packed(packed) => body(packed.stored(&packed.bytes())),
        }
    }
}

impl MatrixInUse {
    /// Whether gradients of the matrix are asked for, by what is done to it or by itself. Matrices are loaded frozen.
    fn is_trained(&self) -> bool {
        let adapter = self.adapter.as_ref().is_some_and(|adapter| adapter.is_watched());
        adapter || matches!(&self.values, Values::Plain(values) if ops::is_differentiated(values))
    }

    /// The whole layer from the matrix as it is stored, if there is a body for it and no gradient is asked for.
    fn product(
        &self,
        input: &Tensor<2>,
        bias: Option<&Tensor<1>>,
        beside: Option<&Tensor<2>>,
        epilogue: Epilogue<'_>,
    ) -> Option<Tensor<2>> {
        if self.adapter.is_some() || self.is_trained() {
            return None;
        }
        let layer = |weight| Linear { bias, beside, ..Linear::of(weight, self.products) };
        match &self.values {
            Values::Plain(values) => {
                ops::linear(input, &layer(StoredMatrix::Plain(&values.clone().without_autodiff())), epilogue)
            }
            Values::Packed(packed) => ops::linear(input, &layer(packed.stored(&packed.bytes())), epilogue),
        }
    }

    /// The same where gradients are asked for, but not of the matrix.
    #[cfg(all(feature = "flex", feature = "autodiff"))]
    fn recorded_product(
        &self,
        input: &Tensor<2>,
        bias: Option<&Tensor<1>>,
        low_rank: Option<&ops::LowRank>,
    ) -> Option<Tensor<2>> {
        if self.adapter.is_some() || self.is_trained() {
            return None;
        }
        let low_rank = low_rank.map(|ops::LowRank { down, up }| [down, up]);
        ops::recorded_linear(input, self.values.clone(), bias, low_rank, self.products)
    }

    fn widened(&self, compute: FloatDType) -> Tensor<2> {
        let values = match &self.values {
            Values::Plain(values) if ops::is_differentiated(values) => ops::cast(values.clone(), compute),
            Values::Plain(values) => ops::cast(values.clone().without_autodiff(), compute),
            Values::Packed(packed) => packed.unpack(compute),
        };
        match &self.adapter {
            Some(adapter) => adapter.widened(values, compute),
            None => values,
        }
    }
}
