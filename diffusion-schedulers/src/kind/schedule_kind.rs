//! Schedules by name.

use super::named_kinds::named_kinds;

named_kinds! {
    /// A schedule by name. The names are those of `ComfyUI` where it has the same one.
    ScheduleKind, "schedule" {
        /// [`FlowShift`](crate::schedules::FlowShift): what Stable Diffusion 3 was released with.
        FlowShift = "flow_shift",
        /// [`TimeShift`](crate::schedules::TimeShift): what FLUX.1 was released with.
        TimeShift = "time_shift",
        /// [`Simple`](crate::schedules::Simple).
        Simple = "simple",
        /// [`Normal`](crate::schedules::Normal).
        Normal = "normal",
        /// [`SgmUniform`](crate::schedules::SgmUniform).
        SgmUniform = "sgm_uniform",
        /// [`Karras`](crate::schedules::Karras).
        Karras = "karras",
        /// [`Exponential`](crate::schedules::Exponential).
        Exponential = "exponential",
        /// [`Beta`](crate::schedules::Beta).
        Beta = "beta",
        /// [`KlOptimal`](crate::schedules::KlOptimal).
        KlOptimal = "kl_optimal",
        /// [`LinearQuadratic`](crate::schedules::LinearQuadratic).
        LinearQuadratic = "linear_quadratic",
        /// [`DdimUniform`](crate::schedules::DdimUniform).
        DdimUniform = "ddim_uniform",
        /// [`SolverFlow::dpm_solver`](crate::schedules::SolverFlow::dpm_solver).
        DpmSolverFlow = "dpm_solver_flow",
        /// [`SolverFlow::uni_pc`](crate::schedules::SolverFlow::uni_pc).
        UniPcFlow = "uni_pc_flow",
        /// [`TimestepSpacing`](crate::schedules::TimestepSpacing) by [`Spacing::Linspace`](crate::schedules::Spacing::Linspace).
        Linspace = "linspace",
        /// [`TimestepSpacing`](crate::schedules::TimestepSpacing) by [`Spacing::Leading`](crate::schedules::Spacing::Leading), with the offset of Stable Diffusion.
        Leading = "leading",
        /// [`TimestepSpacing`](crate::schedules::TimestepSpacing) by [`Spacing::Trailing`](crate::schedules::Spacing::Trailing).
        Trailing = "trailing",
        /// [`LcmTimesteps`](crate::schedules::LcmTimesteps).
        Lcm = "lcm",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_their_schedules_and_back() {
        for &kind in ScheduleKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let error = "kerras".parse::<ScheduleKind>().unwrap_err().to_string();
        assert!(error.starts_with("there is no schedule \"kerras\"; there are flow_shift, time_shift, "), "{error}");
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_schedule_is_stored_as_its_name() {
        for &kind in ScheduleKind::ALL {
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{kind}\""));
            assert_eq!(serde_json::from_str::<ScheduleKind>(&json).unwrap(), kind);
        }
        let error = serde_json::from_str::<ScheduleKind>("\"kerras\"").unwrap_err().to_string();
        assert!(error.starts_with("there is no schedule \"kerras\"; there are flow_shift, "), "{error}");
    }
}
