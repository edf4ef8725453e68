//! A matrix that is trained, shared by what uses it and by what changes it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::tensor::{Gradients, Tensor};

/// A matrix that is trained, in f32. Clones are the same matrix.
///
/// A [`WeightPatch`](super::WeightPatch) computes with its [value](Self::value) of now, a trainer [sets](Self::set) it, and
/// [`block_gradients`](crate::network::block_gradients) leaves its gradient here.
#[derive(Clone, Debug)]
pub struct TrainedParameter(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    value: Tensor<2>,
    /// The value as a leaf of the graph that is being recorded.
    leaf: Option<Tensor<2>>,
    gradient: Option<Tensor<2>>,
}

impl TrainedParameter {
    /// A matrix with this value to begin with.
    pub fn new(value: Tensor<2>) -> Self {
        Self(Arc::new(Mutex::new(State { value: value.without_autodiff(), leaf: None, gradient: None })))
    }

    /// Its value; while gradients are computed, one that autodiff watches.
    pub fn value(&self) -> Tensor<2> {
        let state = self.state();
        state.leaf.as_ref().unwrap_or(&state.value).clone()
    }

    /// Make this its value.
    pub fn set(&self, value: Tensor<2>) {
        self.state().value = value.without_autodiff();
    }

    /// The sum of the gradients since the last call, zeros if there were none.
    pub fn take_gradient(&self) -> Tensor<2> {
        let mut state = self.state();
        let gradient = state.gradient.take();
        gradient.unwrap_or_else(|| state.value.zeros_like())
    }

    /// Have uses recorded from now on, until [`record`](Self::record).
    fn watch(&self) {
        let mut state = self.state();
        state.leaf = Some(state.value.clone().autodiff().require_grad());
    }

    /// End what [`watch`](Self::watch) began, and add the gradient to those before.
    fn record(&self, gradients: Option<&Gradients>) {
        let mut state = self.state();
        let leaf = state.leaf.take();
        let Some(gradient) = leaf.zip(gradients).and_then(|(leaf, gradients)| leaf.grad(gradients)) else { return };
        state.gradient = Some(match state.gradient.take() {
            Some(sum) => sum + gradient,
            None => gradient,
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is computed with some parameters while this lives is recorded by autodiff.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use diffusion_core::weights::{RecordedUses, TrainedParameter};
///
/// let parameter = TrainedParameter::new(Tensor::from_floats([[3.0, -1.0]], &Device::flex()));
/// let uses = RecordedUses::of([&parameter]);
/// let result = parameter.value().square().sum();
/// uses.finish(&result.backward());
/// assert_eq!(parameter.take_gradient().into_data().try_to_vec::<f32>()?, [6.0, -2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is recorded when it is dropped"]
#[derive(Debug)]
pub struct RecordedUses(Vec<TrainedParameter>);

impl RecordedUses {
    /// Have uses of these parameters recorded from now on.
    pub fn of<'a>(parameters: impl IntoIterator<Item = &'a TrainedParameter>) -> Self {
        let parameters: Vec<TrainedParameter> = parameters.into_iter().cloned().collect();
        parameters.iter().for_each(TrainedParameter::watch);
        Self(parameters)
    }

    /// Add the gradients of what was computed to those that the parameters have.
    pub fn finish(self, gradients: &Gradients) {
        self.0.iter().for_each(|parameter| parameter.record(Some(gradients)));
    }
}

/// Without gradients, uses are forgotten.
impl Drop for RecordedUses {
    fn drop(&mut self) {
        self.0.iter().for_each(|parameter| parameter.record(None));
    }
}
