//! From texts to what the denoising network takes.

use diffusion_core::checkpoint::Checkpoint;

use super::{Pipeline, load};
use crate::component_file::ComponentFile;
use crate::components::Stage;
use crate::encoded_prompt::EncodedPrompt;
use crate::error::PipelineError;
use crate::event::{Event, Observer};
use crate::on_device::conditioning_on;
use crate::prompt_cache::TextKey;
use crate::prompt_encoder::{EncodedText, PromptEncoder};
use crate::settings::Settings;

impl Pipeline {
    /// Encode a prompt, and the negative prompt if `settings` have a use for it. The last texts are kept, each with the
    /// patches of the text encoders that it was encoded with, and not encoded again; nor are those in the
    /// [store](Self::set_prompt_store), if there is one.
    ///
    /// # Errors
    /// [`PipelineError`] if the text encoders cannot be loaded, or the observer cancels.
    pub fn encode_prompt(
        &mut self,
        prompt: &str,
        negative: &str,
        settings: &Settings,
        observer: Observer<'_>,
    ) -> Result<EncodedPrompt, PipelineError> {
        let mut prompts = self.encode_prompts(&[prompt], negative, settings, observer)?;
        Ok(prompts.remove(0))
    }

    /// Encode prompts, each with the same negative prompt, if `settings` have a use for it.
    ///
    /// # Errors
    /// As [`encode_prompt`](Self::encode_prompt).
    pub fn encode_prompts(
        &mut self,
        prompts: &[&str],
        negative: &str,
        settings: &Settings,
        observer: Observer<'_>,
    ) -> Result<Vec<EncodedPrompt>, PipelineError> {
        self.check_sequence_length(settings)?;
        self.begin_prompt_store_report();
        let negative = if settings.is_guided() { Some(self.encode_text(negative, settings, observer)?) } else { None };
        let mut encoded = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let EncodedText { conditioning, mut truncated } = self.encode_text(prompt, settings, observer)?;
            truncated.extend(negative.iter().flat_map(|negative| negative.truncated.clone()));
            let negative = negative.as_ref().map(|negative| negative.conditioning.clone());
            encoded.push(EncodedPrompt { positive: conditioning, negative, truncated: truncated.clone() });
            if observer(Event::Encoded { done: encoded.len(), total: prompts.len(), truncated }).is_break() {
                return Err(PipelineError::Cancelled { during: "encoding prompts" });
            }
        }
        Ok(encoded)
    }

    fn encode_text(&mut self, text: &str, settings: &Settings, observer: Observer<'_>) -> Result<EncodedText, PipelineError> {
        let length = settings.max_sequence_length;
        let key = TextKey::new(text, length, &self.patches, self.patch_mode, |id| self.is_text_encoder(id));
        if let Some(encoded) = key.as_ref().and_then(|key| self.prompt_cache.get(key)) {
            return Ok(encoded);
        }
        let stored = self.stored_text(text, length)?;
        let found = stored.as_ref().and_then(|stored| Some((self.find_stored(stored)?, stored.tokens.truncated.clone())));
        let encoded = if let Some((conditioning, truncated)) = found {
            EncodedText { conditioning, truncated }
        } else {
            let encoded = self.encode_anew(text, length, observer)?;
            if let Some(stored) = &stored {
                self.store(stored, &encoded.conditioning);
            }
            encoded
        };
        if let Some(key) = key {
            self.prompt_cache.keep(key, encoded.clone());
        }
        Ok(encoded)
    }

    pub(super) fn encode_anew(
        &mut self,
        text: &str,
        length: usize,
        observer: Observer<'_>,
    ) -> Result<EncodedText, PipelineError> {
        let encoder = match &mut self.prompt_encoder {
            Some(encoder) => encoder,
            empty => {
                let encoder = load(&*self.model, &self.options, observer, |loading| self.model.load_prompt_encoder(loading))?;
                empty.insert(encoder.patched(&self.patches, self.patch_mode)?)
            }
        };
        let EncodedText { conditioning, truncated } = encoder.encode(text, length)?;
        Ok(EncodedText { conditioning: conditioning_on(conditioning, self.device()), truncated })
    }

    /// Load the text encoders but T5, unpatched, for texts whose encoding is [known](PromptEncoder::encode_again) otherwise. They
    /// are the caller's.
    ///
    /// # Errors
    /// [`PipelineError`] if they cannot be loaded, or the observer cancels.
    pub fn load_clip_encoders(&self, observer: Observer<'_>) -> Result<Box<dyn PromptEncoder>, PipelineError> {
        load(&*self.model, &self.options, observer, |loading| self.model.load_clip_encoders(loading))
    }

    /// Free the text encoders, and the memory that reading them took. They are loaded again if another text is encoded.
    pub fn free_prompt_encoder(&mut self) {
        self.prompt_encoder = None;
        let encoders = self.model.components().into_iter().filter(|file| file.component().stage == Stage::Text);
        encoders.map(ComponentFile::checkpoint).for_each(Checkpoint::release);
    }
}
