//! Checkpoints that tests take apart and put together again.

#![allow(dead_code, reason = "every test program uses a part")]

use std::collections::BTreeMap;
use std::path::Path;

use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::format::Format;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};

/// The tensors of a file by name.
pub(crate) type RawTensors = BTreeMap<String, RawTensor>;

/// A tensor as a file has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RawTensor {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl RawTensor {
    /// Values rounded to a float format.
    pub(crate) fn new(dtype: Dtype, shape: &[usize], values: &[f32]) -> Self {
        let bytes = match dtype {
            Dtype::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Dtype::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
            Dtype::BF16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
            Dtype::F8_E4M3 => to_fp8(Format::F8E4M3, values),
            Dtype::F8_E5M2 => to_fp8(Format::F8E5M2, values),
            other => panic!("no conversion to {other:?}"),
        };
        Self { dtype, shape: shape.to_vec(), bytes }
    }

    /// Zeros of any format.
    pub(crate) fn zeros(dtype: Dtype, shape: &[usize]) -> Self {
        let bits = dtype.bitsize() * shape.iter().product::<usize>();
        Self { dtype, shape: shape.to_vec(), bytes: vec![0; bits / 8] }
    }

    pub(crate) fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.shape.iter().product()];
        Format::from(self.dtype).widen(&self.bytes, &mut values);
        values
    }
}

/// The nearest codes of an 8-bit float.
fn to_fp8(format: Format, values: &[f32]) -> Vec<u8> {
    let mut codes: Vec<(f32, u8)> =
        format.fp8_values().iter().copied().zip(0..=255).filter(|(value, _)| value.is_finite()).collect();
    codes.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let nearest = |&value: &f32| {
        let above = codes.partition_point(|&(code, _)| code < value).clamp(1, codes.len() - 1);
        let (low, high) = (codes[above - 1], codes[above]);
        if value - low.0 < high.0 - value { low.1 } else { high.1 }
    };
    values.iter().map(nearest).collect()
}

/// All tensors of a checkpoint.
pub(crate) fn read(checkpoint: &Checkpoint) -> RawTensors {
    let raw = |(name, tensor): (&str, &diffusion_core::checkpoint::StoredTensor)| {
        let dtype = match tensor.format() {
            Format::F32 => Dtype::F32,
            Format::F16 => Dtype::F16,
            Format::BF16 => Dtype::BF16,
            other => panic!("{name} is stored as {other}"),
        };
        (name.to_owned(), RawTensor { dtype, shape: tensor.shape().to_vec(), bytes: tensor.bytes().to_vec() })
    };
    checkpoint.tensors().map(raw).collect()
}

/// Write a file.
pub(crate) fn write(path: &Path, tensors: &RawTensors) {
    let views: Vec<(&String, TensorView<'_>)> = tensors
        .iter()
        .map(|(name, tensor)| (name, TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes).unwrap()))
        .collect();
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// The same tensors with other contents.
pub(crate) fn map(tensors: &RawTensors, change: impl Fn(&str, &RawTensor) -> RawTensor) -> RawTensors {
    tensors.iter().map(|(name, tensor)| (name.clone(), change(name, tensor))).collect()
}
