//! Rotary position embedding. arXiv 2104.09864.

use std::ops::Range;

use burn::tensor::{DType, Device, Tensor, TensorData};

/// Sines and cosines of the rotations of a sequence of tokens, in f32.
#[derive(Clone, Debug)]
pub struct Rotations {
    /// `[len, head_dim / 2]`
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Rotations {
    /// Rotations for positions along several axes: pair `j` of the `dims[a]` numbers of axis `a` turns by
    /// `position θ^(-2j / dims[a])`.
    ///
    /// Angles are computed in f64, as the reference does on a CPU.
    ///
    /// Reference: diffusers `embeddings.py#L1120` (`get_1d_rotary_pos_embed`) at 58eb52c.
    pub fn new<const A: usize>(positions: &[[usize; A]], dims: &[usize; A], theta: f64, device: &Device) -> Self {
        let angles_of = |position: &[usize; A]| -> Vec<f64> {
            let axis = |(&position, &dim): (&usize, &usize)| {
                (0..dim / 2).map(move |j| position as f64 * theta.powf(-2.0 * j as f64 / dim as f64))
            };
            position.iter().zip(dims).flat_map(axis).collect()
        };
        let angles: Vec<f64> = positions.iter().flat_map(angles_of).collect();
        let pairs = dims.iter().sum::<usize>() / 2;
        let table = |values: Vec<f32>| {
            let data = TensorData::new(values, [positions.len(), pairs]);
            Tensor::from_data(data, (device, DType::F32))
        };
        Self {
            cos: table(angles.iter().map(|angle| angle.cos() as f32).collect()),
            sin: table(angles.iter().map(|angle| angle.sin() as f32).collect()),
        }
    }

    /// Those of some of the tokens.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn of_tokens(&self, tokens: Range<usize>) -> Self {
        let [cos, sin] = [&self.cos, &self.sin].map(|table| table.clone().narrow(0, tokens.start, tokens.len()));
        Self { cos, sin }
    }

    /// Cosines and sines, `[len, head_dim / 2]`.
    pub(super) fn tables(&self) -> [&Tensor<2>; 2] {
        [&self.cos, &self.sin]
    }

    /// Rotate neighbouring pairs of numbers, in f32.
    ///
    /// # Shapes
    /// - heads and result: `[batch * len, num_heads, head_dim]`
    pub(super) fn apply(&self, heads: Tensor<3>) -> Tensor<3> {
        let [tokens, num_heads, head_dim] = heads.dims();
        let [len, pairs] = self.cos.dims();
        let dtype = heads.dtype();
        let x = heads.cast(DType::F32).reshape([tokens / len, len, num_heads, pairs, 2]);
        let [cos, sin] = self.tables().map(|table| table.clone().reshape([1, len, 1, pairs, 1]));
        let (even, odd) = (x.clone().narrow(4, 0, 1), x.narrow(4, 1, 1));
        let turned_even = even.clone() * cos.clone() - odd.clone() * sin.clone();
        let turned_odd = even * sin + odd * cos;
        Tensor::cat(vec![turned_even, turned_odd], 4).reshape([tokens, num_heads, head_dim]).cast(dtype)
    }
}

/// Rotations as kernels take them; the outer `None` is where the general way must do.
#[cfg(feature = "flex")]
#[expect(clippy::option_option, reason = "what is not there differs from what has no kernel, and `?` passes the latter on")]
pub(super) mod flex {
    use burn_flex::FlexTensor;
    use diffusion_kernels::Rope;

    use super::Rotations;
    use crate::ops::flex::{contiguous, numbers};

    /// Cosines and sines, if there are some.
    pub(in crate::ops) fn tables(rotations: Option<&Rotations>) -> Option<Option<[FlexTensor; 2]>> {
        match rotations.map(Rotations::tables) {
            Some([cos, sin]) => Some(Some([contiguous(cos)?, contiguous(sin)?])),
            None => Some(None),
        }
    }

    /// The numbers of tables.
    pub(in crate::ops) fn rope(tables: Option<&[FlexTensor; 2]>) -> Option<Option<Rope<'_>>> {
        match tables {
            Some([cos, sin]) => Some(Some(Rope { cos: numbers(cos)?, sin: numbers(sin)? })),
            None => Some(None),
        }
    }
}
