//! How far numbers are from the right ones.

use std::error::Error;

use burn::tensor::{DType, FloatDType, Tensor};
use diffusion_core::{Precision, Products};

/// What one operation loses: half of the last bit that a number has, with room for sums of them.
///
/// GPUs may round operands of f32 products to 10 bits (TF32), which is allowed for here; a wrong kernel is off by orders more.
pub(crate) fn unit(precision: Precision) -> f64 {
    if is_bf16(precision) { 4e-3 } else { 5e-4 }
}

/// Whether operands of products are bf16.
pub(crate) fn is_bf16(precision: Precision) -> bool {
    precision.compute == FloatDType::BF16 || precision.products == Products::Bf16
}

/// Its name in the table.
pub(crate) fn name(precision: Precision) -> &'static str {
    if is_bf16(precision) { "bf16" } else { "f32" }
}

/// Numbers of a tensor on the host, in f32.
pub(crate) fn numbers<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, Box<dyn Error>> {
    let values = tensor.cast(DType::F32).into_data().try_to_vec::<f32>();
    values.map_err(|error| format!("the result cannot be read: {error:?}").into())
}

/// Length of the difference, of the length of what is right. Infinite where there is no number.
pub(crate) fn relative_error(found: &[f32], right: &[f32]) -> f64 {
    let right: Vec<f64> = right.iter().map(|&value| value.into()).collect();
    relative_error_f64(found, &right)
}

/// As [`relative_error`].
pub(crate) fn relative_error_f64(found: &[f32], right: &[f64]) -> f64 {
    if found.len() != right.len() || !found.iter().all(|value| value.is_finite()) {
        return f64::INFINITY;
    }
    let difference: f64 = found.iter().zip(right).map(|(&found, right)| (f64::from(found) - right).powi(2)).sum();
    let length: f64 = right.iter().map(|value| value * value).sum();
    match (difference, length) {
        (0.0, _) => 0.0,
        (_, 0.0) => f64::INFINITY,
        _ => (difference / length).sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_and_what_is_no_number_is_infinitely_wrong() {
        assert_eq!(relative_error(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert_eq!(relative_error(&[3.0, 5.0], &[3.0, 4.0]), 0.2);
        assert_eq!(relative_error(&[0.0], &[0.0]), 0.0);
        for wrong in [&[f32::NAN, 4.0][..], &[f32::INFINITY, 4.0], &[3.0], &[]] {
            assert_eq!(relative_error(wrong, &[3.0, 4.0]), f64::INFINITY);
        }
        assert_eq!(relative_error(&[1e-30], &[0.0]), f64::INFINITY);
    }
}
