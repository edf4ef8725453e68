//! Samplers by name.

use diffusion_core::noise::NoiseSource;
use diffusion_core::{Sampler, ScheduleError, Sigmas};

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

    /// Whether it extrapolates from earlier steps, in the logarithm of the noise level.
    fn extrapolates(self) -> bool {
        match self {
            Self::DpmPp2M
            | Self::DpmPp2MLogSnr
            | Self::DpmPp2MSde
            | Self::DpmPp2MSdeHeun
            | Self::DpmPp3MSde
            | Self::UniPc
            | Self::UniPcBh1
            | Self::ResMultistep => true,
            Self::Euler
            | Self::EulerAncestral
            | Self::Heun
            | Self::DpmPp2SAncestral
            | Self::DpmPpSde
            | Self::Ddim
            | Self::Lcm
            | Self::Ipndm => false,
        }
    }

    /// What to tell a user who chose it to draw with a model on this path, along these noise levels, with this scale of
    /// classifier-free guidance, if anything.
    pub fn warning(self, path: NoisePath, sigmas: &Sigmas, guidance_scale: f64) -> Option<SamplerWarning> {
        /// A step this many times longer than the one before is extrapolated over by half as many of its changes.
        const LONGEST: f64 = 5.0;
        if self == Self::Lcm && guidance_scale > 1.0 {
            return Some(SamplerWarning::NeedsDistillation { sampler: self });
        }
        if self == Self::UniPcBh1 && path == NoisePath::Flow {
            return Some(SamplerWarning::PoorOnFlow { sampler: self });
        }
        let long = |levels: &&[f64]| (levels[1] / levels[2]).ln() > LONGEST * (levels[0] / levels[1]).ln();
        // The step to zero is of first order.
        let mut steps = sigmas.as_slice().windows(3).filter(|levels| self.extrapolates() && levels[2] > 0.0);
        let levels = steps.find(long)?;
        Some(SamplerWarning::Overshoots { sampler: self, from: levels[1], to: levels[2] })
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
    use crate::schedules::FlowShift;
    use diffusion_core::SigmaSchedule;
    use diffusion_core::noise::TorchGenerator;

    #[test]
    fn names_lead_to_their_samplers_and_back() {
        for &kind in SamplerKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let error = "euler_a".parse::<SamplerKind>().unwrap_err().to_string();
        assert!(error.starts_with("there is no sampler \"euler_a\"; there are euler, euler_ancestral, heun, "), "{error}");
    }

    /// Names of the samplers that are warned of on a flow.
    fn warned(sigmas: &Sigmas, guidance_scale: f64) -> Vec<&'static str> {
        let warning = |kind: &&SamplerKind| kind.warning(NoisePath::Flow, sigmas, guidance_scale);
        let poor = SamplerKind::ALL.iter().filter(|kind| warning(kind).is_some());
        poor.map(|kind| kind.name()).collect()
    }

    #[test]
    fn samplers_for_other_models_are_warned_of() {
        let sigmas = Sigmas::new(vec![1.0, 0.75, 0.5, 0.25, 0.0]).unwrap();
        assert_eq!(warned(&sigmas, 4.5), ["uni_pc_bh1", "lcm"]);
        assert_eq!(warned(&sigmas, 1.0), ["uni_pc_bh1"]);
        assert_eq!(SamplerKind::UniPcBh1.warning(NoisePath::VarianceExploding, &sigmas, 1.0), None);
        let words = SamplerKind::Lcm.warning(NoisePath::Flow, &sigmas, 4.5).unwrap().to_string();
        assert!(words.contains("\"lcm\" is for models that were distilled"), "{words}");
    }

    /// With 50 steps, as Stability's code has them, the released schedule suits DPM++ 2M; with 8 it ends in a leap.
    #[test]
    fn samplers_that_extrapolate_are_warned_of_before_a_leap() {
        let released = |steps| FlowShift::new(3.0).unwrap().sigmas(steps).unwrap();
        assert_eq!(warned(&released(50), 1.0), ["uni_pc_bh1"]);
        let poor = warned(&released(8), 1.0);
        assert!(
            poor.contains(&"dpmpp_2m") && poor.contains(&"uni_pc") && !poor.contains(&"euler") && poor.len() == 8,
            "{poor:?}"
        );
        let words = SamplerKind::UniPc.warning(NoisePath::Flow, &released(8), 1.0).unwrap().to_string();
        assert!(words.contains("\"uni_pc\" overshoots in the long step from sigma 0.338 to 0.009"), "{words}");
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
