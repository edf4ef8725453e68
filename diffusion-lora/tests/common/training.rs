//! What tests of training share: a network with adapters, and the batch that a reference was computed with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::network::{Conditioning, Denoiser, DenoiserInput, GradientOptions, TrainedParameters};
use diffusion_core::weights::{ComponentPatches, PatchMode, PatchWeights};
use diffusion_core::{Loading, Precision, Residency};
use diffusion_lora::Lora;
use diffusion_lora::train::{
    AdamWSettings, Batch, Batches, OptimizerSettings, Part, TrainedAdapter, Trainer, TrainerSettings, adapters_of,
};
use diffusion_models::components::TRANSFORMER;
use diffusion_models::{Pipeline, PipelineError};

use super::{FLUX, Layout, fixture};

/// In f32, sums are made in another order.
pub(crate) const TOLERANCE: f64 = 2e-5;

/// Tensors of a file of a fixture's folder `training`.
pub(crate) struct Tensors(pub(crate) Checkpoint);

impl Tensors {
    pub(crate) fn of(name: &str, file: &str) -> Self {
        Self(Checkpoint::open(&fixture(name).join("training").join(file)).unwrap())
    }

    /// A tensor; a vector may be taken for a column.
    pub(crate) fn get<const D: usize>(&self, name: &str) -> Tensor<D> {
        let stored = self.0.get(name).unwrap_or_else(|| panic!("no {name}"));
        let mut shape = stored.shape().to_vec();
        if D == 2 && shape.len() == 1 {
            shape.push(1);
        }
        let data = TensorData::new(stored.to_f32().unwrap(), shape);
        Tensor::from_data(data, &Device::flex())
    }

    pub(crate) fn numbers(&self, name: &str) -> Vec<f64> {
        self.get::<1>(name).into_data().iter::<f32>().map(f64::from).collect()
    }

    /// How many tensors have names that end so.
    pub(crate) fn count(&self, end: &str) -> usize {
        self.0.tensors().filter(|(name, _)| name.ends_with(end)).count()
    }
}

/// The batch that everything is computed with.
pub(crate) fn batch_of(name: &str) -> Batch {
    let reference = Tensors::of(name, "reference.safetensors");
    let sigmas = reference.numbers("sigmas");
    let weights = vec![1.0 / sigmas.len() as f64; sigmas.len()];
    let names = sigmas.iter().map(f64::to_string).collect();
    let conditioning = Conditioning { tokens: reference.get("prompt_embeds"), pooled: reference.get("pooled_prompt_embeds") };
    Batch {
        latents: reference.get("latents"),
        noise: reference.get("noise"),
        sigmas,
        captions: Vec::new(),
        conditioning,
        weights,
        names,
    }
}

/// The largest error as a share of the largest number.
pub(crate) fn largest_error(found: Tensor<2>, expected: Tensor<2>) -> f64 {
    let largest = |x: Tensor<2>| f64::from(x.abs().max().into_scalar::<f32>());
    let difference = largest(found - expected.clone());
    // What nobody reads has no gradient, as the text queries of the last block of Stable Diffusion 3.
    if difference == 0.0 { 0.0 } else { difference / largest(expected) }
}

/// A network that computes with adapters.
pub(crate) struct Training {
    pub(crate) denoiser: Box<dyn Denoiser>,
    pub(crate) adapters: Vec<TrainedAdapter>,
    trained: TrainedParameters,
    guidance: Option<f64>,
}

impl Training {
    /// A fixture with the adapters of a LoRA file.
    pub(crate) fn of(name: &str, layout: Layout, residency: Residency, lora: &Path) -> Result<Self, PipelineError> {
        let pipeline = super::pipeline(name, layout, Precision::f32());
        let adapters = adapters_of(&Lora::open(lora).unwrap(), &pipeline.patch_targets(), pipeline.device()).unwrap();
        Self::with(&pipeline, residency, adapters, &ComponentPatches::new())
    }

    /// A pipeline's network with these adapters, over other patches.
    pub(crate) fn with(
        pipeline: &Pipeline,
        residency: Residency,
        adapters: Vec<TrainedAdapter>,
        beneath: &ComponentPatches,
    ) -> Result<Self, PipelineError> {
        let loading = Loading { residency, ..Loading::new(Precision::f32(), pipeline.device()) };
        let mut patches = beneath.get(&TRANSFORMER).cloned().unwrap_or_default();
        for adapter in &adapters {
            let below = patches.get(&adapter.layer.parameter).map(Arc::clone);
            patches.insert(adapter.layer.parameter.clone(), adapter.patch(below));
        }
        let denoiser = pipeline.model().load_denoiser(&loading)?.patched(&patches, PatchMode::Attach)?;
        let parameters = |adapter: &TrainedAdapter| adapter.parts.iter().map(|(_, parameter)| parameter.clone()).collect();
        let trained = adapters.iter().map(|adapter| (adapter.layer.parameter.clone(), parameters(adapter))).collect();
        let guidance = pipeline.default_settings().distilled_guidance.map(|_| 1.0);
        Ok(Self { denoiser, adapters, trained, guidance })
    }

    /// The loss, and all gradients by the names that files give their matrices.
    pub(crate) fn gradients(&self, batch: &Batch, options: GradientOptions) -> (f64, BTreeMap<String, Tensor<2>>) {
        let loss = self.add_gradients(batch, options);
        let named = self.adapters.iter().flat_map(|adapter| {
            adapter.parts.iter().map(|(part, parameter)| (published_name(adapter, *part), parameter.take_gradient()))
        });
        (loss, named.collect())
    }

    /// Compute gradients, and leave them where they are; the loss.
    pub(crate) fn add_gradients(&self, batch: &Batch, options: GradientOptions) -> f64 {
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
        loss
    }
}

/// As diffusers and `LyCORIS` call a matrix of an adapter.
pub(crate) fn published_name(adapter: &TrainedAdapter, part: Part) -> String {
    let part = match part {
        Part::Down => "lora_A.weight",
        Part::Up => "lora_B.weight",
        Part::Magnitude => "lora_magnitude_vector",
        Part::Kronecker1 => "lokr_w1",
        Part::Kronecker2 => "lokr_w2",
        Part::Kronecker2Up => "lokr_w2_a",
        Part::Kronecker2Down => "lokr_w2_b",
    };
    format!("transformer.{}.{part}", adapter.layer.module)
}

/// The same batch in every step.
pub(crate) struct Same(pub(crate) Batch);

impl Batches for Same {
    type Error = std::convert::Infallible;

    fn batch(&mut self, _: usize) -> Result<Batch, Self::Error> {
        Ok(self.0.clone())
    }
}

/// As `make_training_reference.py` has it.
pub(crate) fn settings(name: &str) -> TrainerSettings {
    TrainerSettings {
        optimizer: OptimizerSettings::AdamW(AdamWSettings { weight_decay: 1e-2, ..AdamWSettings::default() }),
        learning_rate: 1e-3,
        distilled_guidance: (name == FLUX).then_some(1.0),
        ..TrainerSettings::default()
    }
}

/// Parameters by the names that files give them.
pub(crate) fn parameters(trainer: &Trainer) -> BTreeMap<String, Tensor<2>> {
    let named = trainer
        .adapters()
        .iter()
        .zip(trainer.trained_values())
        .flat_map(|(adapter, values)| values.into_iter().map(|(part, value)| (published_name(adapter, part), value)));
    named.collect()
}
