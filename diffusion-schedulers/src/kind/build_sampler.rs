//! Samplers from their names.

use diffusion_core::noise::NoiseSource;
use diffusion_core::{Sampler, ScheduleError};

use super::error::KindError;
use super::sampler_kind::SamplerKind;
use crate::path::NoisePath;
use crate::samplers::{
    AddedNoise, Ddim, DpmPp2M, DpmPp2MLogSnr, DpmPp2MSde, DpmPp2SAncestral, DpmPp3MSde, DpmPpSde, Euler, EulerAncestral, Heun,
    Ipndm, Lcm, ResMultistep, SolverType, UniPc, UniPcVariant,
};
use crate::schedules::SigmaTable;

/// The settings of samplers that are built by name.
#[derive(Clone, Debug)]
pub struct SamplerSettings {
    /// The path that the network was trained on.
    pub path: NoisePath,
    /// The noise of the samplers that add some.
    pub noise: AddedNoise,
    /// Share of the noise that [`SamplerKind::Ddim`] replaces.
    pub ddim_eta: f64,
    /// Stands for 1 in the formulas of the SDE samplers, for a flow that starts there.
    pub first_sigma: f64,
}

impl SamplerSettings {
    /// The settings of the references for a model, with noise from this source.
    pub fn of(model: &SigmaTable, source: impl NoiseSource + 'static) -> Self {
        /// The references start the formulas of a flow after this share of the timesteps.
        const FIRST_SHARE: f64 = 1e-4;
        Self { path: model.path(), noise: AddedNoise::new(source), ddim_eta: 0.0, first_sigma: model.sigma_at(FIRST_SHARE) }
    }
}

impl SamplerKind {
    /// Build the sampler.
    ///
    /// # Errors
    /// [`KindError::Setting`] if a share or a factor of noise is negative or not finite.
    pub fn build(self, settings: &SamplerSettings) -> Result<Box<dyn Sampler + Send + Sync>, KindError> {
        let SamplerSettings { path, noise, ddim_eta, first_sigma } = settings.clone();
        for (setting, found) in [("eta", noise.eta), ("noise scale", noise.scale), ("DDIM eta", ddim_eta)] {
            if !(found.is_finite() && found >= 0.0) {
                return Err(ScheduleError::Setting { setting, expected: "a number from 0 on", found }.into());
            }
        }
        Ok(match self {
            Self::Euler => Box::new(Euler),
            Self::EulerAncestral => Box::new(EulerAncestral { path, noise }),
            Self::Heun => Box::new(Heun),
            Self::DpmPp2M => Box::new(DpmPp2M),
            Self::DpmPp2MLogSnr => Box::new(DpmPp2MLogSnr::new(path)),
            Self::DpmPp2MSde => Box::new(DpmPp2MSde { first_sigma, ..DpmPp2MSde::new(path, noise) }),
            Self::DpmPp2MSdeHeun => {
                Box::new(DpmPp2MSde { first_sigma, solver: SolverType::Heun, ..DpmPp2MSde::new(path, noise) })
            }
            Self::DpmPp3MSde => Box::new(DpmPp3MSde { first_sigma, ..DpmPp3MSde::new(path, noise) }),
            Self::DpmPp2SAncestral => Box::new(DpmPp2SAncestral { path, noise }),
            Self::DpmPpSde => Box::new(DpmPpSde { first_sigma, ..DpmPpSde::new(path, noise) }),
            Self::UniPc => Box::new(UniPc::new(path)),
            Self::UniPcBh1 => Box::new(UniPc { variant: UniPcVariant::Bh1, ..UniPc::new(path) }),
            Self::Ddim => Box::new(Ddim { noise: Some(noise.with_eta(ddim_eta)), ..Ddim::new(path) }),
            Self::Lcm => Box::new(Lcm { path, noise }),
            Self::Ipndm => Box::new(Ipndm),
            Self::ResMultistep => Box::new(ResMultistep),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffusion_core::noise::TorchGenerator;

    #[test]
    fn every_kind_is_built_and_negative_noise_refused() {
        let mut settings = SamplerSettings::of(&SigmaTable::flow(3.0).unwrap(), TorchGenerator::new(0));
        assert!((settings.first_sigma - 0.999_966_66).abs() < 1e-8);
        assert!(SamplerKind::ALL.iter().all(|kind| kind.build(&settings).is_ok()));
        settings.noise.eta = -1.0;
        assert!(matches!(SamplerKind::Lcm.build(&settings), Err(KindError::Setting(_))));
    }
}
