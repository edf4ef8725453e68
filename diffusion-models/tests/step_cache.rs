//! Step caches in whole runs.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use std::path::Path;

use burn::tensor::Tensor;
use common::relative_error;
use diffusion_models::{
    ComponentPaths, EncodedPrompt, Guidance, GuidanceEvaluation, Pipeline, PipelineError, Settings, Start, StepCache,
    StepCacheReport, ignore,
};
use fixture::{Fixture, pipeline};

/// Steps enough for neighbours to be alike.
const NUM_STEPS: usize = 16;

struct Model {
    pipeline: Pipeline,
    prompt: EncodedPrompt,
    settings: Settings,
}

impl Model {
    fn open(path: &Path, settings: Settings, prompt: &str) -> Self {
        let mut pipeline = pipeline(path, &ComponentPaths::new());
        let settings = Settings { num_steps: NUM_STEPS, ..settings };
        let prompt = pipeline.encode_prompt(prompt, "", &settings, &mut ignore).unwrap();
        Self { pipeline, prompt, settings }
    }

    fn draw(&mut self, step_cache: StepCache) -> (Tensor<4>, StepCacheReport) {
        let settings = Settings { step_cache, ..self.settings.clone() };
        let latents = self.pipeline.denoise(&self.prompt, &Start::from_seeds(&[1]), &settings, &mut ignore).unwrap();
        (latents, self.pipeline.step_cache_report())
    }

    /// Strict caches change nothing; loose ones leave out work, and the latents stay within `most` of the exact ones.
    fn check(&mut self, loose: f64, most: f64) {
        let (exact, report) = self.draw(StepCache::Off);
        assert_eq!(report, StepCacheReport { evaluations: report.evaluations, ..StepCacheReport::default() });
        assert!(report.evaluations >= NUM_STEPS, "{report:?}");
        let of = |threshold| {
            let easy = StepCache::Easy { threshold, start: 0.15, stop: 0.95 };
            [StepCache::FirstBlock { threshold }, easy]
        };
        for cache in of(0.0) {
            let (latents, report) = self.draw(cache);
            assert_eq!(latents.to_data(), exact.to_data(), "{cache:?}");
            assert!(report.evaluations >= NUM_STEPS && report.reused == 0, "{cache:?}: {report:?}");
        }
        for cache in of(loose) {
            let (latents, report) = self.draw(cache);
            let error = relative_error(latents, exact.clone());
            println!("{cache:?}: {report:?}, latents {error:.3} off");
            assert!(report.reused > 0 && report.reused < report.evaluations, "{cache:?}: {report:?}");
            assert!(report.largest_change > 0.0 && report.largest_change < loose, "{cache:?}: {report:?}");
            assert!(error > 0.0 && error <= most, "{cache:?}: latents {error:.3} off");
        }
    }
}

#[test]
fn the_miniature_is_drawn_with_less_work() {
    let reference = Fixture::new("mini-sd3-reference");
    let prompt = &reference.run.prompt;
    let mut model = Model::open(&common::fixture("../diffusion-app/assets/mini-sd3"), reference.settings(), prompt);
    model.check(0.2, 0.3);
    model.settings.guidance = Guidance { evaluation: GuidanceEvaluation::Sequential, ..Guidance::default() };
    model.check(0.2, 0.3);
}

#[test]
fn flux_is_drawn_with_less_work() {
    let fixture = Fixture::new("flux-dev");
    Model::open(&fixture.path(""), fixture.settings(), "a lighthouse").check(0.5, 1.0);
}

#[test]
fn impossible_thresholds_are_refused() {
    let fixture = Fixture::new("sd3");
    let model = Model::open(&fixture.path(""), fixture.settings(), "");
    for step_cache in [
        StepCache::FirstBlock { threshold: -0.1 },
        StepCache::Easy { threshold: f64::NAN, start: 0.0, stop: 1.0 },
        StepCache::Easy { threshold: 0.1, start: -1.0, stop: 1.0 },
    ] {
        let error = model.pipeline.check(&Settings { step_cache, ..model.settings.clone() }).unwrap_err();
        assert!(matches!(error, PipelineError::Setting { .. }) && error.to_string().contains("step cache"), "{error}");
    }
}
