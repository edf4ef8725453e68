//! One tensor of a file: where its bytes lie, and how they become numbers.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::arrangement::Arrangement;
use super::error::CheckpointError;
use super::mapped_file::MappedFile;
use crate::format::Format;

/// The tensors of a file by name.
pub(super) type Tensors = BTreeMap<String, StoredTensor>;

/// A tensor in a file: lazy, cheap to clone, read from the memory-mapped file when it is loaded.
#[derive(Clone, Debug)]
pub struct StoredTensor {
    file: Arc<MappedFile>,
    name: String,
    format: Format,
    shape: Vec<usize>,
    range: Range<usize>,
    scale: Option<f32>,
    arrangement: Arrangement,
}

impl StoredTensor {
    pub(super) fn new(file: Arc<MappedFile>, name: String, format: Format, shape: Vec<usize>, range: Range<usize>) -> Self {
        Self { file, name, format, shape, range, scale: None, arrangement: Arrangement::Same }
    }

    /// The file that holds it.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// What the header of its file says besides the tensors.
    pub(super) fn file_metadata(&self) -> Option<&HashMap<String, String>> {
        self.file.metadata.get()
    }

    /// Its name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its numbers are to be multiplied with, in scaled fp8 files.
    pub fn scale(&self) -> Option<f32> {
        self.scale
    }

    /// Its number format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Its shape, outermost dimension first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Bytes that it takes in the file.
    pub fn num_bytes(&self) -> usize {
        self.range.len()
    }

    /// How its values lie.
    pub fn arrangement(&self) -> Arrangement {
        self.arrangement
    }

    /// Refuse a file that was written to since it was opened.
    ///
    /// # Errors
    /// [`CheckpointError::Changed`].
    pub fn check_unchanged(&self) -> Result<(), CheckpointError> {
        self.file.check_unchanged()
    }

    /// The file, as [`MappedFile::identify`] tells it from others.
    pub(super) fn identify_file(&self, state: &mut dyn Hasher) -> Result<(), CheckpointError> {
        self.file.identify(state)
    }

    /// What the tensor is, and where in its file; of its values, the first `bytes` bytes.
    pub(super) fn identify(&self, bytes: usize, mut state: &mut dyn Hasher) {
        (&self.name, &self.shape, &self.range, self.scale.map(f32::to_bits)).hash(&mut state);
        format!("{:?} {:?}", self.format, self.arrangement).hash(&mut state);
        let values = self.bytes();
        values[..values.len().min(bytes)].hash(&mut state);
    }

    /// Its bytes in the file, without copying.
    pub fn bytes(&self) -> bytes::Bytes {
        self.file.bytes.slice(self.range.clone())
    }

    /// Have the operating system start to read it from its file.
    pub fn read_ahead(&self) {
        self.file.read_ahead(self.range.clone());
    }

    /// Give back the memory that reading it took; it is read from the file again if it is needed again.
    pub fn release(&self) {
        self.file.release(self.range.clone());
    }

    /// Its bytes in the file, if they are its values: in this order, and not to be scaled.
    pub(super) fn plain_bytes(&self) -> Option<bytes::Bytes> {
        (self.arrangement == Arrangement::Same && self.scale.is_none()).then(|| self.bytes())
    }

    /// All values widened to f32, row by row.
    ///
    /// # Errors
    /// [`CheckpointError::DType`] if it holds no floats, [`CheckpointError::Changed`] if the file was written to since it was
    /// opened.
    pub fn to_f32(&self) -> Result<Vec<f32>, CheckpointError> {
        self.check_unchanged()?;
        if !self.format.is_float() {
            return Err(CheckpointError::DType {
                path: self.file.path.clone(),
                tensor: self.name.clone(),
                expected: "floating-point numbers",
                found: self.format.to_string(),
            });
        }
        let mut values = vec![0.0; self.shape.iter().product()];
        self.format.widen_parallel(&self.bytes(), &mut values);
        if let Some(scale) = self.scale {
            for value in &mut values {
                *value *= scale;
            }
        }
        Ok(match self.arrangement {
            Arrangement::Same => values,
            Arrangement::HalvesSwapped => {
                let half = values.len() / 2;
                values.rotate_left(half);
                values
            }
            Arrangement::Transposed => {
                let [rows, columns] = [self.shape[1], self.shape[0]];
                (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c)).map(|i| values[i]).collect()
            }
        })
    }

    pub(super) fn with_scale(mut self, scale: f32) -> Self {
        self.scale = Some(scale);
        self
    }

    /// The same bytes as numbers of another format, whose numbers take as many.
    pub(super) fn with_format_of_same_size(mut self, format: Format) -> Self {
        debug_assert_eq!(self.format.block().bytes, format.block().bytes);
        self.format = format;
        self
    }

    /// Rows `rows` of the first dimension, without copying.
    ///
    /// # Errors
    /// [`CheckpointError::DType`] if blocks reach over the end of a row, which they do only in tensors whose last dimension
    /// was regrouped for the file.
    pub(super) fn rows(mut self, rows: Range<usize>) -> Result<Self, CheckpointError> {
        let row_bytes = self.format.num_bytes(self.shape[1..].iter().product()).ok_or_else(|| CheckpointError::DType {
            path: self.file.path.clone(),
            tensor: self.name.clone(),
            expected: "a format whose blocks end with the rows, because its rows belong to several weights",
            found: self.format.to_string(),
        })?;
        let start = self.range.start;
        self.range = start + rows.start * row_bytes..start + rows.end * row_bytes;
        self.shape[0] = rows.len();
        Ok(self)
    }

    pub(super) fn with_halves_swapped(mut self) -> Self {
        self.arrangement = Arrangement::HalvesSwapped;
        self
    }

    pub(super) fn transposed(mut self) -> Self {
        self.arrangement = Arrangement::Transposed;
        self.shape.reverse();
        self
    }

    /// Drop dimensions of size one, or add them at the end, if that gives `shape`.
    pub(crate) fn fit_unit_dimensions(mut self, shape: &[usize]) -> Self {
        let significant = |shape: &[usize]| shape.iter().copied().filter(|&n| n != 1).collect::<Vec<_>>();
        if significant(&self.shape) == significant(shape) && self.shape != shape {
            self.shape = shape.to_vec();
            if significant(shape).len() < 2 && self.arrangement == Arrangement::Transposed {
                // A single row or column has the same order either way.
                self.arrangement = Arrangement::Same;
            }
        }
        self
    }
}
