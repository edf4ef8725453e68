//! Parameters that are trained at different learning rates.

use burn::tensor::{Device, Tensor};

use super::optimizer::{Optimizer, OptimizerSettings, OptimizerState, OptimizerStateError};

/// Parameters in groups, in the order of their list: each with an optimiser of the same settings and a learning rate of its own.
#[derive(Debug)]
pub(super) struct ParameterGroups(Vec<Group>);

#[derive(Debug)]
struct Group {
    /// Number of parameters.
    len: usize,
    learning_rate: f64,
    optimizer: Box<dyn Optimizer>,
}

impl ParameterGroups {
    /// Groups of parameters of these shapes, each with its rate. Those of one rate are one group: what an optimiser finds out about
    /// all parameters together, it finds out about both.
    pub(super) fn new(settings: &OptimizerSettings, shapes: &[(&[[usize; 2]], f64)], device: &Device) -> Self {
        let mut merged: Vec<(Vec<[usize; 2]>, f64)> = Vec::new();
        for (shapes, learning_rate) in shapes.iter().filter(|(shapes, _)| !shapes.is_empty()) {
            match merged.last_mut() {
                Some((last, rate)) if rate == learning_rate => last.extend_from_slice(shapes),
                _ => merged.push((shapes.to_vec(), *learning_rate)),
            }
        }
        let group = |(shapes, learning_rate): (Vec<[usize; 2]>, f64)| Group {
            len: shapes.len(),
            learning_rate,
            optimizer: settings.build(&shapes, device),
        };
        Self(merged.into_iter().map(group).collect())
    }

    /// Change the parameters by one step. Rates are multiplied by `factor`.
    pub(super) fn step(&mut self, parameters: &mut [Tensor<2>], gradients: &[Tensor<2>], factor: f64) {
        let mut first = 0;
        for Group { len, learning_rate, optimizer } in &mut self.0 {
            let range = first..first + *len;
            optimizer.step(&mut parameters[range.clone()], &gradients[range], *learning_rate * factor);
            first += *len;
        }
    }

    /// The rate of the first group, as its optimiser uses it.
    pub(super) fn effective_learning_rate(&self, factor: f64) -> f64 {
        self.0.first().map_or(0.0, |group| group.optimizer.effective_learning_rate(group.learning_rate * factor))
    }

    /// All that the optimisers remember.
    pub(super) fn state(&self) -> OptimizerState {
        let mut all = OptimizerState::default();
        for (index, group) in self.0.iter().enumerate() {
            let OptimizerState { tensors, numbers } = group.optimizer.state();
            let prefix = prefix(index);
            all.tensors.extend(tensors.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)));
            all.numbers.extend(numbers.into_iter().map(|(name, number)| (format!("{prefix}{name}"), number)));
        }
        all
    }

    /// Remember what others did. Nothing changes if that is not possible.
    pub(super) fn restore(&mut self, mut state: OptimizerState) -> Result<(), OptimizerStateError> {
        let mut states = Vec::with_capacity(self.0.len());
        for index in (1..self.0.len()).rev() {
            states.push(taken(&mut state, &prefix(index)));
        }
        // Those of the first group have no prefix, so what is left is theirs.
        states.push(state);
        let before: Vec<OptimizerState> = self.0.iter().map(|group| group.optimizer.state()).collect();
        let restored =
            self.0.iter_mut().zip(states.into_iter().rev()).try_for_each(|(group, state)| group.optimizer.restore(state));
        if restored.is_err() {
            // Its own state suits every optimiser.
            self.0.iter_mut().zip(before).try_for_each(|(group, state)| group.optimizer.restore(state))?;
        }
        restored
    }
}

/// Before the names of a group's state.
fn prefix(group: usize) -> String {
    if group == 0 { String::new() } else { format!("group_{group}.") }
}

/// The part of a state that has a prefix, without it.
fn taken(state: &mut OptimizerState, prefix: &str) -> OptimizerState {
    let mut part = OptimizerState::default();
    let strip = |name: &str| name.strip_prefix(prefix).map(str::to_owned);
    state.tensors.retain(|name, tensor| strip(name).map(|name| part.tensors.insert(name, tensor.clone())).is_none());
    state.numbers.retain(|name, number| strip(name).map(|name| part.numbers.insert(name, *number)).is_none());
    part
}
