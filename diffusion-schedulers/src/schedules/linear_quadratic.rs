//! Equal steps first, then longer and longer ones.

use diffusion_core::{ScheduleError, SigmaSchedule, Sigmas};

use super::levels::linspace;

/// Half of the steps go evenly through the first fortieth of the noise, the others through the rest in growing steps. For
/// flows.
///
/// Reference: `ComfyUI` `comfy/samplers.py` at a125cd8 (`linear_quadratic_schedule`); genmoai/models `infer.py#L41`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearQuadratic {
    /// The level to start from, 1 for a flow.
    pub highest: f64,
    /// Share of the noise that the even steps go through: 0.025 in the reference.
    pub threshold: f64,
}

impl LinearQuadratic {
    /// The reference's threshold, from this level.
    pub fn new(highest: f64) -> Self {
        Self { highest, threshold: 0.025 }
    }
}

impl SigmaSchedule for LinearQuadratic {
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        if num_steps == 0 {
            return Err(ScheduleError::TooFew { found: 1 });
        }
        if num_steps == 1 {
            return Sigmas::new(vec![self.highest, 0.0]);
        }
        let even = num_steps / 2;
        // How the noise gone through grows with the steps i: linear at first, then a parabola through the same point that
        // reaches 1 at the end.
        let (steps, linear_steps, quadratic_steps) = (num_steps as f64, even as f64, (num_steps - even) as f64);
        let difference = linear_steps - self.threshold * steps;
        let quadratic = difference / (linear_steps * quadratic_steps.powi(2));
        let linear = self.threshold / linear_steps - 2.0 * difference / quadratic_steps.powi(2);
        let constant = quadratic * linear_steps.powi(2);
        let first = linspace(0.0, self.threshold, even + 1).take(even);
        let then = (even..num_steps).map(|i| quadratic * (i as f64).powi(2) + linear * i as f64 + constant);
        Sigmas::new(first.chain(then).chain([1.0]).map(|gone| (1.0 - gone) * self.highest).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::levels::assert_close;
    use super::*;

    #[test]
    fn levels_are_those_of_comfyui() {
        let schedule = LinearQuadratic::new(1.0);
        assert_close(&schedule.sigmas(1).unwrap(), &[1.0, 0.0]);
        assert_close(&schedule.sigmas(2).unwrap(), &[1.0, 0.975, 0.0]);
        assert_close(&schedule.sigmas(4).unwrap(), &[1.0, 0.9875, 0.975, 0.725, 0.0]);
        let seven = [1.0, 0.991_666_7, 0.983_333_3, 0.975, 0.907_812_5, 0.722_916_7, 0.420_312_5, 0.0];
        assert_close(&schedule.sigmas(7).unwrap(), &seven);
        assert!(schedule.sigmas(0).is_err());
    }
}
