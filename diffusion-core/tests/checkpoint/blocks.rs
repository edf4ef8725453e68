//! Decoders and encoders against an independent implementation: `gguf.quants` of Python's `gguf`, see
//! `generators/gguf_blocks.py`.

use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::format::{BlockSize, Format};
use diffusion_core::noise::TorchGenerator;

use crate::files::{data, values};

const BLOCK_FORMATS: [Format; 11] = [
    Format::Q4_0,
    Format::Q4_1,
    Format::Q5_0,
    Format::Q5_1,
    Format::Q8_0,
    Format::Q2K,
    Format::Q3K,
    Format::Q4K,
    Format::Q5K,
    Format::Q6K,
    Format::IQ4NL,
];

fn widened(format: Format, bytes: &[u8]) -> Vec<f32> {
    let block = format.block();
    let mut values = vec![0.0; bytes.len() / block.bytes * block.elements];
    format.widen_parallel(bytes, &mut values);
    values
}

fn narrowed(format: Format, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0xff; format.num_bytes(values.len()).unwrap()];
    format.narrow(values, &mut bytes);
    bytes
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn every_format_decodes_to_the_bit_as_gguf_does() {
    let fixture = Checkpoint::open(&data("blocks.safetensors")).unwrap();
    for format in BLOCK_FORMATS {
        let blocks = fixture.get(&format!("{format}.bytes")).unwrap();
        let expected = values(&fixture, &format!("{format}.values"));
        let BlockSize { elements, bytes } = format.block();
        assert_eq!(blocks.shape()[1], bytes, "{format}");
        assert_eq!(expected.len(), blocks.shape()[0] * elements, "{format}");
        assert_eq!(bits(&widened(format, &blocks.bytes())), bits(&expected), "{format}");
    }
}

#[test]
fn all_cores_decode_what_one_does() {
    for format in BLOCK_FORMATS {
        let block = format.block();
        let num_blocks = 150_000 / block.elements;
        let bytes: Vec<u8> = (0..num_blocks * block.bytes).map(|i| (i * 31 % 61) as u8).collect();
        let mut alone = vec![0.0; num_blocks * block.elements];
        format.widen(&bytes, &mut alone);
        assert_eq!(widened(format, &bytes), alone, "{format}");
    }
}

#[test]
fn q8_0_and_q4_0_encode_to_the_byte_as_gguf_does() {
    let fixture = Checkpoint::open(&data("blocks.safetensors")).unwrap();
    let numbers = values(&fixture, "encode.values");
    for format in [Format::Q8_0, Format::Q4_0] {
        let expected = fixture.get(&format!("encode.{format}")).unwrap().bytes();
        assert_eq!(narrowed(format, &numbers), expected, "{format}");
    }
}

fn root_mean_square(values: impl ExactSizeIterator<Item = f32>) -> f32 {
    let len = values.len() as f32;
    (values.map(|value| value * value).sum::<f32>() / len).sqrt()
}

/// Normal numbers with another mean and size in every block.
fn numbers() -> Vec<f32> {
    let normal = TorchGenerator::new(5).normal(64 * 256);
    let scale = |i: usize| 10f32.powi((i / 256 % 7) as i32 - 3);
    normal.iter().enumerate().map(|(i, x)| (x + (i / 1792) as f32 * 0.25) * scale(i)).collect()
}

#[test]
fn encoders_err_by_half_a_step_at_most() {
    let numbers = numbers();
    for (format, steps) in [(Format::Q8_0, 127.0), (Format::Q4_0, 8.0)] {
        let found = widened(format, &narrowed(format, &numbers));
        for (found, numbers) in found.chunks(32).zip(numbers.chunks(32)) {
            let largest = numbers.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            // The scale is rounded to half precision, at worst to a subnormal one. The number opposite to Q4_0's extreme has
            // no code of its own: it errs by a whole step.
            let scale = largest / steps;
            let rounding = steps * (scale * 2f32.powi(-11)).max(2f32.powi(-25));
            let bound = scale * if format == Format::Q4_0 { 1.0 } else { 0.5 } + rounding;
            let worst = found.iter().zip(numbers).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(worst <= bound, "{format}: {worst} of {bound}");
        }
    }
}

#[test]
fn q4_k_errs_less_than_q4_0_and_never_by_more_than_a_step() {
    let numbers = numbers();
    let [fine, coarse] = [Format::Q4K, Format::Q4_0].map(|format| widened(format, &narrowed(format, &numbers)));
    for block in 0..numbers.len() / 256 {
        let range = 256 * block..256 * (block + 1);
        let expected = &numbers[range.clone()];
        let error = |found: &[f32]| root_mean_square(found[range.clone()].iter().zip(expected).map(|(a, b)| a - b));
        assert!(error(&fine) < 0.95 * error(&coarse), "block {block}: {} and {}", error(&fine), error(&coarse));
        let (low, high) = expected.iter().fold((0f32, 0f32), |(low, high), &x| (low.min(x), high.max(x)));
        let worst = fine[range.clone()].iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(worst < (high - low) / 15.0, "block {block}: {worst}");
    }
}

#[test]
fn q4_k_keeps_zeros_and_constants() {
    for constant in [0.0f32, 1.0, -3.0, 0.1] {
        let found = widened(Format::Q4K, &narrowed(Format::Q4K, &[constant; 256]));
        // Scale and minimum are rounded to half precision.
        assert!(found.iter().all(|x| (x - constant).abs() <= 1e-3 * constant.abs()), "{constant}: {:?}", &found[..4]);
    }
}

#[test]
fn narrow_floats_are_the_nearest_ones() {
    let numbers: Vec<f32> = numbers().into_iter().map(|x| x.clamp(-448.0, 448.0)).chain([0.0, -0.0, 448.0, 0.001]).collect();
    let codes = Format::F8E4M3.fp8_values();
    let bytes = narrowed(Format::F8E4M3, &numbers);
    for (&number, &code) in numbers.iter().zip(&bytes) {
        let error = (codes[usize::from(code)] - number).abs();
        let best = codes.iter().map(|value| (value - number).abs()).fold(f32::INFINITY, f32::min);
        assert!(error <= best, "{number}: code {code:#x} errs by {error}, not {best}");
    }
    for (format, relative) in [(Format::F16, 2f32.powi(-11)), (Format::BF16, 2f32.powi(-8)), (Format::F32, 0.0)] {
        let found = widened(format, &narrowed(format, &numbers));
        let near =
            |a: f32, b: f32| (a - b).abs() <= b.abs() * relative + if format == Format::F16 { 2f32.powi(-25) } else { 0.0 };
        assert!(found.iter().zip(&numbers).all(|(&a, &b)| near(a, b)), "{format}");
    }
}

#[test]
fn a_part_of_a_block_has_no_size() {
    assert_eq!(Format::Q8_0.num_bytes(64), Some(68));
    assert_eq!(Format::Q8_0.num_bytes(63), None);
    assert_eq!(Format::F32.num_bytes(usize::MAX), None);
}
