//! The ends of a schedule.

use diffusion_core::{ScheduleError, Sigmas};

use super::sigma_table::SigmaTable;

/// The highest and the lowest noise level of a schedule that spaces the levels between them in its own way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SigmaRange {
    lowest: f64,
    highest: f64,
}

impl SigmaRange {
    /// Check and keep the ends.
    ///
    /// # Errors
    /// [`ScheduleError::Setting`] unless `0 < lowest <= highest` and both are finite.
    pub fn new(lowest: f64, highest: f64) -> Result<Self, ScheduleError> {
        if !(lowest.is_finite() && lowest > 0.0) {
            return Err(ScheduleError::Setting { setting: "lowest sigma", expected: "a positive number", found: lowest });
        }
        if !(highest.is_finite() && highest >= lowest) {
            let expected = "a number not below the lowest sigma";
            return Err(ScheduleError::Setting { setting: "highest sigma", expected, found: highest });
        }
        Ok(Self { lowest, highest })
    }

    /// The levels that a model was trained on, as `ComfyUI` takes them.
    pub fn of_table(table: &SigmaTable) -> Self {
        Self { lowest: table.lowest(), highest: table.highest() }
    }

    /// The ends of other levels, zero left out, as diffusers takes them.
    pub fn of(sigmas: &Sigmas) -> Self {
        let highest = sigmas.first();
        let lowest = sigmas.as_slice().iter().rfind(|&&sigma| sigma > 0.0).copied().unwrap_or(highest);
        Self { lowest, highest }
    }

    /// The lowest level.
    pub fn lowest(&self) -> f64 {
        self.lowest
    }

    /// The highest level.
    pub fn highest(&self) -> f64 {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_ends_are_refused() {
        assert!(SigmaRange::new(0.0, 1.0).is_err() && SigmaRange::new(0.5, 0.4).is_err());
        assert!(SigmaRange::new(f64::NAN, 1.0).is_err() && SigmaRange::new(0.5, f64::INFINITY).is_err());
    }
}
