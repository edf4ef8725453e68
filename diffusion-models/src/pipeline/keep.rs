//! Many texts encoded for later.

use std::path::PathBuf;

use super::Pipeline;
use crate::error::PipelineError;
use crate::event::{Event, Observer};
use crate::prompt_encoder::Truncation;
use crate::prompt_store::{PromptStore, PromptStoreError, StoreInUse};
use crate::settings::Settings;

/// A text that was encoded into a store.
#[derive(Clone, Debug)]
pub struct KeptPrompt {
    /// Its file, for [`read_encoded_prompt`](crate::read_encoded_prompt).
    pub path: PathBuf,
    /// What encoders did not see of it.
    pub truncated: Vec<Truncation>,
}

impl Pipeline {
    /// Encode texts into a store, except those that are in it: where each one is. None stays in memory, however many there are,
    /// so the store needs room for all of them. The pipeline's own [store](Self::set_prompt_store) is left alone.
    ///
    /// # Errors
    /// [`PipelineError`] if the text encoders cannot be loaded, a text cannot be kept, or the observer cancels.
    pub fn keep_prompts(
        &mut self,
        texts: &[&str],
        store: &PromptStore,
        settings: &Settings,
        observer: Observer<'_>,
    ) -> Result<Vec<KeptPrompt>, PipelineError> {
        self.check_sequence_length(settings)?;
        let own = self.stored_prompts.replace(StoreInUse::new(store.clone()));
        let kept = self.keep_each(texts, store, settings.max_sequence_length, observer);
        self.stored_prompts = own;
        kept
    }

    fn keep_each(
        &mut self,
        texts: &[&str],
        store: &PromptStore,
        length: usize,
        observer: Observer<'_>,
    ) -> Result<Vec<KeptPrompt>, PipelineError> {
        let mut kept = Vec::with_capacity(texts.len());
        for text in texts {
            let stored = self.stored_text(text, length)?.ok_or(PromptStoreError::Untold)?;
            // One that is damaged counts as missing, and is replaced.
            if self.find_stored(&stored).is_none() {
                let encoded = self.encode_anew(text, length, observer)?;
                if !store.keep(&stored.key, &encoded.conditioning)? {
                    return Err(PromptStoreError::NotKept { text: (*text).to_owned() }.into());
                }
            }
            let truncated = stored.tokens.truncated;
            kept.push(KeptPrompt { path: store.path_of(&stored.key), truncated: truncated.clone() });
            if observer(Event::Encoded { done: kept.len(), total: texts.len(), truncated }).is_break() {
                return Err(PipelineError::Cancelled { during: "encoding prompts" });
            }
        }
        Ok(kept)
    }
}
