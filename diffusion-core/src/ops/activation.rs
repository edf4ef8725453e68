//! The three forms of GELU that published models use.

use burn::tensor::{Tensor, activation};

/// GELU with the error function, `x Φ(x)`: CLIP-G.
pub fn gelu_erf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::gelu(x)
}

/// GELU with the tanh approximation: transformer blocks and T5 (`gelu_new`). arXiv 1606.08415, section 2.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::gelu_approximate(x)
}

/// GELU with the logistic function, `x σ(1.702 x)`: CLIP-L. arXiv 1606.08415, section 2.
pub fn gelu_quick<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let gate = activation::sigmoid(x.clone().mul_scalar(1.702));
    x * gate
}
