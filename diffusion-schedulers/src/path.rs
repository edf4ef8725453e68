//! The mixture of image and noise at a noise level.

use burn::tensor::Tensor;
use diffusion_core::{ScheduleError, Sigmas};

/// The mixture `x = α x₀ + σ ε` that a network was trained on.
///
/// Deterministic samplers that use the velocity alone run unchanged on either path. Those that add noise, and those that
/// step in the signal-to-noise ratio, need to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoisePath {
    /// `x = (1 - σ) x₀ + σ ε` with σ from 1 to 0: rectified flow, such as that of Stable Diffusion 3 and FLUX.1.
    Flow,
    /// `x = x₀ + σ ε` with σ from about 15 to 0: the epsilon and v-prediction models, such as Stable Diffusion 1 to XL.
    ///
    /// Their own formulas preserve the variance, `x / sqrt(1 + σ²)`; see
    /// [`VariancePreserving`](crate::variance_preserving::VariancePreserving) for the way there and back. In the variables of
    /// this path every formula of theirs is the one given here.
    VarianceExploding,
}

impl NoisePath {
    /// Share of the image in the mixture, α.
    pub fn alpha(self, sigma: f64) -> f64 {
        match self {
            Self::Flow => (1.0 - sigma).max(0.0),
            Self::VarianceExploding => 1.0,
        }
    }

    /// Half the logarithm of the signal-to-noise ratio, `λ = ln(α / σ)`: +∞ without noise, -∞ for pure noise.
    pub fn half_log_snr(self, sigma: f64) -> f64 {
        (self.alpha(sigma) / sigma).ln()
    }

    /// The noise level at half the logarithm of the signal-to-noise ratio.
    pub fn sigma_at(self, half_log_snr: f64) -> f64 {
        match self {
            Self::Flow => 1.0 / (1.0 + half_log_snr.exp()),
            Self::VarianceExploding => (-half_log_snr).exp(),
        }
    }

    /// The mixture of an image with noise at a level: the start of image to image.
    pub fn mix(self, image: Tensor<4>, noise: Tensor<4>, sigma: f64) -> Tensor<4> {
        image * self.alpha(sigma) + noise * sigma
    }

    /// The noise ε that a velocity implies for latents at a level.
    pub fn noise_of(self, latents: Tensor<4>, velocity: Tensor<4>, sigma: f64) -> Tensor<4> {
        match self {
            Self::Flow => latents + velocity * (1.0 - sigma),
            Self::VarianceExploding => velocity,
        }
    }

    /// Check that the levels are on the path.
    ///
    /// # Errors
    /// [`ScheduleError::Setting`] if the levels of a flow start above 1.
    pub fn check(self, sigmas: &Sigmas) -> Result<(), ScheduleError> {
        match self {
            Self::Flow if sigmas.first() > 1.0 => {
                Err(ScheduleError::Setting { setting: "first sigma of a flow", expected: "at most 1", found: sigmas.first() })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signal_to_noise_ratio_leads_back_to_the_level() {
        for (path, sigma) in [(NoisePath::Flow, 0.9), (NoisePath::Flow, 0.004), (NoisePath::VarianceExploding, 14.6)] {
            assert!((path.sigma_at(path.half_log_snr(sigma)) - sigma).abs() < 1e-12);
        }
        assert!(NoisePath::Flow.half_log_snr(1.0) < f64::MIN && NoisePath::Flow.half_log_snr(0.0) > f64::MAX);
    }

    #[test]
    fn a_flow_starts_at_one_at_most() {
        let sigmas = Sigmas::new(vec![14.6, 0.0]).unwrap();
        assert!(NoisePath::VarianceExploding.check(&sigmas).is_ok());
        assert!(matches!(NoisePath::Flow.check(&sigmas), Err(ScheduleError::Setting { found: 14.6, .. })));
    }
}
