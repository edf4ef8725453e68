//! Levels at the quantiles of a beta distribution.

use diffusion_core::{ScheduleError, SigmaSchedule, Sigmas};
use special::Beta as _;

use super::levels::{ending_in_zero, linspace};
use super::sigma_range::SigmaRange;
use super::sigma_table::SigmaTable;

/// Shape that both ends have in `ComfyUI` and diffusers: most steps are near them.
const SHAPE: f64 = 0.6;

/// Levels of the training at the quantiles of a beta distribution, by their position in the table: many at both ends, few in
/// the middle. Positions that coincide are taken once, so that a run of many steps may have fewer.
///
/// Reference: `ComfyUI` `comfy/samplers.py` at a125cd8 (`beta_scheduler`); arXiv 2407.12173.
#[derive(Clone, Debug, PartialEq)]
pub struct Beta {
    /// The levels of the training.
    pub table: SigmaTable,
}

impl SigmaSchedule for Beta {
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        let last = (self.table.as_slice().len() - 1) as f64;
        let shares = (0..num_steps).map(|i| 1.0 - i as f64 / num_steps as f64);
        // The median is exactly half way between two entries, which a quantile that is a bit off would not show.
        let mut positions: Vec<usize> =
            shares.map(|share| (quantile(share) * last * 1e9).round() / 1e9).map(|at| at.round_ties_even() as usize).collect();
        positions.dedup();
        ending_in_zero(positions.into_iter().map(|position| self.table.as_slice()[position]))
    }
}

/// Levels at the quantiles of a beta distribution between two ends.
///
/// Reference: diffusers `scheduling_flow_match_euler_discrete.py#L598` at 58eb52c (`use_beta_sigmas`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BetaSpacing {
    /// The ends.
    pub range: SigmaRange,
}

impl SigmaSchedule for BetaSpacing {
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        let (lowest, highest) = (self.range.lowest(), self.range.highest());
        ending_in_zero(linspace(1.0, 0.0, num_steps).map(|share| lowest + quantile(share) * (highest - lowest)))
    }
}

fn quantile(share: f64) -> f64 {
    share.inv_inc_beta(SHAPE, SHAPE, SHAPE.ln_beta(SHAPE))
}

#[cfg(test)]
mod tests {
    use super::super::flow_shift::FlowShift;
    use super::super::levels::assert_close;
    use super::*;

    /// `scipy.stats.beta.ppf(x, 0.6, 0.6)` of scipy 1.17.1.
    #[test]
    fn quantiles_are_those_of_scipy() {
        for (share, expected) in [
            (0.001, 1.855_873_851_745_199e-5),
            (0.1, 0.039_584_405_588_780_84),
            (0.25, 0.175_680_378_652_694_98),
            (0.6, 0.637_299_009_246_785_6),
            (0.999, 0.999_981_441_261_482_6),
        ] {
            assert!((quantile(share) - expected).abs() < 1e-14, "{share}");
        }
        assert_eq!((quantile(0.0), quantile(1.0)), (0.0, 1.0));
    }

    #[test]
    fn levels_are_those_of_comfyui_and_of_diffusers() {
        let sd3 = Beta { table: SigmaTable::flow(3.0).unwrap() };
        assert_close(&sd3.sigmas(4).unwrap(), &[1.0, 0.933_534_8, 0.750_749_3, 0.392_171_4, 0.0]);
        assert_close(
            &sd3.sigmas(7).unwrap(),
            &[1.0, 0.975_157_5, 0.915_432_6, 0.817_561_4, 0.668_514_4, 0.455_431_8, 0.188_811_2, 0.0],
        );
        let range = SigmaRange::of(&FlowShift::new(3.0).unwrap().sigmas(4).unwrap());
        assert_close(&BetaSpacing { range }.sigmas(4).unwrap(), &[1.0, 0.727_045_8, 0.281_882_8, 0.008_928_6, 0.0]);
    }

    #[test]
    fn positions_that_coincide_are_taken_once() {
        let sd3 = Beta { table: SigmaTable::flow(3.0).unwrap() };
        assert_eq!(sd3.sigmas(600).unwrap().num_steps(), 559);
    }
}
