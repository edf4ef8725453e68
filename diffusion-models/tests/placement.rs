//! Components on several devices.
//!
//! Burn's CPU backend has one device. With autodiff it stands in for another: what is made on it is told apart from what is made on the
//! plain one, and keeps that mark until it is moved.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};
use diffusion_core::image::RgbImage;
use diffusion_core::mask::Mask;
use diffusion_core::weights::{ComponentId, PatchWeights};
use diffusion_core::{Precision, Residency};
use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL, TRANSFORMER, VAE};
use diffusion_models::{
    ComponentPlace, Conditioning, EncodedPrompt, Event, InitImage, Pipeline, PipelineOptions, Placement, PromptStore, Request,
    Start, Tiling, ignore,
};
use fixture::Fixture;

/// Levels of 255 by which images may differ: with autodiff, other bodies of operations sum in another order.
const MOST_LEVELS: u8 = 1;

const COMPONENTS: [ComponentId; 5] = [CLIP_L, CLIP_G, T5XXL, TRANSFORMER, VAE];

fn elsewhere() -> Device {
    Device::flex().autodiff()
}

fn place() -> ComponentPlace {
    ComponentPlace { device: elsewhere(), precision: Precision::f32(), residency: Residency::Resident }
}

/// A pipeline of a fixture with these components elsewhere.
fn placed(fixture: &Fixture, components: &[ComponentId]) -> Pipeline {
    let placement = components.iter().map(|component| (*component, place())).collect();
    let options = PipelineOptions { placement, ..PipelineOptions::new(&Device::flex()) };
    Pipeline::open(&fixture.path(""), &options).unwrap()
}

/// An image to start from, the left half of it to be kept.
fn init_image(fixture: &Fixture) -> InitImage {
    let (width, height) = (fixture.run.width, fixture.run.height);
    let pixels = (0..3 * width * height).map(|i| (i * 7 % 251) as u8).collect();
    let levels = (0..width * height).map(|at| if at % width < width / 2 { 0 } else { 255 }).collect();
    let mask = Some(Mask { width, height, levels });
    InitImage { mask, ..InitImage::new(RgbImage { width, height, pixels }, 0.8) }
}

/// Every choice of components to put elsewhere that a placement by hand is likely to be.
fn choices() -> Vec<Vec<ComponentId>> {
    let alone = COMPONENTS.into_iter().map(|component| vec![component]);
    alone.chain([vec![], vec![CLIP_L, CLIP_G, T5XXL], vec![TRANSFORMER, VAE], vec![T5XXL, VAE], COMPONENTS.to_vec()]).collect()
}

fn is_elsewhere<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.device().is_autodiff()
}

fn are_elsewhere(prompt: &EncodedPrompt) -> Vec<bool> {
    let texts = [Some(&prompt.positive), prompt.negative.as_ref()].into_iter().flatten();
    texts.flat_map(|Conditioning { tokens, pooled }| [is_elsewhere(tokens), is_elsewhere(pooled)]).collect()
}

#[test]
fn every_component_is_loaded_where_it_is_placed_and_the_image_is_the_same() {
    for name in ["sd3", "flux-dev"] {
        let fixture = Fixture::new(name);
        let request = Request {
            seeds: vec![3, 4],
            settings: fixture.settings(),
            init: Some(init_image(&fixture)),
            ..Request::new("a lighthouse")
        };
        let expected = placed(&fixture, &[]).generate(&request, &mut ignore).unwrap();
        for components in choices() {
            let mut pipeline = placed(&fixture, &components);
            let mut loaded = BTreeMap::new();
            let draws_elsewhere = components.contains(&TRANSFORMER);
            let images = pipeline.generate(&request, &mut |event| {
                match event {
                    Event::Loading { component, device, .. } => {
                        loaded.entry(component).or_insert_with(Vec::new).push(device.is_autodiff());
                    }
                    Event::Step(step) => {
                        assert_eq!(is_elsewhere(&step.latents), draws_elsewhere, "{name}, {components:?}");
                        // What previews are made of.
                        assert_eq!(is_elsewhere(&step.denoised), draws_elsewhere, "{name}, {components:?}");
                    }
                    _ => {}
                }
                ControlFlow::Continue(())
            });
            let of_model: Vec<_> = pipeline.model().components().iter().map(|file| file.component().id).collect();
            assert_eq!(loaded.len(), of_model.len(), "{name}");
            for (component, heard) in loaded {
                let expected = components.contains(&component);
                assert!(heard.iter().all(|heard| *heard == expected), "{name}: {component} with {components:?} elsewhere");
                assert_eq!(pipeline.device_of(component).is_autodiff(), expected);
                // Where the factors of adapters go.
                assert_eq!(PatchWeights::device_of(&pipeline, component).is_autodiff(), expected);
            }
            for (image, expected) in images.unwrap().iter().zip(&expected) {
                let differences = image.pixels.iter().zip(&expected.pixels).map(|(a, b)| a.abs_diff(*b));
                assert!(differences.max() <= Some(MOST_LEVELS), "{name} with {components:?} elsewhere");
            }
        }
    }
}

#[test]
fn what_the_denoising_network_takes_comes_to_its_device() {
    let (fixture, settings) = (Fixture::new("sd3"), Fixture::new("sd3").settings());
    for components in choices() {
        let mut pipeline = placed(&fixture, &components);
        let expected = components.contains(&TRANSFORMER);
        assert_eq!(pipeline.device().is_autodiff(), expected);
        let prompt = pipeline.encode_prompt("a lighthouse", "fog", &settings, &mut ignore).unwrap();
        assert_eq!(are_elsewhere(&prompt), [expected; 4], "{components:?}");
        // Kept in memory, too.
        let again = pipeline.encode_prompt("a lighthouse", "fog", &settings, &mut ignore).unwrap();
        assert_eq!(are_elsewhere(&again), [expected; 4], "{components:?}");
        let init = pipeline.encode_init_image(&init_image(&fixture), &mut ignore).unwrap();
        assert_eq!(is_elsewhere(&init.latents), expected, "{components:?}");
        assert_eq!(init.inpaint_mask.as_ref().map(is_elsewhere), Some(expected), "{components:?}");
        assert_eq!(is_elsewhere(&pipeline.noise(&[1], &settings)), expected, "{components:?}");
        // What was made in another place is taken, too.
        for other in [&[][..], &[TRANSFORMER]] {
            let mut pipeline = placed(&fixture, other);
            let noise = Some(placed(&fixture, &components).noise(&[1], &settings));
            let start = Start { noise, init: Some(init.clone()), ..Start::from_seeds(&[1]) };
            let latents = pipeline.denoise(&prompt, &start, &settings, &mut ignore).unwrap();
            assert_eq!(is_elsewhere(&latents), !other.is_empty(), "{components:?}, then {other:?}");
            pipeline.decode(latents, Tiling::Whole, &mut ignore).unwrap();
        }
    }
}

#[test]
fn stored_prompts_are_read_to_where_they_are_needed() {
    let (fixture, settings) = (Fixture::new("flux-dev"), Fixture::new("flux-dev").settings());
    let folder = tempfile::tempdir().unwrap();
    let mut bits = Vec::new();
    for (run, components) in [&[][..], &[TRANSFORMER], &[T5XXL], &COMPONENTS].into_iter().enumerate() {
        let mut pipeline = placed(&fixture, components);
        pipeline.set_prompt_store(PromptStore::open(folder.path(), "these tests").unwrap());
        let prompt = pipeline.encode_prompt("a lighthouse", "", &settings, &mut ignore).unwrap();
        assert_eq!(pipeline.prompt_store().unwrap().1.read, usize::from(run > 0), "{components:?}");
        let expected = components.contains(&TRANSFORMER);
        assert!(are_elsewhere(&prompt).into_iter().all(|found| found == expected), "{components:?}");
        bits.push((prompt.positive.tokens.to_data(), prompt.positive.pooled.to_data()));
    }
    assert!(bits.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_place_has_a_precision_and_a_residency_of_its_own() {
    let fixture = Fixture::new("sd3");
    let streamed = ComponentPlace { residency: Residency::Streamed, precision: Precision::bf16_products(), ..place() };
    let mut pipeline = placed(&fixture, &[]);
    pipeline.set_placement(Placement::new().with(T5XXL, streamed.clone()));
    pipeline.set_residency(Residency::Resident);
    pipeline.set_precision(Precision::f32());
    assert_eq!(pipeline.place_of(T5XXL), streamed);
    for component in [CLIP_L, TRANSFORMER, VAE] {
        let place = pipeline.place_of(component);
        assert_eq!((place.residency, place.precision), (Residency::Resident, Precision::f32()), "{component}");
        assert!(!place.device.is_autodiff(), "{component}");
    }
    // In memory of another place, what was loaded is loaded again.
    let settings = fixture.settings();
    let mut encode = |placement: Placement| {
        pipeline.set_placement(placement);
        let mut places = Vec::new();
        let observer = &mut |event: Event| {
            if let Event::Loading { component: T5XXL, device, .. } = event {
                places.push(device.is_autodiff());
            }
            ControlFlow::Continue(())
        };
        pipeline.encode_prompt("a lighthouse", "fog", &settings, observer).unwrap();
        places.dedup();
        places
    };
    assert_eq!(encode(Placement::new().with(T5XXL, streamed.clone())), [true]);
    assert_eq!(encode(Placement::new().with(T5XXL, streamed)), [false; 0]);
    assert_eq!(encode(Placement::new()), [false]);
}
