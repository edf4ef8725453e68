//! Adapters that networks compute with while they are trained.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use diffusion_core::checkpoint::CheckpointError;
use diffusion_core::ops::LowRank;
use diffusion_core::weights::{ComponentId, PatchKey, PatchStrength, ReadParameter, TrainedParameter, WeightPatch};

use super::random::TrainingRandom;
use super::targets::TargetLayer;
use crate::adapter_number::next_adapter_number;
use crate::tensors::kronecker;

/// What is trained beside a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Two narrow matrices whose product is added. arXiv 2106.09685.
    Lora,
    /// These, and the lengths of the rows of the sum. arXiv 2402.09353.
    Dora,
    /// A Kronecker product of two small matrices, the larger one of low rank, is added. arXiv 2309.14859.
    Lokr {
        /// The first matrix has at most this many rows and columns.
        factor: usize,
    },
}

/// What a matrix of an adapter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// `[rank, columns]` of a low-rank product.
    Down,
    /// `[rows, rank]` of it.
    Up,
    /// Lengths of rows, `[rows, 1]`.
    Magnitude,
    /// The first factor of a Kronecker product.
    Kronecker1,
    /// The second one.
    Kronecker2,
    /// The second one as a low-rank product: `[rank, columns]`.
    Kronecker2Down,
    /// `[rows, rank]`.
    Kronecker2Up,
}

/// An adapter of one matrix that is trained.
#[derive(Clone, Debug)]
pub struct TrainedAdapter {
    /// The network.
    pub component: ComponentId,
    /// The layer.
    pub layer: TargetLayer,
    /// How it is adapted.
    pub method: Method,
    /// Width between its narrow matrices.
    pub rank: usize,
    /// The change is scaled by `alpha / rank`.
    pub alpha: f64,
    /// Its matrices.
    pub parts: Vec<(Part, TrainedParameter)>,
    number: u64,
}

impl TrainedAdapter {
    /// An adapter that changes nothing yet: as peft initialises them, uniform within `1 / sqrt(columns)` and zero. The lengths of
    /// rows are those of the matrix, which they are set to when it is first patched.
    pub fn new(
        component: ComponentId,
        layer: TargetLayer,
        method: Method,
        rank: usize,
        alpha: f64,
        random: &mut TrainingRandom,
        device: &Device,
    ) -> Self {
        let [rows, columns] = layer.shape;
        let zeros = |shape: [usize; 2]| TrainedParameter::new(Tensor::zeros(shape, device));
        let mut uniform = |shape: [usize; 2]| {
            let bound = 1.0 / (shape[1] as f64).sqrt();
            let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| ((2.0 * random.uniform() - 1.0) * bound) as f32).collect();
            TrainedParameter::new(Tensor::from_data(TensorData::new(values, shape), device))
        };
        let parts = match method {
            Method::Lora => vec![(Part::Down, uniform([rank, columns])), (Part::Up, zeros([rows, rank]))],
            Method::Dora => vec![
                (Part::Down, uniform([rank, columns])),
                (Part::Up, zeros([rows, rank])),
                // Not known yet.
                (Part::Magnitude, zeros([rows, 1])),
            ],
            Method::Lokr { factor } => {
                let ([rows1, rows2], [columns1, columns2]) = (factors_of(rows, factor), factors_of(columns, factor));
                let first = (Part::Kronecker1, uniform([rows1, columns1]));
                if 2 * rank < rows2.max(columns2) {
                    let down = (Part::Kronecker2Down, uniform([rank, columns2]));
                    vec![first, (Part::Kronecker2Up, zeros([rows2, rank])), down]
                } else {
                    vec![first, (Part::Kronecker2, zeros([rows2, columns2]))]
                }
            }
        };
        Self { component, layer, method, rank, alpha, parts, number: next_adapter_number() }
    }

    /// An adapter with these matrices.
    pub fn from_parts(
        component: ComponentId,
        layer: TargetLayer,
        method: Method,
        rank: usize,
        alpha: f64,
        parts: Vec<(Part, Tensor<2>)>,
    ) -> Self {
        let parts = parts.into_iter().map(|(part, value)| (part, TrainedParameter::new(value))).collect();
        Self { component, layer, method, rank, alpha, parts, number: next_adapter_number() }
    }

    /// The patch of its matrix, as the adapter is whenever the network computes with it, over what another patch makes of the
    /// matrix.
    pub fn patch(&self, beneath: Option<Arc<dyn WeightPatch>>) -> Arc<dyn WeightPatch> {
        let own = PatchKey { adapter: self.number, strength: PatchStrength::Variable(self.number) };
        let key = beneath.iter().flat_map(|patch| patch.key()).copied().chain([own]).collect();
        Arc::new(LivePatch { adapter: self.clone(), beneath, key })
    }

    /// How many numbers it has.
    pub fn num_elements(&self) -> usize {
        self.parts.iter().map(|(_, parameter)| parameter.value().shape().num_elements()).sum()
    }

    /// What the change is multiplied by. A Kronecker product of two whole matrices has no rank.
    pub fn scale(&self) -> f64 {
        let is_ranked = self.parts.iter().any(|(part, _)| matches!(part, Part::Down | Part::Kronecker2Down));
        if is_ranked { self.alpha / self.rank as f64 } else { 1.0 }
    }

    fn value(&self, wanted: Part) -> Option<Tensor<2>> {
        self.parts.iter().find(|(part, _)| *part == wanted).map(|(_, parameter)| parameter.value())
    }

    fn low_rank(&self) -> Option<LowRank> {
        let (down, up) = self.value(Part::Down).zip(self.value(Part::Up))?;
        Some(LowRank { down, up: up.mul_scalar(self.scale()) })
    }

    /// What is added to the matrix, before lengths are set.
    fn change(&self) -> Tensor<2> {
        if let Some(LowRank { down, up }) = self.low_rank() {
            return up.matmul(down);
        }
        let second = self.value(Part::Kronecker2).or_else(|| {
            let (up, down) = self.value(Part::Kronecker2Up).zip(self.value(Part::Kronecker2Down))?;
            Some(up.matmul(down))
        });
        let (first, second) = self.value(Part::Kronecker1).zip(second).expect("both factors of a Kronecker product");
        kronecker(first, second).mul_scalar(self.scale())
    }

    /// The adapted matrix.
    fn adapted(&self, weight: Tensor<2>) -> Tensor<2> {
        let sum = weight + self.change();
        match self.value(Part::Magnitude) {
            // No gradient goes through the lengths: arXiv 2402.09353, section 4.3.
            Some(magnitude) => sum.clone() * (magnitude / row_lengths(sum.without_autodiff())),
            None => sum,
        }
    }
}

/// Two factors of a size, the first one the largest divisor that is at most `most`.
fn factors_of(size: usize, most: usize) -> [usize; 2] {
    let first = (1..=most.max(1)).rev().find(|divisor| size.is_multiple_of(*divisor)).unwrap_or(1);
    [first, size / first]
}

fn row_lengths(matrix: Tensor<2>) -> Tensor<2> {
    matrix.square().sum_dim(1).sqrt()
}

/// An adapter as it is now, over another patch.
#[derive(Debug)]
struct LivePatch {
    adapter: TrainedAdapter,
    beneath: Option<Arc<dyn WeightPatch>>,
    key: Vec<PatchKey>,
}

impl WeightPatch for LivePatch {
    fn fused(&self, weight: Tensor<2>) -> Tensor<2> {
        let weight = match &self.beneath {
            Some(patch) => patch.fused(weight),
            None => weight,
        };
        self.adapter.adapted(weight)
    }

    fn low_rank(&self) -> Option<LowRank> {
        if self.adapter.method != Method::Lora {
            return None;
        }
        let own = self.adapter.low_rank()?;
        match &self.beneath {
            None => Some(own),
            Some(patch) => patch.low_rank().map(|LowRank { down, up }| LowRank {
                down: Tensor::cat(vec![down, own.down], 0),
                up: Tensor::cat(vec![up, own.up], 1),
            }),
        }
    }

    fn is_variable(&self) -> bool {
        true
    }

    fn is_watched(&self) -> bool {
        self.adapter.parts.iter().any(|(_, parameter)| parameter.value().is_tracked())
    }

    /// Lengths of rows that are not known yet are those of the file's matrix.
    fn resolved(&self, read: ReadParameter) -> Result<Option<Arc<dyn WeightPatch>>, CheckpointError> {
        if let Some((_, magnitude)) = self.adapter.parts.iter().find(|(part, _)| *part == Part::Magnitude)
            && magnitude.value().abs().max().into_scalar::<f32>() == 0.0
        {
            let weight = read(&self.adapter.layer.parameter)?;
            magnitude.set(row_lengths(Tensor::from_data(weight, &magnitude.value().device())));
        }
        let beneath = match &self.beneath {
            Some(patch) => patch.resolved(read)?,
            None => None,
        };
        Ok(beneath.map(|beneath| self.adapter.patch(Some(beneath))))
    }

    fn key(&self) -> &[PatchKey] {
        &self.key
    }
}
