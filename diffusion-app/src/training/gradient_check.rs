//! Whether a device computes gradients as the CPU does.
//!
//! Some do not: <https://github.com/tracel-ai/burn/issues/5162> tells of wrong ones, and of numbers that are none, where drawing is
//! right. Training would end in noise after hours.

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use diffusion_core::ops::{self, Activation, Attending, AttentionOptions, LowRank};
use thiserror::Error;

/// A device computes gradients that are not those of the CPU.
#[derive(Clone, Debug, PartialEq, Error)]
#[error(
    "this device computes wrong gradients: those of a LoRA's {factor} on a tiny block are {error:.1e} from the CPU's, at most {limit:.0e} \
     would be rounding; training on it would end in noise. Train on the CPU, or try another backend or driver"
)]
pub struct WrongGradients {
    /// The matrix whose gradient is the worst.
    pub factor: &'static str,
    /// The largest difference, as a share of the largest number.
    pub error: f64,
    /// What it may be.
    pub limit: f64,
}

/// Compare the gradients of low-rank factors on a device, computing in `compute`, with those on the CPU in f32.
///
/// # Errors
/// [`WrongGradients`] if they differ by more than rounding.
pub fn check_gradients(device: &Device, cpu: &Device, compute: FloatDType) -> Result<(), WrongGradients> {
    let limit = match compute {
        FloatDType::F32 | FloatDType::F64 => 1e-3,
        _ => 0.05,
    };
    compare(&gradients(device, compute), &gradients(cpu, FloatDType::F32), limit)
}

const NAMES: [&str; 3] = ["down matrix", "up matrix", "block input"];

fn compare(found: &[Vec<f32>; 3], expected: &[Vec<f32>; 3], limit: f64) -> Result<(), WrongGradients> {
    for ((factor, found), expected) in NAMES.into_iter().zip(found).zip(expected) {
        let largest = expected.iter().fold(0.0f64, |most, value| most.max(f64::from(value.abs())));
        let differences = found.iter().zip(expected).map(|(found, expected)| f64::from(found - expected).abs() / largest);
        // What is no number is larger than any limit.
        let error = differences.fold(0.0f64, |most, error| if most.is_nan() || error <= most { most } else { error });
        if found.len() != expected.len() || !error.is_finite() || error > limit {
            return Err(WrongGradients { factor, error, limit });
        }
    }
    Ok(())
}

const TOKENS: usize = 12;
const HEADS: usize = 2;
const WIDTH: usize = 16;
const RANK: usize = 3;

/// Gradients of the matrices of a LoRA, and of the input, of a block in miniature: a modulated norm, a frozen product with a LoRA
/// beside, attention and an activation.
fn gradients(device: &Device, compute: FloatDType) -> [Vec<f32>; 3] {
    let watched = |tensor: Tensor<2>| tensor.autodiff().require_grad();
    let down = watched(numbers(1.0, [RANK, WIDTH], device));
    let up = watched(numbers(2.0, [3 * WIDTH, RANK], device));
    let input = watched(numbers(3.0, [TOKENS, WIDTH], device));
    let [shift, scale] = [4.0, 5.0].map(|phase| ops::cast(numbers(phase, [1, WIDTH], device), compute));
    let weight: Tensor<2> = numbers(6.0, [3 * WIDTH, WIDTH], device);

    let tokens = ops::cast(input.clone(), compute).reshape([1, TOKENS, WIDTH]);
    let normed = ops::modulated_norm(tokens, &shift, &scale, 1e-6).reshape([TOKENS, WIDTH]);
    let wide = ops::frozen_product(normed.clone(), move |compute| ops::cast(weight.clone(), compute));
    let low_rank = LowRank { down: down.clone(), up: up.clone() };
    let all = (wide + low_rank.forward(normed)).reshape([1, TOKENS, 3 * WIDTH]);
    let [query, key, value] = [0, 1, 2].map(|part| all.clone().narrow(2, part * WIDTH, WIDTH));
    let [attended] = ops::attention([Attending { query, key, value }], HEADS, &AttentionOptions::default());
    let activated = Activation::GeluTanh.apply(attended.reshape([TOKENS, WIDTH])).cast(DType::F32);
    let loss = (activated * numbers(7.0, [TOKENS, WIDTH], device).autodiff()).sum();
    let gradients = loss.backward();
    [down, up, input].map(|leaf| {
        leaf.grad(&gradients).map_or_else(Vec::new, |gradient| gradient.cast(DType::F32).into_data().iter().collect())
    })
}

/// Numbers between -0.3 and 0.3, the same on every device: with larger ones, attention would look at one token only, and
/// gradients would be rounding.
fn numbers(phase: f64, [rows, columns]: [usize; 2], device: &Device) -> Tensor<2> {
    let values: Vec<f32> = (0..rows * columns).map(|at| (0.3 * (phase + 1.7 * at as f64).sin()) as f32).collect();
    Tensor::from_data(TensorData::new(values, [rows, columns]), (device, DType::F32))
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_computes_what_its_general_ways_do() {
        let cpu = Device::flex();
        check_gradients(&cpu, &cpu, FloatDType::F32).unwrap();
        // Burn's own operations, which other devices have, in place of the kernels.
        let general = gradients(&Device::flex().autodiff().gradient_checkpointing(), FloatDType::F32);
        compare(&general, &gradients(&cpu, FloatDType::F32), 1e-5).unwrap();
        assert!(general.iter().flatten().all(|gradient| gradient.abs() < 1e3));
    }

    #[test]
    fn wrong_gradients_are_refused_by_name() {
        let right = gradients(&Device::flex(), FloatDType::F32);
        let mut wrong = right.clone();
        wrong[1][5] += 0.1;
        assert_eq!(compare(&wrong, &right, 1e-3).unwrap_err().factor, "up matrix");
        wrong[0][0] = f32::NAN;
        assert_eq!(compare(&wrong, &right, 1e-3).unwrap_err().factor, "down matrix");
        wrong[0].clear();
        assert_eq!(compare(&wrong, &right, 1e-3).unwrap_err().factor, "down matrix");
    }
}
