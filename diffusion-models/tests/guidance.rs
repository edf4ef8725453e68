//! Guidance in whole runs: the formulas themselves are tested where they are defined.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};
use common::assert_close;
use diffusion_core::{Precision, Sigmas};
use diffusion_models::flux::{Flux, FluxConditioning};
use diffusion_models::sd3::Sd3;
use diffusion_models::{
    Family, Guidance, GuidanceEvaluation, GuidanceMethod, ModelParts, Pipeline, PipelineError, Prompt, Question, Settings,
};
use diffusion_schedulers::guidance::{CfgZeroStar, GuidanceInterval, classifier_free, rescale};
use fixture::Fixture;

/// The same sums in another order.
const TOLERANCE: f64 = 1e-5;
const SCALE: f64 = 3.0;

/// A model, an encoded prompt, its noise, and settings with guidance.
struct Model<F: Family> {
    pipeline: Pipeline<F>,
    prompt: Prompt<F::Conditioning>,
    noise: Tensor<4>,
    settings: Settings,
}

fn sd3() -> Model<Sd3> {
    let fixture = Fixture::new("sd3");
    let settings = Settings { guidance_scale: SCALE, ..fixture.settings() };
    Model { pipeline: open(&fixture), prompt: fixture.prompt(), noise: fixture.tensor("noise"), settings }
}

fn flux() -> Model<Flux> {
    let fixture = Fixture::new("flux-dev");
    let settings = Settings { true_cfg_scale: SCALE, ..fixture.settings() };
    let encoded = |sign: &str| FluxConditioning {
        text: fixture.tensor(&format!("{sign}prompt_embeds")),
        pooled: fixture.tensor(&format!("{sign}pooled_prompt_embeds")),
        distilled_guidance: settings.guidance_scale,
    };
    let prompt = Prompt { positive: encoded(""), negative: Some(encoded("negative_")) };
    Model { pipeline: open(&fixture), prompt, noise: fixture.tensor("noise"), settings }
}

fn open<F: Family>(fixture: &Fixture) -> Pipeline<F> {
    Pipeline::open(&fixture.path(""), &ModelParts::default(), Precision::f32(), &Device::flex()).unwrap()
}

impl<F: Family> Model<F> {
    /// The latents of a run with this guidance.
    fn latents(&mut self, guidance: Guidance) -> Tensor<4> {
        let settings = Settings { guidance, ..self.settings.clone() };
        self.latents_under(&settings)
    }

    fn latents_under(&mut self, settings: &Settings) -> Tensor<4> {
        let Self { pipeline, prompt, noise, .. } = self;
        pipeline.denoise(prompt, noise.clone(), settings, &mut |_| ControlFlow::Continue(())).unwrap()
    }

    /// The velocity that the first step of a run uses.
    fn first_velocity(&mut self, guidance: Guidance) -> Tensor<4> {
        let sigmas = Some(Sigmas::new(vec![1.0, 0.5]).unwrap());
        let latents = self.latents_under(&Settings { guidance, sigmas, ..self.settings.clone() });
        (latents - self.noise.clone()) / -0.5
    }

    /// The network's velocities under the negative and the positive prompt at the start.
    fn both_velocities(&self) -> [Tensor<4>; 2] {
        let transformer = self.pipeline.transformer.as_ref().unwrap();
        [self.prompt.negative.as_ref().unwrap(), &self.prompt.positive].map(|conditioning| {
            let question = Question { latents: self.noise.clone(), sigma: 1.0, conditioning, skipped_layers: &[], cache: None };
            F::velocity(transformer, &self.settings, question)
        })
    }
}

fn of(method: GuidanceMethod) -> Guidance {
    Guidance { method, ..Guidance::default() }
}

fn check_sequential<F: Family>(mut model: Model<F>) {
    let sequential = Guidance { evaluation: GuidanceEvaluation::Sequential, ..Guidance::default() };
    let (one, other) = (model.latents(sequential), model.latents(Guidance::default()));
    assert_close("sequential guidance", one, other, TOLERANCE);
}

#[test]
fn prompts_one_after_the_other_give_what_a_batch_gives() {
    check_sequential(sd3());
    check_sequential(flux());
}

fn check_formulas<F: Family>(mut model: Model<F>) {
    let plain = model.first_velocity(Guidance::default());
    let [negative, positive] = model.both_velocities();
    let expected = classifier_free(positive.clone(), negative.clone(), SCALE);
    assert_close("classifier-free", plain, expected.clone(), TOLERANCE);

    let rescaled = model.first_velocity(Guidance { rescale: 0.7, ..Guidance::default() });
    assert_close("rescaled", rescaled, rescale(expected.clone(), positive.clone(), 0.7), TOLERANCE);

    let all = GuidanceMethod::AdaptiveProjected { along: 1.0, longest: None, momentum: 0.0 };
    assert_close("projected, with all of it", model.first_velocity(of(all)), expected, TOLERANCE);

    let zero_star = model.first_velocity(of(GuidanceMethod::ZeroStar { zero_steps: 0 }));
    let expected = CfgZeroStar { scale: SCALE, zero_steps: 0 }.apply(positive, negative);
    assert_close("CFG-Zero*", zero_star, expected, TOLERANCE);
    let still = model.first_velocity(of(GuidanceMethod::ZeroStar { zero_steps: 1 }));
    assert_eq!(still.abs().max().into_scalar::<f32>(), 0.0);
}

#[test]
fn the_first_step_is_what_the_formulas_give() {
    check_formulas(sd3());
    check_formulas(flux());
}

fn check_interval<F: Family>(mut model: Model<F>) {
    let mut between =
        |above, up_to| model.latents(Guidance { interval: Some(GuidanceInterval { above, up_to }), ..Guidance::default() });
    let (everywhere, nowhere) = (between(0.0, 1.0), between(2.0, 3.0));
    let plain = model.latents(Guidance::default());
    assert_close("guided everywhere", everywhere, plain, 0.0);
    let unguided = Settings { true_cfg_scale: 1.0, ..model.settings.clone() };
    // Otherwise it is the distilled guidance of FLUX.1, which stays.
    let classifier_free = F::uses_negative_prompt(&unguided);
    let unguided = if classifier_free { Settings { guidance_scale: 1.0, ..unguided } } else { unguided };
    let unguided = model.latents_under(&unguided);
    assert_close("guided nowhere", nowhere, unguided, TOLERANCE);
}

#[test]
fn outside_of_its_interval_there_is_no_guidance() {
    check_interval(sd3());
    check_interval(flux());
}

#[test]
fn impossible_guidance_is_refused_by_name() {
    let Model { pipeline, settings, .. } = sd3();
    let interval = |above, up_to| Guidance { interval: Some(GuidanceInterval { above, up_to }), ..Guidance::default() };
    let projected = |along, longest, momentum| of(GuidanceMethod::AdaptiveProjected { along, longest, momentum });
    let cases = [
        (Guidance { rescale: 1.5, ..Guidance::default() }, "guidance rescale is 1.5"),
        (Guidance { rescale: f64::NAN, ..Guidance::default() }, "guidance rescale is NaN"),
        (interval(0.5, 0.5), "guidance interval is 0.5,0.5"),
        (interval(-1.0, 0.5), "guidance interval is -1,0.5"),
        (projected(f64::NAN, None, 0.0), "along the picture"),
        (projected(0.0, Some(0.0), 0.0), "longest guidance is 0"),
        (projected(0.0, None, -1.0), "guidance momentum is -1"),
    ];
    for (guidance, words) in cases {
        let error = pipeline.check(&Settings { guidance, ..settings.clone() }).unwrap_err();
        assert!(matches!(error, PipelineError::Setting { .. }) && error.to_string().contains(words), "{error}");
    }
}
