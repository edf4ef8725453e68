//! The noise levels that a model was trained on.

use diffusion_core::ScheduleError;

use super::flow_shift::FlowShift;
use super::time_shift::TimeShift;
use crate::path::NoisePath;
use crate::variance_preserving::VariancePreserving;

/// The noise levels that a model was trained on, and its timesteps. The schedules of `ComfyUI` choose from them.
#[derive(Clone, Debug, PartialEq)]
pub struct SigmaTable {
    /// Rising.
    levels: Vec<f64>,
    rule: Rule,
}

/// The rule from timesteps to levels.
#[derive(Clone, Debug, PartialEq)]
enum Rule {
    Shift(FlowShift),
    Interpolate(VariancePreserving),
}

impl SigmaTable {
    /// The table of a flow model with a constant shift: 3 for Stable Diffusion 3, 1 for FLUX.1-schnell. It has the levels
    /// `S(1/1000) .. S(1)`.
    ///
    /// # Errors
    /// [`ScheduleError::Setting`] if it is no shift.
    pub fn flow(shift: f64) -> Result<Self, ScheduleError> {
        const ENTRIES: usize = 1000;
        Ok(Self::shifted(FlowShift::new(shift)?, ENTRIES))
    }

    /// The table of FLUX.1-dev, whose shift is `e^mu`: `mu` is 1.15 in `ComfyUI`, and
    /// [`ResolutionShift::mu`](super::ResolutionShift::mu) of the image's size in the original. It has 10 000 levels.
    ///
    /// # Errors
    /// [`ScheduleError::Setting`] if `e^mu` is no shift.
    pub fn flux(mu: f64) -> Result<Self, ScheduleError> {
        const ENTRIES: usize = 10_000;
        Ok(Self::shifted(TimeShift::exponential(mu)?.shift(), ENTRIES))
    }

    /// The table of a model that preserves the variance.
    pub fn variance_preserving(model: &VariancePreserving) -> Self {
        Self { levels: model.sigmas().to_vec(), rule: Rule::Interpolate(model.clone()) }
    }

    fn shifted(shift: FlowShift, entries: usize) -> Self {
        let levels = (1..=entries).map(|i| shift.apply(i as f64 / entries as f64)).collect();
        Self { levels, rule: Rule::Shift(shift) }
    }

    /// The levels, rising.
    pub fn as_slice(&self) -> &[f64] {
        &self.levels
    }

    /// The lowest level.
    pub fn lowest(&self) -> f64 {
        self.levels[0]
    }

    /// The highest level.
    pub fn highest(&self) -> f64 {
        self.levels[self.levels.len() - 1]
    }

    /// The shift of a flow model.
    pub fn shift(&self) -> Option<FlowShift> {
        match self.rule {
            Rule::Shift(shift) => Some(shift),
            Rule::Interpolate(_) => None,
        }
    }

    /// The levels of a model that preserves the variance, by timestep.
    pub fn training(&self) -> Option<&VariancePreserving> {
        match &self.rule {
            Rule::Shift(_) => None,
            Rule::Interpolate(model) => Some(model),
        }
    }

    /// The path of the model.
    pub fn path(&self) -> NoisePath {
        match self.rule {
            Rule::Shift(_) => NoisePath::Flow,
            Rule::Interpolate(_) => NoisePath::VarianceExploding,
        }
    }

    /// The timestep of a level. For a flow it is the level itself, so that the way back shifts it once more, as in the reference.
    pub(super) fn timestep(&self, sigma: f64) -> f64 {
        match &self.rule {
            Rule::Shift(_) => sigma,
            Rule::Interpolate(model) => model.timestep(sigma),
        }
    }

    /// The level of a timestep.
    pub(super) fn sigma(&self, timestep: f64) -> f64 {
        match &self.rule {
            Rule::Shift(shift) => shift.apply(timestep),
            Rule::Interpolate(_) => {
                let last = self.levels.len() - 1;
                let timestep = timestep.clamp(0.0, last as f64);
                let low = timestep as usize;
                let share = timestep - low as f64;
                self.levels[low].powf(1.0 - share) * self.levels[(low + 1).min(last)].powf(share)
            }
        }
    }

    /// The level after this share of the timesteps, from noise: 1 or the highest level for 0, zero for 1.
    ///
    /// Reference: `ComfyUI` `comfy/model_sampling.py` at a125cd8 (`percent_to_sigma`).
    pub fn sigma_at(&self, share: f64) -> f64 {
        if share >= 1.0 {
            return 0.0;
        }
        let left = 1.0 - share.max(0.0);
        match self.rule {
            Rule::Shift(_) => self.sigma(left),
            Rule::Interpolate(_) => self.sigma(left * (self.levels.len() - 1) as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_those_of_the_models() {
        let sd3 = SigmaTable::flow(3.0).unwrap();
        assert!((sd3.lowest() - 0.002_994).abs() < 1e-6 && sd3.highest() >= 1.0 && sd3.as_slice().len() == 1000);
        let flux = SigmaTable::flux(1.15).unwrap();
        assert!(flux.as_slice().len() == 10_000 && (flux.as_slice()[4999] - 0.759_511).abs() < 1e-6);
        assert!(flux.path() == NoisePath::Flow && flux.sigma_at(0.0) >= 1.0 && flux.sigma_at(1.0) <= 0.0);
        let table = SigmaTable::variance_preserving(&VariancePreserving::scaled_linear(0.00085, 0.012, 1000).unwrap());
        assert_eq!((table.path(), table.shift()), (NoisePath::VarianceExploding, None));
        assert!(table.sigma_at(0.0) >= table.highest() && table.sigma_at(1.0) <= 0.0);
    }
}
