//! LoRAs of matrices whose results are computed before sampling: the same pictures as computed step by step.

mod common;

use burn::tensor::{Device, Tensor, TensorData};
use common::{FLUX, Layout, Reference, SD3, lora_file, pipeline, relative_error};
use diffusion_core::weights::{ComponentPatches, PatchMode, PatchTarget, PatchWeights};
use diffusion_core::{Loading, Precision, Residency, Sigmas};
use diffusion_lora::{Lora, LoraSet, SetLoras, Strength};
use diffusion_models::block_network::NoHook;
use diffusion_models::components::TRANSFORMER;
use diffusion_models::{Conditioning, Denoiser, DenoiserInput, EncodedPrompt, Event, Pipeline, PipelineError, Settings, Start};

const LEVELS: [f64; 4] = [1.0, 0.8, 0.5, 0.0];

/// A network whose matrices are all kept, and its noise and text.
struct Kept {
    denoiser: Option<Box<dyn Denoiser>>,
    targets: Vec<PatchTarget>,
    noise: Tensor<4>,
    text: Conditioning,
}

impl PatchWeights for Kept {
    type Error = PipelineError;

    fn device(&self) -> Device {
        Device::flex()
    }

    fn patch_targets(&self) -> Vec<PatchTarget> {
        self.targets.clone()
    }

    fn patch_weights(&mut self, patches: ComponentPatches, mode: PatchMode) -> Result<(), PipelineError> {
        let denoiser = self.denoiser.take().unwrap();
        self.denoiser = Some(denoiser.patched(patches.get(&TRANSFORMER).unwrap_or(&Default::default()), mode)?);
        Ok(())
    }
}

impl Kept {
    fn of(pipeline: &Pipeline, reference: &Reference) -> Self {
        let denoiser = pipeline.model().load_denoiser(&Loading::new(Precision::f32(), pipeline.device())).unwrap();
        let (noise, text) = reference.start();
        Self { denoiser: Some(denoiser), targets: pipeline.patch_targets(), noise, text }
    }

    /// Euler's steps, without anything computed ahead.
    fn drawn(&self, settings: &Settings, mut after_step: impl FnMut(usize)) -> TensorData {
        let mut latents = self.noise.clone();
        for (index, levels) in LEVELS.windows(2).enumerate() {
            let (sigmas, conditioning, distilled_guidance) = (&levels[..1], &self.text, settings.distilled_guidance);
            let input = DenoiserInput { latents: latents.clone(), sigmas, conditioning, distilled_guidance, modulations: None };
            let velocity = self.denoiser.as_ref().unwrap().velocity(&input, &[], &mut NoHook).unwrap();
            latents = latents + velocity * (levels[1] - levels[0]);
            after_step(index);
        }
        latents.into_data()
    }
}

fn settings(pipeline: &Pipeline, reference: &Reference) -> Settings {
    let sigmas = Some(Sigmas::new(LEVELS.to_vec()).unwrap());
    Settings { sigmas, guidance_scale: 1.0, ..reference.settings(pipeline) }
}

fn drawn(pipeline: &mut Pipeline, kept: &Kept, settings: &Settings, mut after_step: impl FnMut(usize)) -> TensorData {
    let (prompt, start) = (EncodedPrompt::new(kept.text.clone(), None), Start::from_noise(kept.noise.clone()));
    let mut observer = |event: Event| {
        if let Event::Step(step) = event {
            after_step(step.index);
        }
        std::ops::ControlFlow::Continue(())
    };
    pipeline.denoise(&prompt, &start, settings, &mut observer).unwrap().into_data()
}

fn tensor(data: &TensorData) -> Tensor<4> {
    Tensor::from_data(data.clone(), &Device::flex())
}

/// Low-rank and other methods, `DoRA`, replacements and differences of biases; set while the network is loaded.
///
/// Where every patch of a matrix is of low rank, to the bit: our kernels add up every row alike. Other patches make a new matrix,
/// which Burn multiplies with, in another order for more rows.
#[test]
fn patched_modulations_are_the_same_ahead_of_sampling() {
    for (family, loras) in
        [(SD3, &["diffusers", "kohya", "comfyui"][..]), (FLUX, &["diffusers", "kohya", "comfyui", "onetrainer", "control"])]
    {
        let reference = Reference::of(family);
        for residency in [Residency::Resident, Residency::Streamed] {
            let mut pipeline = pipeline(family, Layout::Folder, Precision::f32());
            pipeline.set_residency(residency);
            let mut kept = Kept::of(&pipeline, &reference);
            let settings = settings(&pipeline, &reference);
            let plain = drawn(&mut pipeline, &kept, &settings, |_| {});
            for name in loras {
                let lora = Lora::open(&lora_file(family, name)).unwrap();
                let set = LoraSet::new().with(&lora, 0.7).with_mode(PatchMode::Attach);
                pipeline.set_loras(&set).unwrap();
                kept.set_loras(&set).unwrap();
                let found = drawn(&mut pipeline, &kept, &settings, |_| {});
                let expected = kept.drawn(&settings, |_| {});
                if ["diffusers", "kohya", "control"].contains(name) {
                    assert!(found == expected, "{family}, {name}, {residency:?}");
                }
                let [error, change] = [&expected, &plain].map(|other| relative_error(tensor(&found), tensor(other)));
                assert!(error < 1e-6, "{family}, {name}, {residency:?}: {error}");
                assert!(change > 0.05, "{family}, {name}: {change}");
            }
            pipeline.set_loras(&LoraSet::new()).unwrap();
            assert!(drawn(&mut pipeline, &kept, &settings, |_| {}) == plain, "{family}, {residency:?}");
        }
    }
}

/// What may change from step to step is not computed ahead.
#[test]
fn a_strength_that_is_turned_between_steps_changes_modulations_too() {
    for (family, name) in [(SD3, "kohya"), (FLUX, "kohya")] {
        let reference = Reference::of(family);
        let mut pipeline = pipeline(family, Layout::Folder, Precision::f32());
        let mut kept = Kept::of(&pipeline, &reference);
        let settings = settings(&pipeline, &reference);
        let lora = Lora::open(&lora_file(family, name)).unwrap();
        let strength = Strength::new(0.0);
        let set = LoraSet::new().with_variable(&lora, &strength);
        pipeline.set_loras(&set).unwrap();
        kept.set_loras(&set).unwrap();
        let turn = |step: usize| strength.set([0.9, -0.4, 0.0][step]);
        let found = drawn(&mut pipeline, &kept, &settings, turn);
        assert!(found == kept.drawn(&settings, turn), "{family}");
        assert!(found != kept.drawn(&settings, |_| {}), "{family}");
    }
}
