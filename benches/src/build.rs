//! Cases from their sizes: a file of random weights, the network that is loaded from it, inputs.

use std::error::Error;

use burn::module::Module;
use burn::tensor::{DType, Device, Distribution, FloatDType, Int, Tensor, TensorData};
use diffusion_core::network::block_network::NoHook;
use diffusion_core::weights::parameter_shapes;
use diffusion_core::{LatentDecoder, Loading, Precision, TextEncoder};
use diffusion_kernels::{Attention, Cpu, Strides, Tokens, TokensMut};
use diffusion_models::autoencoder_kl::{AutoencoderKlConfig, AutoencoderKlDecoder};
use diffusion_models::clip::{ClipConfig, ClipTextEncoder};
use diffusion_models::flux::{FluxConfig, FluxTransformer};
use diffusion_models::sd3::{Sd3Config, Sd3Transformer};
use diffusion_models::t5::{T5Config, T5Encoder};
use diffusion_models::{Conditioning, Denoiser, DenoiserInput};

use crate::random_checkpoint::RandomCheckpoint;
use crate::setting::{Products, Running, Setting};
use crate::sizes::{ATTENTION, CLIP_LEN, DECODED_SIZE, FLUX_TEXT_LEN, LATENT_SIZE, SD3_TEXT_LEN, T5_LEN};

pub(crate) fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), (&Device::flex(), DType::F32))
}

fn token_ids(len: usize) -> Tensor<2, Int> {
    let ids: Vec<i32> = (0..len as i32).map(|i| i * 37 % 30000).collect();
    Tensor::from_data(TensorData::new(ids, [1, len]), &Device::flex())
}

/// A file of random weights for a module, and how they are to be computed with.
pub(crate) fn file_for<M: Module>(empty: &M, setting: Setting) -> Result<(RandomCheckpoint, Precision), Box<dyn Error>> {
    Ok((RandomCheckpoint::write(&parameter_shapes(empty), setting.weights)?, setting.products.precision()))
}

/// A case whose weights are mapped from its file.
pub(crate) fn running(file: RandomCheckpoint, mut run: impl FnMut() + 'static) -> Running {
    let bytes = file.num_bytes_read();
    // On Unix what is mapped stays without a name, and nothing is left behind if the program is killed.
    let kept = (!cfg!(unix)).then_some(file);
    let run = move || {
        let _kept = &kept;
        run();
    };
    Running { run: Box::new(run), bytes }
}

/// One evaluation of a network for an image of 512 x 512 pixels.
fn evaluation(
    file: RandomCheckpoint,
    network: impl Denoiser,
    conditioning: Conditioning,
    distilled_guidance: Option<f64>,
) -> Running {
    let latents = random([1, 16, LATENT_SIZE, LATENT_SIZE]);
    running(file, move || {
        let input = DenoiserInput {
            latents: latents.clone(),
            sigmas: &[0.5],
            conditioning: &conditioning,
            distilled_guidance,
            modulations: None,
        };
        network.velocity(&input, &[], &mut NoHook).expect("a file that nobody writes to").into_data();
    })
}

pub(crate) fn sd3(config: &Sd3Config, setting: Setting) -> Result<Running, Box<dyn Error>> {
    let device = Device::flex();
    let (file, precision) = file_for(&config.init(FloatDType::F32, &device), setting)?;
    let network = Sd3Transformer::load(file.checkpoint()?, config, &Loading::new(precision, &device))?;
    let tokens = random([1, SD3_TEXT_LEN, config.joint_attention_dim]);
    let conditioning = Conditioning { tokens, pooled: random([1, config.pooled_projection_dim]) };
    Ok(evaluation(file, network, conditioning, None))
}

pub(crate) fn flux(config: &FluxConfig, setting: Setting) -> Result<Running, Box<dyn Error>> {
    const GUIDANCE: f64 = 3.5;
    let device = Device::flex();
    let (file, precision) = file_for(&config.init(FloatDType::F32, &device), setting)?;
    let network = FluxTransformer::load(file.checkpoint()?, config, &Loading::new(precision, &device))?;
    let tokens = random([1, FLUX_TEXT_LEN, config.joint_attention_dim]);
    let conditioning = Conditioning { tokens, pooled: random([1, config.pooled_projection_dim]) };
    Ok(evaluation(file, network, conditioning, Some(GUIDANCE)))
}

pub(crate) fn autoencoder(setting: Setting) -> Result<Running, Box<dyn Error>> {
    let (config, device) = (AutoencoderKlConfig::sd3(), Device::flex());
    let (file, precision) = file_for(&config.init(&device), setting)?;
    let decoder = AutoencoderKlDecoder::load(file.checkpoint()?, &config, &Loading::new(precision, &device))?;
    let latents = random([1, config.latent_channels, DECODED_SIZE, DECODED_SIZE]);
    Ok(running(file, move || drop(decoder.decode(latents.clone()).into_data())))
}

pub(crate) fn clip(setting: Setting) -> Result<Running, Box<dyn Error>> {
    let (config, device) = (ClipConfig::big_g(), Device::flex());
    let (file, precision) = file_for(&config.init(&device), setting)?;
    let encoder = ClipTextEncoder::load(file.checkpoint()?, &config, &Loading::new(precision, &device))?;
    Ok(encoding(file, encoder, CLIP_LEN))
}

pub(crate) fn t5(config: &T5Config, setting: Setting) -> Result<Running, Box<dyn Error>> {
    let device = Device::flex();
    let (file, precision) = file_for(&config.init(&device), setting)?;
    let encoder = T5Encoder::load(file.checkpoint()?, config, &Loading::new(precision, &device))?;
    Ok(encoding(file, encoder, T5_LEN))
}

fn encoding(file: RandomCheckpoint, encoder: impl TextEncoder + 'static, len: usize) -> Running {
    let ids = token_ids(len);
    running(file, move || {
        let encoded = encoder.encode(ids.clone()).expect("a file that nobody writes to");
        encoded.hidden_states.into_data();
        drop(encoded.pooled.map(Tensor::into_data));
    })
}

/// The kernel itself, its result in memory that is kept, as blocks keep theirs.
pub(crate) fn attention_alone(setting: Setting) -> Result<Running, Box<dyn Error>> {
    let [heads, len, head_dim] = ATTENTION;
    let numbers = heads * len * head_dim;
    let [queries, keys, values] = [(); 3].map(|()| random([numbers]).into_data().try_into_vec::<f32>());
    let (queries, keys, values) = (queries?, keys?, values?);
    let mut out = vec![0.0; numbers];
    let products = match setting.products {
        Products::F32 => diffusion_kernels::Products::F32,
        Products::Bf16 => diffusion_kernels::Products::Bf16,
    };
    let strides = Strides::of_projection(len, heads, head_dim);
    let run = move || {
        let tokens = |values| [Tokens { values, len, strides }];
        let inputs = Attention {
            batch: 1,
            heads,
            head_dim,
            scale: (head_dim as f32).sqrt().recip(),
            queries: &tokens(&queries),
            keys: &tokens(&keys),
            values: &tokens(&values),
            bias: None,
            causal: false,
        };
        let out = TokensMut { values: &mut out, len, strides };
        diffusion_kernels::attention(Cpu::detect(), products, &inputs, &mut [out], None);
    };
    // Queries, keys, values and the result.
    Ok(Running { run: Box::new(run), bytes: 4 * numbers * size_of::<f32>() })
}
