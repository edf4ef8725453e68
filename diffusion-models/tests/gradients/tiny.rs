//! Small transformers with random weights, in files of either layout.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use diffusion_core::checkpoint::write::{CheckpointWriter, Container, TensorSpec};
use diffusion_core::checkpoint::{Checkpoint, PublishedNames, PublishedPart};
use diffusion_core::format::Format;
use diffusion_core::noise::TorchGenerator;
use diffusion_core::weights::{LowRankFactors, parameter_shapes};
use diffusion_core::{Loading, Precision};
use diffusion_models::block_network::{self, BlockNetwork, NoHook};
use diffusion_models::flux::{FluxConfig, FluxTransformer};
use diffusion_models::sd3::{Sd3Config, Sd3Transformer};
use diffusion_models::{Conditioning, DenoiserInput, NetworkConfig};

/// Few tokens, so that activations are small beside weights.
const LATENTS: [usize; 3] = [16, 4, 4];
const TEXT_LEN: usize = 3;
const TEXT_WIDTH: usize = 64;
const POOLED_WIDTH: usize = 32;
const SIGMA: f64 = 0.7;
const RANK: usize = 4;
const SCALE: f64 = 0.5;

/// Whose names a file has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layout {
    /// One tensor for every matrix.
    Diffusers,
    /// The publisher's, with queries, keys and values in one tensor, and in FLUX's single blocks the feed-forward layer too.
    Original,
}

/// A transformer of a family, made small.
pub(crate) trait Tiny: BlockNetwork {
    /// Guidance as an input, where the network takes it.
    const DISTILLED_GUIDANCE: Option<f64>;
    /// Matrices that get factors, of every use that a matrix has.
    const FACTORS: &[&str];
    fn names() -> PublishedNames;
    fn shapes() -> BTreeMap<String, Vec<usize>>;
    fn is_in(layout: Layout, name: &str) -> bool;
    fn load(path: &Path, device: &Device) -> Self;
}

fn sd3() -> Sd3Config {
    Sd3Config {
        num_layers: 2,
        num_heads: 2,
        joint_attention_dim: TEXT_WIDTH,
        pooled_projection_dim: POOLED_WIDTH,
        position_table_size: 4,
        dual_attention_layers: vec![0],
        ..Sd3Config::medium_3_5()
    }
}

impl Tiny for Sd3Transformer {
    const DISTILLED_GUIDANCE: Option<f64> = None;
    const FACTORS: &[&str] = &[
        "timestep_embedding.input.weight",
        "text_projection.weight",
        "blocks.0.image.modulation.weight",
        "blocks.0.image.attention.query.weight",
        "blocks.0.image.attention.output.weight",
        "blocks.0.image.second_attention.value.weight",
        "blocks.0.image.feed_forward.input.weight",
        "blocks.0.text.attention.key.weight",
        "blocks.0.text.feed_forward.output.weight",
        "blocks.1.image.attention.key.weight",
        "blocks.1.text.attention.value.weight",
        "final_modulation.weight",
        "final_projection.weight",
    ];

    fn names() -> PublishedNames {
        sd3().published_names()
    }

    fn shapes() -> BTreeMap<String, Vec<usize>> {
        parameter_shapes(&sd3().init(FloatDType::F32, &Device::flex()))
    }

    fn is_in(layout: Layout, name: &str) -> bool {
        let starts: &[&str] = match layout {
            Layout::Diffusers => {
                &["transformer_blocks.", "pos_embed.", "time_text_embed.", "context_embedder.", "norm_out.", "proj_out."]
            }
            Layout::Original => {
                &["joint_blocks.", "x_embedder.", "t_embedder.", "y_embedder.", "context_embedder.", "final_layer."]
            }
        };
        let is_table = matches!(layout, Layout::Original) && name == "pos_embed";
        is_table || starts.iter().any(|start| name.starts_with(start))
    }

    fn load(path: &Path, device: &Device) -> Self {
        Self::load(Checkpoint::open(path).unwrap(), &sd3(), &Loading::new(Precision::f32(), device)).unwrap()
    }
}

fn flux() -> FluxConfig {
    FluxConfig {
        num_double_layers: 1,
        num_single_layers: 2,
        num_heads: 4,
        head_dim: 32,
        joint_attention_dim: TEXT_WIDTH,
        pooled_projection_dim: POOLED_WIDTH,
        rope_dims: [8, 12, 12],
        ..FluxConfig::dev()
    }
}

impl Tiny for FluxTransformer {
    const DISTILLED_GUIDANCE: Option<f64> = Some(3.5);
    const FACTORS: &[&str] = &[
        "image_projection.weight",
        "guidance_embedding.output.weight",
        "double_blocks.0.image.modulation.weight",
        "double_blocks.0.image.query.weight",
        "double_blocks.0.image.feed_forward.output.weight",
        "double_blocks.0.text.key.weight",
        "double_blocks.0.text.attention_output.weight",
        "double_blocks.0.text.feed_forward.input.weight",
        "single_blocks.0.modulation.weight",
        "single_blocks.0.query.weight",
        "single_blocks.0.value.weight",
        "single_blocks.0.feed_forward_input.weight",
        "single_blocks.1.output.weight",
        "final_projection.weight",
    ];

    fn names() -> PublishedNames {
        flux().published_names()
    }

    fn shapes() -> BTreeMap<String, Vec<usize>> {
        parameter_shapes(&flux().init(FloatDType::F32, &Device::flex()))
    }

    fn is_in(layout: Layout, name: &str) -> bool {
        let parts: &[&str] = match layout {
            Layout::Diffusers => {
                &["transformer_blocks.", "x_embedder.", "context_embedder.", "time_text_embed.", "norm_out.", "proj_out."]
            }
            Layout::Original => &[
                "img_",
                "txt_",
                ".linear1.",
                ".linear2.",
                ".lin.",
                "_norm.scale",
                "_in.in_layer.",
                "_in.out_layer.",
                "final_layer.",
            ],
        };
        parts.iter().any(|part| name.contains(part))
    }

    fn load(path: &Path, device: &Device) -> Self {
        Self::load(Checkpoint::open(path).unwrap(), &flux(), &Loading::new(Precision::f32(), device)).unwrap()
    }
}

/// A network in a file, and the same numbers in f32.
pub(crate) struct Files {
    pub(crate) stored: PathBuf,
    pub(crate) widened: PathBuf,
    _folder: tempfile::TempDir,
}

impl Files {
    /// Random numbers everywhere, those of norms around one.
    pub(crate) fn write<M: Tiny>(format: Format, layout: Layout) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let container = if format.block().elements > 1 { Container::Gguf } else { Container::Safetensors };
        let path = |name: &str| folder.path().join(format!("{name}.{}", container.extension()));
        let mut generator = TorchGenerator::new(4);
        let (mut stored, mut widened) = (Vec::new(), Vec::new());
        for (name, shape) in tensors::<M>(layout) {
            // Files have blocks in matrices only.
            let format = if container == Container::Gguf && shape.len() != 2 { Format::F32 } else { format };
            let len = shape.iter().product();
            let is_of_norm = shape.len() == 1 && name.ends_with("weight") || name.ends_with("scale");
            let (mean, deviation) = if is_of_norm { (1.0, 0.2) } else { (0.0, 0.05) };
            let mut values: Vec<f32> = generator.normal(len).into_iter().map(|x| mean + deviation * x).collect();
            let mut bytes = vec![0; format.num_bytes(len).unwrap()];
            format.narrow(&values, &mut bytes);
            format.widen(&bytes, &mut values);
            stored.push((TensorSpec { name: name.clone(), shape: shape.clone(), format }, bytes));
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            widened.push((TensorSpec { name, shape, format: Format::F32 }, bytes));
        }
        let [stored, widened] = [("stored", stored), ("widened", widened)].map(|(name, tensors)| {
            let path = path(name);
            let (specs, bytes): (Vec<_>, Vec<Vec<u8>>) = tensors.into_iter().unzip();
            let mut writer = CheckpointWriter::create(&path, container, specs, None).unwrap();
            for bytes in &bytes {
                writer.append(bytes).unwrap();
            }
            writer.finish().unwrap();
            path
        });
        Self { stored, widened, _folder: folder }
    }
}

/// Names and shapes of a file, which holds every parameter.
fn tensors<M: Tiny>(layout: Layout) -> Vec<(String, Vec<usize>)> {
    let names = M::names();
    let mut covered = BTreeSet::new();
    let tensors = names.iter().filter(|(name, _)| M::is_in(layout, name)).map(|(name, tensor)| {
        let mut shape = tensor.parts[0].shape.clone();
        shape[0] = tensor.parts.iter().map(PublishedPart::rows).sum();
        covered.extend(tensor.parts.iter().map(|part| part.parameter.clone()));
        (name.to_owned(), shape)
    });
    let tensors = tensors.collect();
    assert_eq!(covered, M::shapes().into_keys().collect());
    tensors
}

fn random<const D: usize>(seed: u64, shape: [usize; D], deviation: f32, device: &Device) -> Tensor<D> {
    let values = TorchGenerator::new(seed).normal(shape.iter().product());
    let values: Vec<f32> = values.into_iter().map(|x| deviation * x).collect();
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}

/// Factors that are not zero, so that both have gradients.
pub(crate) fn factors<M: Tiny>(device: &Device) -> BTreeMap<String, LowRankFactors> {
    let shapes = M::shapes();
    let factors = M::FACTORS.iter().zip(0..).map(|(&path, seed)| {
        let &[rows, columns] = shapes[path].as_slice() else { panic!("{path} is no matrix") };
        let (down, up) = (random(seed, [RANK, columns], 0.1, device), random(100 + seed, [rows, RANK], 0.1, device));
        (path.to_owned(), LowRankFactors::new(down, up, SCALE))
    });
    factors.collect()
}

/// The velocity of `batch` random latents.
pub(crate) fn output<M: Tiny>(network: &M, batch: usize, device: &Device) -> Tensor<4> {
    let [channels, height, width] = LATENTS;
    let latents = random(1, [batch, channels, height, width], 1.0, device);
    let conditioning = Conditioning {
        tokens: random(2, [batch, TEXT_LEN, TEXT_WIDTH], 1.0, device),
        pooled: random(3, [batch, POOLED_WIDTH], 1.0, device),
    };
    let sigmas = vec![SIGMA; batch];
    let (conditioning, distilled_guidance) = (&conditioning, M::DISTILLED_GUIDANCE);
    let input = DenoiserInput { latents, sigmas: &sigmas, conditioning, distilled_guidance, modulations: None };
    block_network::run(network, &input, &[], &mut NoHook).unwrap()
}

/// A number that every number of the velocity has a part in.
pub(crate) fn loss(velocity: Tensor<4>) -> Tensor<1> {
    let weights = random(5, velocity.dims(), 1.0, &velocity.device());
    (velocity * weights).sum()
}

/// Bytes that all matrices take in f32, and the largest of them.
pub(crate) fn widened_bytes<M: Tiny>() -> (usize, usize) {
    let matrices = M::shapes().into_values().filter(|shape| shape.len() == 2);
    let bytes = matrices.map(|shape| 4 * shape.iter().product::<usize>());
    bytes.fold((0, 0), |(all, largest), bytes| (all + bytes, largest.max(bytes)))
}
