//! Decoding in tensor operations, for devices whose memory the host cannot read.
//!
//! The layouts are explained where the host decodes them, in `checkpoint/blocks`.

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};

use crate::format::{Format, IQ4_NL_VALUES};

/// All numbers of whole blocks, `[blocks, numbers per block]`.
pub(super) fn unpack(bytes: Tensor<1, Int>, format: Format) -> Tensor<2> {
    let blocks = Blocks::new(bytes, format);
    match format {
        Format::BF16 => blocks.brain_floats(),
        Format::F8E4M3 | Format::F8E5M2 => look_up(blocks.bytes, &format.fp8_values()[..]),
        Format::Q4_0 => (blocks.nibbles(2..18, 1).float() - 8.0) * blocks.half(0),
        Format::Q4_1 => blocks.nibbles(4..20, 1).float() * blocks.half(0) + blocks.half(2),
        Format::Q5_0 => {
            let codes = blocks.nibbles(6..22, 1) + blocks.bits(2..6, 4, &EACH_BIT, 1).mul_scalar(16);
            (codes.float() - 16.0) * blocks.half(0)
        }
        Format::Q5_1 => {
            let codes = blocks.nibbles(8..24, 1) + blocks.bits(4..8, 4, &EACH_BIT, 1).mul_scalar(16);
            codes.float() * blocks.half(0) + blocks.half(2)
        }
        Format::Q8_0 => blocks.signed(2..34).float() * blocks.half(0),
        Format::IQ4NL => look_up(blocks.nibbles(2..18, 1), &IQ4_NL_VALUES.map(f32::from)) * blocks.half(0),
        Format::Q2K => {
            let scales = blocks.bits(0..16, 1, &[0], 15).float() * blocks.half(80);
            let minima = blocks.bits(0..16, 1, &[4], 15).float() * blocks.half(82);
            scale_sub_blocks(blocks.bits(16..80, 2, &EACH_PAIR, 3).float(), scales, Some(minima))
        }
        Format::Q3K => {
            let low = blocks.bits(96..104, 1, &[0, 4], 15);
            let high = blocks.bits(104..108, 1, &EACH_PAIR, 3);
            let scales = ((low + high.mul_scalar(16)).float() - 32.0) * blocks.half(108);
            let codes = blocks.bits(32..96, 2, &EACH_PAIR, 3) + blocks.bits(0..32, 1, &EACH_BIT, 1).mul_scalar(4);
            scale_sub_blocks(codes.float() - 4.0, scales, None)
        }
        Format::Q4K => {
            let (scales, minima) = blocks.scales_and_minima();
            scale_sub_blocks(blocks.nibbles(16..144, 4).float(), scales, Some(minima))
        }
        Format::Q5K => {
            let (scales, minima) = blocks.scales_and_minima();
            let codes = blocks.nibbles(48..176, 4) + blocks.bits(16..48, 1, &EACH_BIT, 1).mul_scalar(16);
            scale_sub_blocks(codes.float(), scales, Some(minima))
        }
        Format::Q6K => {
            let codes = blocks.nibbles(0..128, 2) + blocks.bits(128..192, 2, &EACH_PAIR, 3).mul_scalar(16);
            scale_sub_blocks(codes.float() - 32.0, blocks.signed(192..208).float() * blocks.half(208), None)
        }
        Format::F64 | Format::F32 | Format::F16 | Format::Other(_) => panic!("{format} is not packed"),
    }
}

const EACH_BIT: [i32; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
const EACH_PAIR: [i32; 4] = [0, 2, 4, 6];

/// Bytes of blocks, `[blocks, bytes per block]`.
struct Blocks {
    bytes: Tensor<2, Int>,
}

impl Blocks {
    fn new(bytes: Tensor<1, Int>, format: Format) -> Self {
        let [len] = bytes.dims();
        let block_bytes = format.block().bytes;
        let int_dtype = bytes.device().settings().int_dtype;
        Self { bytes: bytes.cast(int_dtype).reshape([len / block_bytes, block_bytes]) }
    }

    fn field(&self, range: Range<usize>) -> Tensor<2, Int> {
        self.bytes.clone().narrow(1, range.start, range.len())
    }

    /// The bytes `range` in `groups` groups of equal size; of each group, `mask` of all bytes at the first of `shifts`, then
    /// at the second, and so on.
    fn bits(&self, range: Range<usize>, groups: usize, shifts: &[i32], mask: i32) -> Tensor<2, Int> {
        let [num_blocks, _] = self.bytes.dims();
        let group_len = range.len() / groups;
        let numbers = range.len() * shifts.len();
        let field = self.field(range).reshape([num_blocks * groups, 1, group_len]);
        let shifted = match shifts {
            [0] => field,
            [shift] => field.bitwise_right_shift_scalar(*shift),
            shifts => {
                let (device, dtype) = (field.device(), field.dtype());
                let data = TensorData::new(shifts.to_vec(), [1, shifts.len(), 1]);
                field.bitwise_right_shift(Tensor::from_data(data, (&device, dtype)))
            }
        };
        shifted.bitwise_and_scalar(mask).reshape([num_blocks, numbers])
    }

    fn nibbles(&self, range: Range<usize>, groups: usize) -> Tensor<2, Int> {
        self.bits(range, groups, &[0, 4], 15)
    }

    /// Bytes as signed numbers.
    fn signed(&self, range: Range<usize>) -> Tensor<2, Int> {
        self.field(range).add_scalar(128).bitwise_and_scalar(255).sub_scalar(128)
    }

    /// Numbers of bf16, `[blocks, 1]`; infinity for what is no number, and zero for what is nearer to it than 2⁻¹²⁵.
    fn brain_floats(&self) -> Tensor<2> {
        // The upper byte has the sign and all bits of the exponent but the last.
        let powers: Vec<f32> = (0..=255u32).map(|upper| f32::from_bits(upper << 24)).collect();
        let factors = (0..=255u8).map(|lower| (1.0 + f32::from(lower & 127) / 128.0) * if lower < 128 { 1.0 } else { 2.0 });
        look_up(self.field(1..2), &powers) * look_up(self.field(0..1), &factors.collect::<Vec<_>>())
    }

    /// The half-precision number at byte `at`, `[blocks, 1]`; infinity for what is no number.
    fn half(&self, at: usize) -> Tensor<2> {
        let high = self.field(at + 1..at + 2);
        let fraction = self.field(at..at + 1) + high.clone().bitwise_and_scalar(3).mul_scalar(256);
        let sign_and_exponent = high.bitwise_right_shift_scalar(2);
        let exponents = (0..64i32).map(|code| (code & 31, if code < 32 { 1f32 } else { -1.0 }));
        let units: Vec<f32> = exponents.clone().map(|(exponent, sign)| sign * unit(exponent)).collect();
        let implicit_bits: Vec<f32> = exponents.map(|(exponent, _)| if exponent == 0 { 0.0 } else { 1024.0 }).collect();
        (fraction.float() + look_up(sign_and_exponent.clone(), &implicit_bits)) * look_up(sign_and_exponent, &units)
    }

    /// The eight scales and minima of `Q4_K` and `Q5_K`, `[blocks, 8]`.
    fn scales_and_minima(&self) -> (Tensor<2>, Tensor<2>) {
        let first = |range: Range<usize>| self.bits(range, 1, &[0], 63);
        let second =
            |low: i32, range: Range<usize>| self.bits(12..16, 1, &[low], 15) + self.bits(range, 1, &[6], 3).mul_scalar(16);
        let scales = Tensor::cat(vec![first(4..8), second(0, 4..8)], 1);
        let minima = Tensor::cat(vec![first(8..12), second(4, 8..12)], 1);
        (scales.float() * self.half(0), minima.float() * self.half(2))
    }
}

/// The weight of the last bit of a half-precision number.
fn unit(exponent: i32) -> f32 {
    match exponent {
        0 => 2f32.powi(-24),
        31 => f32::INFINITY,
        _ => 2f32.powi(exponent - 25),
    }
}

fn look_up(codes: Tensor<2, Int>, values: &[f32]) -> Tensor<2> {
    let dims = codes.dims();
    let values = Tensor::<1>::from_data(TensorData::from(values), &codes.device());
    values.select(0, codes.reshape([dims[0] * dims[1]])).reshape(dims)
}

/// `scale · code - minimum` with one scale and minimum, `[blocks, sub-blocks]`, for each of the sub-blocks of equal size.
fn scale_sub_blocks(codes: Tensor<2>, scales: Tensor<2>, minima: Option<Tensor<2>>) -> Tensor<2> {
    let [num_blocks, len] = codes.dims();
    let [_, sub_blocks] = scales.dims();
    let codes = codes.reshape([num_blocks, sub_blocks, len / sub_blocks]);
    let scaled = codes * scales.unsqueeze_dim::<3>(2);
    let values = match minima {
        Some(minima) => scaled - minima.unsqueeze_dim::<3>(2),
        None => scaled,
    };
    values.reshape([num_blocks, len])
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};

    use super::*;
    use crate::noise::TorchGenerator;

    /// The host's decoders are compared with an independent implementation elsewhere; these must agree with them to the bit.
    #[test]
    fn devices_decode_every_format_as_the_host_does() {
        let device = Device::flex();
        let formats = [Format::Q4_0, Format::Q4_1, Format::Q5_0, Format::Q5_1, Format::Q8_0, Format::IQ4NL];
        let formats = formats.into_iter().chain([Format::Q2K, Format::Q3K, Format::Q4K, Format::Q5K, Format::Q6K]);
        for format in formats.chain([Format::F8E4M3, Format::F8E5M2]) {
            let block = format.block();
            let noise = TorchGenerator::new(7).normal(20 * block.bytes);
            // Bit 6 of every byte is off: half-precision scales are finite then, and subnormal in half of the cases.
            let bytes: Vec<u8> = noise.iter().map(|x| (x * 100.0) as i32 as u8 & 0b1011_1111).collect();
            let mut expected = vec![0f32; 20 * block.elements];
            format.widen(&bytes, &mut expected);
            let len = bytes.len();
            let bytes = Tensor::<1, Int>::from_data(TensorData::new(bytes, [len]), (&device, DType::U8));
            let found: Vec<f32> = unpack(bytes, format).into_data().try_into_vec().unwrap();
            assert_eq!(found, expected, "{format}");
        }
    }

    #[test]
    fn devices_know_every_number_of_bf16() {
        let numbers: Vec<half::bf16> = (0..=u16::MAX).map(half::bf16::from_bits).filter(|number| !number.is_nan()).collect();
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let bytes = Tensor::<1, Int>::from_data(TensorData::new(bytes, [2 * numbers.len()]), (&Device::flex(), DType::U8));
        let found: Vec<f32> = unpack(bytes, Format::BF16).into_data().try_into_vec().unwrap();
        let smallest = 2f32.powi(-125);
        let expected = numbers.iter().map(|number| number.to_f32()).map(|x| if x.abs() < smallest { x * 0.0 } else { x });
        assert_eq!(found, expected.collect::<Vec<_>>());
    }

    #[test]
    fn devices_know_every_finite_half_precision_number() {
        let halves: Vec<half::f16> = (0..=u16::MAX).map(half::f16::from_bits).filter(|half| half.is_finite()).collect();
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        let bytes = Tensor::<1, Int>::from_data(TensorData::new(bytes, [2 * halves.len()]), (&Device::flex(), DType::U8));
        let blocks = Blocks { bytes: bytes.cast(DType::I32).reshape([halves.len(), 2]) };
        let found: Vec<f32> = blocks.half(0).into_data().try_into_vec().unwrap();
        assert_eq!(found, halves.iter().map(|half| half.to_f32()).collect::<Vec<_>>());
    }
}
