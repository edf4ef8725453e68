//! Steps of training a LoRA, as cases.

use std::convert::Infallible;
use std::error::Error;

use burn::tensor::{Device, FloatDType};
use diffusion_core::Loading;
use diffusion_core::network::GradientOptions;
use diffusion_core::weights::{ComponentPatches, PatchMode, PatchTarget};
use diffusion_lora::train::{Batch, Batches, Method, Targets, TrainedAdapter, Trainer, TrainerSettings, TrainingRandom};
use diffusion_models::components::TRANSFORMER;
use diffusion_models::flux::{FluxConfig, FluxTransformer};
use diffusion_models::sd3::{Sd3Config, Sd3Transformer};
use diffusion_models::{Conditioning, Denoiser, NetworkConfig};

use crate::build::{file_for, random, running};
use crate::random_checkpoint::RandomCheckpoint;
use crate::setting::{Running, Setting};
use crate::sizes::{FLUX_TEXT_LEN, LATENT_SIZE, SD3_TEXT_LEN};

const RANK: usize = 16;
/// The attention projections that diffusers' scripts choose.
const TARGETS: &str = r"\.attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)$";

pub(crate) fn sd3(config: &Sd3Config, setting: Setting) -> Result<Running, Box<dyn Error>> {
    let device = Device::flex();
    let (file, precision) = file_for(&config.init(FloatDType::F32, &device), setting)?;
    let network = Sd3Transformer::load(file.checkpoint()?, config, &Loading::new(precision, &device))?;
    let widths = [SD3_TEXT_LEN, config.joint_attention_dim, config.pooled_projection_dim];
    steps(file, config, Box::new(network), widths, None)
}

pub(crate) fn flux(config: &FluxConfig, setting: Setting) -> Result<Running, Box<dyn Error>> {
    let device = Device::flex();
    let (file, precision) = file_for(&config.init(FloatDType::F32, &device), setting)?;
    let network = FluxTransformer::load(file.checkpoint()?, config, &Loading::new(precision, &device))?;
    let widths = [FLUX_TEXT_LEN, config.joint_attention_dim, config.pooled_projection_dim];
    steps(file, config, Box::new(network), widths, Some(1.0))
}

/// A step with an image of 512 x 512 pixels. `widths` are those of the text: tokens, numbers of each, numbers of the pooled one.
fn steps(
    file: RandomCheckpoint,
    config: &impl NetworkConfig,
    network: Box<dyn Denoiser>,
    [text_len, text_width, pooled_width]: [usize; 3],
    distilled_guidance: Option<f64>,
) -> Result<Running, Box<dyn Error>> {
    let target = PatchTarget { component: TRANSFORMER, aliases: vec![TRANSFORMER.name()], names: config.published_names() };
    let layers = TARGETS.parse::<Targets>()?.layers_of(&target);
    let adapter = |(layer, index)| {
        let mut random = TrainingRandom::new(1, 1, index);
        TrainedAdapter::new(TRANSFORMER, layer, Method::Lora, RANK, RANK as f64, &mut random, &Device::flex())
    };
    let gradients = GradientOptions { kept_graphs: kept_graphs(), ..GradientOptions::default() };
    let settings = TrainerSettings { distilled_guidance, gradients, ..TrainerSettings::default() };
    let mut trainer = Trainer::new(layers.into_iter().zip(0..).map(adapter).collect(), settings);
    let patches = trainer.patches(ComponentPatches::new()).remove(&TRANSFORMER).unwrap_or_default();
    let network = network.patched(&patches, PatchMode::Attach)?;
    let latents = || random([1, 16, LATENT_SIZE, LATENT_SIZE]);
    let mut batches = Same(Batch {
        latents: latents(),
        noise: latents(),
        sigmas: vec![0.5],
        captions: Vec::new(),
        conditioning: Conditioning { tokens: random([1, text_len, text_width]), pooled: random([1, pooled_width]) },
        weights: vec![1.0],
        names: vec!["noise".to_owned()],
    });
    Ok(running(file, move || {
        trainer.step(&*network, &mut batches).expect("random numbers are finite");
    }))
}

/// Blocks whose graphs are kept: all, as `train-lora` does where memory is enough, and as peft does; or as many as the variable
/// `KEPT_GRAPHS` of the environment says.
fn kept_graphs() -> usize {
    std::env::var("KEPT_GRAPHS").ok().and_then(|count| count.parse().ok()).unwrap_or(usize::MAX)
}

/// The same batch at every step.
struct Same(Batch);

impl Batches for Same {
    type Error = Infallible;

    fn batch(&mut self, _: usize) -> Result<Batch, Infallible> {
        Ok(self.0.clone())
    }
}
