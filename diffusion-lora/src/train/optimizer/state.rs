//! What an optimiser remembers, as data.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Tensor};

/// What an optimiser remembers: enough for another one to go on, to the bit.
#[derive(Clone, Debug, Default)]
pub struct OptimizerState {
    /// Matrices in f32 by name; those of parameter 3 are `first_moment.3` and the like.
    pub tensors: BTreeMap<String, Tensor<2>>,
    /// Numbers by name. They are all finite, and integers are below 2⁵³.
    pub numbers: BTreeMap<String, f64>,
}

/// Why an optimiser cannot go on from a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptimizerStateError {
    /// Something is not there.
    #[error("the optimiser's state lacks {name}; it was written by an optimiser of another kind, or for fewer parameters")]
    Missing {
        /// What is not there.
        name: String,
    },
    /// Something is there that is not known.
    #[error(
        "the optimiser's state has {name}, which is unknown; it was written by an optimiser of another kind, or for more parameters"
    )]
    Unexpected {
        /// What is there.
        name: String,
    },
    /// A matrix is of another shape, or not in f32.
    #[error("{name} of the optimiser's state is of shape {found:?} in {found_type:?}, expected {expected:?} in F32")]
    Tensor {
        /// The matrix.
        name: String,
        /// Its shape.
        found: [usize; 2],
        /// Its type.
        found_type: DType,
        /// The shape that it should have.
        expected: [usize; 2],
    },
    /// A number cannot be what it stands for.
    #[error("{name} of the optimiser's state is no number that an optimiser writes")]
    Number {
        /// What it stands for.
        name: String,
    },
}

/// The largest integer up to which all are told apart in f64.
const LARGEST_COUNT: f64 = 9_007_199_254_740_992.0;

impl OptimizerState {
    /// With a matrix for each parameter.
    pub(super) fn with_tensors(mut self, name: &str, tensors: &[Tensor<2>]) -> Self {
        self.tensors.extend(tensors.iter().enumerate().map(|(index, tensor)| (numbered(name, index), tensor.clone())));
        self
    }

    pub(super) fn with_number(mut self, name: &str, number: f64) -> Self {
        self.numbers.insert(name.to_owned(), number);
        self
    }

    pub(super) fn with_count(self, name: &str, count: u64) -> Self {
        self.with_number(name, count as f64)
    }

    /// Take out the matrices of this name, one for each of `shapes`.
    pub(super) fn take_tensors(
        &mut self,
        name: &str,
        shapes: impl Iterator<Item = [usize; 2]>,
        device: &Device,
    ) -> Result<Vec<Tensor<2>>, OptimizerStateError> {
        let take = |(index, expected): (usize, [usize; 2])| {
            let name = numbered(name, index);
            let Some(tensor) = self.tensors.remove(&name) else { return Err(OptimizerStateError::Missing { name }) };
            let (found, found_type) = (tensor.dims(), tensor.dtype());
            if found != expected || found_type != DType::F32 {
                return Err(OptimizerStateError::Tensor { name, found, found_type, expected });
            }
            Ok(tensor.to_device(device))
        };
        shapes.enumerate().map(take).collect()
    }

    pub(super) fn take_number(&mut self, name: &str) -> Result<f64, OptimizerStateError> {
        let name = name.to_owned();
        match self.numbers.remove(&name) {
            Some(number) if number.is_finite() => Ok(number),
            Some(_) => Err(OptimizerStateError::Number { name }),
            None => Err(OptimizerStateError::Missing { name }),
        }
    }

    pub(super) fn take_count(&mut self, name: &str) -> Result<u64, OptimizerStateError> {
        let number = self.take_number(name)?;
        if (0.0..=LARGEST_COUNT).contains(&number) && number.fract() == 0.0 {
            Ok(number as u64)
        } else {
            Err(OptimizerStateError::Number { name: name.to_owned() })
        }
    }

    /// Fail if something is left.
    pub(super) fn finish(self) -> Result<(), OptimizerStateError> {
        let left = self.tensors.into_keys().chain(self.numbers.into_keys()).next();
        left.map_or(Ok(()), |name| Err(OptimizerStateError::Unexpected { name }))
    }
}

fn numbered(name: &str, index: usize) -> String {
    format!("{name}.{index}")
}

/// Zeros in f32, one matrix for each shape.
pub(super) fn zeros(shapes: impl Iterator<Item = [usize; 2]>, device: &Device) -> Vec<Tensor<2>> {
    shapes.map(|shape| Tensor::zeros(shape, (device, DType::F32))).collect()
}
