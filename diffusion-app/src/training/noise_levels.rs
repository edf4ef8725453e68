//! How noise levels are drawn.

use std::fmt::{self, Debug};
use std::sync::Arc;

use diffusion_lora::train::{TimestepSampling, TrainingRandom};

type Draw = dyn Fn(&mut TrainingRandom, usize) -> f64 + Send + Sync;

/// How the noise level of a picture is drawn.
#[derive(Clone)]
pub struct NoiseLevels(Arc<Draw>);

impl NoiseLevels {
    /// Noise levels that a function draws, given the picture's number of tokens. It draws from the numbers that it is given, and
    /// depends on nothing else.
    pub fn new(draw: impl Fn(&mut TrainingRandom, usize) -> f64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(draw))
    }

    pub(super) fn draw(&self, random: &mut TrainingRandom, image_tokens: usize) -> f64 {
        (self.0)(random, image_tokens)
    }
}

impl From<TimestepSampling> for NoiseLevels {
    fn from(sampling: TimestepSampling) -> Self {
        Self::new(move |random, image_tokens| sampling.sigma(random, image_tokens))
    }
}

impl Debug for NoiseLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoiseLevels").finish_non_exhaustive()
    }
}
