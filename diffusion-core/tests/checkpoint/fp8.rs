//! 8-bit floats, plain and scaled.

use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::format::Format;

use crate::files::{Tensor, assert_names, f32_bytes, open, safetensors, values};

/// 1, -1, 448 and the smallest number.
const WEIGHT: [u8; 4] = [0x38, 0xb8, 0x7e, 0x01];
const MARK: Tensor = ("scaled_fp8", "F8_E4M3", &[0], &[]);

fn weight(name: &'static str) -> Tensor<'static> {
    (name, "F8_E4M3", &[2, 2], &WEIGHT)
}

#[test]
fn a_plain_file_has_the_values_of_its_codes() {
    let checkpoint = open(&safetensors(&[weight("a.weight")])).unwrap();
    assert_eq!(checkpoint.get("a.weight").unwrap().format(), Format::F8E4M3);
    assert_eq!(values(&checkpoint, "a.weight"), [1.0, -1.0, 448.0, 2f32.powi(-9)]);
}

#[test]
fn a_scaled_file_has_its_values_scaled_and_its_scales_taken_out() {
    let scale = f32_bytes(&[0.5]);
    for (name, shape) in [("a.scale_weight", &[][..]), ("a.scale_weight", &[1]), ("a.weight_scale", &[])] {
        let input: Tensor = ("a.scale_input", "F32", &[], &scale);
        let file = safetensors(&[weight("a.weight"), (name, "F32", shape, &scale), input, MARK]);
        let checkpoint = open(&file).unwrap();
        assert_eq!(values(&checkpoint, "a.weight"), [0.5, -0.5, 224.0, 2f32.powi(-10)]);
        assert_eq!(checkpoint.tensors().count(), 1, "{name}");
    }
}

#[test]
fn a_missing_scale_is_an_error() {
    let scale = f32_bytes(&[0.5]);
    let file = safetensors(&[weight("a.weight"), ("a.scale_weight", "F32", &[], &scale), weight("te.b.weight"), MARK]);
    let error = open(&file).unwrap_err();
    assert!(matches!(error, CheckpointError::MissingScale { .. }));
    assert_names(&error, "broken.file", &["te.b.weight", "te.b.scale_weight"]);
}

#[test]
fn a_scale_of_the_wrong_shape_or_type_is_an_error() {
    let (scales, integer) = (f32_bytes(&[0.5, 0.25]), 7i32.to_le_bytes());
    let wrong: [(Tensor, &[&str]); 2] = [
        (("a.scale_weight", "F32", &[2], &scales), &["a.scale_weight", "one scale", "[2]"]),
        (("a.scale_weight", "I32", &[], &integer), &["a.scale_weight", "I32"]),
    ];
    for (scale, named) in wrong {
        let error = open(&safetensors(&[weight("a.weight"), scale, MARK])).unwrap_err();
        assert!(matches!(error, CheckpointError::DType { .. }));
        assert_names(&error, "broken.file", named);
    }
}

#[test]
fn a_scale_belongs_to_its_own_part_of_an_all_in_one_file() {
    let scales = [f32_bytes(&[2.0]), f32_bytes(&[4.0])];
    let file = safetensors(&[
        weight("te.a.weight"),
        ("te.a.scale_weight", "F32", &[], &scales[0]),
        ("te.scaled_fp8", "F8_E4M3", &[2], &[0, 0]),
        weight("unet.a.weight"),
        ("unet.a.scale_weight", "F32", &[], &scales[1]),
        ("unet.scaled_fp8", "F8_E4M3", &[2], &[0, 0]),
    ]);
    let checkpoint: Checkpoint = open(&file).unwrap();
    assert_eq!((values(&checkpoint, "te.a.weight")[0], values(&checkpoint, "unet.a.weight")[0]), (2.0, 4.0));
    assert_eq!(checkpoint.tensors().count(), 2);
}

#[test]
fn a_plain_part_beside_a_scaled_one_needs_no_scales() {
    let scale = f32_bytes(&[2.0]);
    let file = safetensors(&[
        weight("te.a.weight"),
        ("te.a.scale_weight", "F32", &[], &scale),
        ("te.scaled_fp8", "F8_E4M3", &[0], &[]),
        weight("unet.a.weight"),
    ]);
    let checkpoint = open(&file).unwrap();
    assert_eq!((values(&checkpoint, "te.a.weight")[0], values(&checkpoint, "unet.a.weight")[0]), (2.0, 1.0));
}
