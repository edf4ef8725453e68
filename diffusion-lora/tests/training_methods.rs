//! Gradients and first steps of training `DoRA` and `LoKr`, against what peft and torch compute, and of training over other adapters.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use common::training::{Same, TOLERANCE, Tensors, Training, batch_of, largest_error, parameters, settings};
use common::{FLUX, Layout, SD3, fixture};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::network::GradientOptions;
use diffusion_core::weights::{ComponentPatches, PatchWeights};
use diffusion_core::{Precision, Residency};
use diffusion_lora::train::{Method, Part, TrainedAdapter, Trainer, adapters_of, trainable_layers};
use diffusion_lora::{Lora, LoraSet};
use diffusion_models::components::TRANSFORMER;
use diffusion_models::{Pipeline, PipelineOptions};
use safetensors::tensor::{Dtype, TensorView};

/// Rank and alpha of `make_adapter_reference.py`.
const RANK: usize = 2;
const ALPHA: f64 = 3.0;

/// Torch's own gradients of Kronecker products in f32 are up to 5.3e-5 of the largest away from those in f64 with exact angles of
/// noise levels: an angle of 840 is rounded by 3e-5.
const IN_F32: f64 = 3e-5;

/// Fails unless loss, gradients and three steps are those of a reference.
fn assert_trains_as(name: &str, reference: &Tensors, training: Training) {
    let batch = batch_of(name);
    let (losses, norms) = (reference.numbers("loss"), reference.numbers("grad_norm"));
    for kept_graphs in [0, usize::MAX] {
        let (loss, gradients) = training.gradients(&batch, GradientOptions { kept_graphs, ..GradientOptions::default() });
        assert!((loss / losses[0] - 1.0).abs() < 1e-6, "{name}: {loss}, {}", losses[0]);
        assert_eq!(gradients.len(), reference.count(".grad"));
        for (matrix, found) in gradients {
            let error = largest_error(found, reference.get(&format!("{matrix}.grad")));
            assert!(error < IN_F32, "{name} {matrix}: {error}");
        }
    }
    let Training { denoiser, adapters, .. } = training;
    let mut trainer = Trainer::new(adapters, settings(name));
    for step in 0..3 {
        let report = trainer.step(&*denoiser, &mut Same(batch.clone())).unwrap();
        assert!((report.loss / losses[step] - 1.0).abs() < 1e-5, "{name} step {step}: {report:?}, {}", losses[step]);
        assert!((report.gradient_norm / norms[step] - 1.0).abs() < 1e-4, "{name} step {step}: {report:?}, {}", norms[step]);
    }
    for (matrix, found) in parameters(&trainer) {
        let error = largest_error(found, reference.get(&format!("{matrix}.after_3")));
        assert!(error < 1e-4, "{name} {matrix} after three steps: {error}");
    }
}

#[test]
fn dora_trains_as_peft_has_it() {
    for name in [SD3, FLUX] {
        for residency in [Residency::Resident, Residency::Streamed] {
            let start = fixture(name).join("training/dora.safetensors");
            let training = Training::of(name, Layout::Folder, residency, &start).unwrap();
            assert!(training.adapters.iter().all(|adapter| adapter.method == Method::Dora && adapter.parts.len() == 3));
            assert_trains_as(name, &Tensors::of(name, "dora_reference.safetensors"), training);
        }
    }
}

/// The adapters that a fixture's file of Kronecker products begins with.
fn kronecker_adapters(pipeline: &Pipeline, file: &Tensors) -> Vec<TrainedAdapter> {
    let targets = pipeline.patch_targets();
    let target = targets.iter().find(|target| target.component == TRANSFORMER).unwrap();
    let adapter = |layer: diffusion_lora::train::TargetLayer| {
        let names = [
            (Part::Kronecker1, "lokr_w1"),
            (Part::Kronecker2, "lokr_w2"),
            (Part::Kronecker2Up, "lokr_w2_a"),
            (Part::Kronecker2Down, "lokr_w2_b"),
        ];
        let name = |part: &str| format!("transformer.{}.{part}", layer.module);
        let there = names.into_iter().filter(|(_, part)| file.0.get(&name(part)).is_some());
        let parts: Vec<(Part, Tensor<2>)> = there.map(|(part, key)| (part, file.get(&name(key)))).collect();
        let method = Method::Lokr { factor: 4 };
        (!parts.is_empty()).then(|| TrainedAdapter::from_parts(TRANSFORMER, layer, method, RANK, ALPHA, parts))
    };
    trainable_layers(target).filter_map(adapter).collect()
}

#[test]
fn lokr_trains_as_torch_has_it() {
    for name in [SD3, FLUX] {
        let file = Tensors::of(name, "lokr.safetensors");
        for (layout, residency) in [(Layout::Folder, Residency::Resident), (Layout::SingleFile, Residency::Streamed)] {
            let pipeline = common::pipeline(name, layout, Precision::f32());
            let adapters = kronecker_adapters(&pipeline, &file);
            let of_kind = |parts: usize| adapters.iter().filter(|adapter| adapter.parts.len() == parts).count();
            assert!(of_kind(2) > 10 && of_kind(3) > 10 && of_kind(2) + of_kind(3) == adapters.len());
            let training = Training::with(&pipeline, residency, adapters, &ComponentPatches::new()).unwrap();
            assert_trains_as(name, &file, training);
        }
    }
}

/// A copy of a fixture in f32, with a LoRA of diffusers' spelling added to the weights of its denoising network.
fn with_fused_lora(name: &str, lora: &Path, scale: f32, folder: &Path) -> Pipeline {
    let entries = fs::read_dir(fixture(name)).unwrap().map(|entry| entry.unwrap().path());
    for path in entries.filter(|path| path.is_dir() || path.ends_with("model_index.json")) {
        copy(&path, &folder.join(path.file_name().unwrap()));
    }
    let lora = Checkpoint::open(lora).unwrap();
    let matrix = |key: String| {
        let stored = lora.get(&key)?;
        let data = burn::tensor::TensorData::new(stored.to_f32().unwrap(), stored.shape().to_vec());
        Some(Tensor::<2>::from_data(data, &Device::flex()))
    };
    let path = folder.join("transformer/diffusion_pytorch_model.safetensors");
    let network = Checkpoint::open(&path).unwrap();
    let (mut fused, mut tensors) = (0, BTreeMap::new());
    for (key, stored) in network.tensors() {
        let module = key.strip_suffix(".weight").unwrap_or(key);
        let part = |part: &str| matrix(format!("transformer.{module}.{part}.weight"));
        let mut values = stored.to_f32().unwrap();
        if let Some((down, up)) = part("lora_A").zip(part("lora_B")) {
            let change = up.matmul(down).mul_scalar(scale).into_data();
            values.iter_mut().zip(change.iter::<f32>()).for_each(|(value, change)| *value += change);
            fused += 1;
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.insert(key.to_owned(), (stored.shape().to_vec(), bytes));
    }
    assert_eq!(2 * fused, lora.tensors().count());
    drop(network);
    let views = tensors.iter().map(|(key, (shape, bytes))| (key, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    Pipeline::open(folder, &PipelineOptions { precision: Precision::f32(), ..PipelineOptions::new(&Device::flex()) }).unwrap()
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            copy(&path, &to.join(path.file_name().unwrap()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// What an assistant adds is as if it had always been there.
#[test]
fn training_over_an_assistant_is_training_the_network_that_it_is_fused_into() {
    for name in [SD3, FLUX] {
        let folder = tempfile::tempdir().unwrap();
        let assistant = fixture(name).join("training/start.safetensors");
        // Alpha 6 over rank 4.
        let fused = with_fused_lora(name, &assistant, 1.5, folder.path());
        let plain = common::pipeline(name, Layout::Folder, Precision::f32());
        let loras = LoraSet::new().with(&Lora::open(&assistant).unwrap(), 1.0);
        let (beneath, _) = loras.patches(&plain.patch_targets(), plain.device()).unwrap();
        for is_dora in [false, true] {
            let adapters = |pipeline: &Pipeline| {
                let start = Lora::open(&fixture(name).join("training/dora.safetensors")).unwrap();
                let doras = adapters_of(&start, &pipeline.patch_targets(), pipeline.device()).unwrap();
                if is_dora {
                    return doras;
                }
                let without_magnitude = |adapter: TrainedAdapter| {
                    let TrainedAdapter { component, layer, rank, alpha, parts, .. } = adapter;
                    let parts = parts.into_iter().take(2).map(|(part, parameter)| (part, parameter.value())).collect();
                    TrainedAdapter::from_parts(component, layer, Method::Lora, rank, alpha, parts)
                };
                doras.into_iter().map(without_magnitude).collect()
            };
            let batch = batch_of(name);
            let gradients = |pipeline: &Pipeline, residency, beneath: &ComponentPatches| {
                let training = Training::with(pipeline, residency, adapters(pipeline), beneath).unwrap();
                training.gradients(&batch, GradientOptions::default())
            };
            let (expected_loss, expected) = gradients(&fused, Residency::Resident, &ComponentPatches::new());
            let (without, _) = gradients(&plain, Residency::Resident, &ComponentPatches::new());
            assert!((without / expected_loss - 1.0).abs() > 1e-3, "{name}: the assistant changes nothing");
            for residency in [Residency::Resident, Residency::Streamed] {
                let (loss, found) = gradients(&plain, residency, &beneath);
                assert!((loss / expected_loss - 1.0).abs() < 1e-6, "{name} {is_dora}: {loss}, {expected_loss}");
                assert_eq!(found.len(), expected.len());
                for (matrix, found) in found {
                    let error = largest_error(found, expected[&matrix].clone());
                    assert!(error < TOLERANCE, "{name} {residency:?} {matrix}: {error}");
                }
            }
        }
    }
}
