//! Adapters of text encoders trained beside those of the transformer, against what peft, diffusers and torch compute.

mod common;

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use common::{FLUX, Layout, SD3, fixture, tensor};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::network::{BlockGradients, Conditioning, Denoiser, DenoiserInput, GradientOptions, TrainedParameters};
use diffusion_core::weights::{ComponentId, ComponentPatches, PatchMode, PatchWeights, RecordedUses};
use diffusion_core::{Loading, Precision, Residency};
use diffusion_lora::Lora;
use diffusion_lora::train::{
    Batch, Batches, Method, OptimizerSettings, Part, ProdigySettings, TargetLayer, Targets, TrainError, TrainedAdapter, Trainer,
    TrainerSettings, TrainingRandom, adapters_of, read_state, write_state,
};
use diffusion_models::components::{CLIP_G, CLIP_L, TRANSFORMER};
use diffusion_models::{Pipeline, PipelineError, PromptEncoder, Settings, ignore};

/// In f32, sums are made in another order.
const TOLERANCE: f64 = 1e-4;

struct Reference {
    batch: Checkpoint,
    run: Checkpoint,
}

impl Reference {
    fn of(name: &str) -> Self {
        let open = |file: &str| Checkpoint::open(&fixture(name).join("training").join(file)).unwrap();
        Self { batch: open("reference.safetensors"), run: open("text_encoders.safetensors") }
    }

    fn matrix(&self, name: &str) -> Option<Tensor<2>> {
        self.run.get(name)?;
        Some(tensor(&self.run, name))
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        tensor::<1>(&self.run, name).into_data().iter::<f32>().map(f64::from).collect()
    }
}

fn largest<const D: usize>(x: Tensor<D>) -> f64 {
    f64::from(x.abs().max().into_scalar::<f32>())
}

fn relative_error<const D: usize>(found: Tensor<D>, expected: Tensor<D>) -> f64 {
    let difference = largest(found - expected.clone());
    // What nobody reads has no gradient, as the text queries of the last block of Stable Diffusion 3.
    if difference == 0.0 { 0.0 } else { difference / largest(expected) }
}

/// What diffusers calls a component.
fn folder(component: ComponentId) -> &'static str {
    match component {
        TRANSFORMER => "transformer",
        CLIP_L => "text_encoder",
        _ => "text_encoder_2",
    }
}

/// Values of adapters' matrices by the names that diffusers gives them.
fn named(adapters: &[TrainedAdapter], values: Vec<Vec<(Part, Tensor<2>)>>) -> BTreeMap<String, Tensor<2>> {
    let of_adapter = |(adapter, values): (&TrainedAdapter, Vec<(Part, Tensor<2>)>)| {
        let prefix = format!("{}.{}", folder(adapter.component), adapter.layer.module);
        let name = |part| if part == Part::Down { "lora_A" } else { "lora_B" };
        values.into_iter().map(move |(part, value)| (format!("{prefix}.{}.weight", name(part)), value))
    };
    adapters.iter().zip(values).flat_map(of_adapter).collect()
}

/// The batch of the reference, whose captions are encoded by the text encoders as they are.
struct Captions {
    batch: Batch,
    known: Vec<Conditioning>,
    encoders: Box<dyn PromptEncoder>,
}

impl Batches for Captions {
    type Error = PipelineError;

    fn batch(&mut self, _: usize) -> Result<Batch, PipelineError> {
        let pairs = self.batch.captions.iter().zip(&self.known);
        let encoded = pairs.map(|(caption, known)| self.encoders.encode_again(caption, known)).collect::<Result<Vec<_>, _>>()?;
        let conditioning = Conditioning::batch(&encoded.iter().collect::<Vec<_>>());
        Ok(Batch { conditioning, ..self.batch.clone() })
    }
}

/// A fixture's network and text encoders, with adapters of both.
struct Training {
    denoiser: Box<dyn Denoiser>,
    captions: Captions,
    of_network: Vec<TrainedAdapter>,
    of_text: Vec<TrainedAdapter>,
    guidance: Option<f64>,
}

impl Training {
    /// With the adapters of the reference.
    fn of(name: &str, residency: Residency) -> Self {
        let pipeline = common::pipeline(name, Layout::Folder, Precision::f32());
        let adapters = |file: &str| {
            let lora = Lora::open(&fixture(name).join("training").join(file)).unwrap();
            adapters_of(&lora, &pipeline.patch_targets(), pipeline.device()).unwrap()
        };
        let (network, text) = (adapters("start.safetensors"), adapters("text_encoders_start.safetensors"));
        Self::with(name, pipeline, residency, network, text)
    }

    fn with(
        name: &str,
        mut pipeline: Pipeline,
        residency: Residency,
        of_network: Vec<TrainedAdapter>,
        of_text: Vec<TrainedAdapter>,
    ) -> Self {
        pipeline.set_residency(residency);
        let reference = Reference::of(name);
        let run: serde_json::Value =
            serde_json::from_slice(&std::fs::read(fixture(name).join("reference.json")).unwrap()).unwrap();
        let captions = ["prompt", "negative_prompt"].map(|key| run[key].as_str().unwrap().to_owned());
        let max_sequence_length = run["max_sequence_length"].as_u64().unwrap() as usize;
        let settings = Settings { max_sequence_length, ..pipeline.default_settings() };
        let known = captions.each_ref().map(|text| pipeline.encode_prompt(text, "", &settings, &mut ignore).unwrap().positive);
        let mut patches = ComponentPatches::new();
        for adapter in of_network.iter().chain(&of_text) {
            patches.entry(adapter.component).or_default().insert(adapter.layer.parameter.clone(), adapter.patch(None));
        }
        let encoders = pipeline.load_clip_encoders(&mut ignore).unwrap().patched(&patches, PatchMode::Attach).unwrap();
        let loading = Loading { residency, ..Loading::new(Precision::f32(), pipeline.device()) };
        let denoiser = pipeline.model().load_denoiser(&loading).unwrap();
        let sigmas: Vec<f64> = tensor::<1>(&reference.batch, "sigmas").into_data().iter::<f32>().map(f64::from).collect();
        let batch = Batch {
            latents: tensor(&reference.batch, "latents"),
            noise: tensor(&reference.batch, "noise"),
            weights: vec![1.0 / sigmas.len() as f64; sigmas.len()],
            sigmas,
            captions: captions.to_vec(),
            conditioning: Conditioning::batch(&known.iter().collect::<Vec<_>>()),
            names: captions.to_vec(),
        };
        Self {
            denoiser: denoiser.patched(&patches[&TRANSFORMER], PatchMode::Attach).unwrap(),
            captions: Captions { batch, known: known.to_vec(), encoders },
            of_network,
            of_text,
            guidance: (name == FLUX).then_some(1.0),
        }
    }

    /// The loss, and gradients of the conditioning and all adapters.
    fn gradients(&mut self, options: GradientOptions) -> (f64, Conditioning, BTreeMap<String, Tensor<2>>) {
        let uses = RecordedUses::of(self.of_text.iter().flat_map(|adapter| &adapter.parts).map(|(_, parameter)| parameter));
        let batch = self.captions.batch(0).unwrap();
        let conditioning = batch.conditioning.clone().without_autodiff();
        let (found, gradients) = self.of_network_gradients(&batch, &conditioning, options);
        let of_conditioning = gradients.of_conditioning.unwrap();
        uses.finish(&of_conditioning.product(&batch.conditioning).unwrap().backward());
        let adapters = [&*self.of_network, &*self.of_text].concat();
        let taken =
            |adapter: &TrainedAdapter| adapter.parts.iter().map(|(part, parameter)| (*part, parameter.take_gradient())).collect();
        let of_adapters = named(&adapters, adapters.iter().map(taken).collect());
        (found, of_conditioning, of_adapters)
    }

    fn of_network_gradients(
        &self,
        batch: &Batch,
        conditioning: &Conditioning,
        options: GradientOptions,
    ) -> (f64, BlockGradients) {
        let input = DenoiserInput {
            latents: batch.noisy(),
            sigmas: &batch.sigmas,
            conditioning,
            distilled_guidance: self.guidance,
            modulations: None,
        };
        let parameters = |adapter: &TrainedAdapter| adapter.parts.iter().map(|(_, parameter)| parameter.clone()).collect();
        let trained: TrainedParameters =
            self.of_network.iter().map(|adapter| (adapter.layer.parameter.clone(), parameters(adapter))).collect();
        let mut loss = 0.0;
        let mut of_velocity = |velocity: Tensor<4>| {
            let found = batch.loss(velocity, |_| 1.0);
            loss = found.value;
            found.gradient
        };
        let gradients = self.denoiser.gradients(&input, &trained, options, &mut of_velocity).unwrap();
        (loss, gradients)
    }
}

const OF_CONDITIONING: GradientOptions = GradientOptions { kept_graphs: 0, of_conditioning: true };

#[test]
fn first_gradients_are_those_of_peft() {
    for name in [SD3, FLUX] {
        let reference = Reference::of(name);
        for residency in [Residency::Resident, Residency::Streamed] {
            let (loss, _, gradients) = Training::of(name, residency).gradients(OF_CONDITIONING);
            let expected_loss = reference.numbers("loss")[0];
            assert!((loss / expected_loss - 1.0).abs() < 1e-6, "{name}: {loss}, {expected_loss}");
            let of_gradients = reference.run.tensors().filter(|(name, _)| name.strip_suffix(".grad").is_some());
            assert_eq!(gradients.len(), of_gradients.count());
            for (module, found) in gradients {
                let error = relative_error(found, reference.matrix(&format!("{module}.grad")).unwrap());
                assert!(error < TOLERANCE, "{name} {residency:?} {module}: {error}");
            }
        }
    }
}

#[test]
fn gradients_of_the_conditioning_block_by_block_are_those_of_the_whole_graph() {
    for name in [SD3, FLUX] {
        let mut training = Training::of(name, Residency::Resident);
        let (_, expected, whole) = training.gradients(GradientOptions { kept_graphs: usize::MAX, ..OF_CONDITIONING });
        for kept_graphs in [0, 2] {
            let (_, found, by_blocks) = training.gradients(GradientOptions { kept_graphs, ..OF_CONDITIONING });
            assert!(relative_error(found.tokens, expected.tokens.clone()) < 1e-6, "{name}, {kept_graphs} graphs kept");
            assert!(relative_error(found.pooled, expected.pooled.clone()) < 1e-6, "{name}, {kept_graphs} graphs kept");
            // From there on to text encoders there is one graph in any case, which rounds differently what differs in the last place.
            for (module, found) in by_blocks.into_iter().filter(|(module, _)| module.starts_with("transformer.")) {
                assert!(relative_error(found, whole[&module].clone()) < 1e-6, "{name} {module}, {kept_graphs} graphs kept");
            }
        }
    }
}

/// Half the difference of the losses beside a conditioning, against the product of its gradient with the step between them.
#[test]
fn the_gradient_of_the_conditioning_is_the_slope_of_the_loss() {
    for name in [SD3, FLUX] {
        let training = Training::of(name, Residency::Resident);
        let batch = training.captions.batch.clone();
        let (_, gradients) = training.of_network_gradients(&batch, &batch.conditioning, OF_CONDITIONING);
        let slope = gradients.of_conditioning.unwrap();
        let step = 1e-2 / (largest(slope.tokens.clone()).max(largest(slope.pooled.clone())));
        let loss = |step: f64| {
            let conditioning = Conditioning {
                tokens: batch.conditioning.tokens.clone() + slope.tokens.clone().mul_scalar(step),
                pooled: batch.conditioning.pooled.clone() + slope.pooled.clone().mul_scalar(step),
            };
            training.of_network_gradients(&batch, &conditioning, GradientOptions::default()).0
        };
        let found = (loss(step) - loss(-step)) / 2.0;
        let squares = slope.tokens.square().sum().into_scalar::<f32>() + slope.pooled.square().sum().into_scalar::<f32>();
        let expected = step * f64::from(squares);
        assert!((found / expected - 1.0).abs() < 1e-2, "{name}: {found}, {expected}");
    }
}

/// As `make_training_reference.py` has it.
fn settings(name: &str) -> TrainerSettings {
    TrainerSettings { text_encoder_learning_rate: Some(5e-4), ..common::training::settings(name) }
}

#[test]
fn three_steps_are_those_of_peft() {
    for name in [SD3, FLUX] {
        let reference = Reference::of(name);
        let Training { denoiser, mut captions, of_network, of_text, .. } = Training::of(name, Residency::Resident);
        let mut trainer = Trainer::with_text_encoders(of_network, of_text, settings(name));
        let (losses, norms) = (reference.numbers("loss"), reference.numbers("grad_norm"));
        for step in 0..3 {
            let report = trainer.step(&*denoiser, &mut captions).unwrap();
            assert!((report.loss / losses[step] - 1.0).abs() < 1e-5, "{name} step {step}: {report:?}, {}", losses[step]);
            assert!((report.gradient_norm / norms[step] - 1.0).abs() < TOLERANCE, "{name} step {step}: {report:?}");
            let mut compared = 0;
            for (module, found) in named(trainer.adapters(), trainer.trained_values()) {
                let Some(expected) = reference.matrix(&format!("{module}.after_{}", step + 1)) else { continue };
                let error = relative_error(found, expected);
                assert!(error < TOLERANCE, "{name} {module} after step {}: {error}", step + 1);
                compared += 1;
            }
            let kept = reference.run.tensors().filter(|(name, _)| name.ends_with(&format!(".after_{}", step + 1))).count();
            assert_eq!(compared, kept);
        }
    }
}

#[test]
fn a_trainer_of_text_encoders_that_is_restored_goes_on_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let prodigy = OptimizerSettings::Prodigy(ProdigySettings::default());
    for optimizer in [settings(SD3).optimizer, prodigy] {
        let settings = TrainerSettings { optimizer, average_decay: Some(0.9), accumulation: 2, ..settings(SD3) };
        let trained = |steps: usize, resumed: bool| {
            let Training { denoiser, mut captions, of_network, of_text, .. } = Training::of(SD3, Residency::Resident);
            let mut trainer = Trainer::with_text_encoders(of_network, of_text, settings.clone());
            if resumed {
                trainer.restore(read_state(&path, &Device::flex()).unwrap().0).unwrap();
            }
            for _ in 0..steps {
                trainer.step(&*denoiser, &mut captions).unwrap();
            }
            trainer
        };
        write_state(&path, &trained(2, false).state(), &BTreeMap::new()).unwrap();
        let (whole, resumed) = (trained(3, false), trained(1, true));
        let values = |trainer: &Trainer| named(trainer.adapters(), trainer.trained_values());
        let resumed = values(&resumed);
        for (module, value) in values(&whole) {
            assert_eq!(value.into_data(), resumed[&module].clone().into_data(), "{module}");
        }
    }
}

/// A state without the second group of parameters, or one of another kind, changes nothing.
#[test]
fn a_state_without_text_encoders_is_refused() {
    let Training { denoiser, mut captions, of_network, of_text, .. } = Training::of(FLUX, Residency::Resident);
    let mut trainer = Trainer::with_text_encoders(of_network.clone(), of_text.clone(), settings(FLUX));
    trainer.step(&*denoiser, &mut captions).unwrap();
    let before = trainer.state();
    let mut other = before.clone();
    other.optimizer.tensors.retain(|name, _| !name.starts_with("group_1."));
    let error = trainer.restore(other).unwrap_err().to_string();
    assert!(error.contains("lacks first_moment.0"), "{error}");
    let after = trainer.state().optimizer;
    let data = |tensors: BTreeMap<String, Tensor<2>>| tensors.into_values().map(Tensor::into_data).collect::<Vec<_>>();
    assert_eq!((data(before.optimizer.tensors), before.optimizer.numbers), (data(after.tensors), after.numbers));
}

#[test]
fn captions_that_were_encoded_without_the_adapters_are_refused() {
    struct Known(Batch);
    impl Batches for Known {
        type Error = std::convert::Infallible;
        fn batch(&mut self, _: usize) -> Result<Batch, Self::Error> {
            Ok(self.0.clone())
        }
    }
    let Training { denoiser, captions, of_network, of_text, .. } = Training::of(FLUX, Residency::Resident);
    let mut trainer = Trainer::with_text_encoders(of_network, of_text, settings(FLUX));
    let error = trainer.step(&*denoiser, &mut Known(captions.batch)).unwrap_err();
    assert!(matches!(error, TrainError::NotEncoded { step: 1 }), "{error}");
    for (_, parameter) in trainer.adapters().iter().flat_map(|adapter| &adapter.parts) {
        assert_eq!(largest(parameter.take_gradient()), 0.0);
        assert!(!parameter.value().is_autodiff());
    }
}

/// A text is encoded again as it was encoded at first, to the bit: what T5 says is taken over.
#[test]
fn adapters_that_change_nothing_encode_as_if_there_were_none() {
    for name in [SD3, FLUX] {
        for method in [Method::Lora, Method::Dora, Method::Lokr { factor: 4 }] {
            let pipeline = common::pipeline(name, Layout::Folder, Precision::f32());
            let adapter = |component: ComponentId, layer: TargetLayer| {
                let mut random = TrainingRandom::new(1, 2, 3);
                TrainedAdapter::new(component, layer, method, 2, 2.0, &mut random, pipeline.device())
            };
            let adapters: Vec<TrainedAdapter> = pipeline
                .patch_targets()
                .iter()
                .filter(|target| [TRANSFORMER, CLIP_L, CLIP_G].contains(&target.component))
                .flat_map(|target| Targets::All.layers_of(target).into_iter().map(|layer| adapter(target.component, layer)))
                .collect();
            let (network, text): (Vec<_>, Vec<_>) = adapters.into_iter().partition(|adapter| adapter.component == TRANSFORMER);
            let Training { denoiser, mut captions, .. } =
                Training::with(name, pipeline, Residency::Resident, network.clone(), text.clone());
            let expected = captions.batch.conditioning.clone();
            let found = captions.batch(0).unwrap().conditioning;
            let tolerance = if method == Method::Lora { 1e-7 } else { 1e-5 };
            assert!(relative_error(found.tokens, expected.tokens.clone()) < tolerance, "{name} {method:?}");
            assert!(relative_error(found.pooled, expected.pooled.clone()) < tolerance, "{name} {method:?}");

            // All of them learn.
            let last = text.last().unwrap().clone();
            let before: Vec<_> = last.parts.iter().map(|(_, parameter)| parameter.value().into_data()).collect();
            let mut trainer = Trainer::with_text_encoders(network, text, settings(name));
            for _ in 0..2 {
                trainer.step(&*denoiser, &mut captions).unwrap();
            }
            for ((part, parameter), before) in last.parts.iter().zip(before) {
                assert_ne!(parameter.value().into_data(), before, "{name} {method:?} {part:?}");
            }
            let found = captions.batch(0).unwrap().conditioning;
            assert!(relative_error(found.pooled, expected.pooled) > 1e-5, "{name} {method:?}");
        }
    }
}
