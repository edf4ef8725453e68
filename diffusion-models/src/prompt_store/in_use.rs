//! A store that a pipeline reads from.

use super::PromptStore;
use super::error::PromptStoreError;
use super::key::KeyHasher;

/// What a store did while texts were encoded.
#[derive(Debug, Default)]
pub struct PromptStoreReport {
    /// Texts that were read from it.
    pub read: usize,
    /// Texts that were not there and had to be encoded.
    pub missed: usize,
    /// What went wrong. The texts concerned were encoded all the same.
    pub warnings: Vec<PromptStoreError>,
}

/// The store of a pipeline.
#[derive(Debug)]
pub(crate) struct StoreInUse {
    pub(crate) store: PromptStore,
    /// All that encoded texts depend on besides the text, once it is known.
    pub(crate) encoders: Option<KeyHasher>,
    pub(crate) report: PromptStoreReport,
}

impl StoreInUse {
    pub(crate) fn new(store: PromptStore) -> Self {
        Self { store, encoders: None, report: PromptStoreReport::default() }
    }
}
