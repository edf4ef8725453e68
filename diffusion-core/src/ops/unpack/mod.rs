//! Widening of packed matrices.

mod blocks;

use burn::tensor::{Int, Tensor};

use crate::format::Format;

/// The values of a packed `[rows, columns]` matrix, in the device's float type.
///
/// `bytes` are those of the file. On Burn's CPU backend (feature `flex`) all cores decode them; on other devices every format
/// is decoded by tensor operations on the device.
///
/// # Panics
/// If `format` is not packed, or the bytes are not those of whole rows.
pub fn unpack(bytes: Tensor<1, Int>, format: Format, shape: [usize; 2]) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let Some(values) = flex::unpack(&bytes, format, shape) {
        return values;
    }
    blocks::unpack(bytes, format).reshape(shape)
}

#[cfg(feature = "flex")]
mod flex {
    use burn::tensor::{Int, Tensor};
    use burn_flex::Flex;

    use crate::format::Format;
    use crate::ops::large_buffer::filled_f32;

    pub(super) fn unpack(bytes: &Tensor<1, Int>, format: Format, shape: [usize; 2]) -> Option<Tensor<2>> {
        let device = bytes.device();
        let primitive = bytes.clone().try_into_primitive::<Flex>().ok()?;
        let (start, end) = primitive.layout().contiguous_offsets()?;
        let bytes = &primitive.bytes()[start..end];
        Some(filled_f32(shape, &device, |values| format.widen_parallel(bytes, values)))
    }
}
