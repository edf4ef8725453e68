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
    use burn::tensor::{DType, FloatDType, Tensor, TensorData};
    use burn_flex::Flex;
    use rayon::prelude::*;

    use crate::checkpoint::Format;

    /// Elements that one task widens: large enough to be worth a task, small enough for all cores to have some.
    const TASK: usize = 1 << 16;

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
        let mut values = vec![0f32; end - start];
        values.par_chunks_mut(TASK).zip(bytes.par_chunks(2 * TASK)).for_each(|(to, from)| format.widen(from, to));
        Some(Tensor::from_data(TensorData::new(values, shape), (&device, DType::F32)))
    }
}
