//! LoRAs of a model whose components are on several devices. Burn's CPU backend with autodiff stands in for another device.

mod common;

use burn::tensor::Device;
use common::{Layout, Reference, SD3, assert_close, lora_file, pipeline};
use diffusion_core::weights::{ComponentId, ComponentPatches, PatchMode, PatchTarget, PatchWeights};
use diffusion_core::{Precision, Residency};
use diffusion_lora::{Lora, LoraSet, SetLoras};
use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL, TRANSFORMER};
use diffusion_models::{ComponentPlace, Pipeline, PipelineError, Placement, ignore};

/// As in the tests of dialects.
const TOLERANCE: f64 = 1e-4;

/// A pipeline that keeps the patches that it gets, and does nothing with them.
struct Keeper(Pipeline, ComponentPatches);

impl PatchWeights for Keeper {
    type Error = PipelineError;

    fn device(&self) -> Device {
        self.0.device().clone()
    }

    fn device_of(&self, component: ComponentId) -> Device {
        self.0.device_of(component).clone()
    }

    fn patch_targets(&self) -> Vec<PatchTarget> {
        self.0.patch_targets()
    }

    fn patch_weights(&mut self, patches: ComponentPatches, _: PatchMode) -> Result<(), PipelineError> {
        self.1 = patches;
        Ok(())
    }
}

fn placed(components: &[ComponentId]) -> Pipeline {
    let mut pipeline = pipeline(SD3, Layout::Folder, Precision::f32());
    let device = Device::flex().autodiff();
    let place = ComponentPlace { device, precision: Precision::f32(), residency: Residency::Resident };
    pipeline.set_placement(components.iter().map(|component| (*component, place.clone())).collect::<Placement>());
    pipeline
}

fn open(name: &str) -> Lora {
    Lora::open(&lora_file(SD3, name)).unwrap()
}

#[test]
fn factors_go_to_the_device_of_the_network_that_they_patch() {
    for elsewhere in [&[][..], &[CLIP_L, CLIP_G, T5XXL], &[T5XXL], &[TRANSFORMER]] {
        // Opened again, because what is loaded onto one device is kept for others that differ in autodiff alone.
        let set = LoraSet::new().with(&open("text_encoders"), 1.0).with(&open("diffusers"), 1.0);
        let mut keeper = Keeper(placed(elsewhere), ComponentPatches::new());
        keeper.set_loras(&set).unwrap();
        let patched: Vec<ComponentId> = keeper.1.keys().copied().collect();
        assert!(patched.contains(&TRANSFORMER) && patched.len() > 1, "{patched:?}");
        for (component, patches) in &keeper.1 {
            for path in patches.paths() {
                let factors = patches.get(path).unwrap().low_rank().unwrap();
                let found = [factors.down, factors.up].map(|factor| factor.device().is_autodiff());
                assert_eq!(found, [elsewhere.contains(component); 2], "{component}: {path} with {elsewhere:?} elsewhere");
            }
        }
    }
}

#[test]
fn patched_text_encoders_elsewhere_give_what_diffusers_gives() {
    let reference = Reference::of(SD3);
    let prompt = reference.run["prompt"].as_str().unwrap().to_owned();
    for elsewhere in [&[CLIP_L, CLIP_G, T5XXL][..], &[CLIP_G], &[TRANSFORMER]] {
        let mut pipeline = placed(elsewhere);
        let settings = reference.settings(&pipeline);
        pipeline.set_loras(&LoraSet::new().with(&open("text_encoders"), 1.0).with_mode(PatchMode::Attach)).unwrap();
        let encoded = pipeline.encode_prompt(&prompt, "", &settings, &mut ignore).unwrap().positive;
        assert_eq!(encoded.tokens.device().is_autodiff(), elsewhere.contains(&TRANSFORMER), "{elsewhere:?}");
        assert_close("tokens", encoded.tokens, reference.expected("text_encoders.prompt_embeds"), TOLERANCE);
        assert_close("pooled", encoded.pooled, reference.expected("text_encoders.pooled"), TOLERANCE);
    }
}
