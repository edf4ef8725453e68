//! Samplers by name.

use diffusion_core::noise::NoiseSource;
use diffusion_core::{Sampler, ScheduleError};

use super::{KindError, SamplerWarning, named_kinds};
use crate::path::NoisePath;
use crate::samplers::{
    AddedNoise, Ddim, DpmPp2M, DpmPp2MLogSnr, DpmPp2MSde, DpmPp2SAncestral, DpmPp3MSde, DpmPpSde, Euler, EulerAncestral, Heun,
    Ipndm, Lcm, ResMultistep, SolverType, UniPc, UniPcVariant,
};
use crate::schedules::SigmaTable;

named_kinds! {
    /// A sampler by name. The names are those of `ComfyUI` where it has the same method.
    SamplerKind, UnknownSampler {
        /// [`Euler`].
        Euler = "euler",
        /// [`EulerAncestral`].
        EulerAncestral = "euler_ancestral",
        /// [`Heun`].
        Heun = "heun",
        /// [`DpmPp2M`], as k-diffusion and `ComfyUI` have it.
        DpmPp2M = "dpmpp_2m",
        /// [`DpmPp2MLogSnr`] of second order, as diffusers has it.
        DpmPp2MLogSnr = "dpmpp_2m_logsnr",
        /// [`DpmPp2MSde`].
        DpmPp2MSde = "dpmpp_2m_sde",
        /// [`DpmPp2MSde`] in Heun's form.
        DpmPp2MSdeHeun = "dpmpp_2m_sde_heun",
        /// [`DpmPp3MSde`].
        DpmPp3MSde = "dpmpp_3m_sde",
        /// [`DpmPp2SAncestral`].
        DpmPp2SAncestral = "dpmpp_2s_ancestral",
        /// [`DpmPpSde`].
        DpmPpSde = "dpmpp_sde",
        /// [`UniPc`] of second order, as diffusers has it. `ComfyUI`'s, of third order on other levels, is another one.
        UniPc = "uni_pc",
        /// [`UniPc`] with [`UniPcVariant::Bh1`].
        UniPcBh1 = "uni_pc_bh1",
        /// [`Ddim`], deterministic unless asked for noise.
        Ddim = "ddim",
        /// [`Lcm`], for models distilled to it.
        Lcm = "lcm",
        /// [`Ipndm`].
        Ipndm = "ipndm",
        /// [`ResMultistep`].
        ResMultistep = "res_multistep",
    }
}

/// What samplers need to know besides their names.
#[derive(Clone, Debug)]
pub struct SamplerSettings {
    /// What the network was trained on.
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
        /// Where the references let a flow start that starts at 1: after a ten-thousandth of the timesteps.
        const FIRST_SHARE: f64 = 1e-4;
        Self { path: model.path(), noise: AddedNoise::new(source), ddim_eta: 0.0, first_sigma: model.sigma_at(FIRST_SHARE) }
    }
}

impl SamplerKind {
    /// Whether it adds noise with the settings of the references.
    pub fn is_stochastic(self) -> bool {
        match self {
            Self::EulerAncestral
            | Self::DpmPp2MSde
            | Self::DpmPp2MSdeHeun
            | Self::DpmPp3MSde
            | Self::DpmPp2SAncestral
            | Self::DpmPpSde
            | Self::Lcm => true,
            Self::Euler
            | Self::Heun
            | Self::DpmPp2M
            | Self::DpmPp2MLogSnr
            | Self::UniPc
            | Self::UniPcBh1
            | Self::Ddim
            | Self::Ipndm
            | Self::ResMultistep => false,
        }
    }

    /// What to tell a user who chose it to draw with this scale of classifier-free guidance, if anything.
    pub fn warning(self, guidance_scale: f64) -> Option<SamplerWarning> {
        (self == Self::Lcm && guidance_scale > 1.0).then_some(SamplerWarning::NeedsDistillation { sampler: self })
    }

    /// The sampler.
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
    fn names_lead_to_their_samplers_and_back() {
        for &kind in SamplerKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let error = "euler_a".parse::<SamplerKind>().unwrap_err().to_string();
        assert!(error.starts_with("there is no sampler \"euler_a\"; there are euler, euler_ancestral, heun, "), "{error}");
    }

    #[test]
    fn samplers_for_distilled_models_are_warned_of_under_guidance() {
        let warned: Vec<&str> =
            SamplerKind::ALL.iter().filter(|kind| kind.warning(4.5).is_some()).map(|kind| kind.name()).collect();
        assert_eq!(warned, ["lcm"]);
        assert_eq!(SamplerKind::Lcm.warning(1.0), None);
        assert!(SamplerKind::Lcm.warning(4.5).unwrap().to_string().contains("\"lcm\" is for models that were distilled"));
    }

    #[test]
    fn every_kind_is_built_and_negative_noise_refused() {
        let mut settings = SamplerSettings::of(&SigmaTable::flow(3.0).unwrap(), TorchGenerator::new(0));
        assert!((settings.first_sigma - 0.999_966_66).abs() < 1e-8);
        assert!(SamplerKind::ALL.iter().all(|kind| kind.build(&settings).is_ok()));
        settings.noise.eta = -1.0;
        assert!(matches!(SamplerKind::Lcm.build(&settings), Err(KindError::Setting(_))));
    }
}
