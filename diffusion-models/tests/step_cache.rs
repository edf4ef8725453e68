//! Step caches in whole runs.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use std::ops::ControlFlow;
use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use common::relative_error;
use diffusion_core::Precision;
use diffusion_models::flux::Flux;
use diffusion_models::sd3::Sd3;
use diffusion_models::{
    Family, Guidance, GuidanceEvaluation, ModelParts, Pipeline, PipelineError, Prompt, Settings, StepCache, StepCacheReport,
};
use fixture::Fixture;

/// Steps enough for neighbours to be alike.
const NUM_STEPS: usize = 16;

struct Model<F: Family> {
    pipeline: Pipeline<F>,
    prompt: Prompt<F::Conditioning>,
    settings: Settings,
}

impl<F: Family> Model<F> {
    fn open(path: PathBuf, settings: Settings, prompt: &str) -> Self {
        let mut pipeline = Pipeline::<F>::open(&path, &ModelParts::default(), Precision::f32(), &Device::flex()).unwrap();
        let settings = Settings { num_steps: NUM_STEPS, ..settings };
        let prompt = pipeline.encode_prompt(prompt, "", &settings).unwrap();
        Self { pipeline, prompt, settings }
    }

    fn draw(&mut self, step_cache: StepCache) -> (Tensor<4>, StepCacheReport) {
        let settings = Settings { step_cache, ..self.settings.clone() };
        let noise = self.pipeline.noise(1, &settings);
        let latents = self.pipeline.denoise(&self.prompt, noise, &settings, &mut |_| ControlFlow::Continue(())).unwrap();
        (latents, self.pipeline.step_cache_report)
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
    let mut model = Model::<Sd3>::open(common::fixture("../diffusion-app/assets/mini-sd3"), reference.settings(), prompt);
    model.check(0.2, 0.3);
    model.settings.guidance = Guidance { evaluation: GuidanceEvaluation::Sequential, ..Guidance::default() };
    model.check(0.2, 0.3);
}

#[test]
fn flux_is_drawn_with_less_work() {
    let fixture = Fixture::new("flux-dev");
    Model::<Flux>::open(fixture.path(""), fixture.settings(), "a lighthouse").check(0.5, 1.0);
}

#[test]
fn impossible_thresholds_are_refused() {
    let fixture = Fixture::new("sd3");
    let model = Model::<Sd3>::open(fixture.path(""), fixture.settings(), "");
    for step_cache in [
        StepCache::FirstBlock { threshold: -0.1 },
        StepCache::Easy { threshold: f64::NAN, start: 0.0, stop: 1.0 },
        StepCache::Easy { threshold: 0.1, start: -1.0, stop: 1.0 },
    ] {
        let error = model.pipeline.check(&Settings { step_cache, ..model.settings.clone() }).unwrap_err();
        assert!(matches!(error, PipelineError::Setting { .. }) && error.to_string().contains("step cache"), "{error}");
    }
}
