//! Loading a network at published widths from a file, and switching its LoRAs.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::{DType, Distribution, FloatDType, Tensor};
use diffusion_app::cli::PrintError;
use diffusion_core::checkpoint::write::{CheckpointWriter, Container, TensorSpec};
use diffusion_core::format::Format;
use diffusion_core::noise::TorchGenerator;
use diffusion_core::weights::{ComponentPatches, LoadedNetwork, PatchMode, PatchTarget, WeightPatches};
use diffusion_core::{Loading, Precision};
use diffusion_lora::{Lora, LoraSet};
use diffusion_models::block_network::{self, NoHook};
use diffusion_models::components::TRANSFORMER;
use diffusion_models::flux::{DistilledGuidance, FluxConfig, FluxTransformer};
use diffusion_models::{Conditioning, DenoiserInput, NetworkConfig};

use crate::compare::{name, numbers, relative_error, unit};
use crate::network::{weight_std, write_network};
use crate::table::{Case, Table};
use crate::tested::Tested;

const RANK: usize = 16;
/// Pixels on a side of the image that is evaluated.
const SIDE: usize = 128;

/// Load FLUX.1's blocks, merge a LoRA with them, switch to another and restore them.
pub(crate) fn check(tested: &Tested, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let config = &tested.sizes.flux;
    let checkpoint = write_network(&folder.path().join("network.safetensors"), config, weight_std(config.hidden_size()))?;
    let loras = [1, 2].map(|seed| write_lora(folder.path(), seed, config));
    let [first, second] = loras.map(|path| Ok::<_, Box<dyn Error>>(Lora::open(&path?)?));
    let loras = [first?, second?];
    for &precision in &tested.precisions {
        let mut network = None;
        table.measure(Case::new("load", "FLUX.1's blocks from bf16", name(precision)), "ms", || {
            let began = Instant::now();
            let loaded = FluxTransformer::load(checkpoint.clone(), config, &Loading::new(precision, &tested.device))?;
            tested.wait()?;
            let seconds = began.elapsed().as_secs_f64();
            network = Some(loaded);
            Ok((seconds * 1e3, format!("{:.2} GB/s", checkpoint.num_bytes() as f64 / seconds / 1e9)))
        })?;
        if let Some(network) = network {
            switch(tested, precision, network, &loras, table)?;
        }
    }
    Ok(())
}

fn switch(
    tested: &Tested,
    precision: Precision,
    network: FluxTransformer,
    loras: &[Lora; 2],
    table: &mut Table,
) -> Result<(), PrintError> {
    let config = network.config().clone();
    let mut held = Some(network);
    let input = Input::new(tested, &config);
    let target = PatchTarget { component: TRANSFORMER, aliases: vec![TRANSFORMER.name()], names: config.published_names() };
    let mut plain = Vec::new();
    let mut velocities: Vec<(&str, Vec<f32>)> = Vec::new();
    let changes = [
        ("no LoRA", None, PatchMode::Fuse),
        ("LoRA: merge", Some(&loras[0]), PatchMode::Fuse),
        ("LoRA: switch to another", Some(&loras[1]), PatchMode::Fuse),
        ("LoRA: restore", None, PatchMode::Fuse),
        ("LoRA: attach", Some(&loras[1]), PatchMode::Attach),
    ];
    for (what, lora, mode) in changes {
        table.measure(Case::new("lora", what, name(precision)), "ms", || {
            let patches = match lora {
                Some(lora) => LoraSet::new().with(lora, 0.8).patches(std::slice::from_ref(&target), &tested.device)?.0,
                None => ComponentPatches::new(),
            };
            let patches: WeightPatches = patches.get(&TRANSFORMER).cloned().unwrap_or_default();
            tested.wait()?;
            let began = Instant::now();
            let network = held.take().ok_or("the network is lost")?.patched(&patches, mode)?;
            tested.wait()?;
            let milliseconds = began.elapsed().as_secs_f64() * 1e3;
            velocities.push((what, numbers(input.velocity(&network)?)?));
            held = Some(network);
            Ok((milliseconds, format!("{} matrices", patches.len())))
        })?;
        if what == "no LoRA" {
            plain = velocities.first().map(|(_, velocity)| velocity.clone()).unwrap_or_default();
        }
    }
    let of = |what: &str| {
        let found = velocities.iter().find(|(name, _)| *name == what);
        found.map(|(_, velocity)| velocity).ok_or_else(|| format!("{what} failed"))
    };
    table.compare(Case::new("lora", "restored as before", name(precision)), unit(precision), || {
        Ok(relative_error(of("LoRA: restore")?, &plain))
    })?;
    // Merging rounds to bf16, which the weights are stored in.
    let limit = 10.0 * unit(Precision::computing_in(FloatDType::BF16));
    table.compare(Case::new("lora", "merged as attached", name(precision)), limit, || {
        let (merged, attached) = (of("LoRA: switch to another")?, of("LoRA: attach")?);
        if relative_error(attached, &plain) < limit {
            return Err("the LoRA has no effect".into());
        }
        Ok(relative_error(merged, attached))
    })
}

/// What the network is evaluated with.
struct Input {
    latents: Tensor<4>,
    conditioning: Conditioning,
    distilled_guidance: Option<f64>,
}

impl Input {
    fn new(tested: &Tested, config: &FluxConfig) -> Self {
        let to = || (&tested.device, DType::F32);
        let normal = Distribution::Normal(0.0, 1.0);
        Self {
            latents: Tensor::random([1, 16, SIDE / 8, SIDE / 8], normal, to()),
            conditioning: Conditioning {
                tokens: Tensor::random([1, 64, config.joint_attention_dim], normal, to()),
                pooled: Tensor::random([1, config.pooled_projection_dim], normal, to()),
            },
            distilled_guidance: (config.guidance == DistilledGuidance::Embedded).then_some(3.5),
        }
    }

    fn velocity(&self, network: &FluxTransformer) -> Result<Tensor<4>, Box<dyn Error>> {
        let Self { latents, conditioning, distilled_guidance } = self;
        let input = DenoiserInput {
            latents: latents.clone(),
            sigmas: &[0.5],
            conditioning,
            distilled_guidance: *distilled_guidance,
            modulations: None,
        };
        Ok(block_network::run(network, &input, &[], &mut NoHook)?)
    }
}

/// A LoRA on every layer of the first double and the first single block.
fn write_lora(folder: &Path, seed: u64, config: &FluxConfig) -> Result<PathBuf, Box<dyn Error>> {
    let (hidden, inner) = (config.hidden_size(), config.inner_size());
    // The product of its factors is half as large as the weights.
    let std = (0.5 * weight_std(hidden) / (RANK as f32).sqrt()).sqrt();
    let double = ["img", "txt"].into_iter().flat_map(|stream| {
        [("attn_qkv", 3 * hidden, hidden), ("attn_proj", hidden, hidden), ("mlp_0", inner, hidden), ("mlp_2", hidden, inner)]
            .map(|(module, rows, columns)| (format!("double_blocks_0_{stream}_{module}"), rows, columns))
    });
    let single = [("linear1", 3 * hidden + inner, hidden), ("linear2", hidden, hidden + inner)]
        .map(|(module, rows, columns)| (format!("single_blocks_0_{module}"), rows, columns));
    let factors = double.chain(single).flat_map(|(module, rows, columns)| {
        [
            (format!("lora_unet_{module}.lora_down.weight"), vec![RANK, columns]),
            (format!("lora_unet_{module}.lora_up.weight"), vec![rows, RANK]),
        ]
    });
    let specs: Vec<TensorSpec> = factors.map(|(name, shape)| TensorSpec { name, shape, format: Format::F32 }).collect();
    let mut random = TorchGenerator::new(seed);
    let path = folder.join(format!("lora-{seed}.safetensors"));
    let values: Vec<Vec<f32>> = specs.iter().map(|spec| random.normal(spec.shape.iter().product())).collect();
    let mut writer = CheckpointWriter::create(&path, Container::Safetensors, specs, None)?;
    for values in values {
        writer.append(&values.into_iter().flat_map(|value| (std * value).to_le_bytes()).collect::<Vec<u8>>())?;
    }
    writer.finish()?;
    Ok(path)
}
