//! The loop of training.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use diffusion_core::network::{Denoiser, DenoiserInput, GradientOptions, TrainedParameters};
use diffusion_core::weights::{ComponentPatches, TrainedParameter};
use thiserror::Error;

use super::adapter::{Part, TrainedAdapter};
use super::average::MovingAverage;
use super::batch::{Batch, Batches};
use super::clipping::{clip_global_norm, global_norm};
use super::error::TrainError;
use super::learning_rate::{LearningRateCourse, LearningRateSchedule};
use super::optimizer::{Optimizer, OptimizerSettings, OptimizerState, OptimizerStateError};
use super::weighting::{LossSpace, LossWeighting};

/// How adapters are trained.
#[derive(Clone, Debug)]
pub struct TrainerSettings {
    /// Changes parameters by gradients.
    pub optimizer: OptimizerSettings,
    /// The rate that the schedule multiplies.
    pub learning_rate: f64,
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
    /// How gradients are computed.
    pub gradients: GradientOptions,
}

impl Default for TrainerSettings {
    /// `AdamW` at a constant rate of 1e-4, one batch a step, gradients at most 1 long, the mean squared error of the velocity.
    fn default() -> Self {
        Self {
            optimizer: OptimizerSettings::default(),
            learning_rate: 1e-4,
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
/// The network has to compute with them: its patches are [`patches`](Self::patches).
#[derive(Debug)]
pub struct Trainer {
    settings: TrainerSettings,
    adapters: Vec<TrainedAdapter>,
    /// Matrices of all adapters, in their order.
    parameters: Vec<TrainedParameter>,
    optimizer: Box<dyn Optimizer>,
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
        assert!(!adapters.is_empty(), "something to train");
        assert!(settings.accumulation > 0, "a step of at least one batch");
        let parameters: Vec<TrainedParameter> =
            adapters.iter().flat_map(|adapter| adapter.parts.iter().map(|(_, parameter)| parameter.clone())).collect();
        let values: Vec<Tensor<2>> = parameters.iter().map(TrainedParameter::value).collect();
        let shapes: Vec<[usize; 2]> = values.iter().map(Tensor::dims).collect();
        let optimizer = settings.optimizer.build(&shapes, &values[0].device());
        let average = settings.average_decay.map(|decay| MovingAverage::new(decay, &values));
        Self { settings, adapters, parameters, optimizer, average, steps: 0 }
    }

    /// The adapters.
    pub fn adapters(&self) -> &[TrainedAdapter] {
        &self.adapters
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
    /// [`TrainError`] if a batch or the network cannot be read, or a number is not finite; the adapters are as before then.
    pub fn step<B: Batches>(&mut self, denoiser: &dyn Denoiser, batches: &mut B) -> Result<StepReport, TrainError> {
        let step = self.steps + 1;
        let trained = self.trained();
        let (mut loss, mut pictures) = (0.0, Vec::new());
        for index in 0..self.settings.accumulation {
            let batch = batches.batch(self.steps * self.settings.accumulation + index);
            let batch = batch.map_err(|error| TrainError::Batch { step, source: error.into() });
            let added = batch.and_then(|batch| {
                pictures.extend(batch.names.iter().cloned());
                self.add_gradients(denoiser, &batch, &trained)
            });
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
        let learning_rate = self.settings.learning_rate * self.settings.schedule.factor(self.steps);
        let mut values: Vec<Tensor<2>> = self.parameters.iter().map(TrainedParameter::value).collect();
        self.optimizer.step(&mut values, &gradients, learning_rate);
        if let Some(average) = &mut self.average {
            average.update(&values);
        }
        for (parameter, value) in self.parameters.iter().zip(values) {
            parameter.set(value);
        }
        self.steps = step;
        let learning_rate = self.optimizer.effective_learning_rate(learning_rate);
        Ok(StepReport { step, loss, gradient_norm, learning_rate })
    }

    fn add_gradients(&self, denoiser: &dyn Denoiser, batch: &Batch, trained: &TrainedParameters) -> Result<f64, TrainError> {
        let TrainerSettings { weighting, space, distilled_guidance, gradients, .. } = self.settings;
        let input = DenoiserInput {
            latents: batch.noisy(),
            sigmas: &batch.sigmas,
            conditioning: &batch.conditioning,
            distilled_guidance,
            modulations: None,
        };
        let mut value = 0.0;
        let mut of_velocity = |velocity: Tensor<4>| {
            let loss = batch.loss(velocity, |sigma| weighting.weight(sigma) * space.weight(sigma));
            value = loss.value;
            loss.gradient
        };
        denoiser.gradients(&input, trained, gradients, &mut of_velocity)?;
        Ok(value)
    }

    fn forget_gradients(&self) {
        self.parameters.iter().for_each(|parameter| drop(parameter.take_gradient()));
    }

    fn trained(&self) -> TrainedParameters {
        let parts = |adapter: &TrainedAdapter| adapter.parts.iter().map(|(_, parameter)| parameter.clone()).collect();
        self.adapters.iter().map(|adapter| (adapter.layer.parameter.clone(), parts(adapter))).collect()
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
