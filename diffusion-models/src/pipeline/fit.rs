//! Settings that fit into memory.

use std::thread::available_parallelism;

use diffusion_core::Residency;
use diffusion_schedulers::guidance::GuidanceEvaluation;

use super::Pipeline;
use crate::components::VAE;
use crate::settings::{Settings, Tiling};

/// Threads that one tile keeps busy. Two tiles at once are worth while in any case: one computes while the other waits.
const THREADS_OF_A_TILE: usize = 8;

impl Pipeline {
    /// How to evaluate guidance in a run of `batch` images with `available` bytes on the [device that draws](Self::device): as the
    /// settings say, unless both passes at once would not fit and one after the other takes less. So weights stay in memory rather
    /// than both passes share them. The images differ in the order of sums alone, as those of a batch do: see
    /// [`denoise`](Self::denoise).
    ///
    /// `residency` is what was decided of the weights; `None` if they stay in memory where they fit.
    pub fn guidance_that_fits(
        &self,
        settings: &Settings,
        batch: usize,
        available: usize,
        residency: Option<Residency>,
    ) -> GuidanceEvaluation {
        let chosen = settings.guidance.evaluation;
        let mut in_turn = settings.clone();
        in_turn.guidance.evaluation = GuidanceEvaluation::Sequential;
        let [chosen_plan, in_turn] = [settings, &in_turn].map(|settings| self.plan(settings, batch).on(self.device()));
        let residency = residency.unwrap_or_else(|| in_turn.residency(available));
        let [of_chosen, of_in_turn] = [chosen_plan, in_turn].map(|plan| match residency {
            Residency::Streamed => plan.peak_streamed,
            _ => plan.peak_resident,
        });
        if of_chosen > available && of_in_turn < of_chosen { GuidanceEvaluation::Sequential } else { chosen }
    }

    /// How many tiles of an image to decode at once on a CPU with `available` bytes, beside all weights that are there: no more than keep
    /// its threads busy.
    pub fn tiles_that_fit(&self, settings: &Settings, available: usize) -> usize {
        let plan = self.plan(settings, 1).on(self.device_of(VAE));
        let Some(decoder) = plan.component(VAE).filter(|_| settings.tiling == Tiling::Tiled) else { return 1 };
        let weights = plan.components.iter().map(|component| component.weights).fold(0, usize::saturating_add);
        let threads = available_parallelism().map_or(1, usize::from);
        let most = (threads / THREADS_OF_A_TILE).max(2).min(threads);
        (available.saturating_sub(weights) / decoder.working.max(1)).clamp(1, most)
    }

    /// Decode so many tiles of an image at once from now on; one, unless told otherwise. The image is the same to the bit, and each
    /// tile takes memory of its own.
    pub fn set_tiles_at_once(&mut self, tiles: usize) {
        self.tiles_at_once = tiles;
    }
}
