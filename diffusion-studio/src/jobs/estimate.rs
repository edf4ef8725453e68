//! How long jobs take, as measured.

use std::collections::HashMap;

use diffusion_models::{Settings, StepCache};

use crate::request::{Drawing, JobKind};

/// What a measurement counts for: seconds by names of work.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WorkKey(String);

/// Share of a new measurement in what is remembered.
const NEWEST: f64 = 0.4;

impl WorkKey {
    /// A step of a drawing: the model, size, passes, LoRAs and step cache decide.
    pub(crate) fn step(drawing: &Drawing) -> Self {
        Self(format!("step {}", Self::image(drawing)))
    }

    /// All of an image but its steps.
    pub(crate) fn rest(drawing: &Drawing) -> Self {
        Self(format!("rest {} {}", Self::image(drawing), drawing.kind != JobKind::Txt2img))
    }

    /// Loading a model.
    pub(crate) fn load(model: &str) -> Self {
        Self(format!("load {model}"))
    }

    /// Going from one set of LoRAs to another.
    pub(crate) fn switch(model: &str) -> Self {
        Self(format!("switch {model}"))
    }

    fn image(drawing: &Drawing) -> String {
        let Settings { width, height, sampler, step_cache, .. } = &drawing.settings;
        let (passes, loras) = (drawing.passes(), usize::from(!drawing.loras.is_empty()));
        let cache = if *step_cache == StepCache::Off { "" } else { " cached" };
        format!("{} {width}x{height} {sampler} {passes} {loras}{cache}", drawing.model)
    }

    /// The name under which it is stored.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

/// Seconds of work, as measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Speeds {
    seconds: HashMap<String, f64>,
}

impl Speeds {
    /// What was measured before.
    pub(crate) fn new(seconds: HashMap<String, f64>) -> Self {
        Self { seconds }
    }

    /// The mean of what was measured in several places.
    pub(crate) fn mean<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sums: HashMap<String, (f64, f64)> = HashMap::new();
        for (work, seconds) in all.into_iter().flat_map(|speeds| &speeds.seconds) {
            let sum = sums.entry(work.clone()).or_default();
            *sum = (sum.0 + seconds, sum.1 + 1.0);
        }
        Self { seconds: sums.into_iter().map(|(work, (sum, count))| (work, sum / count)).collect() }
    }

    /// These speeds, and those of `other` where nothing was measured.
    pub(crate) fn or(mut self, other: &Self) -> Self {
        for (work, seconds) in &other.seconds {
            self.seconds.entry(work.clone()).or_insert(*seconds);
        }
        self
    }

    /// Take in a measurement; what is remembered of this work now.
    pub(crate) fn measured(&mut self, key: &WorkKey, seconds: f64) -> f64 {
        let remembered = self.seconds.entry(key.0.clone()).or_insert(seconds);
        *remembered += NEWEST * (seconds - *remembered);
        *remembered
    }

    /// Seconds of this work, if it was ever measured.
    pub(crate) fn get(&self, key: &WorkKey) -> Option<f64> {
        self.seconds.get(&key.0).copied()
    }

    /// Seconds that a drawing takes with its model loaded.
    pub(crate) fn drawing(&self, drawing: &Drawing) -> Option<f64> {
        Some(drawing.seeds.len() as f64 * self.image(drawing)?)
    }

    /// Seconds of an image.
    fn image(&self, drawing: &Drawing) -> Option<f64> {
        Some(self.get(&WorkKey::step(drawing))? * steps(drawing) as f64 + self.get(&WorkKey::rest(drawing))?)
    }

    /// Seconds that are left of a drawing after this many images and steps of the next one.
    pub(crate) fn remaining(&self, drawing: &Drawing, images: usize, steps_done: usize) -> Option<f64> {
        let left = drawing.seeds.len().saturating_sub(images);
        let step = self.get(&WorkKey::step(drawing))?;
        Some((left as f64 * self.image(drawing)? - step * steps_done as f64).max(0.0))
    }
}

/// Steps that are run: fewer from an image.
pub(crate) fn steps(drawing: &Drawing) -> usize {
    let all = drawing.settings.num_steps;
    drawing.init.as_ref().map_or(all, |init| ((all as f64 * init.strength) as usize).clamp(1, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_measurement_counts_most_and_the_first_one_whole() {
        let (mut speeds, key) = (Speeds::default(), WorkKey::load("m"));
        assert_eq!(speeds.get(&key), None);
        assert_eq!(speeds.measured(&key, 10.0), 10.0);
        assert_eq!(speeds.measured(&key, 5.0), 8.0);
        assert_eq!(speeds.get(&key), Some(8.0));
    }
}
