//! Networks larger than memory: their blocks read from the file whenever they are needed.

use burn::module::Module;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::precision::Precision;

/// Whether the blocks of a network stay in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residency {
    /// All blocks stay, from the first use on.
    #[default]
    Resident,
    /// A block's weights are in memory while it computes; the next block's are read ahead meanwhile.
    Streamed,
}

/// The blocks of a network in their file.
#[derive(Clone, Debug)]
pub struct BlockStream {
    checkpoint: Checkpoint,
    precision: Precision,
}

impl BlockStream {
    /// Load `module` without the parameters whose names start with one of `blocks`, and get the stream of those, if
    /// `residency` says so; otherwise load all of it.
    ///
    /// # Errors
    /// As [`Checkpoint::load_into`]; all names, shapes and types are checked in either case.
    pub fn load<M: Module>(
        checkpoint: Checkpoint,
        module: M,
        blocks: &[&str],
        precision: Precision,
        residency: Residency,
    ) -> Result<(M, Option<Self>), CheckpointError> {
        if residency == Residency::Resident {
            return Ok((checkpoint.load_into(module, precision)?, None));
        }
        let is_block = |name: &str| blocks.iter().any(|prefix| name.starts_with(prefix));
        let stream = Self { checkpoint: checkpoint.filtered(is_block), precision };
        Ok((checkpoint.load_into_except(module, precision, is_block)?, Some(stream)))
    }

    /// Fill the empty `block` with the tensors under the prefix `name`, start to read those of `next`, run `work`, and
    /// give the block's memory back.
    ///
    /// # Panics
    /// If the file changed since it was checked.
    pub fn with_block<M: Module, R>(&self, name: &str, next: Option<&str>, block: M, work: impl FnOnce(&M) -> R) -> R {
        let tensors = self.checkpoint.under(name);
        let block = tensors.clone().load_into(block, self.precision);
        let block = block.unwrap_or_else(|error| panic!("the file changed since it was opened: {error}"));
        if let Some(next) = next {
            self.checkpoint.under(next).read_ahead();
        }
        let result = work(&block);
        drop(block);
        tensors.release();
        result
    }
}
