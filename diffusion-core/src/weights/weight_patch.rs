//! Patches: what patches the weights of a loaded network without changing its files, by the paths of parameters.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::hash::Hasher;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};

use crate::checkpoint::CheckpointError;
use crate::ops::LowRank;

/// A patch of one parameter: what all adapters together make of it.
pub trait WeightPatch: Debug + Send + Sync {
    /// The patched parameter, in f32. A parameter of other than two dimensions comes as `[first dimension, all others]`.
    ///
    /// # Shapes
    /// - weight: `[rows, columns]`; result: the same, or with more columns
    fn fused(&self, weight: Tensor<2>) -> Tensor<2>;

    /// The patch as a product of two narrow matrices, if it is one.
    fn low_rank(&self) -> Option<LowRank> {
        None
    }

    /// Whether it may be another from one use to the next, so that it has to be attached.
    fn is_variable(&self) -> bool {
        false
    }

    /// Whether it is trained, and autodiff watches its parameters now.
    fn is_watched(&self) -> bool {
        false
    }

    /// The same patch with what it needs to know of the file's values of other parameters, which `read` gives in f32. `None`
    /// if it needs nothing.
    ///
    /// # Errors
    /// [`CheckpointError`] if they cannot be read.
    fn resolved(&self, read: ReadParameter) -> Result<Option<Arc<dyn WeightPatch>>, CheckpointError> {
        let _ = read;
        Ok(None)
    }

    /// Feed `state` with all that the result depends on besides the parameter, to be compared with patches of other processes,
    /// which a [`key`](Self::key) cannot be. `None` if that cannot be told, as where a strength may be turned.
    fn identify(&self, state: &mut dyn Hasher) -> Option<()> {
        let _ = state;
        None
    }

    /// Which adapters it is made of, and how strong they are. Of one parameter, equal keys make equal patches.
    fn key(&self) -> &[PatchKey];
}

/// Gives the file's values of the parameter at a path, in f32.
pub type ReadParameter<'a> = &'a dyn Fn(&str) -> Result<TensorData, CheckpointError>;

/// One adapter of a [`WeightPatch`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PatchKey {
    /// The adapter, by a number that no other adapter of this process has.
    pub adapter: u64,
    /// How strong it is.
    pub strength: PatchStrength,
}

/// How strong an adapter is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PatchStrength {
    /// Always this strong.
    Fixed(f64),
    /// As strong as the dial of this number says, which may be turned from one use to the next.
    Variable(u64),
}

/// Patches by the path of the parameter that they patch. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct WeightPatches {
    by_path: BTreeMap<String, Arc<dyn WeightPatch>>,
}

impl FromIterator<(String, Arc<dyn WeightPatch>)> for WeightPatches {
    fn from_iter<I: IntoIterator<Item = (String, Arc<dyn WeightPatch>)>>(patches: I) -> Self {
        Self { by_path: patches.into_iter().collect() }
    }
}

impl WeightPatches {
    /// Patch the parameter at `path`, in place of the patch before.
    pub fn insert(&mut self, path: String, patch: Arc<dyn WeightPatch>) {
        self.by_path.insert(path, patch);
    }

    /// The patch of the parameter at `path`.
    pub fn get(&self, path: &str) -> Option<&Arc<dyn WeightPatch>> {
        self.by_path.get(path)
    }

    /// Paths of the parameters that are patched, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.by_path.keys().map(String::as_str)
    }

    /// Whether a patch may be another from one use to the next.
    pub fn is_variable(&self) -> bool {
        self.by_path.values().any(|patch| patch.is_variable())
    }

    /// How many parameters are patched.
    pub fn len(&self) -> usize {
        self.by_path.len()
    }

    /// Whether nothing is patched.
    pub fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }

    /// The patches under a prefix, without it.
    pub fn under(&self, prefix: &str) -> Self {
        let stripped =
            |(path, patch): (&String, &Arc<dyn WeightPatch>)| Some((path.strip_prefix(prefix)?.to_owned(), patch.clone()));
        self.by_path.iter().filter_map(stripped).collect()
    }

    /// The same patches, each with what it needs to know of other parameters. Those that are as in `before` know it already.
    ///
    /// # Errors
    /// [`CheckpointError`] if `read` fails.
    pub(crate) fn resolved(&self, before: &Self, read: ReadParameter) -> Result<Self, CheckpointError> {
        let mut patches = self.clone();
        for (path, patch) in &mut patches.by_path {
            match before.get(path) {
                Some(same) if same.key() == patch.key() => *patch = same.clone(),
                _ => {
                    if let Some(resolved) = patch.resolved(read)? {
                        *patch = resolved;
                    }
                }
            }
        }
        Ok(patches)
    }

    /// Paths where the two do not have the same key.
    pub fn differing_from(&self, other: &Self) -> BTreeSet<String> {
        let key = |patches: &Self, path: &str| patches.get(path).map(|patch| patch.key().to_vec());
        let paths: BTreeSet<&String> = self.by_path.keys().chain(other.by_path.keys()).collect();
        paths.into_iter().filter(|path| key(self, path) != key(other, path)).cloned().collect()
    }
}

/// How patches reach the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PatchMode {
    /// Fused with the weights, which then compute as fast as before. A weight that cannot take a patch without loss (packed, or
    /// streamed from its file) has it attached.
    #[default]
    Fuse,
    /// Attached beside the weights and computed with every product: nothing is copied, every step takes a little longer.
    Attach,
}
