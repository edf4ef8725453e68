//! A small FLUX.1 whose matrices are in one of GGUF's formats computes what it computes with the widened numbers.

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use common::assert_close;
use diffusion_core::checkpoint::write::{CheckpointWriter, Container, TensorSpec};
use diffusion_core::checkpoint::{Checkpoint, PublishedPart};
use diffusion_core::format::Format;
use diffusion_core::noise::TorchGenerator;
use diffusion_core::weights::parameter_shapes;
use diffusion_core::{Loading, Precision};
use diffusion_models::block_network::{self, NoHook};
use diffusion_models::flux::{FluxConfig, FluxTransformer};
use diffusion_models::{Conditioning, DenoiserInput, NetworkConfig};

/// Packed or widened before, the same numbers go through the same products.
const TOLERANCE: f64 = 1e-6;

/// Formats with the bytes of a block at which its half-precision scales lie.
const FORMATS: [(Format, &[usize]); 14] = [
    (Format::F32, &[]),
    (Format::F16, &[]),
    (Format::BF16, &[]),
    (Format::Q4_0, &[0]),
    (Format::Q4_1, &[0, 2]),
    (Format::Q5_0, &[0]),
    (Format::Q5_1, &[0, 2]),
    (Format::Q8_0, &[0]),
    (Format::Q2K, &[80, 82]),
    (Format::Q3K, &[108]),
    (Format::Q4K, &[0, 2]),
    (Format::Q5K, &[0, 2]),
    (Format::Q6K, &[208]),
    (Format::IQ4NL, &[0]),
];

/// Widths of whole blocks of 256 numbers.
fn config() -> FluxConfig {
    FluxConfig {
        num_double_layers: 1,
        num_single_layers: 1,
        num_heads: 2,
        joint_attention_dim: 512,
        pooled_projection_dim: 256,
        ..FluxConfig::dev()
    }
}

/// Names and shapes of the original layout, where queries, keys and values are fused.
fn original_layout(config: &FluxConfig) -> Vec<(String, Vec<usize>)> {
    const ORIGINAL: [&str; 10] = [
        "img_",
        "txt_",
        ".linear1.",
        ".linear2.",
        ".modulation.lin.",
        ".norm.query_norm.",
        ".norm.key_norm.",
        "_in.in_layer.",
        "_in.out_layer.",
        "final_layer.",
    ];
    let names = config.published_names();
    let original = names.iter().filter(|(name, _)| ORIGINAL.iter().any(|part| name.contains(part)));
    let mut covered = BTreeSet::new();
    let tensors = original.map(|(name, tensor)| {
        let mut shape = tensor.parts[0].shape.clone();
        shape[0] = tensor.parts.iter().map(PublishedPart::rows).sum();
        covered.extend(tensor.parts.iter().map(|part| part.parameter.clone()));
        (name.to_owned(), shape)
    });
    let tensors = tensors.collect();
    let module = config.init(FloatDType::F32, &Device::flex());
    assert_eq!(covered, parameter_shapes(&module).into_keys().collect());
    tensors
}

/// Random bytes of a matrix in `format`, all finite and of the size of weights.
fn random_bytes(format: Format, scales: &[usize], len: usize, generator: &mut TorchGenerator) -> Vec<u8> {
    let block = format.block();
    let mut bytes = vec![0; len / block.elements * block.bytes];
    if scales.is_empty() {
        let values: Vec<f32> = generator.normal(len).into_iter().map(|x| 0.05 * x).collect();
        format.narrow(&values, &mut bytes);
        return bytes;
    }
    let noise = generator.normal(bytes.len());
    for (byte, noise) in bytes.iter_mut().zip(noise) {
        *byte = (noise * 1000.0) as i32 as u8;
    }
    for block in bytes.chunks_mut(block.bytes) {
        for (&at, sign) in scales.iter().zip([1.0, -1.0]) {
            let scale = half::f16::from_f32(0.003 * sign);
            block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    bytes
}

fn velocity(path: &Path, config: &FluxConfig) -> Tensor<4> {
    let device = Device::flex();
    let checkpoint = Checkpoint::open(path).unwrap();
    let model = FluxTransformer::load(checkpoint, config, &Loading::new(Precision::f32(), &device)).unwrap();
    let mut generator = TorchGenerator::new(5);
    let mut random = |len: usize| TensorData::new(generator.normal(len), [len]);
    let mut tensor = |len: usize| Tensor::<1>::from_data(random(len), (&device, DType::F32));
    let conditioning = Conditioning {
        tokens: tensor(9 * config.joint_attention_dim).reshape([1, 9, config.joint_attention_dim]),
        pooled: tensor(config.pooled_projection_dim).reshape([1, config.pooled_projection_dim]),
    };
    let latents = tensor(16 * 6 * 4).reshape([1, 16, 6, 4]);
    let input =
        DenoiserInput { latents, sigmas: &[0.7], conditioning: &conditioning, distilled_guidance: Some(3.5), modulations: None };
    block_network::run(&model, &input, &[], &mut NoHook).unwrap()
}

#[test]
fn every_format_computes_as_its_widened_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let config = config();
    let layout = original_layout(&config);
    for (format, scales) in FORMATS {
        let mut generator = TorchGenerator::new(4);
        let stored: Vec<(TensorSpec, Vec<u8>)> = layout
            .iter()
            .map(|(name, shape)| {
                // Vectors, and rows that are no whole blocks, are never packed.
                let packed = shape.len() == 2 && shape[1] % format.block().elements == 0;
                let (format, scales) = if packed { (format, scales) } else { (Format::F32, &[][..]) };
                let bytes = random_bytes(format, scales, shape.iter().product(), &mut generator);
                (TensorSpec { name: name.clone(), shape: shape.clone(), format }, bytes)
            })
            .collect();
        let write = |name: &str, tensors: Vec<(TensorSpec, Vec<u8>)>| {
            let path = folder.path().join(name);
            let (specs, bytes): (Vec<_>, Vec<_>) = tensors.into_iter().unzip();
            let mut writer = CheckpointWriter::create(&path, Container::Gguf, specs, None).unwrap();
            for bytes in &bytes {
                writer.append(bytes).unwrap();
            }
            writer.finish().unwrap();
            path
        };
        let widened = stored.iter().map(|(spec, bytes)| {
            let mut values = vec![0f32; spec.shape.iter().product()];
            spec.format.widen(bytes, &mut values);
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (TensorSpec { format: Format::F32, ..spec.clone() }, bytes)
        });
        let widened = write("widened.gguf", widened.collect());
        let packed = write("packed.gguf", stored);
        if format != Format::F32 {
            let size = |path: &Path| path.metadata().unwrap().len();
            assert!(size(&packed) < size(&widened), "{format}");
        }
        let expected = velocity(&widened, &config);
        assert!(expected.clone().abs().max().into_scalar::<f32>().is_finite(), "{format}");
        assert_close(&format.to_string(), velocity(&packed, &config), expected, TOLERANCE);
    }
}
