//! Weights of Stable Diffusion 3: every published name has its place, and stays as narrow as it is stored.

mod common;
#[path = "common/fixture.rs"]
mod fixture;
#[path = "common/raw_tensors.rs"]
mod raw_tensors;

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, FloatDType, Tensor};
use common::{assert_close, manifest, write_hollow};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::{Loading, Precision, Storage, TextEncoder, weights};
use diffusion_models::NetworkConfig;
use diffusion_models::clip::{ClipConfig, ClipTextEncoder};
use diffusion_models::sd3::{Sd3Config, Sd3Transformer};
use diffusion_models::t5::{T5Config, T5Encoder};
use fixture::{Fixture, as_batch};
use raw_tensors::{RawTensor, RawTensors};
use safetensors::tensor::Dtype;
use tempfile::TempDir;

/// Widened weights are the same numbers whatever they were stored in, so only the order of sums could differ.
const TOLERANCE: f64 = 1e-6;

/// Prefix of the transformer in Stability's files.
const TRANSFORMER: &str = "model.diffusion_model.";

/// A checkpoint of these names and shapes that takes no space, and the folder that holds it.
fn hollow(tensors: &BTreeMap<String, Vec<usize>>) -> (TempDir, Checkpoint) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write_hollow(&path, tensors);
    let checkpoint = Checkpoint::open(&path).unwrap();
    (folder, checkpoint)
}

fn presets() -> [(&'static str, Sd3Config); 3] {
    [("sd3.5-large", Sd3Config::large_3_5()), ("sd3.5-medium", Sd3Config::medium_3_5()), ("sd3-medium", Sd3Config::medium_3())]
}

/// Both lists of a published transformer, without prefix.
fn published_transformers() -> impl Iterator<Item = (String, Sd3Config, TempDir, Checkpoint)> {
    presets().into_iter().flat_map(|(model, config)| {
        ["diffusers", "original"].map(|layout| {
            let list = format!("{model}.transformer.{layout}");
            let (folder, checkpoint) = hollow(&manifest(&list));
            let checkpoint = if layout == "original" { checkpoint.under(TRANSFORMER) } else { checkpoint };
            (list, config.clone(), folder, checkpoint)
        })
    })
}

#[test]
fn published_transformers_fit_to_the_last_name_and_shape() {
    let device = Device::flex();
    for (list, config, _folder, checkpoint) in published_transformers() {
        let renamed = config.rename(checkpoint).unwrap();
        weights::check(&renamed, &config.init(FloatDType::F32, &device)).unwrap_or_else(|error| panic!("{list}: {error}"));
    }
}

#[test]
fn sizes_of_published_transformers_are_told_by_their_tensors() {
    for (list, config, _folder, checkpoint) in published_transformers() {
        assert_eq!(Sd3Config::from_checkpoint(&checkpoint), Some(config), "{list}");
    }
}

#[test]
fn a_transformer_without_any_one_tensor_is_refused() {
    let device = Device::flex();
    for (list, _, _folder, checkpoint) in published_transformers().filter(|(list, ..)| list.starts_with("sd3.5-medium")) {
        // Blocks of one kind are alike: the first, the last with two attentions, the first with one, the last.
        let in_such_a_block = |name: &str| [".0.", ".12.", ".13.", ".23."].iter().any(|index| name.contains(index));
        let outside = |name: &str| !name.contains("_blocks.");
        for (name, _) in checkpoint.tensors().filter(|(name, _)| in_such_a_block(name) || outside(name)) {
            let rest = checkpoint.filtered(|other| other != name);
            // Without the tensors that tell sizes there is no configuration.
            let Some(config) = Sd3Config::from_checkpoint(&rest) else { continue };
            let fits = config.rename(rest).and_then(|renamed| weights::check(&renamed, &config.init(FloatDType::F32, &device)));
            let error = fits.expect_err(name);
            let missed = matches!(&error, CheckpointError::Mismatch { mismatch, .. } if !mismatch.missing.is_empty() && mismatch.unused.is_empty());
            assert!(missed, "{list} without {name}: {error}");
        }
    }
}

#[test]
fn a_transformer_of_another_size_is_refused() {
    let (_folder, checkpoint) = hollow(&manifest("sd3-medium.transformer.diffusers"));
    let config = Sd3Config::medium_3_5();
    let error = config.check(checkpoint).unwrap_err();
    assert!(matches!(error, CheckpointError::Mismatch { .. }), "{error}");
}

#[test]
fn published_text_encoders_fit_to_the_last_name_and_shape() {
    let large_projected = ClipConfig { projection_size: Some(768), ..ClipConfig::large() };
    let clips = [
        ("clip-l.text-model", ClipConfig::large()),
        ("clip-l.with-projection", large_projected),
        // A single file's projection of CLIP-L is passed over.
        ("clip-l.with-projection", ClipConfig::large()),
        ("clip-g.with-projection", ClipConfig::big_g()),
    ];
    for (list, config) in clips {
        let (_folder, checkpoint) = hollow(&manifest(list));
        assert_eq!(ClipConfig::is_big_g(&checkpoint), config == ClipConfig::big_g(), "{list}");
        config.check(checkpoint).unwrap_or_else(|error| panic!("{list}: {error}"));
    }
    let config = T5Config::xxl();
    let (_folder, checkpoint) = hollow(&manifest("t5-v1_1-xxl.encoder"));
    config.check(checkpoint).unwrap();
}

#[test]
fn text_encoders_fit_with_what_files_carry_along() {
    let clip = ClipConfig::big_g();
    let list = manifest("clip-g.with-projection");
    let stripped =
        |(name, shape): (&String, &Vec<usize>)| (name.strip_prefix("text_model.").unwrap_or(name).to_owned(), shape.clone());
    let mut carried = list.clone();
    carried.insert("text_model.embeddings.position_ids".to_owned(), vec![1, 77]);
    carried.insert("logit_scale".to_owned(), vec![]);
    for list in [list.iter().map(stripped).collect(), carried] {
        let (_folder, checkpoint) = hollow(&list);
        clip.check(checkpoint).unwrap();
    }

    let t5 = T5Config::xxl();
    let list = manifest("t5-v1_1-xxl.encoder");
    let mut both = list.clone();
    both.insert("encoder.embed_tokens.weight".to_owned(), list["shared.weight"].clone());
    let mut own = both.clone();
    own.remove("shared.weight");
    for list in [both, own] {
        let (_folder, checkpoint) = hollow(&list);
        t5.check(checkpoint).unwrap();
    }
}

/// The types in which the float parameters of a module are kept, by dimensions.
fn dtypes<M: Module>(module: &M) -> BTreeMap<usize, Vec<DType>> {
    #[derive(Default)]
    struct Types(BTreeMap<usize, Vec<DType>>);
    impl ModuleVisitor for Types {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.entry(D).or_default().push(param.val().dtype());
        }
    }
    let mut types = Types::default();
    module.visit(&mut types);
    types.0.values_mut().for_each(Vec::dedup);
    types.0
}

#[test]
fn matrices_stay_as_narrow_as_they_are_stored() {
    let device = Device::flex();
    let fixture = Fixture::new("sd3");
    let config = Sd3Config::from_json(&fixture.path("transformer/config.json")).unwrap();
    let load = |precision| {
        let checkpoint = Checkpoint::open(&fixture.path("transformer")).unwrap();
        dtypes(&Sd3Transformer::load(checkpoint, &config, &Loading::new(precision, &device)).unwrap())
    };
    // Vectors and convolution kernels are in the compute type.
    let expected = |matrices: DType, compute: DType| {
        BTreeMap::from([(1, vec![compute]), (2, vec![matrices]), (3, vec![matrices]), (4, vec![compute])])
    };
    assert_eq!(load(Precision::f32()), expected(DType::BF16, DType::F32));
    assert_eq!(load(Precision::computing_in(FloatDType::F16)), expected(DType::BF16, DType::F16));
    let converted = Precision { storage: Storage::Converted(FloatDType::F16), ..Precision::f32() };
    assert_eq!(load(converted), expected(DType::F16, DType::F32));

    // Text encoders compute in f32 whatever the rest does.
    let config = T5Config::from_json(&fixture.path("text_encoder_3/config.json")).unwrap();
    let checkpoint = Checkpoint::open(&fixture.path("text_encoder_3")).unwrap();
    let t5 = T5Encoder::load(checkpoint, &config, &Loading::new(Precision::computing_in(FloatDType::F16), &device)).unwrap();
    assert_eq!(dtypes(&t5), BTreeMap::from([(1, vec![DType::F32]), (2, vec![DType::BF16])]));
}

/// Stable Diffusion 3.5 Large has 16 GB of weights; on a CPU they are the mapped file.
#[cfg(target_os = "linux")]
#[test]
fn loading_on_a_cpu_takes_no_memory_for_matrices() {
    let memory = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    };
    let (_folder, checkpoint) = hollow(&manifest("sd3.5-large.transformer.original"));
    let checkpoint = checkpoint.under(TRANSFORMER);
    let (stored, before) = (checkpoint.num_bytes(), memory());
    assert!(stored > 16_000_000_000, "{stored}");
    let transformer =
        Sd3Transformer::load(checkpoint, &Sd3Config::large_3_5(), &Loading::new(Precision::f32(), &Device::flex())).unwrap();
    let taken = memory().saturating_sub(before);
    // Its vectors in f32, and what the other tests of this program take meanwhile.
    assert!(taken < 500_000_000, "{taken} bytes for {stored} of weights");
    drop(transformer);
}

/// The velocity of a transformer of `fixture` with these weights.
fn velocity(fixture: &Fixture, path: &Path, weights: &RawTensors) -> Tensor<4> {
    raw_tensors::write(path, weights);
    let checkpoint = Checkpoint::open(path).unwrap();
    let config = Sd3Config::from_json(&fixture.path("transformer/config.json")).unwrap();
    let transformer = Sd3Transformer::load(checkpoint, &config, &Loading::new(Precision::f32(), &Device::flex())).unwrap();
    fixture::velocity(&transformer, fixture.tensor("noise"), 0.8, &fixture.prompt().positive)
}

/// The transformer of the fixture in both layouts.
fn weights_in_both_layouts(fixture: &Fixture) -> [RawTensors; 2] {
    let folder = Checkpoint::open(&fixture.path("transformer")).unwrap();
    let single_file = Checkpoint::open(&fixture.path("original.safetensors")).unwrap().under(TRANSFORMER);
    [raw_tensors::read(&folder), raw_tensors::read(&single_file)]
}

fn widened(weights: &RawTensors) -> RawTensors {
    raw_tensors::map(weights, |_, tensor| RawTensor::new(Dtype::F32, &tensor.shape, &tensor.to_f32()))
}

#[test]
fn narrow_weights_compute_as_their_widened_values() {
    let fixture = Fixture::new("sd3");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("transformer.safetensors");
    for weights in weights_in_both_layouts(&fixture) {
        for dtype in [Dtype::BF16, Dtype::F16, Dtype::F8_E4M3, Dtype::F8_E5M2] {
            let narrow = raw_tensors::map(&weights, |_, tensor| RawTensor::new(dtype, &tensor.shape, &tensor.to_f32()));
            let expected = velocity(&fixture, &path, &widened(&narrow));
            assert_close(&format!("{dtype:?}"), velocity(&fixture, &path, &narrow), expected, TOLERANCE);
        }
    }
}

/// Matrices of layers as scaled fp8; returns the values that they stand for beside the file's tensors.
fn scaled_fp8(weights: &RawTensors, scale_suffix: &str) -> (RawTensors, RawTensors) {
    /// The largest number of the format.
    const LARGEST: f32 = 448.0;
    let (mut stored, mut values) = (weights.clone(), widened(weights));
    for (name, tensor) in weights {
        let Some(layer) = name.strip_suffix(".weight").filter(|_| tensor.shape.len() == 2) else { continue };
        let wide = tensor.to_f32();
        let scale = wide.iter().fold(0.0, |largest: f32, value| largest.max(value.abs())) / LARGEST;
        let quotients: Vec<f32> = wide.iter().map(|value| value / scale).collect();
        let packed = RawTensor::new(Dtype::F8_E4M3, &tensor.shape, &quotients);
        let restored: Vec<f32> = packed.to_f32().iter().map(|value| value * scale).collect();
        values.insert(name.clone(), RawTensor::new(Dtype::F32, &tensor.shape, &restored));
        stored.insert(name.clone(), packed);
        stored.insert(format!("{layer}.{scale_suffix}"), RawTensor::new(Dtype::F32, &[], &[scale]));
        stored.insert(format!("{layer}.scale_input"), RawTensor::new(Dtype::F32, &[], &[0.5]));
    }
    stored.insert("scaled_fp8".to_owned(), RawTensor::zeros(Dtype::F8_E4M3, &[0]));
    (stored, values)
}

#[test]
fn scaled_fp8_weights_compute_as_their_scaled_values() {
    let fixture = Fixture::new("sd3");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("transformer.safetensors");
    for weights in weights_in_both_layouts(&fixture) {
        for suffix in ["scale_weight", "weight_scale"] {
            let (stored, values) = scaled_fp8(&weights, suffix);
            let expected = velocity(&fixture, &path, &values);
            assert_close(suffix, velocity(&fixture, &path, &stored), expected, TOLERANCE);
        }
    }
}

/// `ComfyUI`'s newer files say of every weight what it is, in place of one mark for all.
#[test]
fn fp8_weights_with_notes_compute_as_their_scaled_values() {
    let fixture = Fixture::new("sd3");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("transformer.safetensors");
    let json = br#"{"format": "float8_e4m3fn"}"#;
    for weights in weights_in_both_layouts(&fixture) {
        let (mut stored, values) = scaled_fp8(&weights, "weight_scale");
        stored.remove("scaled_fp8").unwrap();
        let layers: Vec<_> = stored.keys().filter_map(|name| name.strip_suffix(".weight_scale")).map(str::to_owned).collect();
        for layer in layers {
            let note = RawTensor { dtype: Dtype::U8, shape: vec![json.len()], bytes: json.to_vec() };
            stored.insert(format!("{layer}.comfy_quant"), note);
        }
        let expected = velocity(&fixture, &path, &values);
        assert_close("notes", velocity(&fixture, &path, &stored), expected, TOLERANCE);
    }
}

#[test]
fn a_scaled_fp8_weight_without_scale_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("transformer.safetensors");
    let [weights, _] = weights_in_both_layouts(&Fixture::new("sd3"));
    let (mut stored, _) = scaled_fp8(&weights, "scale_weight");
    stored.remove("transformer_blocks.1.ff.net.2.scale_weight").unwrap();
    raw_tensors::write(&path, &stored);
    let error = Checkpoint::open(&path).unwrap_err().to_string();
    assert!(error.contains("transformer.safetensors") && error.contains("transformer_blocks.1.ff.net.2.scale_weight"), "{error}");
}

#[test]
fn fp8_text_encoders_compute_as_their_widened_values() {
    let device = Device::flex();
    let fixture = Fixture::new("sd3");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("encoder.safetensors");
    let open = |weights: &RawTensors| {
        raw_tensors::write(&path, weights);
        Checkpoint::open(&path).unwrap()
    };
    let narrowed = |part: &str| {
        let weights = raw_tensors::read(&Checkpoint::open(&fixture.path(part)).unwrap());
        raw_tensors::map(&weights, |_, tensor| RawTensor::new(Dtype::F8_E4M3, &tensor.shape, &tensor.to_f32()))
    };

    let narrow = narrowed("text_encoder_3");
    let config = T5Config::from_json(&fixture.path("text_encoder_3/config.json")).unwrap();
    let t5 = |weights: &RawTensors| {
        let encoder = T5Encoder::load(open(weights), &config, &Loading::new(Precision::f32(), &device)).unwrap();
        encoder.encode(as_batch(&fixture.token_ids(3), &device)).unwrap().hidden_states
    };
    assert_close("T5", t5(&narrow), t5(&widened(&narrow)), TOLERANCE);

    let narrow = narrowed("text_encoder_2");
    let config = ClipConfig::from_json(&fixture.path("text_encoder_2/config.json")).unwrap();
    let clip = |weights: &RawTensors| {
        let encoder = ClipTextEncoder::load(open(weights), &config, &Loading::new(Precision::f32(), &device)).unwrap();
        encoder.encode(as_batch(&fixture.token_ids(2), &device)).unwrap()
    };
    let (found, expected) = (clip(&narrow), clip(&widened(&narrow)));
    assert_close("CLIP-G", found.hidden_states, expected.hidden_states, TOLERANCE);
    assert_close("CLIP-G pooled", found.pooled.unwrap(), expected.pooled.unwrap(), TOLERANCE);
}

#[test]
fn computing_in_half_precision_stays_near_the_reference() {
    let device = Device::flex();
    let fixture = Fixture::new("sd3");
    let config = Sd3Config::from_json(&fixture.path("transformer/config.json")).unwrap();
    // Some tens of roundings, of 2^-9 and 2^-12 each.
    for (compute, tolerance) in [(FloatDType::BF16, 3e-2), (FloatDType::F16, 4e-3)] {
        let checkpoint = Checkpoint::open(&fixture.path("transformer")).unwrap();
        let transformer =
            Sd3Transformer::load(checkpoint, &config, &Loading::new(Precision::computing_in(compute), &device)).unwrap();
        let found = fixture::velocity(&transformer, fixture.tensor("noise"), 1.0, &fixture.prompt().positive);
        assert_close(&format!("velocity_0 in {compute:?}"), found, fixture.tensor("velocity_0"), tolerance);
    }
}
