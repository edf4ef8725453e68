//! Rotary position embedding.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// Sines and cosines of the rotations of a sequence of tokens, in f32.
#[derive(Clone, Debug)]
pub(crate) struct RotaryEmbedding {
    /// `[1, 1, seq_len, head_dim / 2, 1]`
    cos: Tensor<5>,
    sin: Tensor<5>,
}

impl RotaryEmbedding {
    /// Rotations for positions along several axes: pair `j` of the `dims[a]` numbers of axis `a` turns by
    /// `position θ^(-2j / dims[a])`.
    ///
    /// Angles are computed in f64, as the reference does on a CPU.
    ///
    /// Reference: diffusers `embeddings.py#L1120` (`get_1d_rotary_pos_embed`) at 58eb52c; arXiv 2104.09864.
    pub(crate) fn new<const A: usize>(positions: &[[usize; A]], dims: &[usize; A], theta: f64, device: &Device) -> Self {
        let angles_of = |position: &[usize; A]| -> Vec<f64> {
            let axis = |(&position, &dim): (&usize, &usize)| {
                (0..dim / 2).map(move |j| position as f64 * theta.powf(-2.0 * j as f64 / dim as f64))
            };
            position.iter().zip(dims).flat_map(axis).collect()
        };
        let angles: Vec<f64> = positions.iter().flat_map(angles_of).collect();
        let pairs = dims.iter().sum::<usize>() / 2;
        let table = |values: Vec<f32>| {
            let data = TensorData::new(values, [1, 1, positions.len(), pairs, 1]);
            Tensor::from_data(data, (device, DType::F32))
        };
        Self {
            cos: table(angles.iter().map(|angle| angle.cos() as f32).collect()),
            sin: table(angles.iter().map(|angle| angle.sin() as f32).collect()),
        }
    }

    /// Rotate neighbouring pairs of numbers, in f32.
    ///
    /// # Shapes
    /// - x and result: `[batch, num_heads, seq_len, head_dim]`
    pub(crate) fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, num_heads, seq_len, head_dim] = x.dims();
        let dtype = x.dtype();
        let pairs = x.cast(DType::F32).reshape([batch, num_heads, seq_len, head_dim / 2, 2]);
        let (even, odd) = (pairs.clone().narrow(4, 0, 1), pairs.narrow(4, 1, 1));
        let turned_even = even.clone() * self.cos.clone() - odd.clone() * self.sin.clone();
        let turned_odd = even * self.sin.clone() + odd * self.cos.clone();
        Tensor::cat(vec![turned_even, turned_odd], 4).reshape([batch, num_heads, seq_len, head_dim]).cast(dtype)
    }
}
