//! One tensor of a file: where its bytes lie, and how they become a Burn tensor.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use burn::tensor::{AllocationProperty, Bytes, DType, Device, FloatDType, Tensor, TensorData};
use memmap2::Mmap;

use super::error::CheckpointError;
use super::format::Format;
use crate::ops;
use crate::packed_weight::PackedWeight;

/// A memory-mapped file, or one whose bytes are in memory.
#[derive(Debug)]
pub(super) struct MappedFile {
    pub(super) path: PathBuf,
    /// The whole file.
    pub(super) bytes: bytes::Bytes,
    /// `None` for a file whose bytes are in memory.
    mapping: Option<Arc<Mmap>>,
    /// What its header says besides the tensors, once that was read.
    pub(super) metadata: OnceLock<HashMap<String, String>>,
}

impl MappedFile {
    /// A file whose bytes are in memory.
    pub(super) fn in_memory(path: &Path, bytes: bytes::Bytes) -> Arc<Self> {
        Arc::new(Self { path: path.to_owned(), bytes, mapping: None, metadata: OnceLock::new() })
    }

    pub(super) fn open(path: &Path) -> Result<Arc<Self>, CheckpointError> {
        let failed = |source| CheckpointError::Open { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(failed)?;
        // SAFETY: the mapping is read-only. Should another program change or cut the file meanwhile, reads see the new
        // bytes or the process gets a signal: the same contract as every program that maps checkpoints.
        let mapping = Arc::new(unsafe { Mmap::map(&file) }.map_err(failed)?);
        let bytes = bytes::Bytes::from_owner(SharedMapping(mapping.clone()));
        Ok(Arc::new(Self { path: path.to_owned(), bytes, mapping: Some(mapping), metadata: OnceLock::new() }))
    }

    /// Start to read a part, without waiting for it.
    fn read_ahead(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Some(mapping) = &self.mapping
            && let Err(error) = mapping.advise_range(memmap2::Advice::WillNeed, range.start, range.len())
        {
            tracing::debug!("{} is not read ahead: {error}", self.path.display());
        }
        #[cfg(not(unix))]
        let _ = (&self.mapping, range);
    }

    /// Give back the memory of a part that was read; it is read from the file again if it is needed again.
    fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Some(mapping) = &self.mapping {
            // SAFETY: for a read-only mapping of a file this only drops clean pages, which come back unchanged.
            let released =
                unsafe { mapping.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
            if let Err(error) = released {
                tracing::debug!("memory of {} was not given back: {error}", self.path.display());
            }
        }
        #[cfg(not(unix))]
        let _ = (&self.mapping, range);
    }
}

/// What a `bytes::Bytes` over the mapping owns.
struct SharedMapping(Arc<Mmap>);

impl AsRef<[u8]> for SharedMapping {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// How the values of a file are put together to give the tensor that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrangement {
    AsStored,
    /// First and second half of the rows change places.
    HalvesSwapped,
    /// Rows become columns.
    Transposed,
}

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
        Self { file, name, format, shape, range, scale: None, arrangement: Arrangement::AsStored }
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
        (self.arrangement == Arrangement::AsStored && self.scale.is_none()).then(|| self.bytes())
    }

    /// All values widened to f32, row by row.
    ///
    /// # Errors
    /// [`CheckpointError::DType`] if it holds no floats.
    pub fn to_f32(&self) -> Result<Vec<f32>, CheckpointError> {
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
            Arrangement::AsStored => values,
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
    pub(super) fn fit_unit_dimensions(mut self, shape: &[usize]) -> Self {
        let significant = |shape: &[usize]| shape.iter().copied().filter(|&n| n != 1).collect::<Vec<_>>();
        if significant(&self.shape) == significant(shape) && self.shape != shape {
            self.shape = shape.to_vec();
            if significant(shape).len() < 2 && self.arrangement == Arrangement::Transposed {
                // A single row or column has the same order either way.
                self.arrangement = Arrangement::AsStored;
            }
        }
        self
    }

    /// Load as a float tensor on `device`, converted to `dtype` where one is given.
    ///
    /// On a CPU, values that need no conversion are not copied: the tensor reads the memory-mapped file.
    pub(super) fn load<const D: usize>(&self, device: &Device, dtype: Option<FloatDType>) -> Result<Tensor<D>, CheckpointError> {
        let native = match self.format {
            Format::F32 => Some(DType::F32),
            Format::F16 => Some(DType::F16),
            Format::BF16 => Some(DType::BF16),
            _ => None,
        };
        let tensor = match native {
            Some(native) if self.arrangement == Arrangement::AsStored => {
                let bytes = self.bytes();
                let aligned = bytes.as_ptr().align_offset(native.size()) == 0;
                let bytes = if aligned {
                    Bytes::from_shared(bytes, AllocationProperty::File)
                } else {
                    let copy = Bytes::from_bytes_vec(bytes.to_vec());
                    self.release();
                    copy
                };
                let data = TensorData::from_bytes(bytes, self.shape.clone(), native);
                Tensor::from_data(data, (device, native))
            }
            _ => {
                let data = TensorData::new(self.to_f32()?, self.shape.clone());
                self.release();
                let tensor = Tensor::from_data(data, (device, DType::F32));
                match native {
                    Some(native) => ops::cast(tensor, native.into()),
                    None => tensor,
                }
            }
        };
        Ok(match dtype {
            Some(dtype) => ops::cast(tensor, dtype),
            None => tensor,
        })
    }

    /// Load as a packed matrix, if its format is one that Burn has no tensors of and `device` can keep it so.
    ///
    /// A matrix whose columns became rows cannot stay packed, nor one whose blocks reach over the end of a row.
    pub(super) fn load_packed(&self, device: &Device) -> Option<PackedWeight> {
        let [rows, columns] = self.shape[..] else { return None };
        let row_bytes = self.format.num_bytes(columns)?;
        if !self.format.is_packed() || !PackedWeight::is_supported_on(device) {
            return None;
        }
        let bytes = match self.arrangement {
            Arrangement::AsStored => self.bytes(),
            Arrangement::HalvesSwapped => {
                let mut bytes = self.bytes().to_vec();
                bytes.rotate_left(rows / 2 * row_bytes);
                self.release();
                bytes.into()
            }
            Arrangement::Transposed => return None,
        };
        Some(PackedWeight::new(bytes, self.format, [rows, columns], self.scale, device))
    }
}
