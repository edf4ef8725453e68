//! Tensors of whole numbers.

use diffusion_core::checkpoint::{CheckpointError, StoredTensor};
use diffusion_core::format::Format;
use safetensors::Dtype;

/// As many dimensions as a weight has, and more.
const MOST: usize = 16;

/// The numbers of a tensor, if they are whole by their format; at most the first few, as no more are ever needed.
///
/// # Errors
/// [`CheckpointError`] if the file cannot be read any more.
pub(super) fn integers(tensor: &StoredTensor) -> Result<Option<Vec<i128>>, CheckpointError> {
    let Format::Other(dtype) = tensor.format() else { return Ok(None) };
    tensor.check_unchanged()?;
    let bytes = tensor.bytes();
    Ok(Some(match dtype {
        Dtype::U8 => each(&bytes, |[byte]| byte.into()),
        Dtype::I8 => each(&bytes, |bytes| i8::from_le_bytes(bytes).into()),
        Dtype::U16 => each(&bytes, |bytes| u16::from_le_bytes(bytes).into()),
        Dtype::I16 => each(&bytes, |bytes| i16::from_le_bytes(bytes).into()),
        Dtype::U32 => each(&bytes, |bytes| u32::from_le_bytes(bytes).into()),
        Dtype::I32 => each(&bytes, |bytes| i32::from_le_bytes(bytes).into()),
        Dtype::U64 => each(&bytes, |bytes| u64::from_le_bytes(bytes).into()),
        Dtype::I64 => each(&bytes, |bytes| i64::from_le_bytes(bytes).into()),
        _ => return Ok(None),
    }))
}

fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> i128) -> Vec<i128> {
    bytes.as_chunks().0.iter().take(MOST).map(|bytes| number(*bytes)).collect()
}
