//! Schedules by name.

use diffusion_core::SigmaSchedule;

use super::{KindError, ScheduleWarning, named_kinds};
use crate::path::NoisePath;
use crate::schedules::{
    Beta, DdimUniform, Exponential, Karras, KlOptimal, LcmTimesteps, LinearQuadratic, Normal, SgmUniform, SigmaRange, SigmaTable,
    Simple, SolverFlow, Spacing, SpacingEnd, TimeShift, TimestepSpacing,
};

named_kinds! {
    /// A schedule by name. The names are those of `ComfyUI` where it has the same one.
    ScheduleKind, UnknownSchedule {
        /// [`FlowShift`](crate::schedules::FlowShift): what Stable Diffusion 3 was released with.
        FlowShift = "flow_shift",
        /// [`TimeShift`]: what FLUX.1 was released with.
        TimeShift = "time_shift",
        /// [`Simple`].
        Simple = "simple",
        /// [`Normal`].
        Normal = "normal",
        /// [`SgmUniform`].
        SgmUniform = "sgm_uniform",
        /// [`Karras`].
        Karras = "karras",
        /// [`Exponential`].
        Exponential = "exponential",
        /// [`Beta`].
        Beta = "beta",
        /// [`KlOptimal`].
        KlOptimal = "kl_optimal",
        /// [`LinearQuadratic`].
        LinearQuadratic = "linear_quadratic",
        /// [`DdimUniform`].
        DdimUniform = "ddim_uniform",
        /// [`SolverFlow::dpm_solver`].
        DpmSolverFlow = "dpm_solver_flow",
        /// [`SolverFlow::uni_pc`].
        UniPcFlow = "uni_pc_flow",
        /// [`TimestepSpacing`] by [`Spacing::Linspace`].
        Linspace = "linspace",
        /// [`TimestepSpacing`] by [`Spacing::Leading`], with the offset of Stable Diffusion.
        Leading = "leading",
        /// [`TimestepSpacing`] by [`Spacing::Trailing`].
        Trailing = "trailing",
        /// [`LcmTimesteps`].
        Lcm = "lcm",
    }
}

impl ScheduleKind {
    /// What to tell a user who chose it for this model, if anything.
    pub fn warning(self, model: &SigmaTable) -> Option<ScheduleWarning> {
        match (self, model.path()) {
            (Self::Karras | Self::Exponential | Self::KlOptimal, NoisePath::Flow) => {
                Some(ScheduleWarning::LowNoiseOnFlow { schedule: self })
            }
            (Self::DdimUniform, NoisePath::Flow) => Some(ScheduleWarning::BelowNoise { schedule: self }),
            _ => None,
        }
    }

    /// The schedule for a model.
    ///
    /// # Errors
    /// [`KindError::UnsuitableSchedule`] if it has no meaning for the model.
    pub fn build(self, model: &SigmaTable) -> Result<Box<dyn SigmaSchedule + Send + Sync>, KindError> {
        let unsuitable = |needs| Err(KindError::UnsuitableSchedule { schedule: self, needs, found: model.path() });
        let table = model.clone();
        let range = SigmaRange::of_table(model);
        let spaced = |model, spacing| Box::new(TimestepSpacing { model, spacing, end: SpacingEnd::First });
        Ok(match (self, model.shift(), model.training().cloned()) {
            (Self::Simple, ..) => Box::new(Simple { table }),
            (Self::Normal, ..) => Box::new(Normal { table }),
            (Self::SgmUniform, ..) => Box::new(SgmUniform { table }),
            (Self::Karras, ..) => Box::new(Karras::new(range)),
            (Self::Exponential, ..) => Box::new(Exponential { range }),
            (Self::Beta, ..) => Box::new(Beta { table }),
            (Self::KlOptimal, ..) => Box::new(KlOptimal { range }),
            (Self::DdimUniform, ..) => Box::new(DdimUniform { table }),
            (Self::FlowShift, Some(shift), _) => Box::new(shift),
            (Self::TimeShift, Some(shift), _) => Box::new(TimeShift::from(shift)),
            (Self::LinearQuadratic, Some(_), _) => Box::new(LinearQuadratic::new(model.highest())),
            (Self::DpmSolverFlow, Some(shift), _) => Box::new(SolverFlow::dpm_solver(shift)),
            (Self::UniPcFlow, Some(shift), _) => Box::new(SolverFlow::uni_pc(shift)),
            (Self::Linspace, _, Some(model)) => spaced(model, Spacing::Linspace),
            (Self::Leading, _, Some(model)) => spaced(model, Spacing::Leading { offset: 1 }),
            (Self::Trailing, _, Some(model)) => spaced(model, Spacing::Trailing),
            (Self::Lcm, _, Some(model)) => Box::new(LcmTimesteps::new(model)),
            (Self::FlowShift | Self::TimeShift | Self::LinearQuadratic | Self::DpmSolverFlow | Self::UniPcFlow, None, _) => {
                return unsuitable(NoisePath::Flow);
            }
            (Self::Linspace | Self::Leading | Self::Trailing | Self::Lcm, _, None) => {
                return unsuitable(NoisePath::VarianceExploding);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variance_preserving::VariancePreserving;

    #[test]
    fn names_lead_to_their_schedules_and_back() {
        for &kind in ScheduleKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let error = "kerras".parse::<ScheduleKind>().unwrap_err().to_string();
        assert!(error.starts_with("there is no schedule \"kerras\"; there are flow_shift, time_shift, "), "{error}");
    }

    #[test]
    fn every_kind_serves_its_models_and_refuses_others() {
        let flow = SigmaTable::flow(3.0).unwrap();
        let exploding = SigmaTable::variance_preserving(&VariancePreserving::scaled_linear(0.00085, 0.012, 1000).unwrap());
        for &kind in ScheduleKind::ALL {
            let (on_flow, on_exploding) = (kind.build(&flow), kind.build(&exploding));
            assert!(on_flow.is_ok() || on_exploding.is_ok(), "{kind}");
            for schedule in on_flow.into_iter().chain(on_exploding) {
                assert_eq!(schedule.sigmas(8).unwrap().num_steps(), 8, "{kind}");
            }
        }
        let error = ScheduleKind::Leading.build(&flow).err().unwrap().to_string();
        assert_eq!(error, "the schedule \"leading\" is for variance-preserving models, not for flow ones");
        assert!(matches!(
            ScheduleKind::FlowShift.build(&exploding).err(),
            Some(KindError::UnsuitableSchedule { needs: NoisePath::Flow, .. })
        ));
    }

    /// What is warned of, and only that, has its middle level below the middle of the flow or does not begin in noise.
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
