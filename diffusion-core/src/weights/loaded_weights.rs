//! The weights of a loaded network: the file they come from, and what is patched.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use burn::module::Module;
use burn::tensor::TensorData;

use super::attachments::adapter_slots;
use super::loader::{fill, fitted, reload};
use super::loading::Loading;
use super::precision::Precision;
use super::residency::Residency;
use super::weight_patch::{PatchMode, WeightPatches};
use crate::checkpoint::{Checkpoint, CheckpointError};

/// Where the weights of a network come from: kept by the network, so that blocks can be streamed, and weights patched and
/// restored, while it is loaded.
///
/// A patched weight is never changed back by arithmetic: it is read from its file again, so restoring is exact.
#[derive(Clone, Debug)]
pub struct LoadedWeights {
    checkpoint: Checkpoint,
    precision: Precision,
    /// Prefixes of the parameters that are streamed.
    streamed: &'static [&'static str],
    /// Prefixes of the parameters of single layers that are read apart from what is around them, which comes without them.
    apart: Vec<String>,
    patches: WeightPatches,
    mode: PatchMode,
    /// Parameters whose tensors are not those of the file.
    fused: BTreeSet<String>,
}

impl LoadedWeights {
    /// Load `module`; all of it, or without the parameters whose names start with one of `blocks` if those are streamed.
    ///
    /// # Errors
    /// As [`load_into`](super::load_into); all names, shapes and formats are checked in either case.
    pub fn load<M: Module>(
        checkpoint: Checkpoint,
        module: M,
        blocks: &'static [&'static str],
        loading: &Loading<'_>,
    ) -> Result<(M, Self), CheckpointError> {
        Self::load_apart(checkpoint, module, blocks, Vec::new(), loading)
    }

    /// The same, but that parameters whose names start with one of `modulations` are not loaded either if they are to be released,
    /// or blocks are streamed. They are read with [`with_block`](Self::with_block) alone.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_apart<M: Module>(
        checkpoint: Checkpoint,
        module: M,
        blocks: &'static [&'static str],
        modulations: Vec<String>,
        loading: &Loading<'_>,
    ) -> Result<(M, Self), CheckpointError> {
        let streamed = match loading.residency {
            Residency::Resident => &[],
            Residency::Streamed => blocks,
        };
        let apart = if loading.releases_modulations || !streamed.is_empty() { modulations } else { Vec::new() };
        let on_progress = |done, total| loading.report(done, total);
        let weights = Self { streamed, apart, ..Self::new(fitted(checkpoint, &module)?, loading.precision) };
        let module = fill(&weights.checkpoint, module, loading.precision, &on_progress, |name| !weights.is_kept(name))?;
        Ok((module, weights))
    }

    fn new(checkpoint: Checkpoint, precision: Precision) -> Self {
        let (patches, mode, fused) = (WeightPatches::default(), PatchMode::default(), BTreeSet::new());
        Self { checkpoint, precision, streamed: &[], apart: Vec::new(), patches, mode, fused }
    }

    /// Whether blocks are read from the file whenever they are needed.
    pub fn is_streamed(&self) -> bool {
        !self.streamed.is_empty()
    }

    /// Whether the parameters at a path stay in memory.
    pub fn is_kept(&self, path: &str) -> bool {
        let mut prefixes = self.streamed.iter().copied().chain(self.apart.iter().map(String::as_str));
        !prefixes.any(|prefix| path.starts_with(prefix))
    }

    /// The shape of a parameter.
    pub fn shape(&self, path: &str) -> Option<&[usize]> {
        self.checkpoint.shape(path)
    }

    /// The weights of a part of the network, without patches, and without layers in it that are read apart.
    fn part(&self, prefix: &str) -> Self {
        let inside = self.apart.iter().filter_map(|path| path.strip_prefix(prefix));
        let apart: Vec<String> = inside.filter(|path| !path.is_empty()).map(str::to_owned).collect();
        let tensors = self.checkpoint.under(prefix);
        let checkpoint = tensors.filtered(|name| !apart.iter().any(|path| name.starts_with(path)));
        Self { apart, ..Self::new(checkpoint, self.precision) }
    }

    /// Refuse files that were written to since they were opened.
    ///
    /// # Errors
    /// [`CheckpointError::Changed`].
    pub fn check_unchanged(&self) -> Result<(), CheckpointError> {
        self.checkpoint.check_unchanged()
    }

    /// Fill the empty `block`, or a single layer, with the tensors under the prefix `name`, start to read those of `next`, run
    /// `work`, and give the block's memory back.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file was written to since it was opened.
    pub fn with_block<M: Module, R>(
        &self,
        name: &str,
        next: &str,
        block: M,
        work: impl FnOnce(&M) -> R,
    ) -> Result<R, CheckpointError> {
        let mut part = self.part(name);
        let tensors = part.checkpoint.clone();
        debug_assert!(!tensors.is_empty(), "{name} is no prefix of parameters");
        let block = fill(&tensors, block, self.precision, &|_, _| ControlFlow::Continue(()), |_| false)?;
        let block = part.patch(block, &self.patches.under(name), PatchMode::Attach)?;
        self.part(next).checkpoint.read_ahead();
        let result = work(&block);
        drop(block);
        tensors.release();
        Ok(result)
    }

    /// What is patched now.
    pub fn patches(&self) -> &WeightPatches {
        &self.patches
    }

    /// The file's values of a parameter.
    fn read(&self, path: &str) -> Result<TensorData, CheckpointError> {
        let stored = self.checkpoint.get(path).unwrap_or_else(|| panic!("{path} is no parameter of the network"));
        Ok(TensorData::new(stored.to_f32()?, stored.shape().to_vec()))
    }

    /// Make `patches` the patches of `module`, which was loaded with these weights. Only parameters whose patch is another
    /// than now are touched; those that are not patched any more get the values of the file again, to the bit.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file cannot be read any more; the module is used up.
    pub fn patch<M: Module>(&mut self, module: M, patches: &WeightPatches, mode: PatchMode) -> Result<M, CheckpointError> {
        let mut touched = patches.differing_from(&self.patches);
        if mode != self.mode {
            touched.extend(patches.paths().map(str::to_owned));
        }
        let patches = &patches.resolved(&self.patches, &|path| self.read(path))?;
        self.patches = patches.clone();
        self.mode = mode;
        touched.retain(|path| self.is_kept(path));
        // A streamed block comes here in every step, mostly without patches.
        if touched.is_empty() {
            return Ok(module);
        }

        let slots = adapter_slots(&module);
        // Parameters to read again, and what to fuse with each.
        let mut reloaded = BTreeMap::new();
        for path in touched {
            let patch = patches.get(&path);
            let slot = slots.get(&path);
            let variable = patch.is_some_and(|patch| patch.is_variable());
            let attached = slot.filter(|slot| slot.is_packed || variable || mode == PatchMode::Attach);
            if let Some(slot) = slot {
                slot.set(patch.filter(|_| attached.is_some()));
            }
            let fused = patch.filter(|_| attached.is_none());
            let was_fused = self.fused.remove(&path);
            if fused.is_some() {
                self.fused.insert(path.clone());
            }
            if fused.is_some() || was_fused {
                reloaded.insert(path, fused.cloned());
            }
        }
        reload(&self.checkpoint, module, self.precision, reloaded)
    }
}

/// A network that knows where its weights come from, so that they can be patched while it is loaded.
pub trait LoadedNetwork: Module {
    /// Where its weights come from; `None` if it was not loaded.
    fn weights(&self) -> Option<&LoadedWeights>;

    /// The same, to be changed.
    fn weights_mut(&mut self) -> &mut Option<LoadedWeights>;

    /// Make `patches` the patches of its weights, in place of those of now; see [`LoadedWeights::patch`].
    ///
    /// # Errors
    /// [`CheckpointError`] if its file cannot be read any more; the network is used up.
    /// # Panics
    /// If it was not loaded.
    fn patched(mut self, patches: &WeightPatches, mode: PatchMode) -> Result<Self, CheckpointError> {
        let mut weights = self.weights_mut().take().expect("a network that was loaded");
        let mut patched = weights.patch(self, patches, mode)?;
        *patched.weights_mut() = Some(weights);
        Ok(patched)
    }
}
