//! A table of vectors that is looked up row by row, and widened only where it is read.

use burn::module::{Module, Param};
use burn::tensor::{Device, FloatDType, Int, Tensor};

use super::attached_weight::AttachedWeight;
use super::parameter::uninitialized;

/// A table of `[num_rows, hidden_size]`, stored as published.
#[derive(Module, Debug)]
pub struct TokenEmbedding {
    /// `[num_rows, hidden_size]`; its values may be [packed](AttachedWeight) beside it.
    pub weight: Param<Tensor<2>>,
}

impl TokenEmbedding {
    /// Make the table, without allocating: zeros until a checkpoint is loaded.
    pub fn new(num_rows: usize, hidden_size: usize, device: &Device) -> Self {
        Self { weight: uninitialized([num_rows, hidden_size], device) }
    }

    /// Look up rows, in the type `compute`.
    ///
    /// # Shapes
    /// - ids: `[batch, seq_len]`, result: `[batch, seq_len, hidden_size]`
    pub fn forward(&self, ids: Tensor<2, Int>, compute: FloatDType) -> Tensor<3> {
        let [batch, seq_len] = ids.dims();
        let ids = ids.reshape([batch * seq_len]);
        let attached = self.weight.reparameterization::<AttachedWeight>();
        let unchanged = attached.filter(|attached| attached.adapter().is_none() && attached.factors.is_none());
        let rows = match unchanged.and_then(|attached| attached.packed.as_ref()) {
            Some(packed) => packed.unpack_rows(ids, compute),
            None => self.weight.val().select(0, ids).cast(compute),
        };
        let [_, hidden_size] = rows.dims();
        rows.reshape([batch, seq_len, hidden_size])
    }
}
