//! Gradients no longer than a limit, all of them together.

use burn::tensor::Tensor;

/// Added to the norm that gradients are divided by. Reference: torch 2.15 `clip_grad.py`.
const EPSILON: f64 = 1e-6;

/// Gradients that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the gradients of {} parameters are not finite", parameters.len())]
pub struct GradientsNotFinite {
    /// The indices of the parameters, in order. None, if every gradient is finite, but not the sum of their squares.
    pub parameters: Vec<usize>,
}

/// The Euclidean norm of all gradients together. They are read from the device once.
///
/// # Errors
/// [`GradientsNotFinite`] if it is not finite.
pub fn global_norm(gradients: &[Tensor<2>]) -> Result<f64, GradientsNotFinite> {
    if gradients.is_empty() {
        return Ok(0.0);
    }
    let squares = gradients.iter().map(|gradient| gradient.clone().square().sum()).collect();
    let squares: Vec<f64> = Tensor::cat(squares, 0).into_data().iter::<f64>().collect();
    let norm = squares.iter().sum::<f64>().sqrt();
    if norm.is_finite() {
        return Ok(norm);
    }
    let not_finite = squares.iter().enumerate().filter(|(_, sum)| !sum.is_finite());
    Err(GradientsNotFinite { parameters: not_finite.map(|(index, _)| index).collect() })
}

/// Shorten all gradients alike, so that their norm together is at most `longest`. Returns the norm before.
///
/// Reference: `torch.nn.utils.clip_grad_norm_`.
///
/// # Errors
/// [`GradientsNotFinite`] if the norm is not finite; the gradients are then as they were.
pub fn clip_global_norm(gradients: &mut [Tensor<2>], longest: f64) -> Result<f64, GradientsNotFinite> {
    let norm = global_norm(gradients)?;
    let factor = longest / (norm + EPSILON);
    if factor < 1.0 {
        for gradient in gradients {
            *gradient = gradient.clone().mul_scalar(factor);
        }
    }
    Ok(norm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn a_norm_that_is_not_finite_is_told_and_changes_nothing() {
        let of = |values: [f32; 2]| Tensor::<2>::from_floats([values], &Device::flex());
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut gradients = [of([3.0, 4.0]), of([bad, 0.0]), of([5.0, 6.0])];
            let error = clip_global_norm(&mut gradients, 1.0).unwrap_err();
            assert_eq!(error, GradientsNotFinite { parameters: vec![1] });
            assert_eq!(gradients[0].clone().into_data().try_to_vec::<f32>().unwrap(), [3.0, 4.0]);
        }
        assert_eq!(clip_global_norm(&mut [], 1.0), Ok(0.0));
    }
}
