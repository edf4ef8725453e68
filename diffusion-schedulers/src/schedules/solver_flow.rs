//! The levels that diffusers' multistep solvers take a flow through.

use diffusion_core::{ScheduleError, SigmaSchedule, Sigmas};

use super::flow_shift::FlowShift;
use super::levels::{ending_in_zero, linspace};

/// Evenly spaced levels, shifted once, from just below 1, where the log-SNR is still finite.
///
/// Reference: diffusers at 58eb52c, `use_flow_sigmas=True`: `scheduling_dpmsolver_multistep.py#L465`,
/// `scheduling_unipc_multistep.py#L428`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SolverFlow {
    shift: FlowShift,
    solver: Solver,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Solver {
    DpmSolver,
    UniPc,
}

impl SolverFlow {
    /// The level next to the end of the training that both are spaced from.
    const NEXT: f64 = 1.0 / 1000.0;

    /// The levels of `DPMSolverMultistepScheduler`: from `S(0.999)`.
    pub fn dpm_solver(shift: FlowShift) -> Self {
        Self { shift, solver: Solver::DpmSolver }
    }

    /// The levels of `UniPCMultistepScheduler`: from a millionth below 1.
    pub fn uni_pc(shift: FlowShift) -> Self {
        Self { shift, solver: Solver::UniPc }
    }
}

impl SigmaSchedule for SolverFlow {
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        const MARGIN: f64 = 1e-6;
        let shifted = |ends: (f64, f64)| {
            linspace(ends.0, ends.1, num_steps.saturating_add(1)).take(num_steps).map(|sigma| self.shift.apply(sigma))
        };
        match self.solver {
            Solver::DpmSolver => ending_in_zero(shifted((1.0 - Self::NEXT, 0.0))),
            Solver::UniPc => ending_in_zero(shifted((1.0, Self::NEXT)).map(|sigma| sigma.min(1.0 - MARGIN))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::levels::assert_close;
    use super::*;

    #[test]
    fn levels_are_those_of_diffusers() {
        let dpm_solver = |shift, num_steps| SolverFlow::dpm_solver(FlowShift::new(shift).unwrap()).sigmas(num_steps).unwrap();
        assert_close(&dpm_solver(3.0, 4), &[0.999_666, 0.899_640, 0.749_625, 0.499_667, 0.0]);
        assert_close(&dpm_solver(1.0, 5), &[0.999, 0.799_2, 0.599_4, 0.399_6, 0.199_8, 0.0]);
        let uni_pc = SolverFlow::uni_pc(FlowShift::new(3.0).unwrap()).sigmas(4).unwrap();
        assert_close(&uni_pc, &[0.999_999, 0.900_120, 0.750_375, 0.500_999, 0.0]);
    }
}
