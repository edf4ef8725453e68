//! Gradients of adapters, block by block, against what peft and torch compute.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use common::{FLUX, Layout, SD3, fixture};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::network::{Conditioning, Denoiser, DenoiserInput, GradientOptions, TrainedParameters};
use diffusion_core::weights::{PatchMode, PatchWeights, WeightPatch, WeightPatches};
use diffusion_core::{Loading, Precision, Residency};
use diffusion_lora::Lora;
use diffusion_lora::train::{Batch, Part, TrainedAdapter, adapters_of};
use diffusion_models::{Pipeline, PipelineError};

/// In f32, sums are made in another order.
const TOLERANCE: f64 = 2e-5;

struct Reference(Checkpoint);

impl Reference {
    fn of(name: &str) -> Self {
        Self(Checkpoint::open(&fixture(name).join("training/reference.safetensors")).unwrap())
    }

    fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let stored = self.0.get(name).unwrap_or_else(|| panic!("no {name}"));
        let data = burn::tensor::TensorData::new(stored.to_f32().unwrap(), stored.shape().to_vec());
        Tensor::from_data(data, &Device::flex())
    }

    fn batch(&self) -> Batch {
        let sigmas: Vec<f64> = self.tensor::<1>("sigmas").into_data().iter::<f32>().map(f64::from).collect();
        let weights = vec![1.0 / sigmas.len() as f64; sigmas.len()];
        let names = sigmas.iter().map(f64::to_string).collect();
        let conditioning = Conditioning { tokens: self.tensor("prompt_embeds"), pooled: self.tensor("pooled_prompt_embeds") };
        Batch { latents: self.tensor("latents"), noise: self.tensor("noise"), sigmas, conditioning, weights, names }
    }
}

fn relative_error(found: Tensor<2>, expected: Tensor<2>) -> f64 {
    let largest = |x: Tensor<2>| f64::from(x.abs().max().into_scalar::<f32>());
    let difference = largest(found - expected.clone());
    // What nobody reads has no gradient, as the text queries of the last block of Stable Diffusion 3.
    if difference == 0.0 { 0.0 } else { difference / largest(expected) }
}

/// A fixture's network with the adapters that its training starts from.
struct Training {
    denoiser: Box<dyn Denoiser>,
    adapters: Vec<TrainedAdapter>,
    trained: TrainedParameters,
    guidance: Option<f64>,
}

impl Training {
    fn of(name: &str, layout: Layout, residency: Residency) -> Result<Self, PipelineError> {
        let pipeline: Pipeline = common::pipeline(name, layout, Precision::f32());
        let lora = Lora::open(&fixture(name).join("training/start.safetensors")).unwrap();
        let adapters = adapters_of(&lora, &pipeline.patch_targets(), pipeline.device()).unwrap();
        let loading = Loading { residency, ..Loading::new(Precision::f32(), pipeline.device()) };
        let patch = |adapter: &TrainedAdapter| (adapter.layer.parameter.clone(), adapter.patch(None));
        let patches: WeightPatches =
            adapters.iter().map(patch).collect::<Vec<(String, Arc<dyn WeightPatch>)>>().into_iter().collect();
        let denoiser = pipeline.model().load_denoiser(&loading)?.patched(&patches, PatchMode::Attach)?;
        let parameters = |adapter: &TrainedAdapter| adapter.parts.iter().map(|(_, parameter)| parameter.clone()).collect();
        let trained = adapters.iter().map(|adapter| (adapter.layer.parameter.clone(), parameters(adapter))).collect();
        Ok(Self { denoiser, adapters, trained, guidance: (name == FLUX).then_some(1.0) })
    }

    /// The loss, and all gradients by the names that diffusers gives them.
    fn gradients(&self, batch: &Batch, options: GradientOptions) -> (f64, BTreeMap<String, Tensor<2>>) {
        let input = DenoiserInput {
            latents: batch.noisy(),
            sigmas: &batch.sigmas,
            conditioning: &batch.conditioning,
            distilled_guidance: self.guidance,
            modulations: None,
        };
        let mut loss = 0.0;
        let mut of_velocity = |velocity: Tensor<4>| {
            let found = batch.loss(velocity, |_| 1.0);
            loss = found.value;
            found.gradient
        };
        self.denoiser.gradients(&input, &self.trained, options, &mut of_velocity).unwrap();
        let named = self.adapters.iter().flat_map(|adapter| {
            adapter.parts.iter().map(|(part, parameter)| {
                let part = if *part == Part::Down { "lora_A" } else { "lora_B" };
                (format!("transformer.{}.{part}.weight", adapter.layer.module), parameter.take_gradient())
            })
        });
        (loss, named.collect())
    }
}

#[test]
fn first_gradients_are_those_of_peft() {
    for name in [SD3, FLUX] {
        let reference = Reference::of(name);
        let batch = reference.batch();
        let expected_loss = f64::from(reference.tensor::<1>("loss").slice([0..1]).into_scalar::<f32>());
        for (layout, residency) in [
            (Layout::Folder, Residency::Resident),
            (Layout::Folder, Residency::Streamed),
            (Layout::SingleFile, Residency::Resident),
        ] {
            let training = Training::of(name, layout, residency).unwrap();
            let (loss, gradients) = training.gradients(&batch, GradientOptions::default());
            assert!((loss / expected_loss - 1.0).abs() < 1e-6, "{name} {layout:?}: {loss}, {expected_loss}");
            let all = reference.0.tensors().filter(|(name, _)| name.ends_with(".grad")).count();
            assert_eq!(gradients.len(), all);
            for (module, found) in gradients {
                let error = relative_error(found, reference.tensor(&format!("{module}.grad")));
                assert!(error < TOLERANCE, "{name} {layout:?} {residency:?} {module}: {error}");
            }
        }
    }
}

#[test]
fn gradients_block_by_block_are_those_of_the_whole_graph() {
    for name in [SD3, FLUX] {
        let batch = Reference::of(name).batch();
        let training = Training::of(name, Layout::Folder, Residency::Resident).unwrap();
        let (_, whole) = training.gradients(&batch, GradientOptions { kept_graphs: usize::MAX });
        for kept_graphs in [0, 2] {
            let (_, by_blocks) = training.gradients(&batch, GradientOptions { kept_graphs });
            for (module, found) in by_blocks {
                let error = relative_error(found, whole[&module].clone());
                assert!(error < 1e-6, "{name} {module}, {kept_graphs} graphs kept: {error}");
            }
        }
    }
}

#[test]
fn gradients_of_two_calls_add_up() {
    let batch = Reference::of(SD3).batch();
    let training = Training::of(SD3, Layout::Folder, Residency::Resident).unwrap();
    let (_, once) = training.gradients(&batch, GradientOptions::default());
    let input = DenoiserInput {
        latents: batch.noisy(),
        sigmas: &batch.sigmas,
        conditioning: &batch.conditioning,
        distilled_guidance: None,
        modulations: None,
    };
    let mut of_velocity = |velocity: Tensor<4>| batch.loss(velocity, |_| 1.0).gradient;
    training.denoiser.gradients(&input, &training.trained, GradientOptions::default(), &mut of_velocity).unwrap();
    let (_, twice) = training.gradients(&batch, GradientOptions::default());
    for (module, found) in twice {
        let expected = once[&module].clone().mul_scalar(2.0);
        assert!(relative_error(found, expected) < 1e-6, "{module}");
    }
}
