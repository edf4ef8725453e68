//! Encoded texts between runs.

use std::hash::Hash;

use diffusion_core::network::Conditioning;
use diffusion_core::weights::{ComponentId, WeightPatches};

use super::Pipeline;
use crate::components::{Stage, TRANSFORMER};
use crate::error::PipelineError;
use crate::prompt_encoder::TokenizedText;
use crate::prompt_store::{KeyHasher, PromptKey, PromptStore, PromptStoreReport, StoreInUse};

/// A text as the store knows it.
pub(super) struct StoredText {
    pub(super) key: PromptKey,
    pub(super) tokens: TokenizedText,
}

impl Pipeline {
    /// Read encoded texts from a store from now on, and keep there what is not in it yet.
    pub fn set_prompt_store(&mut self, store: PromptStore) {
        self.stored_prompts = Some(StoreInUse::new(store));
    }

    /// The store, if there is one, and what it did in the last call that encoded prompts.
    pub fn prompt_store(&self) -> Option<(&PromptStore, &PromptStoreReport)> {
        self.stored_prompts.as_ref().map(|stored| (&stored.store, &stored.report))
    }

    /// A call that encodes prompts begins.
    pub(super) fn begin_prompt_store_report(&mut self) {
        if let Some(stored) = &mut self.stored_prompts {
            stored.report = PromptStoreReport::default();
        }
    }

    /// Weights of the text encoders are other ones from now on.
    pub(super) fn forget_identity_of_encoders(&mut self) {
        if let Some(stored) = &mut self.stored_prompts {
            stored.encoders = None;
        }
    }

    /// A text as the store knows it. `None` without a store, or if what the text encoders are patched with cannot be told.
    ///
    /// # Errors
    /// [`PipelineError`] if the text cannot be tokenized, or a text encoder's file was written to.
    pub(super) fn stored_text(&mut self, text: &str, length: usize) -> Result<Option<StoredText>, PipelineError> {
        let Some(stored) = &self.stored_prompts else { return Ok(None) };
        let known = match &stored.encoders {
            Some(known) => Some(known.clone()),
            None => self.identity_of_encoders(stored.store.maker())?,
        };
        let Some(mut state) = known else { return Ok(None) };
        if let Some(stored) = &mut self.stored_prompts {
            stored.encoders = Some(state.clone());
        }
        let tokens = self.model.tokenize(text, length)?;
        let TokenizedText { ids, token_width, pooled_width, .. } = &tokens;
        let ids: Vec<(&str, &[u32])> = ids.iter().map(|(component, ids)| (component.name(), &**ids)).collect();
        (ids, token_width, pooled_width, length).hash(&mut state);
        Ok(Some(StoredText { key: state.key(), tokens }))
    }

    /// The encoded text, if the store has it.
    pub(super) fn find_stored(&mut self, text: &StoredText) -> Option<Conditioning> {
        let StoreInUse { store, report, .. } = self.stored_prompts.as_mut()?;
        let found = store
            .get(&text.key, [text.tokens.token_width, text.tokens.pooled_width], self.options.device_of(TRANSFORMER))
            .unwrap_or_else(|error| {
                report.warnings.push(error);
                None
            });
        if found.is_some() {
            report.read += 1;
        } else {
            report.missed += 1;
        }
        found
    }

    /// Keep an encoded text.
    pub(super) fn store(&mut self, text: &StoredText, encoded: &Conditioning) {
        let Some(StoreInUse { store, report, .. }) = &mut self.stored_prompts else { return };
        report.warnings.extend(store.keep(&text.key, encoded).err());
    }

    /// All that encoded texts depend on besides the text. `None` if what patches the text encoders cannot be told.
    fn identity_of_encoders(&self, maker: &str) -> Result<Option<KeyHasher>, PipelineError> {
        let mut state = KeyHasher::default();
        (maker, self.model.info().family).hash(&mut state);
        let files = self.model.components();
        let encoders: Vec<_> = files.into_iter().filter(|file| file.component().stage == Stage::Text).collect();
        encoders.len().hash(&mut state);
        for file in encoders {
            let id = file.component().id;
            let precision = self.options.loaded_place_of(file).precision;
            (id.name(), file.configuration(), format!("{precision:?}")).hash(&mut state);
            file.checkpoint().identify(&mut state)?;
            if self.identify_patches(id, &mut state).is_none() {
                return Ok(None);
            }
        }
        Ok(Some(state))
    }

    fn identify_patches(&self, component: ComponentId, state: &mut KeyHasher) -> Option<()> {
        let patches = self.patches.get(&component);
        patches.map_or(0, WeightPatches::len).hash(state);
        let Some(patches) = patches.filter(|patches| !patches.is_empty()) else { return Some(()) };
        // Fused patches are rounded to the format of the weights, and streamed weights have them attached.
        format!("{:?} {:?}", self.patch_mode, self.place_of(component).residency).hash(state);
        patches.paths().try_for_each(|path| {
            path.hash(state);
            patches.get(path)?.identify(state)
        })
    }
}
