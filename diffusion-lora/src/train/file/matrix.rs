//! Matrices on the host, as files hold them.

use burn::tensor::Tensor;
use diffusion_core::checkpoint::Arrangement;

/// A tensor to be written: its shape, and its numbers, row after row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Matrix {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

impl Matrix {
    pub(super) fn read(tensor: &Tensor<2>) -> Self {
        Self { shape: tensor.dims().into(), values: tensor.to_data().iter::<f32>().collect() }
    }

    pub(super) fn zeros(rows: usize, columns: usize) -> Self {
        Self { shape: vec![rows, columns], values: vec![0.0; rows * columns] }
    }

    /// A number.
    pub(super) fn scalar(value: f64) -> Self {
        Self { shape: Vec::new(), values: vec![value as f32] }
    }

    pub(super) fn columns(&self) -> usize {
        self.shape[1]
    }

    /// The rows of a parameter in the order of the file.
    pub(super) fn arranged(mut self, arrangement: Arrangement) -> Self {
        if arrangement == Arrangement::HalvesSwapped {
            let half = self.values.len() / 2;
            self.values.rotate_left(half);
        }
        self
    }

    pub(super) fn scaled(mut self, scale: f64) -> Self {
        self.values.iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
        self
    }

    /// As a line of numbers, without columns.
    pub(super) fn flattened(self) -> Self {
        Self { shape: vec![self.values.len()], ..self }
    }

    /// One below the other; they have as many columns.
    pub(super) fn stacked(parts: Vec<Self>) -> Self {
        let columns = parts.first().map_or(0, Self::columns);
        let values: Vec<f32> = parts.into_iter().flat_map(|part| part.values).collect();
        Self { shape: vec![values.len() / columns.max(1), columns], values }
    }

    /// Put a block into its place.
    pub(super) fn put(&mut self, block: &Self, first_row: usize, first_column: usize) {
        let width = self.columns();
        for (index, row) in block.values.chunks(block.columns()).enumerate() {
            let start = (first_row + index) * width + first_column;
            self.values[start..start + row.len()].copy_from_slice(row);
        }
    }
}
