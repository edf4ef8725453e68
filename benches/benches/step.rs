//! Parts of a generation at published widths, with the sizes of the peers' scripts:
//!
//! - `sd3.5-medium/512`: 4 of 24 blocks (2 with dual attention), 1024 image and 333 text tokens
//! - `sd3.5-large/512`: 2 of 38 blocks, 1024 and 333 tokens
//! - `flux/512`: 1 of 19 double and 2 of 38 single blocks, 1024 image and 512 text tokens
//! - `vae-decode/256`: 16-channel AutoencoderKL, 32 x 32 latents to 256 x 256 pixels
//! - `clip-g/77`: the CLIP-G text encoder, 77 tokens
//! - `t5-xxl/256`: 2 of 24 blocks of T5 XXL, 256 tokens
//!
//! All in f32, batch 1, on the CPU.

use std::time::Duration;

use burn::tensor::{DType, Device, Distribution, FloatDType, Int, Tensor, TensorData};
use criterion::{Criterion, criterion_group, criterion_main};
use diffusion_benches::with_random_weights;
use diffusion_core::{LatentDecoder, TextEncoder};
use diffusion_models::autoencoder_kl::AutoencoderKlConfig;
use diffusion_models::block_network::{self, BlockNetwork, NoHook};
use diffusion_models::clip::ClipConfig;
use diffusion_models::flux::FluxConfig;
use diffusion_models::sd3::Sd3Config;
use diffusion_models::t5::T5Config;
use diffusion_models::{Conditioning, DenoiserInput};

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), (&Device::flex(), DType::F32))
}

fn token_ids(len: usize) -> Tensor<2, Int> {
    let ids: Vec<i32> = (0..len as i32).map(|i| i * 37 % 30000).collect();
    Tensor::from_data(TensorData::new(ids, [1, len]), &Device::flex())
}

/// One evaluation of a network for an image of 512 x 512 pixels.
fn evaluation(
    criterion: &mut Criterion,
    name: &str,
    network: &impl BlockNetwork,
    conditioning: &Conditioning,
    distilled_guidance: Option<f64>,
) {
    let latents = random([1, 16, 64, 64]);
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            let input = DenoiserInput { latents: latents.clone(), sigmas: &[0.5], conditioning, distilled_guidance };
            block_network::run(network, &input, &[], &mut NoHook).unwrap().into_data()
        });
    });
}

fn transformer(criterion: &mut Criterion, name: &str, config: &Sd3Config) {
    let network = with_random_weights(config.init(FloatDType::F32, &Device::flex()));
    let conditioning = Conditioning { tokens: random([1, 333, 4096]), pooled: random([1, 2048]) };
    evaluation(criterion, name, &network, &conditioning, None);
}

fn sd3(criterion: &mut Criterion) {
    let medium = Sd3Config { num_layers: 4, dual_attention_layers: vec![0, 1], ..Sd3Config::medium_3_5() };
    transformer(criterion, "sd3.5-medium/512", &medium);
    transformer(criterion, "sd3.5-large/512", &Sd3Config { num_layers: 2, ..Sd3Config::large_3_5() });
}

fn flux(criterion: &mut Criterion) {
    let config = FluxConfig { num_double_layers: 1, num_single_layers: 2, ..FluxConfig::dev() };
    let network = with_random_weights(config.init(FloatDType::F32, &Device::flex()));
    let conditioning = Conditioning { tokens: random([1, 512, 4096]), pooled: random([1, 768]) };
    evaluation(criterion, "flux/512", &network, &conditioning, Some(3.5));
}

fn autoencoder(criterion: &mut Criterion) {
    let model = with_random_weights(AutoencoderKlConfig::sd3().init(&Device::flex()));
    let latents = random([1, 16, 32, 32]);
    criterion.bench_function("vae-decode/256", |bencher| bencher.iter(|| model.decode(latents.clone()).into_data()));
}

fn text_encoders(criterion: &mut Criterion) {
    let clip = with_random_weights(ClipConfig::big_g().init(&Device::flex()));
    let ids = token_ids(77);
    criterion.bench_function("clip-g/77", |bencher| bencher.iter(|| clip.encode(ids.clone()).unwrap().hidden_states.into_data()));
    let t5 = with_random_weights(T5Config { num_layers: 2, ..T5Config::xxl() }.init(&Device::flex()));
    let ids = token_ids(256);
    criterion.bench_function("t5-xxl/256", |bencher| bencher.iter(|| t5.encode(ids.clone()).unwrap().hidden_states.into_data()));
}

criterion_group! {
    name = step;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(10));
    targets = sd3, flux, autoencoder, text_encoders
}
criterion_main!(step);
