//! What becomes of the result of a linear layer before anyone reads it.

use burn::nn::RmsNorm;
use burn::tensor::Tensor;

use super::activation::Activation;
use super::rotations::Rotations;

/// What becomes of the result of a linear layer. On Burn's CPU backend (feature `flex`) it happens while the result is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Epilogue<'a> {
    /// Nothing.
    #[default]
    None,
    /// A function of each number.
    Activation(Activation),
    /// `residual + gate · result`.
    Residual {
        /// `[batch, len, output_size]`
        residual: &'a Tensor<3>,
        /// `[batch, output_size]`; one if there is none.
        gate: Option<&'a Tensor<2>>,
    },
    /// The result holds heads, which are normalised.
    Heads(HeadNorm<'a>),
}

/// How the heads of queries and keys are prepared for attention: normalised, then turned by the position of their token.
#[derive(Clone, Copy, Debug)]
pub struct HeadNorm<'a> {
    /// Of each head's numbers.
    pub norm: &'a RmsNorm,
    /// Of the tokens of each element of the batch.
    pub rotations: Option<&'a Rotations>,
}

impl Epilogue<'_> {
    /// # Shapes
    /// - result: `[batch * len, output_size]`
    pub(crate) fn apply(self, result: Tensor<2>) -> Tensor<2> {
        let dims = result.dims();
        match self {
            Self::None => result,
            Self::Activation(activation) => activation.apply(result),
            Self::Residual { residual, gate } => {
                let result = result.reshape(residual.dims());
                let result = match gate {
                    Some(gate) => result * gate.clone().unsqueeze_dim(1),
                    None => result,
                };
                (residual.clone() + result).reshape(dims)
            }
            Self::Heads(HeadNorm { norm, rotations }) => {
                let [head_dim] = norm.gamma.lazy_shape().dims();
                let heads = norm.forward(result.reshape([dims[0], dims[1] / head_dim, head_dim]));
                let heads = match rotations {
                    Some(rotations) => rotations.apply(heads),
                    None => heads,
                };
                heads.reshape(dims)
            }
        }
    }
}
