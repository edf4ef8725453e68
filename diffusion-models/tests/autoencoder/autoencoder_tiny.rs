use std::path::Path;

use burn::tensor::{Device, Tensor};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::image::RgbImage;
use diffusion_core::{LatentDecoder, LatentEncoder, Loading, Precision};
use diffusion_models::autoencoder_tiny::{
    AutoencoderTiny, AutoencoderTinyConfig, AutoencoderTinyDecoder, AutoencoderTinyEncoder,
};

use crate::TOLERANCE;
use crate::common::{assert_close, asset, data, fixture, tensor};

const SMALL: AutoencoderTinyConfig = AutoencoderTinyConfig { latent_channels: 16, hidden_channels: 4 };

fn open(file: &str) -> Checkpoint {
    Checkpoint::open(&data("autoencoder/autoencoder_tiny").join(file)).unwrap()
}

fn taesd3(half: &str) -> Checkpoint {
    Checkpoint::open(&asset(&format!("taesd3/taesd3_{half}.safetensors"))).unwrap()
}

#[test]
fn random_weights_encode_and_decode_as_in_diffusers() {
    let device = Device::flex();
    let (weights, reference) = (open("diffusion_pytorch_model.safetensors"), open("reference.safetensors"));
    let get = |name: &str| -> Tensor<4> { tensor(&reference, name, &device) };
    let whole = AutoencoderTiny::load(weights.clone(), &SMALL, &Loading::new(Precision::f32(), &device)).unwrap();
    let encoder = AutoencoderTinyEncoder::load(weights.clone(), &SMALL, &Loading::new(Precision::f32(), &device)).unwrap();
    let decoder = AutoencoderTinyDecoder::load(weights, &SMALL, &Loading::new(Precision::f32(), &device)).unwrap();
    for encoded in [whole.encode(get("image")), encoder.encode(get("image"))] {
        assert_close("encoded", encoded.mean, get("encoded"), TOLERANCE);
        assert!(encoded.std.into_data().iter::<f32>().all(|std| std == 0.0), "one point");
    }
    for decoded in [whole.decode(get("latents")), decoder.decode(get("latents"))] {
        assert_close("decoded", decoded, get("decoded"), TOLERANCE);
    }
}

#[test]
fn a_photograph_survives_the_published_weights() {
    let device = Device::flex();
    let config = AutoencoderTinyConfig::default();
    let encoder = AutoencoderTinyEncoder::load(taesd3("encoder"), &config, &Loading::new(Precision::f32(), &device)).unwrap();
    let decoder = AutoencoderTinyDecoder::load(taesd3("decoder"), &config, &Loading::new(Precision::f32(), &device)).unwrap();
    let photograph = read_png(&fixture("photograph/astronaut.png"));
    let latents = encoder.encode(photograph.to_tensor(&device)).mean;
    assert_eq!(latents.dims(), [1, 16, 24, 24]);
    let deviation = latents.clone().powi_scalar(2).mean().sqrt().into_scalar::<f32>();
    assert!((0.5..2.0).contains(&deviation), "latents of the network's scale, not {deviation}");
    let [decoded] = RgbImage::from_tensor(decoder.decode(latents)).try_into().unwrap();
    let psnr = psnr(&decoded, &photograph);
    println!("{psnr:.1} dB");
    assert!(psnr > 25.0, "{psnr:.1} dB");
}

#[test]
fn the_wrong_half_is_refused() {
    let device = Device::flex();
    let config = AutoencoderTinyConfig::default();
    let error = AutoencoderTinyDecoder::load(taesd3("encoder"), &config, &Loading::new(Precision::f32(), &device)).unwrap_err();
    assert!(matches!(error, CheckpointError::Mismatch { .. }), "{error}");
    let error = AutoencoderTinyEncoder::load(taesd3("decoder"), &config, &Loading::new(Precision::f32(), &device)).unwrap_err();
    assert!(matches!(error, CheckpointError::Mismatch { .. }), "{error}");
}

fn read_png(path: &Path) -> RgbImage {
    let image = image::open(path).unwrap().into_rgb8();
    RgbImage { width: image.width() as usize, height: image.height() as usize, pixels: image.into_raw() }
}

/// Peak signal-to-noise ratio in decibels.
fn psnr(found: &RgbImage, expected: &RgbImage) -> f64 {
    assert_eq!(found.pixels.len(), expected.pixels.len());
    let squares = found.pixels.iter().zip(&expected.pixels).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
    10.0 * (255f64.powi(2) * expected.pixels.len() as f64 / squares.sum::<f64>()).log10()
}
