//! Warnings of choices that work but are not good ones.

use diffusion_core::Sigmas;

use super::sampler_kind::SamplerKind;
use super::schedule_kind::ScheduleKind;
use crate::path::NoisePath;
use crate::schedules::SigmaTable;

/// A sampler that works but is not a good choice.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum SamplerWarning {
    /// The sampler trusts the network's first image. Only a distilled network without guidance gets that image right.
    NeedsDistillation {
        /// The sampler.
        sampler: SamplerKind,
    },
    /// The sampler weighs steps by their length in the log-SNR, which has no bounds in a flow.
    PoorOnFlow {
        /// The sampler.
        sampler: SamplerKind,
    },
    /// The sampler extrapolates from the step before over a step that is many times longer.
    Overshoots {
        /// The sampler.
        sampler: SamplerKind,
        /// Noise level before the long step.
        from: f64,
        /// Noise level after it.
        to: f64,
    },
}

impl std::fmt::Display for SamplerWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NeedsDistillation { sampler } => write!(
                f,
                "the sampler \"{sampler}\" is for models that were distilled to draw in few steps without guidance; try \"euler\""
            ),
            Self::PoorOnFlow { sampler } => {
                write!(f, "the sampler \"{sampler}\" takes too much of the long steps at the ends of flow models; try \"uni_pc\"")
            }
            Self::Overshoots { sampler, from, to } => write!(
                f,
                "the sampler \"{sampler}\" overshoots in the long step from sigma {from:.3} to {to:.3}; try the schedule \"simple\" or more steps"
            ),
        }
    }
}

/// A schedule that works but is not a good choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScheduleWarning {
    /// The schedule puts most steps at low noise, where flows need few.
    LowNoiseOnFlow {
        /// The schedule.
        schedule: ScheduleKind,
    },
    /// The schedule begins below pure noise, and a flow starts from pure noise.
    BelowNoise {
        /// The schedule.
        schedule: ScheduleKind,
    },
}

impl std::fmt::Display for ScheduleWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::LowNoiseOnFlow { schedule } => write!(
                f,
                "the schedule \"{schedule}\" spends most steps at low noise, which harms flow models; try \"simple\" or \"beta\""
            ),
            Self::BelowNoise { schedule } => write!(
                f,
                "the schedule \"{schedule}\" begins below pure noise, which flow models start from; try \"simple\" or \"beta\""
            ),
        }
    }
}

/// A choice that works, but not well.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// The sampler does not suit the model or the noise levels.
    Sampler(SamplerWarning),
    /// The schedule does not suit the model.
    Schedule(ScheduleWarning),
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sampler(warning) => warning.fmt(f),
            Self::Schedule(warning) => warning.fmt(f),
        }
    }
}

impl SamplerKind {
    /// The warning to give a user who chose this sampler, for a model on this path, these noise levels and this scale of
    /// classifier-free guidance. `None` if the choice is good.
    pub fn warning(self, path: NoisePath, sigmas: &Sigmas, guidance_scale: f64) -> Option<SamplerWarning> {
        /// A sampler overshoots in a step more than this many times longer than the one before.
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
}

impl ScheduleKind {
    /// The warning to give a user who chose this schedule for this model. `None` if the choice is good.
    pub fn warning(self, model: &SigmaTable) -> Option<ScheduleWarning> {
        match (self, model.path()) {
            (Self::Karras | Self::Exponential | Self::KlOptimal, NoisePath::Flow) => {
                Some(ScheduleWarning::LowNoiseOnFlow { schedule: self })
            }
            (Self::DdimUniform, NoisePath::Flow) => Some(ScheduleWarning::BelowNoise { schedule: self }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedules::FlowShift;
    use diffusion_core::SigmaSchedule;

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

    /// A schedule gets a warning exactly if its middle level is below the middle of the flow, or if it begins below noise.
    #[test]
    fn schedules_that_harm_flows_are_warned_of() {
        const NUM_STEPS: usize = 20;
        let flow = SigmaTable::flow(3.0).unwrap();
        for &kind in ScheduleKind::ALL {
            let Ok(schedule) = kind.build(&flow) else { continue };
            let sigmas = schedule.sigmas(NUM_STEPS).unwrap();
            let expected = if sigmas.as_slice()[NUM_STEPS / 2] < 0.4 {
                Some(ScheduleWarning::LowNoiseOnFlow { schedule: kind })
            } else if sigmas.first() < 0.99 {
                Some(ScheduleWarning::BelowNoise { schedule: kind })
            } else {
                None
            };
            assert_eq!(kind.warning(&flow), expected, "{kind}: {sigmas:?}");
        }
        let words = ScheduleKind::Karras.warning(&flow).unwrap().to_string();
        assert!(words.contains("\"karras\"") && words.contains("low noise"), "{words}");
    }
}
