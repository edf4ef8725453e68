use std::path::PathBuf;

use burn::tensor::{DType, Device, FloatDType, Tensor};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::weights::parameter_shapes;
use diffusion_core::{LatentDecoder, LatentEncoder, Loading, Precision, Products};
use diffusion_models::autoencoder_kl::{
    AutoencoderKl, AutoencoderKlConfig, AutoencoderKlDecoder, AutoencoderKlEncoder, decode_tiled, encode_tiled,
};
use diffusion_models::config::ConfigError;
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::TOLERANCE;
use crate::common::{assert_close, data, manifest, relative_error, tensor, write_hollow};

const FILES: [&str; 2] = ["diffusion_pytorch_model.safetensors", "original.safetensors"];

fn folder() -> PathBuf {
    data("autoencoder/autoencoder_kl")
}

fn config() -> AutoencoderKlConfig {
    AutoencoderKlConfig::from_diffusers_json(&folder().join("config.json")).unwrap()
}

fn checkpoint(file: &str) -> Checkpoint {
    Checkpoint::open(&folder().join(file)).unwrap()
}

fn load(file: &str, device: &Device) -> AutoencoderKl {
    AutoencoderKl::load(checkpoint(file), &config(), &Loading::new(Precision::f32(), device)).unwrap()
}

struct Reference {
    file: Checkpoint,
    device: Device,
}

impl Reference {
    fn open(device: &Device) -> Self {
        Self { file: checkpoint("reference.safetensors"), device: device.clone() }
    }

    fn get(&self, name: &str) -> Tensor<4> {
        tensor(&self.file, name, &self.device)
    }

    #[track_caller]
    fn check(&self, name: &str, found: Tensor<4>) {
        assert_close(name, found, self.get(name), TOLERANCE);
    }
}

#[test]
fn both_layouts_encode_and_decode_as_diffusers() {
    let device = Device::flex();
    let reference = Reference::open(&device);
    for file in FILES {
        let autoencoder = load(file, &device);
        reference.check("moments", autoencoder.encoder.moments(reference.get("image")));
        let distribution = autoencoder.encode(reference.get("image"));
        reference.check("mean", distribution.mean);
        reference.check("std", distribution.std);
        reference.check("decoded", autoencoder.decode(reference.get("latents")));
    }
}

#[test]
fn every_stage_of_the_encoder_is_as_in_diffusers() {
    let device = Device::flex();
    let reference = Reference::open(&device);
    let encoder = load(FILES[0], &device).encoder;
    let first = encoder.levels[0].forward(encoder.conv_in.forward(reference.get("image")));
    reference.check("encoder.level_0", first);
    for i in 1..encoder.levels.len() {
        let x = reference.get(&format!("encoder.level_{}", i - 1));
        reference.check(&format!("encoder.level_{i}"), encoder.levels[i].forward(x));
    }
    reference.check("encoder.middle", encoder.middle.forward(reference.get("encoder.level_3"), Products::Exact));
}

#[test]
fn every_stage_of_the_decoder_is_as_in_diffusers() {
    let device = Device::flex();
    let reference = Reference::open(&device);
    let (config, decoder) = (config(), load(FILES[0], &device).decoder);
    let latents = reference.get("latents") / config.scaling_factor + config.shift_factor;
    reference.check("decoder.middle", decoder.middle.forward(decoder.conv_in.forward(latents), Products::Exact));
    reference.check("decoder.level_0", decoder.levels[0].forward(reference.get("decoder.middle"), Products::Exact));
    for i in 1..decoder.levels.len() {
        let x = reference.get(&format!("decoder.level_{}", i - 1));
        reference.check(&format!("decoder.level_{i}"), decoder.levels[i].forward(x, Products::Exact));
    }
}

#[test]
fn tiles_are_cut_and_joined_as_in_diffusers() {
    let device = Device::flex();
    let reference = Reference::open(&device);
    let (config, autoencoder) = (config(), load(FILES[0], &device));
    let tile = config.tile_latent_size();
    assert_eq!(tile, 8);
    for tiles_at_once in [1, 2] {
        let decoded = decode_tiled(&autoencoder.decoder, reference.get("large_latents"), tile, tiles_at_once);
        reference.check("tiled_decoded", decoded);
    }

    let encoded = encode_tiled(&autoencoder.encoder, reference.get("large_image"), tile);
    let expected = autoencoder.encoder.distribution(reference.get("tiled_moments"));
    assert_close("tiled mean", encoded.mean, expected.mean, TOLERANCE);
    assert_close("tiled std", encoded.std, expected.std, TOLERANCE);

    let untiled = autoencoder.decode(reference.get("large_latents"));
    assert!(relative_error(untiled, reference.get("tiled_decoded")) > 100.0 * TOLERANCE, "tiles have norms of their own");
}

#[test]
fn halves_load_alone_and_give_the_same() {
    let device = Device::flex();
    let reference = Reference::open(&device);
    for file in FILES {
        let encoder = AutoencoderKlEncoder::load(checkpoint(file), &config(), &Loading::new(Precision::f32(), &device)).unwrap();
        reference.check("moments", encoder.moments(reference.get("image")));
        let decoder = AutoencoderKlDecoder::load(checkpoint(file), &config(), &Loading::new(Precision::f32(), &device)).unwrap();
        reference.check("decoded", decoder.decode(reference.get("latents")));
    }
}

#[test]
fn half_precision_computes_throughout_and_gives_f32() {
    let device = Device::flex();
    let reference = Reference::open(&device);
    let precision = Precision::computing_in(FloatDType::BF16);
    let decoder = AutoencoderKlDecoder::load(checkpoint(FILES[0]), &config(), &Loading::new(precision, &device)).unwrap();
    assert_eq!(decoder.conv_in.weight.val().dtype(), DType::BF16);
    let decoded = decoder.decode(reference.get("latents"));
    assert_eq!(decoded.dtype(), DType::F32);
    // bf16 has eight bits, and errors add up over thirty convolutions.
    assert_close("decoded in bf16", decoded, reference.get("decoded"), 0.05);
}

#[test]
fn published_names_and_shapes_fill_the_published_configuration() {
    let device = Device::flex();
    let directory = tempfile::tempdir().unwrap();
    let parameters = parameter_shapes(&AutoencoderKlConfig::sd3().init(&device));
    for layout in ["diffusers", "original"] {
        let list = manifest(&format!("autoencoder-kl-16.{layout}"));
        let count = |shapes: Vec<&Vec<usize>>| shapes.iter().map(|shape| shape.iter().product::<usize>()).sum::<usize>();
        assert_eq!(list.len(), parameters.len());
        assert_eq!(count(list.values().collect()), count(parameters.values().collect()));
        let path = directory.path().join(layout);
        write_hollow(&path, &list);
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(AutoencoderKlConfig::flux().sized_as(&checkpoint).unwrap(), AutoencoderKlConfig::flux());
        AutoencoderKl::load(checkpoint, &AutoencoderKlConfig::sd3(), &Loading::new(Precision::f32(), &device)).unwrap();
    }
}

#[test]
fn sizes_are_told_from_either_layout() {
    let stated = AutoencoderKlConfig { norm_num_groups: 2, sample_size: 64, ..AutoencoderKlConfig::sd3() };
    for file in FILES {
        assert_eq!(stated.clone().sized_as(&checkpoint(file)).unwrap(), config());
    }
    let error = AutoencoderKlConfig::sd3().sized_as(&checkpoint(FILES[0])).unwrap_err();
    assert!(matches!(error, ConfigError::Unsupported { field: "norm_num_groups", .. }), "{error}");
    let error = AutoencoderKlConfig::sd3().sized_as(&checkpoint("reference.safetensors")).unwrap_err();
    assert!(matches!(error, ConfigError::Unsupported { field: "block_out_channels", .. }), "{error}");
}

/// The diffusers file of the fixture with other names.
fn renamed(rename: impl Fn(&str) -> String) -> (tempfile::TempDir, Checkpoint) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("renamed.safetensors");
    let bytes = std::fs::read(folder().join(FILES[0])).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.iter().map(|(name, tensor)| (rename(name), tensor));
    safetensors::serialize_to_file(tensors, None, &path).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    (directory, checkpoint)
}

#[test]
fn attention_names_of_old_diffusers_are_known() {
    let device = Device::flex();
    let reference = Reference::open(&device);
    let old = |name: &str| {
        let table = [(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")];
        table.iter().fold(name.to_owned(), |name, (new, old)| name.replace(new, old))
    };
    let (_directory, checkpoint) = renamed(old);
    let autoencoder = AutoencoderKl::load(checkpoint, &config(), &Loading::new(Precision::f32(), &device)).unwrap();
    reference.check("decoded", autoencoder.decode(reference.get("latents")));
}

#[test]
fn one_half_is_refused_if_the_other_is_not_whole() {
    let device = Device::flex();
    let cut = checkpoint(FILES[1]).filtered(|name| name != "encoder.mid.attn_1.q.weight");
    let error = AutoencoderKlDecoder::load(cut, &config(), &Loading::new(Precision::f32(), &device)).unwrap_err();
    let CheckpointError::Mismatch { mismatch, .. } = error else { panic!("{error}") };
    assert_eq!(mismatch.missing, ["encoder.middle.attention.query.weight"]);

    let (_directory, odd) = renamed(|name| name.replace("encoder.conv_in.bias", "quant_conv.bias"));
    let error = AutoencoderKlDecoder::load(odd, &config(), &Loading::new(Precision::f32(), &device)).unwrap_err();
    let CheckpointError::Mismatch { mismatch, .. } = error else { panic!("{error}") };
    assert_eq!((mismatch.missing, mismatch.unused), (vec!["encoder.conv_in.bias".into()], vec!["quant_conv.bias".into()]));
}

#[test]
fn configurations_say_what_is_not_supported() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    let published: Value = serde_json::from_slice(&std::fs::read(folder().join("config.json")).unwrap()).unwrap();
    let refused = [
        ("use_quant_conv", Some(json!(true)), "use_quant_conv is true, expected false"),
        ("use_quant_conv", None, "use_quant_conv is true, expected false"),
        ("act_fn", Some(json!("gelu")), "act_fn is gelu, expected silu"),
        ("_class_name", Some(json!("AutoencoderTiny")), "_class_name is AutoencoderTiny, expected AutoencoderKL"),
        ("norm_num_groups", Some(json!(3)), "norm_num_groups is 3 for [4, 4, 8, 8]"),
        ("norm_num_groups", Some(json!(0)), "norm_num_groups is 0"),
        ("scaling_factor", Some(json!(0.0)), "scaling_factor is 0"),
        ("sample_size", Some(json!(7)), "sample_size is 7, expected at least the side of a latent pixel"),
        ("in_channels", Some(json!(4)), "in_channels is 4, expected 3"),
        ("latents_mean", Some(json!([0.0])), "latents_mean is one per channel"),
        ("block_out_channels", Some(json!([])), "block_out_channels is []"),
        ("latent_channels", Some(json!("many")), "is not the configuration"),
    ];
    for (field, value, message) in refused {
        let mut config = published.clone();
        let fields = config.as_object_mut().unwrap();
        match value {
            Some(value) => fields.insert(field.to_owned(), value),
            None => fields.remove(field),
        };
        std::fs::write(&path, config.to_string()).unwrap();
        let error = AutoencoderKlConfig::from_diffusers_json(&path).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    let missing = AutoencoderKlConfig::from_diffusers_json(&directory.path().join("none.json")).unwrap_err();
    assert!(matches!(missing, ConfigError::Read { .. }));
}
