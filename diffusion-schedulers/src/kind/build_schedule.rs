//! Schedules from their names.

use diffusion_core::SigmaSchedule;

use super::error::KindError;
use super::schedule_kind::ScheduleKind;
use crate::path::NoisePath;
use crate::schedules::{
    Beta, DdimUniform, Exponential, Karras, KlOptimal, LcmTimesteps, LinearQuadratic, Normal, SgmUniform, SigmaRange, SigmaTable,
    Simple, SolverFlow, Spacing, SpacingEnd, TimeShift, TimestepSpacing,
};

impl ScheduleKind {
    /// Build the schedule for a model.
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
}
