//! From a tensor in a file to one on a device.

use burn::tensor::{AllocationProperty, Bytes, DType, Device, FloatDType, Tensor, TensorData};

use super::packed_weight::PackedWeight;
use crate::checkpoint::{Arrangement, CheckpointError, StoredTensor};
use crate::format::Format;
use crate::ops;

/// Load as a float tensor on `device`, converted to `dtype` where one is given.
///
/// On a CPU, values that need no conversion are not copied: the tensor reads the memory-mapped file.
pub(super) fn load<const D: usize>(
    stored: &StoredTensor,
    device: &Device,
    dtype: Option<FloatDType>,
) -> Result<Tensor<D>, CheckpointError> {
    let native = match stored.format() {
        Format::F32 => Some(DType::F32),
        Format::F16 => Some(DType::F16),
        Format::BF16 => Some(DType::BF16),
        _ => None,
    };
    let tensor = match native {
        Some(native) if stored.arrangement() == Arrangement::Same => {
            stored.check_unchanged()?;
            let bytes = stored.bytes();
            let aligned = bytes.as_ptr().align_offset(native.size()) == 0;
            let bytes = if aligned {
                Bytes::from_shared(bytes, AllocationProperty::File)
            } else {
                let copy = Bytes::from_bytes_vec(bytes.to_vec());
                stored.release();
                copy
            };
            let data = TensorData::from_bytes(bytes, stored.shape().to_vec(), native);
            Tensor::from_data(data, (device, native))
        }
        _ => {
            let data = TensorData::new(stored.to_f32()?, stored.shape().to_vec());
            stored.release();
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
pub(super) fn load_packed(stored: &StoredTensor, device: &Device) -> Result<Option<PackedWeight>, CheckpointError> {
    let (&[rows, columns], format) = (stored.shape(), stored.format()) else { return Ok(None) };
    let Some(row_bytes) = format.num_bytes(columns).filter(|_| format.is_packed() && PackedWeight::is_supported_on(device))
    else {
        return Ok(None);
    };
    stored.check_unchanged()?;
    let bytes = match stored.arrangement() {
        Arrangement::Same => stored.bytes(),
        Arrangement::HalvesSwapped => {
            let mut bytes = stored.bytes().to_vec();
            bytes.rotate_left(rows / 2 * row_bytes);
            stored.release();
            bytes.into()
        }
        Arrangement::Transposed => return Ok(None),
    };
    Ok(Some(PackedWeight::new(bytes, format, [rows, columns], stored.scale(), device)))
}
