//! Variance-exploding levels as levels of a flow.

use diffusion_core::{ScheduleError, SigmaSchedule, Sigmas};

/// The levels of a schedule made for the variance-exploding path, as the levels of a flow with the same signal-to-noise
/// ratio: `σ / (1 + σ)`. With [`Karras`](super::Karras) it is the spacing of diffusers' `UniPC` for flows.
///
/// Reference: diffusers `scheduling_unipc_multistep.py` at 58eb52c (`use_karras_sigmas` with `use_flow_sigmas`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AsFlow<S> {
    /// The schedule to translate.
    pub inner: S,
}

impl<S: SigmaSchedule> SigmaSchedule for AsFlow<S> {
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        let inner = self.inner.sigmas(num_steps)?;
        Sigmas::new(inner.as_slice().iter().map(|sigma| sigma / (1.0 + sigma)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::karras::Karras;
    use super::super::levels::assert_close;
    use super::super::sigma_range::SigmaRange;
    use super::*;

    /// diffusers `tests/schedulers/test_scheduler_unipc.py#L406` at 58eb52c.
    #[test]
    fn karras_levels_are_those_of_uni_pc() {
        let schedule = AsFlow { inner: Karras::new(SigmaRange::new(0.01, 200.0).unwrap()) };
        let expected = [0.995_024_86, 0.978_745_46, 0.877_488_43, 0.360_497_18, 0.009_900_99, 0.0];
        assert_close(&schedule.sigmas(5).unwrap(), &expected);
    }
}
