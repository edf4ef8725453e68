//! Products with weights as they are stored, on Burn's CPU backend.

use burn::tensor::{Int, Tensor};

use super::epilogue::Epilogue;
use super::products::Products;
use crate::format::Format;

/// A weight matrix, `[output_size, input_size]`, as it is stored.
#[cfg_attr(not(feature = "flex"), expect(dead_code, reason = "other backends do not look into it"))]
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

/// A linear layer as it is stored, and how it is computed.
#[cfg_attr(not(feature = "flex"), expect(dead_code, reason = "other backends do not look into it"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear<'a> {
    pub(crate) weight: StoredMatrix<'a>,
    /// `[output_size]`
    pub(crate) bias: Option<&'a Tensor<1>>,
    /// Added to the product, `[len, output_size]`: what an adapter makes of the input.
    pub(crate) beside: Option<&'a Tensor<2>>,
    pub(crate) products: Products,
}

impl<'a> Linear<'a> {
    /// The product alone.
    pub(crate) fn of(weight: StoredMatrix<'a>, products: Products) -> Self {
        Self { weight, bias: None, beside: None, products }
    }
}

/// `epilogue(input Wᵀ + bias + beside)` in f32, the weight widened piece by piece where it is multiplied: there is no widened
/// matrix.
///
/// Gradients are not followed. `None` where the general way must do: on other backends, for other types of the input, and where
/// autodiff watches.
///
/// # Shapes
/// - input: `[len, input_size]`, result: `[len, output_size]`
pub(crate) fn linear(input: &Tensor<2>, layer: &Linear<'_>, epilogue: Epilogue<'_>) -> Option<Tensor<2>> {
    #[cfg(feature = "flex")]
    return flex::linear(input, layer, epilogue);
    #[cfg(not(feature = "flex"))]
    {
        let _ = (input, layer, epilogue);
        None
    }
}

/// What [`StoredMatrix`] refers to, as long as a backward pass may need it.
#[cfg(all(feature = "flex", feature = "autodiff"))]
pub(crate) trait StoredValues: Send + Sync + 'static {
    /// Call `body` with the matrix.
    fn with(&self, body: &mut dyn FnMut(StoredMatrix<'_>));
}

/// `input Wᵀ + bias` and what low-rank factors add, `input downᵀ upᵀ`, recorded as one step: gradients reach the input and the factors and stop at the
/// weight, which is read as it is stored in both directions. `None` where autodiff watches nothing of it, and where
/// [`linear`] gives none.
///
/// # Shapes
/// - input: `[len, input_size]`, result: `[len, output_size]`; `[down, up]`: `[rank, input_size]`, `[output_size, rank]`
#[cfg(all(feature = "flex", feature = "autodiff"))]
pub(crate) fn recorded_linear(
    input: &Tensor<2>,
    weight: impl StoredValues,
    bias: Option<&Tensor<1>>,
    low_rank: Option<[&Tensor<2>; 2]>,
    products: Products,
) -> Option<Tensor<2>> {
    use super::recorded::{Computed, recorded};

    match low_rank {
        None => recorded([input], |[input]| {
            let output = product_with(&input, &weight, bias, None, products)?;
            Some(Computed::new(output, move |gradient, _| [input_gradient(&gradient, &weight, None, products)]))
        }),
        Some([down, up]) => recorded([input, down, up], |[input, down, up]| {
            let narrow = flex::product(&input, &down)?;
            let output = product_with(&input, &weight, bias, Some(&flex::product(&narrow, &up)?), products)?;
            Some(Computed::new(output, move |gradient, wanted| {
                let of_narrow = flex::input_gradient(&gradient, &Linear::of(StoredMatrix::Plain(&up), Products::Exact));
                let of_narrow = of_narrow.expect("a kernel for f32");
                let of_input = wanted[0].then(|| {
                    let beside = flex::input_gradient(&of_narrow, &Linear::of(StoredMatrix::Plain(&down), Products::Exact));
                    input_gradient(&gradient, &weight, beside.as_ref(), products)
                });
                let of_down = wanted[1].then(|| of_narrow.transpose().matmul(input.clone()));
                let of_up = wanted[2].then(|| gradient.transpose().matmul(narrow.clone()));
                [of_input.flatten(), of_down, of_up]
            }))
        }),
    }
}

/// `input Wᵀ + bias + beside`.
#[cfg(all(feature = "flex", feature = "autodiff"))]
fn product_with(
    input: &Tensor<2>,
    weight: &impl StoredValues,
    bias: Option<&Tensor<1>>,
    beside: Option<&Tensor<2>>,
    products: Products,
) -> Option<Tensor<2>> {
    let mut output = None;
    weight.with(&mut |weight| {
        output = linear(input, &Linear { bias, beside, ..Linear::of(weight, products) }, Epilogue::None);
    });
    output
}

/// `gradient W + beside`.
#[cfg(all(feature = "flex", feature = "autodiff"))]
fn input_gradient(
    gradient: &Tensor<2>,
    weight: &impl StoredValues,
    beside: Option<&Tensor<2>>,
    products: Products,
) -> Option<Tensor<2>> {
    let mut of_input = None;
    weight.with(&mut |weight| {
        of_input = flex::input_gradient(gradient, &Linear { beside, ..Linear::of(weight, products) });
    });
    of_input
}

#[cfg(feature = "flex")]
mod flex {
    use burn::tensor::{DType, Tensor};
    use burn_flex::{Flex, FlexTensor};
    use diffusion_kernels::{
        Activation, Cpu, HeadNorm, PerImage, Residual, Weight, WeightFormat, WidenRows, linear as multiply, normalise_heads,
    };

    use super::{Linear, StoredMatrix};
    use crate::format::Format;
    use crate::ops::epilogue::Epilogue;
    use crate::ops::flex::{bytes, contiguous, contiguous_option, numbers, numbers_option};
    use crate::ops::large_buffer::filled_f32;
    #[cfg(feature = "autodiff")]
    use crate::ops::products::Products;
    use crate::ops::rotations::flex::{rope, tables};

    pub(super) fn linear(input: &Tensor<2>, layer: &Linear<'_>, epilogue: Epilogue<'_>) -> Option<Tensor<2>> {
        let device = input.device();
        let [len, columns] = input.dims();
        let input = contiguous(input)?;
        let input = numbers(&input)?;
        let stored = Stored::of(layer.weight)?;
        let rows = Rows { bytes: bytes(&stored.tensor)?, format: stored.format, columns };
        let weight = stored.weight(&rows);
        let bias = contiguous_option(layer.bias)?;
        let beside = contiguous_option(layer.beside)?;
        let sums = diffusion_kernels::Epilogue {
            bias: numbers_option(bias.as_ref())?,
            beside: numbers_option(beside.as_ref())?,
            ..Default::default()
        };
        let (cpu, products) = (Cpu::detect(), layer.products.into());
        let shape = [len, stored.shape[0]];
        Some(match epilogue {
            Epilogue::None => filled_f32(shape, &device, |out| multiply(cpu, products, input, &weight, &sums, out)),
            Epilogue::Activation(activation) => {
                let sums = diffusion_kernels::Epilogue { activation: Activation::from(activation), ..sums };
                filled_f32(shape, &device, |out| multiply(cpu, products, input, &weight, &sums, out))
            }
            Epilogue::Residual { residual, gate } => {
                let [_, rows_per_image, _] = residual.dims();
                let residual = contiguous(residual)?;
                let gate = contiguous_option(gate)?;
                let gate = numbers_option(gate.as_ref())?.map(|gate| PerImage::new(gate, rows_per_image.max(1)));
                let residual = Residual::From(numbers(&residual)?);
                let sums = diffusion_kernels::Epilogue { gate, residual, ..sums };
                filled_f32(shape, &device, |out| multiply(cpu, products, input, &weight, &sums, out))
            }
            Epilogue::Heads(head_norm) => {
                let weight_of_norm = contiguous(&head_norm.norm.gamma.val())?;
                let norm = HeadNorm { weight: numbers(&weight_of_norm)?, epsilon: head_norm.norm.epsilon as f32 };
                let tables = tables(head_norm.rotations)?;
                let rope = rope(tables.as_ref())?;
                let heads = shape[1] / norm.weight.len();
                filled_f32(shape, &device, |out| {
                    multiply(cpu, products, input, &weight, &sums, out);
                    normalise_heads(cpu, norm, rope, heads, out);
                })
            }
        })
    }

    /// `input matrixᵀ`.
    #[cfg(feature = "autodiff")]
    pub(super) fn product(input: &Tensor<2>, matrix: &Tensor<2>) -> Option<Tensor<2>> {
        linear(input, &Linear::of(StoredMatrix::Plain(matrix), Products::Exact), Epilogue::None)
    }

    /// `gradient W + beside`: the gradient of the input of a layer, from that of its result.
    #[cfg(feature = "autodiff")]
    pub(super) fn input_gradient(gradient: &Tensor<2>, layer: &Linear<'_>) -> Option<Tensor<2>> {
        let device = gradient.device();
        let [len, _] = gradient.dims();
        let gradient = contiguous(gradient)?;
        let gradient = numbers(&gradient)?;
        let stored = Stored::of(layer.weight)?;
        let [_, columns] = stored.shape;
        let rows = Rows { bytes: bytes(&stored.tensor)?, format: stored.format, columns };
        let weight = stored.weight(&rows);
        let beside = contiguous_option(layer.beside)?;
        let sums =
            diffusion_kernels::Epilogue { beside: numbers_option(beside.as_ref())?, ..diffusion_kernels::Epilogue::default() };
        Some(filled_f32([len, columns], &device, |out| {
            multiply(Cpu::detect(), layer.products.into(), gradient, &Weight::transposed(&weight), &sums, out);
        }))
    }

    /// A matrix on the CPU.
    struct Stored {
        tensor: FlexTensor,
        format: Format,
        shape: [usize; 2],
        scale: Option<f32>,
    }

    impl Stored {
        fn of(weight: StoredMatrix<'_>) -> Option<Self> {
            Some(match weight {
                StoredMatrix::Plain(matrix) => {
                    let format = match matrix.dtype() {
                        DType::F32 => Format::F32,
                        DType::F16 => Format::F16,
                        DType::BF16 => Format::BF16,
                        _ => return None,
                    };
                    Self { tensor: contiguous(matrix)?, format, shape: matrix.dims(), scale: None }
                }
                StoredMatrix::Packed { bytes, format, shape, scale } => {
                    Self { tensor: bytes.clone().try_into_primitive::<Flex>().ok()?, format, shape, scale }
                }
            })
        }

        fn weight<'a>(&self, rows: &'a Rows<'a>) -> Weight<'a> {
            let weight = match kernel_format(self.format) {
                Some(format) => Weight::new(format, rows.bytes, self.shape),
                None => Weight::widened_by(rows, self.shape),
            };
            weight.scaled(self.scale.unwrap_or(1.0))
        }
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
    use crate::ops::{Activation, HeadNorm, Rotations, cast, unpack};

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
            let layer = Linear { bias: Some(&bias), ..Linear::of(weight, Products::Exact) };
            let found = linear(&input, &layer, Epilogue::None).unwrap_or_else(|| panic!("{name} is left to the general way"));
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
        let layer = Linear::of(StoredMatrix::Plain(&matrix), Products::Exact);
        assert!(linear(&half, &layer, Epilogue::None).is_none());
    }

    #[test]
    fn epilogues_follow_the_general_way() {
        let device = Device::flex();
        let mut generator = TorchGenerator::new(7);
        let mut random = |len: usize| generator.normal(len);
        let (batch, len, inputs, heads, head_dim) = (2, 7, 40, 3, 8);
        let outputs = heads * head_dim;
        let matrix = Tensor::<2>::from_data(TensorData::new(random(outputs * inputs), [outputs, inputs]), &device);
        let bias = Tensor::<1>::from_data(TensorData::new(random(outputs), [outputs]), &device);
        let beside = Tensor::<2>::from_data(TensorData::new(random(batch * len * outputs), [batch * len, outputs]), &device);
        let residual = Tensor::<3>::from_data(TensorData::new(random(batch * len * outputs), [batch, len, outputs]), &device);
        // A part of all modulations, as blocks take it.
        let all = Tensor::<2>::from_data(TensorData::new(random(batch * 3 * outputs), [batch, 3 * outputs]), &device);
        let gate = all.narrow(1, outputs, outputs);
        let mut norm = burn::nn::RmsNormConfig::new(head_dim).with_epsilon(1e-6).init(&device);
        let gamma = Tensor::<1>::from_data(TensorData::new(random(head_dim), [head_dim]), &device);
        norm.gamma = burn::module::Param::from_tensor(gamma);
        let positions: Vec<[usize; 1]> = (0..len).map(|position| [3 * position + 1]).collect();
        let rotations = Rotations::new(&positions, &[head_dim], 100.0, &device);
        let input = Tensor::<2>::from_data(TensorData::new(random(batch * len * inputs), [batch * len, inputs]), &device);
        let epilogues = [
            Epilogue::None,
            Epilogue::Activation(Activation::GeluTanh),
            Epilogue::Residual { residual: &residual, gate: None },
            Epilogue::Residual { residual: &residual, gate: Some(&gate) },
            Epilogue::Heads(HeadNorm { norm: &norm, rotations: None }),
            Epilogue::Heads(HeadNorm { norm: &norm, rotations: Some(&rotations) }),
        ];
        let sums = input.clone().matmul(matrix.clone().transpose()) + bias.clone().unsqueeze() + beside.clone();
        let layer =
            Linear { bias: Some(&bias), beside: Some(&beside), ..Linear::of(StoredMatrix::Plain(&matrix), Products::Exact) };
        for epilogue in epilogues {
            let expected = epilogue.apply(sums.clone());
            let found = linear(&input, &layer, epilogue).expect("a kernel for f32");
            let error = largest(found - expected.clone()) / largest(expected);
            assert!(error < 2e-6, "{epilogue:?}: {error}");
        }
    }

    /// Operands have 8 bits: the relative error of a product is at most 2^-8, that of a sum of random ones far smaller than the
    /// largest number.
    #[test]
    fn products_of_bf16_round_their_operands_alone() {
        let device = Device::flex();
        let mut generator = TorchGenerator::new(9);
        let matrix: Tensor<2> =
            Tensor::from_data(TensorData::new(generator.normal(OUTPUTS * INPUTS), [OUTPUTS, INPUTS]), &device);
        let input: Tensor<2> = Tensor::from_data(TensorData::new(generator.normal(5 * INPUTS), [5, INPUTS]), &device);
        let rounded = |x: &Tensor<2>| x.clone().cast(FloatDType::BF16).cast(FloatDType::F32);
        let layer = Linear::of(StoredMatrix::Plain(&matrix), Products::Bf16);
        let found = linear(&input, &layer, Epilogue::None).expect("a kernel for f32");
        let expected = rounded(&input).matmul(rounded(&matrix).transpose());
        let error = largest(found.clone() - expected.clone()) / largest(expected);
        assert!(error < 2e-6, "{error}");
        assert!(largest(found - input.matmul(matrix.transpose())) > 1e-3, "nothing was rounded");
    }
}
