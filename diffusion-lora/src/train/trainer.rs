//! The loop of training.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use diffusion_core::network::{BlockGradients, Conditioning, Denoiser, DenoiserInput, GradientOptions, TrainedParameters};
use diffusion_core::weights::{ComponentPatches, RecordedUses, TrainedParameter};
use thiserror::Error;

use super::adapter::{Part, TrainedAdapter};
use super::average::MovingAverage;
use super::batch::{Batch, Batches};
use super::clipping::{clip_global_norm, global_norm};
use super::error::TrainError;
use super::learning_rate::{LearningRateCourse, LearningRateSchedule};
use super::optimizer::{OptimizerSettings, OptimizerState, OptimizerStateError};
use super::parameter_groups::ParameterGroups;
use super::weighting::{LossSpace, LossWeighting};

/// How adapters are trained.
#[derive(Clone, Debug)]
pub struct TrainerSettings {
    /// Changes parameters by gradients.
    pub optimizer: OptimizerSettings,
    /// The rate that the schedule multiplies.
    pub learning_rate: f64,
    /// The rate of adapters of text encoders, if it is another one.
    pub text_encoder_learning_rate: Option<f64>,
    /// How the rate changes.
    pub schedule: LearningRateSchedule,
    /// Gradients of all parameters together are made no longer than this.
    pub max_gradient_norm: Option<f64>,
    /// Batches whose gradients make one step; the loss is their mean.
    pub accumulation: usize,
    /// Factor of errors by noise level.
    pub weighting: LossWeighting,
    /// What errors are measured in.
    pub space: LossSpace,
    /// Decay of a moving average of the parameters, if one is kept.
    pub average_decay: Option<f64>,
    /// Guidance as an input, for networks that take it.
    pub distilled_guidance: Option<f64>,
    /// How gradients are computed. That of the conditioning is where it is needed.
    pub gradients: GradientOptions,
}

impl Default for TrainerSettings {
    /// `AdamW` at a constant rate of 1e-4, one batch a step, gradients at most 1 long, the mean squared error of the velocity.
    fn default() -> Self {
        Self {
            optimizer: OptimizerSettings::default(),
            learning_rate: 1e-4,
            text_encoder_learning_rate: None,
            // A constant rate does not ask how many steps there are.
            schedule: LearningRateSchedule { course: LearningRateCourse::Constant, warm_up_steps: 0, total_steps: 0 },
            max_gradient_norm: Some(1.0),
            accumulation: 1,
            weighting: LossWeighting::None,
            space: LossSpace::Velocity,
            average_decay: None,
            distilled_guidance: None,
            gradients: GradientOptions::default(),
        }
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The step, from 1.
    pub step: usize,
    /// Before the parameters were changed.
    pub loss: f64,
    /// Length of all gradients together, before it was limited.
    pub gradient_norm: f64,
    /// The rate, as the optimiser used it.
    pub learning_rate: f64,
}

/// Trains adapters.
///
/// The network has to compute with them: its patches are [`patches`](Self::patches). So have text encoders, if they are trained
/// along: a batch then encodes its captions with them, see [`Batches::batch`].
#[derive(Debug)]
pub struct Trainer {
    settings: TrainerSettings,
    /// Those of the network, then those of text encoders.
    adapters: Vec<TrainedAdapter>,
    /// Matrices of all adapters, in their order.
    parameters: Vec<TrainedParameter>,
    /// Those of the network.
    of_network: TrainedParameters,
    /// Those of text encoders.
    of_text_encoders: Vec<TrainedParameter>,
    optimizer: ParameterGroups,
    average: Option<MovingAverage>,
    steps: usize,
}

/// Why a trainer cannot go on from a state.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainerStateError {
    /// It is that of another optimiser.
    #[error(transparent)]
    Optimizer(#[from] OptimizerStateError),
    /// It is that of other adapters.
    #[error("the state is that of another run: {reason}")]
    Other {
        /// What differs.
        reason: String,
    },
}

/// All that a trainer knows, besides its settings.
#[derive(Clone, Debug)]
pub struct TrainerState {
    /// Steps that were taken.
    pub steps: usize,
    /// Values of parameters, in their order, by name.
    pub parameters: BTreeMap<String, Tensor<2>>,
    /// What the optimiser remembers.
    pub optimizer: OptimizerState,
    /// Number of updates, and values, of the moving average, if there is one.
    pub average: Option<(u64, Vec<Tensor<2>>)>,
}

impl Trainer {
    /// A trainer of these adapters that has taken no step.
    ///
    /// # Panics
    /// If there are no adapters, or no batches make a step.
    pub fn new(adapters: Vec<TrainedAdapter>, settings: TrainerSettings) -> Self {
        Self::with_text_encoders(adapters, Vec::new(), settings)
    }

    /// A trainer of adapters of the network and of text encoders that has taken no step.
    ///
    /// # Panics
    /// If there are no adapters, or no batches make a step.
    pub fn with_text_encoders(
        of_network: Vec<TrainedAdapter>,
        of_text_encoders: Vec<TrainedAdapter>,
        settings: TrainerSettings,
    ) -> Self {
        assert!(settings.accumulation > 0, "a step of at least one batch");
        let matrices = |adapter: &TrainedAdapter| -> Vec<TrainedParameter> {
            adapter.parts.iter().map(|(_, parameter)| parameter.clone()).collect()
        };
        let trained = of_network.iter().map(|adapter| (adapter.layer.parameter.clone(), matrices(adapter))).collect();
        let text_encoders: Vec<TrainedParameter> = of_text_encoders.iter().flat_map(matrices).collect();
        let adapters: Vec<TrainedAdapter> = of_network.into_iter().chain(of_text_encoders).collect();
        let parameters: Vec<TrainedParameter> = adapters.iter().flat_map(matrices).collect();
        let values: Vec<Tensor<2>> = parameters.iter().map(TrainedParameter::value).collect();
        let shapes: Vec<[usize; 2]> = values.iter().map(Tensor::dims).collect();
        let device = values.first().expect("something to train").device();
        let (network, text) = shapes.split_at(shapes.len() - text_encoders.len());
        let text_rate = settings.text_encoder_learning_rate.unwrap_or(settings.learning_rate);
        let groups = [(network, settings.learning_rate), (text, text_rate)];
        let optimizer = ParameterGroups::new(&settings.optimizer, &groups, &device);
        let average = settings.average_decay.map(|decay| MovingAverage::new(decay, &values));
        Self {
            settings,
            adapters,
            parameters,
            of_network: trained,
            of_text_encoders: text_encoders,
            optimizer,
            average,
            steps: 0,
        }
    }

    /// The adapters, those of text encoders last.
    pub fn adapters(&self) -> &[TrainedAdapter] {
        &self.adapters
    }

    /// Keep the graphs of so many blocks, from the last: faster, with more memory, and the same numbers to the bit on a CPU.
    pub fn keep_graphs(&mut self, count: usize) {
        self.settings.gradients.kept_graphs = count;
    }

    /// The settings.
    pub fn settings(&self) -> &TrainerSettings {
        &self.settings
    }

    /// How many steps were taken.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Patches with which networks compute with the adapters, as they are whenever they do, over those that are there already.
    pub fn patches(&self, beneath: ComponentPatches) -> ComponentPatches {
        let mut patches = beneath;
        for adapter in &self.adapters {
            let of_component = patches.entry(adapter.component).or_default();
            let below = of_component.get(&adapter.layer.parameter).cloned();
            of_component.insert(adapter.layer.parameter.clone(), adapter.patch(below));
        }
        patches
    }

    /// Take a step: gradients of as many batches as are accumulated, and a change of the adapters.
    ///
    /// # Errors
    /// [`TrainError`] if a batch or the network cannot be read, text encoders are trained and captions were not encoded with them,
    /// or a number is not finite; the adapters are as before then.
    pub fn step<B: Batches>(&mut self, denoiser: &dyn Denoiser, batches: &mut B) -> Result<StepReport, TrainError> {
        let step = self.steps + 1;
        let (mut loss, mut pictures) = (0.0, Vec::new());
        for index in 0..self.settings.accumulation {
            let number = self.steps * self.settings.accumulation + index;
            let added = self.add_gradients_of(number, denoiser, batches, &mut pictures);
            loss += added.inspect_err(|_| self.forget_gradients())?;
        }
        let share = 1.0 / self.settings.accumulation as f64;
        loss *= share;
        let mut gradients: Vec<Tensor<2>> = self.parameters.iter().map(TrainedParameter::take_gradient).collect();
        if self.settings.accumulation > 1 {
            gradients = gradients.into_iter().map(|gradient| gradient.mul_scalar(share)).collect();
        }
        if !loss.is_finite() {
            return Err(TrainError::NotFinite { step, what: "loss", pictures });
        }
        let norm = match self.settings.max_gradient_norm {
            Some(longest) => clip_global_norm(&mut gradients, longest),
            None => global_norm(&gradients),
        };
        let gradient_norm = norm.map_err(|_| TrainError::NotFinite { step, what: "gradient", pictures })?;
        let factor = self.settings.schedule.factor(self.steps);
        let mut values: Vec<Tensor<2>> = self.parameters.iter().map(TrainedParameter::value).collect();
        self.optimizer.step(&mut values, &gradients, factor);
        if let Some(average) = &mut self.average {
            average.update(&values);
        }
        for (parameter, value) in self.parameters.iter().zip(values) {
            parameter.set(value);
        }
        self.steps = step;
        let learning_rate = self.optimizer.effective_learning_rate(factor);
        Ok(StepReport { step, loss, gradient_norm, learning_rate })
    }

    /// Add the gradients of a batch; its loss.
    fn add_gradients_of<B: Batches>(
        &self,
        number: usize,
        denoiser: &dyn Denoiser,
        batches: &mut B,
        pictures: &mut Vec<String>,
    ) -> Result<f64, TrainError> {
        let step = self.steps + 1;
        // Captions are encoded while the batch is made.
        let uses = RecordedUses::of(&self.of_text_encoders);
        let batch = batches.batch(number).map_err(|error| TrainError::Batch { step, source: error.into() })?;
        pictures.extend(batch.names.iter().cloned());
        let (loss, of_conditioning) = self.add_gradients(denoiser, &batch)?;
        if let Some(of_conditioning) = of_conditioning {
            let product = of_conditioning.product(&batch.conditioning).ok_or(TrainError::NotEncoded { step })?;
            uses.finish(&product.backward());
        }
        Ok(loss)
    }

    /// Add the gradients of the network's adapters; the loss, and the gradient of the conditioning if text encoders need it.
    fn add_gradients(&self, denoiser: &dyn Denoiser, batch: &Batch) -> Result<(f64, Option<Conditioning>), TrainError> {
        let TrainerSettings { weighting, space, distilled_guidance, gradients, .. } = self.settings;
        let input = DenoiserInput {
            latents: batch.noisy(),
            sigmas: &batch.sigmas,
            conditioning: &batch.conditioning.clone().without_autodiff(),
            distilled_guidance,
            modulations: None,
        };
        let options = GradientOptions { of_conditioning: !self.of_text_encoders.is_empty(), ..gradients };
        let mut value = 0.0;
        let mut of_velocity = |velocity: Tensor<4>| {
            let loss = batch.loss(velocity, |sigma| weighting.weight(sigma) * space.weight(sigma));
            value = loss.value;
            loss.gradient
        };
        let BlockGradients { of_conditioning, .. } = denoiser.gradients(&input, &self.of_network, options, &mut of_velocity)?;
        Ok((value, of_conditioning))
    }

    fn forget_gradients(&self) {
        self.parameters.iter().for_each(|parameter| drop(parameter.take_gradient()));
    }

    /// Values of the adapters' matrices to be written: the moving average, if one is kept, or those of now.
    pub fn trained_values(&self) -> Vec<Vec<(Part, Tensor<2>)>> {
        let mut averages = self.average.as_ref().map(|average| average.parameters().iter().cloned());
        let mut value = |parameter: &TrainedParameter| match averages.as_mut().and_then(Iterator::next) {
            Some(average) => average,
            None => parameter.value(),
        };
        let parts = self.adapters.iter().map(|adapter| &adapter.parts);
        parts.map(|parts| parts.iter().map(|(part, parameter)| (*part, value(parameter))).collect()).collect()
    }

    /// All that it knows. A trainer of the same adapters and settings that is [restored](Self::restore) from it goes on as this
    /// one, to the bit.
    pub fn state(&self) -> TrainerState {
        let average = self.average.as_ref().map(|average| (average.updates(), average.parameters().to_vec()));
        let parameters = self.names().zip(&self.parameters).map(|(name, parameter)| (name, parameter.value()));
        TrainerState { steps: self.steps, parameters: parameters.collect(), optimizer: self.optimizer.state(), average }
    }

    /// Know what another one did. Nothing changes if that is not possible.
    ///
    /// # Errors
    /// [`TrainerStateError`] if the state is that of other adapters or another optimiser.
    pub fn restore(&mut self, state: TrainerState) -> Result<(), TrainerStateError> {
        let other = |reason: String| TrainerStateError::Other { reason };
        let mut parameters = state.parameters;
        let mut values = Vec::with_capacity(self.parameters.len());
        for (name, parameter) in self.names().zip(&self.parameters) {
            let value = parameters.remove(&name).ok_or_else(|| other(format!("it has no {name}")))?;
            let (expected, found) = (parameter.value().dims(), value.dims());
            if found != expected {
                return Err(other(format!("its {name} is {found:?}, not {expected:?}")));
            }
            values.push(value);
        }
        if let Some(name) = parameters.into_keys().next() {
            return Err(other(format!("it has {name}, which is not trained now")));
        }
        let average = match (self.settings.average_decay, state.average) {
            (Some(decay), Some((updates, average))) if average.len() == values.len() => {
                Some(MovingAverage::restored(decay, updates, average))
            }
            (None, None) => None,
            (wanted, _) => {
                let (has, wanted) = if wanted.is_some() { ("no", "is") } else { ("a", "is not") };
                return Err(other(format!("it has {has} moving average, which {wanted} wanted now")));
            }
        };
        self.optimizer.restore(state.optimizer)?;
        for (parameter, value) in self.parameters.iter().zip(values) {
            parameter.set(value);
        }
        (self.average, self.steps) = (average, state.steps);
        Ok(())
    }

    /// Names of all parameters, in their order.
    fn names(&self) -> impl Iterator<Item = String> {
        self.adapters.iter().flat_map(|adapter| {
            let of_part = |(part, _): &(Part, TrainedParameter)| {
                format!("{}.{}.{part:?}", adapter.component.name(), adapter.layer.parameter)
            };
            adapter.parts.iter().map(of_part).collect::<Vec<_>>()
        })
    }
}
