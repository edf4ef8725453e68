//! What changes the weights of a loaded network without changing its files: adapters, by the paths of parameters.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use burn::tensor::{FloatDType, Tensor, TensorData};

use crate::checkpoint::CheckpointError;
use crate::ops;

/// A change of one parameter: what all adapters together make of it.
pub trait WeightChange: Debug + Send + Sync {
    /// The changed parameter, in f32. A parameter of other than two dimensions comes as `[first dimension, all others]`.
    ///
    /// # Shapes
    /// - weight: `[rows, columns]`; result: the same, or with more columns
    fn merged(&self, weight: Tensor<2>) -> Tensor<2>;

    /// The change as a product of two narrow matrices, if it is one.
    fn low_rank(&self) -> Option<LowRank> {
        None
    }

    /// Whether it may be another from one use to the next, so that it has to be attached.
    fn is_variable(&self) -> bool {
        false
    }

    /// The same change with what it needs to know of the file's values of other parameters, which `read` gives in f32. `None`
    /// if it needs nothing.
    ///
    /// # Errors
    /// [`CheckpointError`] if they cannot be read.
    fn bound(&self, read: ReadParameter) -> Result<Option<Arc<dyn WeightChange>>, CheckpointError> {
        let _ = read;
        Ok(None)
    }

    /// Which adapters it is made of, and how strong they are. Of one parameter, equal recipes make equal changes.
    fn recipe(&self) -> &[RecipeStep];
}

/// Gives the file's values of the parameter at a path, in f32.
pub type ReadParameter<'a> = &'a dyn Fn(&str) -> Result<TensorData, CheckpointError>;

/// One adapter's part in a [`WeightChange`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecipeStep {
    /// The adapter, by a number that no other adapter of this process has.
    pub adapter: u64,
    /// How strong it is; not a number, and so equal to none, if that may change from one use to the next.
    pub scale: f64,
}

/// `up · down`, what low-rank adaptation adds to a weight. arXiv 2106.09685.
#[derive(Clone, Debug)]
pub struct LowRank {
    /// `[rank, columns]`, f32.
    pub down: Tensor<2>,
    /// `[rows, rank]`, f32, all scales within.
    pub up: Tensor<2>,
}

impl LowRank {
    /// The change of a product with the weight, in the type of `input`.
    ///
    /// # Shapes
    /// - input: `[len, columns]`, result: `[len, rows]`
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let compute: FloatDType = input.dtype().into();
        let narrow = input.matmul(ops::cast(self.down.clone(), compute).transpose());
        narrow.matmul(ops::cast(self.up.clone(), compute).transpose())
    }
}

/// Changes by the path of the parameter that they change. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct WeightChanges {
    by_path: BTreeMap<String, Arc<dyn WeightChange>>,
}

impl FromIterator<(String, Arc<dyn WeightChange>)> for WeightChanges {
    fn from_iter<I: IntoIterator<Item = (String, Arc<dyn WeightChange>)>>(changes: I) -> Self {
        Self { by_path: changes.into_iter().collect() }
    }
}

impl WeightChanges {
    /// Change the parameter at `path` so, in place of the change before.
    pub fn insert(&mut self, path: String, change: Arc<dyn WeightChange>) {
        self.by_path.insert(path, change);
    }

    /// The change of the parameter at `path`.
    pub fn get(&self, path: &str) -> Option<&Arc<dyn WeightChange>> {
        self.by_path.get(path)
    }

    /// Paths of the parameters that are changed, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.by_path.keys().map(String::as_str)
    }

    /// How many parameters are changed.
    pub fn len(&self) -> usize {
        self.by_path.len()
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }

    /// The changes under a prefix, without it.
    pub fn under(&self, prefix: &str) -> Self {
        let stripped =
            |(path, change): (&String, &Arc<dyn WeightChange>)| Some((path.strip_prefix(prefix)?.to_owned(), change.clone()));
        self.by_path.iter().filter_map(stripped).collect()
    }

    /// The same changes, each with what it needs to know of other parameters. Those that are as in `before` know it already.
    ///
    /// # Errors
    /// [`CheckpointError`] if `read` fails.
    pub(crate) fn bound(&self, before: &Self, read: ReadParameter) -> Result<Self, CheckpointError> {
        let mut changes = self.clone();
        for (path, change) in &mut changes.by_path {
            match before.get(path) {
                Some(same) if same.recipe() == change.recipe() => *change = same.clone(),
                _ => {
                    if let Some(bound) = change.bound(read)? {
                        *change = bound;
                    }
                }
            }
        }
        Ok(changes)
    }

    /// Paths where the two do not have the same recipe.
    pub fn differing_from(&self, other: &Self) -> BTreeSet<String> {
        let recipe = |changes: &Self, path: &str| changes.get(path).map(|change| change.recipe().to_vec());
        let paths: BTreeSet<&String> = self.by_path.keys().chain(other.by_path.keys()).collect();
        paths.into_iter().filter(|path| recipe(self, path) != recipe(other, path)).cloned().collect()
    }
}

/// How changes reach the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Application {
    /// Added to the weights, which then compute as fast as before. A weight that cannot take it without loss (packed, or
    /// streamed from its file) has it attached.
    #[default]
    Merged,
    /// Kept beside the weights and computed with every product: nothing is copied, every step takes a little longer.
    Attached,
}
