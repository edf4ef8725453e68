//! The weights of a loaded network: the file they come from, and what is changed about them.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::Module;
use burn::tensor::TensorData;

use crate::attachments::adapter_slots;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::precision::Precision;
use crate::weight_change::{Application, WeightChanges};

/// Whether the blocks of a network stay in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residency {
    /// All blocks stay, from the first use on.
    #[default]
    Resident,
    /// A block's weights are in memory while it computes; the next block's are read ahead meanwhile.
    Streamed,
}

/// Where the weights of a network come from: kept by the network, so that blocks can be streamed, and weights changed and
/// restored, while it is loaded.
///
/// A changed weight is never changed back by arithmetic: it is read from its file again, so restoring is exact.
#[derive(Clone, Debug)]
pub struct LoadedWeights {
    checkpoint: Checkpoint,
    precision: Precision,
    /// Prefixes of the parameters that are streamed.
    streamed: &'static [&'static str],
    changes: WeightChanges,
    application: Application,
    /// Parameters whose tensors are not those of the file.
    merged: BTreeSet<String>,
}

impl LoadedWeights {
    /// Load `module`; all of it, or without the parameters whose names start with one of `blocks` if those are streamed.
    ///
    /// # Errors
    /// As [`Checkpoint::load_into`]; all names, shapes and types are checked in either case.
    pub fn load<M: Module>(
        checkpoint: Checkpoint,
        module: M,
        blocks: &'static [&'static str],
        precision: Precision,
        residency: Residency,
    ) -> Result<(M, Self), CheckpointError> {
        let streamed = match residency {
            Residency::Resident => &[],
            Residency::Streamed => blocks,
        };
        let skip = |name: &str| streamed.iter().any(|prefix| name.starts_with(prefix));
        let module = checkpoint.clone().load_into_except(module, precision, skip)?;
        let changes = WeightChanges::default();
        let application = Application::default();
        let merged = BTreeSet::new();
        Ok((module, Self { checkpoint, precision, streamed, changes, application, merged }))
    }

    /// Whether blocks are read from the file whenever they are needed.
    pub fn is_streamed(&self) -> bool {
        !self.streamed.is_empty()
    }

    /// Fill the empty `block` with the tensors under the prefix `name`, start to read those of `next`, run `work`, and
    /// give the block's memory back.
    ///
    /// # Panics
    /// If the file changed since it was checked.
    pub fn with_block<M: Module, R>(&self, name: &str, next: Option<&str>, block: M, work: impl FnOnce(&M) -> R) -> R {
        let tensors = self.checkpoint.under(name);
        let changes = self.changes.under(name);
        let block = Self::load(tensors.clone(), block, &[], self.precision, Residency::Resident)
            .and_then(|(block, mut weights)| weights.change(block, &changes, Application::Attached));
        let block = block.unwrap_or_else(|error| panic!("the file changed since it was opened: {error}"));
        if let Some(next) = next {
            self.checkpoint.under(next).read_ahead();
        }
        let result = work(&block);
        drop(block);
        tensors.release();
        result
    }

    /// What is changed now.
    pub fn changes(&self) -> &WeightChanges {
        &self.changes
    }

    /// The file's values of a parameter.
    fn read(&self, path: &str) -> Result<TensorData, CheckpointError> {
        let stored = self.checkpoint.get(path).unwrap_or_else(|| panic!("{path} is no parameter of the network"));
        Ok(TensorData::new(stored.to_f32()?, stored.shape().to_vec()))
    }

    /// Make `changes` the changes of `module`, which was loaded with these weights. Only parameters whose change is another
    /// than now are touched; those that are not changed any more get the values of the file again, to the bit.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file cannot be read any more; the module is used up.
    pub fn change<M: Module>(
        &mut self,
        module: M,
        changes: &WeightChanges,
        application: Application,
    ) -> Result<M, CheckpointError> {
        let mut touched = changes.differing_from(&self.changes);
        if application != self.application {
            touched.extend(changes.paths().map(str::to_owned));
        }
        let changes = &changes.bound(&self.changes, &|path| self.read(path))?;
        self.changes = changes.clone();
        self.application = application;
        touched.retain(|path| !self.streamed.iter().any(|prefix| path.starts_with(prefix)));

        let slots = adapter_slots(&module);
        // Parameters to read again, and what to merge with each.
        let mut reload = BTreeMap::new();
        for path in touched {
            let change = changes.get(&path);
            let slot = slots.get(&path);
            let variable = change.is_some_and(|change| change.is_variable());
            let attached = slot.filter(|slot| slot.is_packed || variable || application == Application::Attached);
            if let Some(slot) = slot {
                slot.set(change.filter(|_| attached.is_some()));
            }
            let merged = change.filter(|_| attached.is_none());
            let was_merged = self.merged.remove(&path);
            if merged.is_some() {
                self.merged.insert(path.clone());
            }
            if merged.is_some() || was_merged {
                reload.insert(path, merged.cloned());
            }
        }
        self.checkpoint.reload(module, self.precision, reload)
    }
}

/// A network that knows where its weights come from, so that they can be changed while it is loaded.
pub trait LoadedNetwork: Module {
    /// Where its weights come from; `None` if it was not loaded.
    fn weights(&mut self) -> &mut Option<LoadedWeights>;

    /// Make `changes` the changes of its weights, in place of those of now; see [`LoadedWeights::change`].
    ///
    /// # Errors
    /// [`CheckpointError`] if its file cannot be read any more; the network is used up.
    /// # Panics
    /// If it was not loaded.
    fn change_weights(mut self, changes: &WeightChanges, application: Application) -> Result<Self, CheckpointError> {
        let mut weights = self.weights().take().expect("a network that was loaded");
        let mut changed = weights.change(self, changes, application)?;
        *changed.weights() = Some(weights);
        Ok(changed)
    }
}
