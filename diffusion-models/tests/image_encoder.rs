//! Images to latents, many with one encoder.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use std::hash::{DefaultHasher, Hasher};

use burn::tensor::FloatDType;
use diffusion_core::Precision;
use diffusion_core::image::RgbImage;
use diffusion_models::components::VAE;
use diffusion_models::{ComponentPaths, Pipeline, PipelineError, Tiling, ignore};
use fixture::{Fixture, pipeline};

fn image(side: usize) -> RgbImage {
    let pixel = |place: usize| [place % side, place / side, place * 7 % 64].map(|level| level as u8);
    RgbImage { width: side, height: side, pixels: (0..side * side).flat_map(pixel).collect() }
}

#[test]
fn an_encoder_gives_the_mean_that_images_start_from_and_its_deviation() {
    for name in ["sd3", "flux-dev"] {
        let fixture = Fixture::new(name);
        let pipeline = fixture.pipeline();
        let image = image(64);
        let encoder = pipeline.load_image_encoder(&mut ignore).unwrap();
        let latents = encoder.encode(image.to_tensor(pipeline.device()), Tiling::Whole);
        let expected = pipeline.encode_image(&image, &mut ignore).unwrap();
        assert_eq!(latents.mean.to_data(), expected.to_data());
        assert_eq!(latents.std.dims(), expected.dims());
        assert!(latents.std.min().into_scalar::<f32>() > 0.0);
    }
}

#[test]
fn a_large_image_may_be_encoded_in_tiles_that_have_norms_of_their_own() {
    let pipeline = Fixture::new("sd3").pipeline();
    let encoder = pipeline.load_image_encoder(&mut ignore).unwrap();
    let encode = |side: usize, tiling| encoder.encode(image(side).to_tensor(pipeline.device()), tiling).mean;
    let difference = |side| (encode(side, Tiling::Tiled) - encode(side, Tiling::Whole)).abs().max().into_scalar::<f32>();
    // One of a single tile, and one of several.
    assert_eq!(difference(64), 0.0);
    assert!(difference(256) > 1e-3);
}

#[test]
fn a_tiny_autoencoder_has_no_encoder() {
    let decoder = common::asset("taesd3/taesd3_decoder.safetensors");
    let pipeline = pipeline(&Fixture::new("sd3").path(""), &ComponentPaths::new().with(VAE, decoder));
    let error = pipeline.load_image_encoder(&mut ignore).unwrap_err();
    assert!(matches!(&error, PipelineError::NoImageEncoder { path } if path.ends_with("taesd3_decoder.safetensors")), "{error}");
}

#[test]
fn what_encoded_images_depend_on_tells_them_apart() {
    let identity = |pipeline: &Pipeline| {
        let mut state = DefaultHasher::new();
        pipeline.identify_image_encoder(&mut state).unwrap();
        state.finish()
    };
    let fixture = Fixture::new("sd3");
    let mut pipeline = fixture.pipeline();
    let before = identity(&pipeline);
    assert_eq!(identity(&fixture.pipeline()), before);
    assert_ne!(identity(&Fixture::new("sd3-medium").pipeline()), before);
    // How exact products are is a matter of the transformer alone.
    pipeline.set_precision(Precision::bf16_products());
    assert_eq!(identity(&pipeline), before);
    pipeline.set_precision(Precision::computing_in(FloatDType::BF16));
    assert_ne!(identity(&pipeline), before);
}
