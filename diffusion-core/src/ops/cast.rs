//! Conversion between float types.

use burn::tensor::{DType, FloatDType, Tensor};

/// Convert `tensor` to `dtype`; free when it already is of that type.
pub fn cast<const D: usize>(tensor: Tensor<D>, dtype: FloatDType) -> Tensor<D> {
    if tensor.dtype() == DType::from(dtype) {
        return tensor;
    }
    #[cfg(feature = "flex")]
    if let Some(widened) = flex::widen(&tensor, dtype) {
        return widened;
    }
    tensor.cast(dtype)
}

#[cfg(feature = "flex")]
mod flex {
    use burn::tensor::{DType, FloatDType, Tensor};
    use burn_flex::Flex;

    use crate::format::Format;
    use crate::ops::large_buffer::filled_f32;

    /// Half precision to f32 on all cores; `None` where the general way must do.
    pub(super) fn widen<const D: usize>(tensor: &Tensor<D>, dtype: FloatDType) -> Option<Tensor<D>> {
        let format = match (tensor.dtype(), dtype) {
            (DType::F16, FloatDType::F32) => Format::F16,
            (DType::BF16, FloatDType::F32) => Format::BF16,
            _ => return None,
        };
        let device = tensor.device();
        let shape = tensor.shape();
        let primitive = tensor.clone().try_into_primitive::<Flex>().ok()?;
        let (start, end) = primitive.layout().contiguous_offsets()?;
        let bytes = &primitive.bytes()[2 * start..2 * end];
        Some(filled_f32(shape.dims::<D>(), &device, |values| format.widen_parallel(bytes, values)))
    }
}
