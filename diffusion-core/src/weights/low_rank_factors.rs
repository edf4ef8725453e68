//! Low-rank factors that are trained.

use burn::module::{Module, Param};
use burn::tensor::{FloatDType, Tensor};

use crate::ops::{self, LowRank};

/// What low-rank adaptation trains beside a frozen matrix: `scale · up · down` is added to it. arXiv 2106.09685.
///
/// Both factors are parameters, so Burn's visitors, optimisers and records find them, below the path of the matrix:
/// `blocks.0.image.attention.query.weight.attached.factors.down`.
#[derive(Module, Debug)]
pub struct LowRankFactors {
    /// `[rank, columns]`.
    pub down: Param<Tensor<2>>,
    /// `[rows, rank]`.
    pub up: Param<Tensor<2>>,
    /// Of the product of both; files tell it as `alpha / rank`. It is not trained.
    #[module(skip)]
    pub scale: f64,
}

impl LowRankFactors {
    /// Factors with these values to begin with, on the device that the network is on, with autodiff if they are to be trained.
    ///
    /// # Shapes
    /// - down: `[rank, columns]`, up: `[rows, rank]`
    pub fn new(down: Tensor<2>, up: Tensor<2>, scale: f64) -> Self {
        Self { down: Param::from_tensor(down), up: Param::from_tensor(up), scale }
    }

    /// `[rows, columns]` of the matrix that they belong to.
    pub fn shape(&self) -> [usize; 2] {
        let [[rows, _], [_, columns]] = [&self.up, &self.down].map(|factor| factor.lazy_shape().dims());
        [rows, columns]
    }

    /// The change of a product with the matrix, in the type of `input`.
    ///
    /// # Shapes
    /// - input: `[len, columns]`, result: `[len, rows]`
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let compute: FloatDType = input.dtype().into();
        let narrow = input.matmul(ops::cast(self.down.val(), compute).transpose());
        narrow.mul_scalar(self.scale).matmul(ops::cast(self.up.val(), compute).transpose())
    }

    /// The same change as one that is not trained any more, with the scale in `up`.
    pub fn trained(&self) -> LowRank {
        let [down, up] = [&self.down, &self.up].map(|factor| ops::cast(factor.val().without_autodiff(), FloatDType::F32));
        LowRank { down, up: up.mul_scalar(self.scale) }
    }

    /// `scale · up · down`, in f32.
    pub(super) fn product(&self) -> Tensor<2> {
        let [down, up] = [&self.down, &self.up].map(|factor| ops::cast(factor.val(), FloatDType::F32));
        up.mul_scalar(self.scale).matmul(down)
    }
}
