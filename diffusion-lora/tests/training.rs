//! Gradients and first steps of training, against what peft, diffusers and torch compute.

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
use diffusion_lora::train::{
    AdamWSettings, Batch, Batches, LearningRateCourse, LearningRateSchedule, LossSpace, LossWeighting, OptimizerSettings, Part,
    TrainedAdapter, Trainer, TrainerSettings, adapters_of, read_state, write_state,
};
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
        let (latents, noise) = (self.tensor("latents"), self.tensor("noise"));
        Batch { latents, noise, sigmas, captions: Vec::new(), conditioning, weights, names }
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
        let (_, whole) = training.gradients(&batch, GradientOptions { kept_graphs: usize::MAX, ..GradientOptions::default() });
        for kept_graphs in [0, 2] {
            let (_, by_blocks) = training.gradients(&batch, GradientOptions { kept_graphs, ..GradientOptions::default() });
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

/// The same batch in every step.
struct Same(Batch);

impl Batches for Same {
    type Error = std::convert::Infallible;

    fn batch(&mut self, _: usize) -> Result<Batch, Self::Error> {
        Ok(self.0.clone())
    }
}

/// As make_training_reference.py has it.
fn settings(name: &str) -> TrainerSettings {
    TrainerSettings {
        optimizer: OptimizerSettings::AdamW(AdamWSettings { weight_decay: 1e-2, ..AdamWSettings::default() }),
        learning_rate: 1e-3,
        text_encoder_learning_rate: None,
        schedule: LearningRateSchedule { course: LearningRateCourse::Constant, warm_up_steps: 0, total_steps: 3 },
        max_gradient_norm: Some(1.0),
        accumulation: 1,
        weighting: LossWeighting::None,
        space: LossSpace::Velocity,
        average_decay: None,
        distilled_guidance: (name == FLUX).then_some(1.0),
        gradients: GradientOptions::default(),
    }
}

/// Parameters by the names that diffusers gives them.
fn parameters(trainer: &Trainer) -> BTreeMap<String, Tensor<2>> {
    let named = trainer.adapters().iter().zip(trainer.trained_values()).flat_map(|(adapter, values)| {
        values.into_iter().map(|(part, value)| {
            let part = if part == Part::Down { "lora_A" } else { "lora_B" };
            (format!("transformer.{}.{part}.weight", adapter.layer.module), value)
        })
    });
    named.collect()
}

#[test]
fn three_steps_are_those_of_peft() {
    for name in [SD3, FLUX] {
        let reference = Reference::of(name);
        let Training { denoiser, adapters, .. } = Training::of(name, Layout::Folder, Residency::Resident).unwrap();
        let mut trainer = Trainer::new(adapters, settings(name));
        let mut batches = Same(reference.batch());
        let numbers = |name: &str| reference.tensor::<1>(name).into_data().iter::<f32>().map(f64::from).collect::<Vec<f64>>();
        let (losses, norms) = (numbers("loss"), numbers("grad_norm"));
        for step in 0..3 {
            let report = trainer.step(&*denoiser, &mut batches).unwrap();
            assert!((report.loss / losses[step] - 1.0).abs() < 1e-5, "{name} step {step}: {report:?}, {}", losses[step]);
            assert!((report.gradient_norm / norms[step] - 1.0).abs() < 1e-4, "{name} step {step}: {report:?}, {}", norms[step]);
            if step != 1 {
                for (module, found) in parameters(&trainer) {
                    let error = relative_error(found, reference.tensor(&format!("{module}.after_{}", step + 1)));
                    assert!(error < 1e-4, "{name} {module} after step {}: {error}", step + 1);
                }
            }
        }
    }
}

#[test]
fn a_trainer_that_is_restored_goes_on_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let batch = Reference::of(SD3).batch();
    let trained = |steps: usize, resumed: bool| {
        let Training { denoiser, adapters, .. } = Training::of(SD3, Layout::Folder, Residency::Resident).unwrap();
        let mut trainer = Trainer::new(adapters, TrainerSettings { average_decay: Some(0.9), ..settings(SD3) });
        if resumed {
            let (state, notes) = read_state(&path, &Device::flex()).unwrap();
            assert_eq!(notes, BTreeMap::from([("seed".to_owned(), "7".to_owned())]));
            trainer.restore(state).unwrap();
        }
        for _ in 0..steps {
            trainer.step(&*denoiser, &mut Same(batch.clone())).unwrap();
        }
        trainer
    };
    let notes = BTreeMap::from([("seed".to_owned(), "7".to_owned())]);
    write_state(&path, &trained(2, false).state(), &notes).unwrap();
    let (whole, resumed) = (trained(4, false), trained(2, true));
    assert_eq!(resumed.steps(), 4);
    let (whole, resumed) = (parameters(&whole), parameters(&resumed));
    for (module, value) in whole {
        assert_eq!(value.into_data(), resumed[&module].clone().into_data(), "{module}");
    }
}
