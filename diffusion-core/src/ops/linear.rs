//! Products with weights as they are stored, on Burn's CPU backend.

use burn::tensor::{Int, Tensor};

use crate::format::Format;

/// A weight matrix, `[output_size, input_size]`, as it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StoredMatrix<'a> {
    /// In f32, f16 or bf16.
    Plain(&'a Tensor<2>),
    /// The bytes of a file.
    Packed {
        /// Row by row.
        bytes: &'a Tensor<1, Int>,
        /// How its numbers are stored.
        format: Format,
        /// `[output_size, input_size]`
        shape: [usize; 2],
        /// Factor of all numbers.
        scale: Option<f32>,
    },
}

/// `input Wᵀ + bias` in f32, the weight widened piece by piece where it is multiplied: there is no widened matrix.
///
/// Gradients are not followed. `None` where the general way must do: on other backends, for other types of the input, and where
/// autodiff watches.
///
/// # Shapes
/// - input: `[len, input_size]`, bias: `[output_size]`, result: `[len, output_size]`
pub(crate) fn linear(input: &Tensor<2>, weight: StoredMatrix<'_>, bias: Option<&Tensor<1>>) -> Option<Tensor<2>> {
    #[cfg(feature = "flex")]
    return flex::linear(input, weight, bias);
    #[cfg(not(feature = "flex"))]
    {
        let _ = (input, weight, bias);
        None
    }
}

#[cfg(feature = "flex")]
mod flex {
    use burn::tensor::{DType, Tensor};
    use burn_flex::{Flex, FlexTensor};
    use diffusion_kernels::{Cpu, Epilogue, Products, Weight, WeightFormat, WidenRows, linear as multiply};

    use super::StoredMatrix;
    use crate::format::Format;
    use crate::ops::large_buffer::filled_f32;

    pub(super) fn linear(input: &Tensor<2>, weight: StoredMatrix<'_>, bias: Option<&Tensor<1>>) -> Option<Tensor<2>> {
        let device = input.device();
        let [len, columns] = input.dims();
        let input = input.clone().try_into_primitive::<Flex>().ok()?;
        let input = input.as_slice::<f32>()?;
        let bias = bias.map(|bias| bias.clone().try_into_primitive::<Flex>().ok()).map_or(Some(None), |bias| bias.map(Some))?;
        let bias = match &bias {
            Some(bias) => Some(bias.as_slice::<f32>()?),
            None => None,
        };
        let (stored, format, shape, scale) = match weight {
            StoredMatrix::Plain(matrix) => {
                let format = match matrix.dtype() {
                    DType::F32 => Format::F32,
                    DType::F16 => Format::F16,
                    DType::BF16 => Format::BF16,
                    _ => return None,
                };
                (matrix.clone().try_into_primitive::<Flex>().ok()?, format, matrix.dims(), None)
            }
            StoredMatrix::Packed { bytes, format, shape, scale } => {
                (bytes.clone().try_into_primitive::<Flex>().ok()?, format, shape, scale)
            }
        };
        let rows = Rows { bytes: contiguous_bytes(&stored)?, format, columns };
        let weight = match kernel_format(format) {
            Some(format) => Weight::new(format, rows.bytes, shape),
            None => Weight::widened_by(&rows, shape),
        };
        let weight = weight.scaled(scale.unwrap_or(1.0));
        let epilogue = Epilogue { bias, ..Epilogue::default() };
        let compute = |output: &mut [f32]| multiply(Cpu::detect(), Products::F32, input, &weight, &epilogue, output);
        Some(filled_f32([len, shape[0]], &device, compute))
    }

    fn contiguous_bytes(stored: &FlexTensor) -> Option<&[u8]> {
        let (start, end) = stored.layout().contiguous_offsets()?;
        let size = stored.dtype().size();
        Some(&stored.bytes()[size * start..size * end])
    }

    /// Formats that the kernels read themselves.
    fn kernel_format(format: Format) -> Option<WeightFormat> {
        Some(match format {
            Format::F32 => WeightFormat::F32,
            Format::F16 => WeightFormat::F16,
            Format::BF16 => WeightFormat::Bf16,
            Format::F8E4M3 => WeightFormat::F8E4M3,
            Format::F8E5M2 => WeightFormat::F8E5M2,
            Format::Q8_0 => WeightFormat::Q8_0,
            Format::Q4_0 => WeightFormat::Q4_0,
            Format::Q4K => WeightFormat::Q4_K,
            _ => return None,
        })
    }

    /// A matrix in any other format.
    struct Rows<'a> {
        bytes: &'a [u8],
        format: Format,
        columns: usize,
    }

    impl WidenRows for Rows<'_> {
        fn block_len(&self) -> usize {
            self.format.block().elements
        }

        fn widen(&self, row: usize, first: usize, out: &mut [f32]) {
            let block = self.format.block();
            let bytes_of = |numbers: usize| numbers / block.elements * block.bytes;
            let start = bytes_of(row * self.columns + first);
            self.format.widen(&self.bytes[start..start + bytes_of(out.len())], out);
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{AllocationProperty, Bytes, DType, Device, FloatDType, TensorData};

    use super::*;
    use crate::noise::TorchGenerator;
    use crate::ops::{cast, unpack};

    const OUTPUTS: usize = 70;
    const INPUTS: usize = 512;

    fn largest(x: Tensor<2>) -> f32 {
        x.abs().max().into_scalar()
    }

    /// Compare with the product of the widened matrix. The sums of some hundred products are added in another order.
    fn assert_is_the_product(name: &str, weight: StoredMatrix<'_>, widened: Tensor<2>) {
        let device = Device::flex();
        let mut generator = TorchGenerator::new(5);
        let bias: Tensor<1> = Tensor::from_data(TensorData::new(generator.normal(OUTPUTS), [OUTPUTS]), &device);
        for len in [1, 3, 77] {
            let input: Tensor<2> = Tensor::from_data(TensorData::new(generator.normal(len * INPUTS), [len, INPUTS]), &device);
            let expected = input.clone().matmul(widened.clone().transpose()) + bias.clone().unsqueeze();
            let found = linear(&input, weight, Some(&bias)).unwrap_or_else(|| panic!("{name} is left to the general way"));
            let error = largest(found - expected.clone()) / largest(expected);
            assert!(error < 2e-6, "{name}, {len} rows: {error}");
        }
    }

    #[test]
    fn matrices_of_tensors_are_multiplied_as_their_widened_ones() {
        let device = Device::flex();
        let numbers = TorchGenerator::new(6).normal(OUTPUTS * INPUTS);
        for dtype in [FloatDType::F32, FloatDType::F16, FloatDType::BF16] {
            let matrix = cast(Tensor::from_data(TensorData::new(numbers.clone(), [OUTPUTS, INPUTS]), &device), dtype);
            assert_is_the_product(&format!("{dtype:?}"), StoredMatrix::Plain(&matrix), cast(matrix.clone(), FloatDType::F32));
        }
    }

    #[test]
    fn packed_matrices_are_multiplied_as_their_widened_ones() {
        let device = Device::flex();
        // Formats that the kernels read, and others.
        for format in [Format::Q8_0, Format::Q4_0, Format::Q4K, Format::F8E4M3, Format::F8E5M2, Format::Q5_0, Format::Q6K] {
            let len = format.num_bytes(OUTPUTS * INPUTS).unwrap();
            // Small scales and no numbers that are none, whatever the format.
            let bytes = (0..len).map(|index| (index * 31 % 61) as u8).collect::<Vec<u8>>();
            let data = TensorData::from_bytes(Bytes::from_shared(bytes.into(), AllocationProperty::Other), [len], DType::U8);
            let bytes: Tensor<1, Int> = Tensor::from_data(data, (&device, DType::U8));
            let shape = [OUTPUTS, INPUTS];
            let widened = unpack(bytes.clone(), format, shape).mul_scalar(0.5);
            let weight = StoredMatrix::Packed { bytes: &bytes, format, shape, scale: Some(0.5) };
            assert_is_the_product(&format.to_string(), weight, widened);
        }
    }

    #[test]
    fn what_is_no_f32_is_left_to_the_general_way() {
        let device = Device::flex();
        let matrix = Tensor::<2>::ones([4, 8], &device);
        let half = cast(Tensor::<2>::ones([2, 8], &device), FloatDType::F16);
        assert!(linear(&half, StoredMatrix::Plain(&matrix), None).is_none());
    }
}
