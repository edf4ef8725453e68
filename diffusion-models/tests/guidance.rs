//! Guidance in whole runs: the formulas themselves are tested where they are defined.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use burn::tensor::Tensor;
use common::assert_close;
use diffusion_core::Sigmas;
use diffusion_models::block_network::NoHook;
use diffusion_models::{
    DenoiserInput, EncodedPrompt, Guidance, GuidanceEvaluation, GuidanceMethod, Pipeline, PipelineError, Settings, Start, ignore,
};
use diffusion_schedulers::guidance::{CfgZeroStar, GuidanceInterval, classifier_free, rescale};
use fixture::Fixture;

/// The same sums in another order.
const TOLERANCE: f64 = 1e-5;
const SCALE: f64 = 3.0;

/// A model, an encoded prompt, its noise, and settings with guidance.
struct Model {
    pipeline: Pipeline,
    prompt: EncodedPrompt,
    noise: Tensor<4>,
    settings: Settings,
}

fn sd3() -> Model {
    Model::open("sd3")
}

fn flux() -> Model {
    Model::open("flux-dev")
}

impl Model {
    fn open(name: &'static str) -> Self {
        let fixture = Fixture::new(name);
        let settings = Settings { guidance_scale: SCALE, ..fixture.settings() };
        Self { pipeline: fixture.pipeline(), prompt: fixture.prompt(), noise: fixture.tensor("noise"), settings }
    }

    /// The latents of a run with this guidance.
    fn latents(&mut self, guidance: Guidance) -> Tensor<4> {
        let settings = Settings { guidance, ..self.settings.clone() };
        self.latents_under(&settings)
    }

    fn latents_under(&mut self, settings: &Settings) -> Tensor<4> {
        let Self { pipeline, prompt, noise, .. } = self;
        pipeline.denoise(prompt, &Start::from_noise(noise.clone()), settings, &mut ignore).unwrap()
    }

    /// The velocity that the first step of a run uses.
    fn first_velocity(&mut self, guidance: Guidance) -> Tensor<4> {
        let sigmas = Some(Sigmas::new(vec![1.0, 0.5]).unwrap());
        let latents = self.latents_under(&Settings { guidance, sigmas, ..self.settings.clone() });
        (latents - self.noise.clone()) / -0.5
    }

    /// The network's velocities under the negative and the positive prompt at the start.
    fn both_velocities(&self) -> [Tensor<4>; 2] {
        let denoiser = self.pipeline.denoiser().unwrap();
        [self.prompt.negative.as_ref().unwrap(), &self.prompt.positive].map(|conditioning| {
            let distilled_guidance = self.settings.distilled_guidance;
            let input = DenoiserInput {
                latents: self.noise.clone(),
                sigmas: &[1.0],
                conditioning,
                distilled_guidance,
                modulations: None,
            };
            denoiser.velocity(&input, &[], &mut NoHook).unwrap()
        })
    }
}

fn of(method: GuidanceMethod) -> Guidance {
    Guidance { method, ..Guidance::default() }
}

fn check_sequential(mut model: Model) {
    let sequential = Guidance { evaluation: GuidanceEvaluation::Sequential, ..Guidance::default() };
    let (one, other) = (model.latents(sequential), model.latents(Guidance::default()));
    assert_close("sequential guidance", one, other, TOLERANCE);
}

#[test]
fn prompts_one_after_the_other_give_what_a_batch_gives() {
    check_sequential(sd3());
    check_sequential(flux());
}

fn check_formulas(mut model: Model) {
    let plain = model.first_velocity(Guidance::default());
    let [negative, positive] = model.both_velocities();
    let expected = classifier_free(positive.clone(), negative.clone(), SCALE);
    assert_close("classifier-free", plain, expected.clone(), TOLERANCE);

    let rescaled = model.first_velocity(Guidance { rescale: 0.7, ..Guidance::default() });
    assert_close("rescaled", rescaled, rescale(expected.clone(), positive.clone(), 0.7), TOLERANCE);

    let all = GuidanceMethod::AdaptiveProjected { eta: 1.0, norm_threshold: None, momentum: 0.0 };
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

fn check_interval(mut model: Model) {
    let mut between =
        |start, end| model.latents(Guidance { interval: Some(GuidanceInterval { start, end }), ..Guidance::default() });
    let (everywhere, nowhere) = (between(0.0, 1.0), between(2.0, 3.0));
    let plain = model.latents(Guidance::default());
    assert_close("guided everywhere", everywhere, plain, 0.0);
    // The distilled guidance of FLUX.1 stays.
    let unguided = Settings { guidance_scale: 1.0, ..model.settings.clone() };
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
    let interval = |start, end| Guidance { interval: Some(GuidanceInterval { start, end }), ..Guidance::default() };
    let projected = |eta, norm_threshold, momentum| of(GuidanceMethod::AdaptiveProjected { eta, norm_threshold, momentum });
    let cases = [
        (Guidance { rescale: 1.5, ..Guidance::default() }, "guidance rescale is 1.5"),
        (Guidance { rescale: f64::NAN, ..Guidance::default() }, "guidance rescale is NaN"),
        (interval(0.5, 0.5), "guidance interval is 0.5,0.5"),
        (interval(-1.0, 0.5), "guidance interval is -1,0.5"),
        (projected(f64::NAN, None, 0.0), "eta of projected guidance is NaN"),
        (projected(0.0, Some(0.0), 0.0), "norm threshold of projected guidance is 0"),
        (projected(0.0, None, -1.0), "guidance momentum is -1"),
    ];
    for (guidance, words) in cases {
        let error = pipeline.check(&Settings { guidance, ..settings.clone() }).unwrap_err();
        assert!(matches!(error, PipelineError::Setting { .. }) && error.to_string().contains(words), "{error}");
    }
}
