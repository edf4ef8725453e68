//! Levels stretched to end above zero noise.

use diffusion_core::{ScheduleError, SigmaSchedule, Sigmas};

use super::levels::ending_in_zero;

/// Levels of a flow, stretched so that the last one before zero is a given one. The first one stays.
///
/// Reference: diffusers `scheduling_flow_match_euler_discrete.py#L262` at 58eb52c (`stretch_shift_to_terminal`).
#[derive(Clone, Debug, PartialEq)]
pub struct ShiftTerminal<S> {
    /// The schedule to stretch.
    pub inner: S,
    /// The last level before zero.
    pub terminal: f64,
}

impl<S: SigmaSchedule> SigmaSchedule for ShiftTerminal<S> {
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        if !(self.terminal > 0.0 && self.terminal < 1.0) {
            let expected = "a number between 0 and 1";
            return Err(ScheduleError::Setting { setting: "shift_terminal", expected, found: self.terminal });
        }
        let inner = self.inner.sigmas(num_steps)?;
        let positive = inner.as_slice().iter().filter(|&&sigma| sigma > 0.0);
        let lowest = positive.clone().copied().fold(1.0, f64::min);
        // A single level at pure noise has nothing to stretch.
        let stretch = if lowest < 1.0 { (1.0 - self.terminal) / (1.0 - lowest) } else { 1.0 };
        ending_in_zero(positive.map(|sigma| 1.0 - (1.0 - sigma) * stretch))
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow_shift::FlowShift;
    use super::super::levels::assert_close;
    use super::*;

    #[test]
    fn levels_are_those_of_diffusers() {
        let schedule = ShiftTerminal { inner: FlowShift::new(3.0).unwrap(), terminal: 0.1 };
        assert_close(&schedule.sigmas(4).unwrap(), &[1.0, 0.870_769, 0.638_710, 0.1, 0.0]);
        assert_close(&schedule.sigmas(1).unwrap(), &[1.0, 0.0]);
        assert!(ShiftTerminal { terminal: 1.0, ..schedule }.sigmas(4).is_err());
    }
}
