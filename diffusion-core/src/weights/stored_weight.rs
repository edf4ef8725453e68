//! From a tensor in a file to one on a device.

use burn::tensor::{AllocationProperty, Bytes, DType, Device, FloatDType, Tensor, TensorData};

use super::packed_weight::PackedWeight;
use crate::checkpoint::{Arrangement, CheckpointError, StoredTensor};
use crate::format::Format;
use crate::ops;

/// Burn's type of the numbers of a format, if `device` has it. Through Vulkan many have no bf16, and their drivers crash on it.
fn native(format: Format, device: &Device) -> Option<DType> {
    let native = match format {
        Format::F32 => DType::F32,
        Format::F16 => DType::F16,
        Format::BF16 => DType::BF16,
        _ => return None,
    };
    device.supports_dtype(native).then_some(native)
}

/// Whether matrices of a format stay as they are published on a device, in a tensor of their type.
pub(super) fn is_native(format: Format, device: &Device) -> bool {
    native(format, device).is_some()
}

/// Whether matrices of a format are kept as packed bytes on a device that computes in `compute`: what Burn has no type for, and
/// numbers that would take more memory in the type that the device has for them.
fn is_packed(format: Format, compute: FloatDType, device: &Device) -> bool {
    let is_widened = format == Format::BF16 && !is_native(format, device) && compute == FloatDType::F32;
    (format.is_packed() || is_widened) && PackedWeight::is_supported_on(device)
}

/// Load as a float tensor on `device`, converted to `dtype` where one is given.
///
/// On a CPU, values that need no conversion are not copied: the tensor reads the memory-mapped file.
pub(super) fn load<const D: usize>(
    stored: &StoredTensor,
    device: &Device,
    dtype: Option<FloatDType>,
) -> Result<Tensor<D>, CheckpointError> {
    let native = native(stored.format(), device);
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

/// Load as a packed matrix, if its format is one that `device` keeps so when it computes in `compute`.
///
/// A matrix whose columns became rows cannot stay packed, nor one whose blocks reach over the end of a row.
pub(super) fn load_packed(
    stored: &StoredTensor,
    compute: FloatDType,
    device: &Device,
) -> Result<Option<PackedWeight>, CheckpointError> {
    let (&[rows, columns], format) = (stored.shape(), stored.format()) else { return Ok(None) };
    let Some(row_bytes) = format.num_bytes(columns).filter(|_| is_packed(format, compute, device)) else {
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
