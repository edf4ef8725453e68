//! Widening of packed matrices.

use burn::tensor::{Int, Tensor, TensorData};

use crate::checkpoint::Format;

/// The values of a packed `[rows, columns]` matrix, in the device's float type.
pub fn unpack(bytes: Tensor<1, Int>, format: Format, shape: [usize; 2]) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let Some(values) = flex::unpack(&bytes, format, shape) {
        return values;
    }
    let device = bytes.device();
    let int_dtype = device.settings().int_dtype;
    let values = Tensor::<1>::from_data(TensorData::new(format.fp8_values(), [256]), &device);
    values.select(0, bytes.cast(int_dtype)).reshape(shape)
}

#[cfg(feature = "flex")]
mod flex {
    use burn::tensor::{DType, Int, Tensor, TensorData};
    use burn_flex::Flex;
    use rayon::prelude::*;

    use crate::checkpoint::Format;

    pub(super) fn unpack(bytes: &Tensor<1, Int>, format: Format, shape: [usize; 2]) -> Option<Tensor<2>> {
        let device = bytes.device();
        let primitive = bytes.clone().try_into_primitive::<Flex>().ok()?;
        let [rows, columns] = shape;
        let row_bytes = primitive.bytes().len() / rows.max(1);
        let mut values = vec![0f32; rows * columns];
        let rows = values.par_chunks_mut(columns).zip(primitive.bytes().par_chunks(row_bytes));
        rows.for_each(|(to, from)| format.widen(from, to));
        Some(Tensor::from_data(TensorData::new(values, shape), (&device, DType::F32)))
    }
}
