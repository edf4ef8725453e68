//! Steps straight towards an image.

use burn::tensor::Tensor;
use diffusion_core::{SampleError, SamplerRun};

use super::run::{Advanced, run_steps};

/// The step of first order, exact for an image that does not change: Euler's, DDIM's and the first of every exponential
/// integrator. `(σ'/σ) x + (1 - σ'/σ) x₀`, since `α'(1 - e^-h) = 1 - σ'/σ` on either path.
pub(super) fn towards(x: Tensor<4>, denoised: Tensor<4>, sigma: f64, next: f64) -> Tensor<4> {
    if next == 0.0 {
        return denoised;
    }
    let kept = next / sigma;
    x * kept + denoised * (1.0 - kept)
}

/// All steps of a method that remembers one step.
///
/// The first and the last step go towards the image that the network sees. The others go towards `target`, which gets that
/// image, the image of the step before, and three levels: that of the step before, this one, the next.
pub(super) fn two_steps(
    run: SamplerRun<'_>,
    target: impl Fn(Tensor<4>, Tensor<4>, [f64; 3]) -> Tensor<4>,
) -> Result<Tensor<4>, SampleError> {
    // The image and the level of the step before.
    let mut before: Option<(Tensor<4>, f64)> = None;
    run_steps(run, |step, x| {
        let (sigma, next) = (step.sigma, step.next);
        let denoised = step.denoised(&x, sigma)?;
        let image = match before.take() {
            Some((old, old_sigma)) if next > 0.0 => target(denoised.clone(), old, [old_sigma, sigma, next]),
            _ => denoised.clone(),
        };
        before = Some((denoised.clone(), sigma));
        Ok(Advanced { latents: towards(x, image, sigma, next), denoised })
    })
}
